"""Documents in memory: what is written, signed and applied is what is read."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from typing import Any

import pytest
from nacl.signing import SigningKey

from qflow import _core
from qflow.errors import StaleError, TypeMismatchError

DOC = b"document of test"
SEEDS = [hashlib.sha256(b"replica %d" % number).digest() for number in range(4)]
KEYS = [bytes(SigningKey(seed).verify_key) for seed in SEEDS]

Fill = Callable[[_core.CrdtTransaction], Any]


def document(replica: int = 0) -> _core.CrdtDocument:
    return _core.CrdtDocument(DOC, replica=KEYS[replica], hash_key=b"h" * 32)


def write(doc: _core.CrdtDocument, fill: Fill, op: bytes | None = None) -> _core.CheckedChanges:
    draft = doc.begin()
    fill(draft)
    changes = draft.close(SEEDS[KEYS.index(doc.replica)], op)
    assert not doc.apply(changes).refused
    return changes


def call(doc: _core.CrdtDocument, name: str, *arguments: Any) -> _core.CheckedChanges:
    return calls(doc, [(name, *arguments)])


def calls(doc: _core.CrdtDocument, every: list[tuple[Any, ...]]) -> _core.CheckedChanges:
    def fill(draft: _core.CrdtTransaction) -> None:
        for name, *arguments in every:
            getattr(draft, name)(*arguments)

    return write(doc, fill)


def check(pack: bytes, members: list[bytes] | None = None) -> _core.CheckedChanges:
    return _core.check_changes(pack, doc=DOC, members=members)


def pull(to: _core.CrdtDocument, source: _core.CrdtDocument) -> _core.Applied:
    return to.apply(check(source.delta(to.clock())))


def sync(*documents: _core.CrdtDocument) -> None:
    for one in documents:
        for other in documents:
            if one is not other:
                pull(one, other)


def test_what_is_written_is_read() -> None:
    doc = document()

    def fill(t: _core.CrdtTransaction) -> None:
        t.set("/a", 1)
        t.set(("m", "x/y"), {"in": {"deep": [1, {"z": None}]}, "empty": {}})
        t.increment("/n", 5)
        t.increment("/n")
        t.append("/l", 1, "b")
        t.merge("", {"m": {"more": b"bytes"}})

    write(doc, fill)
    assert doc.get() == {
        "a": 1,
        "l": [1, "b"],
        "m": {"x/y": {"in": {"deep": [1, {"z": None}]}, "empty": {}}, "more": b"bytes"},
        "n": 6,
    }
    assert doc.get("/m/x~1y/in") == {"deep": [1, {"z": None}]}
    assert doc.get("/none", 7) == 7


@pytest.mark.holds("C1")
def test_reads_are_pure() -> None:
    doc = document()
    write(doc, lambda t: t.append("/l", [1]))
    before = doc.state_bytes(), doc.clock(), doc.stats()
    doc.get("/l").append("mine")
    doc.get("/absent/below")
    doc.siblings("/absent")
    doc.conflicts()
    doc.history("/l")
    draft = doc.begin()
    draft.set("/l", 1)
    draft.get()
    assert (doc.state_bytes(), doc.clock(), doc.stats()) == before


@pytest.mark.holds("C2")
@pytest.mark.holds("C4")
def test_changes_again_and_in_any_order_are_the_same_document() -> None:
    one, two, three = document(0), document(1), document(2)
    packs = [call(one, "increment", "/n", number).pack() for number in range(5)]
    for pack in reversed(packs):
        two.apply(check(pack))
    assert two.stats()["waiting"] == 0
    for pack in packs * 2:
        three.apply(check(pack))
    assert two.apply(check(packs[2])).known == 1
    assert one.state_bytes() == two.state_bytes() == three.state_bytes()
    assert one.snapshot() == two.snapshot() == three.snapshot()


@pytest.mark.holds("C5")
@pytest.mark.holds("C6")
def test_a_write_after_a_merge_covers_both_siblings() -> None:
    one, two = document(0), document(1)
    write(one, lambda t: t.set("/k", "one"))
    write(two, lambda t: t.set("/k", "two"))
    sync(one, two)
    [conflict] = one.conflicts()
    assert conflict == two.conflicts()[0]
    assert one.siblings("/k")[0]["value"] == one.get("/k")
    assert len(one.siblings("/k")) == 2
    write(two, lambda t: t.set("/k", "both"))
    sync(one, two)
    assert one.get("/k") == "both"
    assert not one.conflicts()
    assert one.state_bytes() == two.state_bytes()


@pytest.mark.holds("C8")
@pytest.mark.parametrize(
    "path", ["a", "/", "/a/", "/..", "/a/.", "/$x", "/~1x", "/a\0", "/e\u0301", "/~2", "/a" * 65]
)
def test_paths_that_do_not_fit_are_refused(path: str) -> None:
    doc = document()
    draft = doc.begin()
    acts: list[Callable[[], Any]] = [
        lambda: draft.set(path, 1),
        lambda: draft.increment(path),
        lambda: draft.append(path, 1),
        lambda: draft.merge(path, {"x": 1}),
        lambda: draft.delete(path),
        lambda: doc.get(path),
    ]
    for act in acts:
        with pytest.raises(ValueError, match="path"):
            act()
    with pytest.raises(ValueError, match="parts of a path"):
        draft.set("/m", {"..": 1})
    with pytest.raises(ValueError, match="root"):
        draft.set("", 1)
    assert len(draft) == 0


@pytest.mark.holds("C9")
@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, float("nan"), float("inf"), [2**63]])
def test_numbers_that_do_not_fit_are_refused(value: Any) -> None:
    draft = document().begin()
    acts: list[Callable[[], Any]] = [
        lambda: draft.set("/k", value),
        lambda: draft.append("/k", value),
        lambda: draft.set("/k", {"in": value}),
    ]
    for act in acts:
        with pytest.raises(ValueError, match=r"64 bits|finite"):
            act()
    assert len(draft) == 0


@pytest.mark.holds("C9")
def test_increments_are_exact_and_of_integers() -> None:
    doc = document()
    draft = doc.begin()
    wrong: list[Any] = [True, 1.0, "1", 2**63]
    for by in wrong:
        with pytest.raises((TypeError, ValueError)):
            draft.increment("/n", by)
    assert len(draft) == 0
    write(doc, lambda t: t.increment("/zero", 0))
    assert doc.get("/zero") == 0
    calls(doc, [("increment", "/n", 2**63 - 1)] * 3)
    assert doc.get("/n") == 3 * (2**63 - 1)
    write(doc, lambda t: t.set("/b", True))
    with pytest.raises(TypeMismatchError):
        doc.begin().increment("/b")


def test_another_type_than_is_there_is_refused_to_who_writes() -> None:
    doc = document()
    write(doc, lambda t: t.merge("", {"i": 1, "l": [1], "m": {"x": 1}}))
    draft = doc.begin()
    draft.set("/own", "text")
    acts: list[Callable[[], Any]] = [
        lambda: draft.increment("/l"),
        lambda: draft.append("/i", 1),
        lambda: draft.increment("/m"),
        lambda: draft.set("/i/below", 1),
        lambda: draft.set("/own/below", 1),
        lambda: draft.merge("", {"i": {"x": 1}}),
    ]
    for act in acts:
        with pytest.raises(TypeMismatchError):
            act()
    assert len(draft) == 1
    draft.delete("/i")
    draft.set("/i/below", 2)
    assert draft.get("/i") == {"below": 2}


def test_a_transaction_reads_its_own_writes_and_nobody_else_does() -> None:
    doc = document()
    write(doc, lambda t: t.merge("", {"m": {"x": 1, "y": 2}, "n": 3, "l": [1]}))
    draft = doc.begin()
    draft.delete("/m/x")
    draft.increment("/n", 4)
    draft.append("/l", 2)
    draft.set("/new", "here")
    assert draft.get() == {"m": {"y": 2}, "n": 7, "l": [1, 2], "new": "here"}
    draft.delete("/m/y")
    draft.delete("/new")
    assert draft.get("/new", "gone") == "gone"
    assert draft.get("/m") == {} or draft.get("/m") is None
    assert doc.get() == {"m": {"x": 1, "y": 2}, "n": 3, "l": [1]}
    doc.apply(draft.close(SEEDS[0]))
    assert doc.get("/n") == 7


@pytest.mark.holds("C10")
def test_what_is_not_signed_by_a_member_is_refused() -> None:
    one, two = document(0), document(1)
    pack = write(one, lambda t: t.set("/k", 1)).pack()
    stranger = check(pack, members=[KEYS[1]])
    assert len(stranger) == 0
    assert stranger.refused
    good = check(pack)
    forged = bytearray(pack)
    for at in range(len(forged)):
        forged[at] ^= 1
        try:
            checked = check(bytes(forged))
        except ValueError:
            pass
        else:
            # A pack has several spellings; a change that passes is the one that was signed.
            assert checked.pack() == good.pack() or (checked.refused and not len(checked))
        forged[at] ^= 1
    with pytest.raises(ValueError, match="another document"):
        _core.check_changes(pack, doc=b"another document"[:16], members=None)
    draft = two.begin()
    draft.set("/k", 2)
    with pytest.raises(ValueError, match="not the key"):
        draft.close(SEEDS[0])


def test_a_key_that_is_not_the_replicas_leaves_no_trace() -> None:
    doc = document()
    draft = doc.begin()
    draft.set("/k", 1)
    with pytest.raises(ValueError, match="not the key"):
        draft.close(SEEDS[1])
    write(doc, lambda t: t.set("/k", 2))
    assert doc.get("/k") == 2


@pytest.mark.holds("C11")
def test_a_save_that_failed_leaves_no_trace() -> None:
    doc = document()
    write(doc, lambda t: t.set("/k", 1), op=b"first")
    before = doc.state_bytes(), doc.stats(), doc.clock()
    draft = doc.begin()
    draft.set("/k", 2)
    lost = draft.close(SEEDS[0], b"lost")
    doc.abandon()
    assert (doc.state_bytes(), doc.stats(), doc.clock()) == before
    assert doc.knows_operation(b"first")
    assert not doc.knows_operation(b"lost")
    write(doc, lambda t: t.set("/k", 3))
    assert doc.get("/k") == 3
    assert lost.cids


@pytest.mark.holds("C11")
def test_operation_ids_are_known_wherever_the_change_arrives() -> None:
    one, two = document(0), document(1)
    write(one, lambda t: None, op=b"nothing written")
    pull(two, one)
    assert two.knows_operation(b"nothing written")
    snapshot = two.snapshot()
    loaded = _core.CrdtDocument.load(snapshot, replica=KEYS[2], hash_key=b"h" * 32)
    assert loaded.knows_operation(b"nothing written")


def test_two_transactions_closed_before_either_is_applied_follow_each_other() -> None:
    doc = document()
    packs = []
    for number in (1, 2):
        draft = doc.begin()
        draft.increment("/n", number)
        packs.append(draft.close(SEEDS[0]))
    for pack in packs:
        assert doc.apply(pack).applied == 1
    assert doc.get("/n") == 3
    assert not doc.evidence()


@pytest.mark.holds("C14")
def test_an_equivocation_converges_and_is_shown() -> None:
    honest, copy, one, two = document(0), document(0), document(1), document(2)
    write(honest, lambda t: t.set("/k", "one"))
    write(copy, lambda t: t.set("/k", "two"))
    pull(one, honest)
    pull(one, copy)
    pull(two, copy)
    assert pull(two, honest).forked
    assert one.state_bytes() == two.state_bytes()
    [evidence] = one.evidence()
    assert len(check(evidence)) == 2
    assert len(_core.decode(one.clock())) == 2


def test_history_and_the_past() -> None:
    doc = document()
    clocks = []
    for number in range(3):
        call(doc, "set", "/m/k", number)
        clocks.append(doc.clock())
    write(doc, lambda t: t.set("/other", 1))
    assert [event["value"] for event in doc.history("/m", 2)] == [2, 1]
    assert doc.history("/m")[0]["path"] == "/m/k"
    past = doc.at(clocks[0])
    assert past.get() == {"m": {"k": 0}}
    with pytest.raises(ValueError, match="past"):
        past.begin()
    with pytest.raises(ValueError, match="not here"):
        document().at(clocks[0])


@pytest.mark.holds("C3")
@pytest.mark.holds("C12")
def test_compaction_changes_no_value_and_a_lagging_peer_catches_up() -> None:
    one, two, late = document(0), document(1), document(2)
    write(one, lambda t: t.merge("", {"k": 1, "gone": 2, "l": [1]}))
    pull(late, one)
    write(two, lambda t: t.set("/k", 7))
    sync(one, two)
    write(one, lambda t: t.delete("/gone"))
    pull(two, one)
    write(two, lambda t: t.increment("/n"))
    pull(one, two)
    cut = one.stable(KEYS[:2])
    assert cut == two.stable(KEYS[:2])
    write(one, lambda t: t.set("/after", 1))
    state = one.state_bytes()
    snapshot = one.compact(cut)
    assert snapshot == two.compact(cut)
    assert one.state_bytes() == state
    with pytest.raises(StaleError):
        one.delta(late.clock())
    again = _core.CrdtDocument.load(snapshot, replica=KEYS[2], hash_key=b"g" * 32)
    pull(again, one)
    assert again.state_bytes() == state
    assert again.get("/gone") is None


def test_ranges_find_what_is_missing() -> None:
    one, two = document(0), document(1)
    for number in range(40):
        call(one, "set", f"/a{number}", 1)
        call(two, "set", f"/b{number}", 1)
    message: bytes | None = one.ranges()
    here, there = two, one
    while message is not None:
        have, message = here.reconcile(message)
        there.apply(check(here.pack_of(have)))
        here, there = there, here
    pull(one, two)
    pull(two, one)
    assert one.state_bytes() == two.state_bytes()


def test_large_transactions_are_cut_and_what_belongs_together_is_not() -> None:
    doc = document()
    changes = calls(doc, [("set", f"/k/{number}", number) for number in range(1000)])
    assert len(changes) == 4
    draft = doc.begin()
    for number in range(200):
        draft.set(f"/k/{number}", 0)
    draft.set("/m", {str(number): number for number in range(200)})
    assert len(draft.close(SEEDS[0])) == 2
    doc.abandon()
    draft = doc.begin()
    for value in ({str(number): number for number in range(256)}, "x" * 70_000):
        with pytest.raises(ValueError, match="at most"):
            draft.set("/m", value)
    assert len(draft) == 0


def test_more_heads_than_a_change_may_name_are_seen_in_steps() -> None:
    doc = document()
    for number in range(1100):
        seed = hashlib.sha256(b"other %d" % number).digest()
        other = _core.CrdtDocument(
            DOC, replica=bytes(SigningKey(seed).verify_key), hash_key=b"h" * 32
        )
        draft = other.begin()
        draft.set("/k", number)
        doc.apply(check(draft.close(seed).pack()))
    assert len(doc.siblings("/k")) == 1100
    changes = write(doc, lambda t: t.set("/k", "all"))
    assert len(changes) == 2
    assert len(doc.siblings("/k")) == 1
    assert len(_core.decode(doc.clock())) == 1101


def test_readers_never_see_half_of_a_change() -> None:
    doc, source = document(0), document(1)
    packs = [
        calls(source, [("set", f"/k/{at}", number) for at in range(50)]) for number in range(60)
    ]
    stop = threading.Event()
    bad: list[Any] = []

    def look() -> None:
        while not stop.is_set():
            values = doc.get("/k", {})
            if len(set(values.values())) > 1:
                bad.append(values)

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for pack in packs:
        doc.apply(pack)
    stop.set()
    for thread in threads:
        thread.join()
    assert not bad
