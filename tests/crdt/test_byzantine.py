"""Liars among the replicas and on the way: refused or contained, and the honest ones equal."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from qflow import _core
from tests.crdt import packs
from tests.crdt.attacks import Attack, Memory, Stage, agree
from tests.crdt.catalogue import ATTACKS
from tests.crdt.replicas import DOC, Author, Replica
from tests.crdt.specification import History, cid_of_change
from tests.crdt.steps import Call


@pytest.mark.holds("C10")
@pytest.mark.holds("C14")
@pytest.mark.holds("C15")
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_an_attack_is_refused_or_contained(attack: Attack) -> None:
    outcomes = set(attack.attempt(1_000))
    assert outcomes
    assert outcomes <= attack.expected


@pytest.mark.parametrize(
    "attack",
    [attack for attack in ATTACKS if attack.family == "Content against the rules"],
    ids=lambda attack: attack.name,
)
def test_content_is_refused_for_what_it_is(attack: Attack) -> None:
    """The signature is good: the refusal is not for want of that."""
    stage = Stage(7)
    for forgery in attack.forge(stage):
        with pytest.raises(ValueError, match="pack") as refused:
            _core.check_changes(forgery.pack, doc=DOC, members=None)
        assert "signature" not in str(refused.value)


@pytest.mark.holds("C14")
def test_a_fork_is_reported_with_both_signed_changes() -> None:
    stage = Stage(1)
    left, right = stage.lie(), stage.lie()
    for change in (left, right):
        stage.history.add(change.change)
    found = []
    for replica, order in zip(stage.honest, ((left, right), (right, left)), strict=True):
        for change in order:
            replica.receive(packs.pack(DOC, [change]), [change.change.cid])
        found.append(replica.document.evidence())
    agree(stage)
    assert found[0] == found[1]
    assert len(found[0]) == 1
    signatures = {left.signature, right.signature}
    assert all(signature in bytes_in(found[0]) for signature in signatures)


def bytes_in(value: object) -> bytes:
    """All bytes within, joined."""
    match value:
        case bytes():
            return value
        case dict():
            return b"".join(map(bytes_in, value.values()))
        case list() | tuple():
            return b"".join(map(bytes_in, value))
    return b""


@pytest.mark.holds("C10")
@pytest.mark.holds("C15")
def test_every_byte_of_a_pack_counts() -> None:
    """Each byte changed in each bit's place: refused, or the very same changes."""
    stage = Stage(3)
    for pack in stage.packs[:2]:
        good = _core.check_changes(pack, doc=DOC, members=None)
        for at in range(len(pack)):
            for bit in range(8):
                mutant = pack[:at] + bytes([pack[at] ^ 1 << bit]) + pack[at + 1 :]
                try:
                    checked = _core.check_changes(mutant, doc=DOC, members=None)
                except ValueError:
                    continue
                assert set(checked.cids) <= set(good.cids)
                assert len(checked) < len(good) or checked.pack() == good.pack()


@pytest.mark.holds("C15")
def test_a_clock_that_claims_too_much_claims_nothing() -> None:
    stage = Stage(5)
    replica = stage.honest[0]
    key, _, _ = replica.reading().heads()[0]
    everything = len(_core.check_changes(replica.document.delta(), doc=DOC, members=None))
    unknown = cid_of_change(b"\7" * 32)
    for claimed in (
        packs.clock((key, 2**32 - 1, unknown)),
        packs.clock((stage.liar.key, 2**32 - 1, unknown)),
    ):
        delta = replica.document.delta(claimed)
        assert len(_core.check_changes(delta, doc=DOC, members=None)) == everything


@pytest.mark.holds("C15")
def test_a_clock_against_the_rules_is_refused_in_bounded_memory() -> None:
    document = Stage(5).honest[0].document
    cid = cid_of_change(b"\7" * 32)
    before, after = packs.clock((b"@" * 32, 1, cid))[1:].split(b"@" * 32)
    heads = (before + at.to_bytes(32, "big") + after for at in range(1_000_000))
    giant = b"\x9a" + (1_000_000).to_bytes(4, "big") + b"".join(heads)
    two = [(b"b" * 32, 1, cid), (b"a" * 32, 1, cid)]
    memory = Memory()
    for clock in (
        giant,
        packs.clock(*two),
        packs.clock(two[0], two[0]),
        packs.clock((b"short", 1, cid)),
        packs.clock((b"a" * 32, 2**64 - 1, cid)),
        packs.clock((b"a" * 32, -1, cid)),
        packs.clock((b"a" * 32, 1, b"\1\2")),
        b"",
        b"\x80\x00",
        b"\x81" * 20_000,
        b"\x9b" + b"\xff" * 8,
    ):
        with pytest.raises(ValueError, match=r"\w"):
            document.delta(clock)
        with pytest.raises(ValueError, match=r"\w"):
            document.at(clock)
    assert memory.grown_mib() < 64


@pytest.mark.holds("C15")
def test_after_a_flood_honest_changes_are_taken() -> None:
    stage = Stage(9)
    replica, other = stage.honest
    flood = [stage.lie(deps=(stage.chance.randbytes(32),)) for _ in range(5_000)]
    checked = _core.check_changes(packs.pack(DOC, flood), doc=DOC, members=stage.members)
    applied = replica.document.apply(checked)
    assert replica.document.stats()["waiting"] == 4_096
    assert len(applied.refused) == 5_000 - 4_096
    assert all("again" in why for _, why in applied.refused)
    sent = other.transact([Call("set", ("k",), (1,))])
    assert sent is not None
    replica.receive(sent.pack, sent.cids)
    assert replica.document.get("/k") == 1


@pytest.mark.holds("C10")
def test_only_members_and_only_with_their_signature() -> None:
    stage = Stage(11)
    good = stage.lie()
    pack = packs.pack(DOC, [good])
    others = [one.key for one in stage.honest]
    checked = _core.check_changes(pack, doc=DOC, members=others)
    assert (len(checked), len(checked.refused)) == (0, 1)
    assert len(_core.check_changes(pack, doc=DOC, members=stage.members)) == 1
    with pytest.raises(TypeError):
        stage.honest[0].document.apply(pack)  # type: ignore[arg-type]


@pytest.mark.holds("C8")
@pytest.mark.parametrize(
    "path", ["/", "/a//b", "/.", "/..", "//a", "/~1etc", "/$ref", "/e\u0301", "/a\0", "a", "/~2"]
)
def test_a_path_against_the_rules_is_refused(path: str) -> None:
    author = Author(1)
    draft = Replica(author.seed, author.key, History()).document.begin()
    writes: tuple[Callable[[], None], ...] = (
        lambda: draft.set(path, 1),
        lambda: draft.set(path, {"a": 1}),
        lambda: draft.delete(path),
        lambda: draft.increment(path),
        lambda: draft.append(path, 1),
        lambda: draft.merge(path, {"a": 1}),
    )
    for write in writes:
        with pytest.raises(ValueError, match="path"):
            write()
    assert len(draft) == 0


@pytest.mark.holds("C9")
def test_numbers_are_exact_or_refused() -> None:
    author = Author(1)
    replica = Replica(author.seed, author.key, History())
    draft = replica.document.begin()
    for by in (2**63, -(2**63) - 1, True, 1.0, float("nan")):
        with pytest.raises((ValueError, TypeError, OverflowError)):
            draft.increment("/k", by)  # type: ignore[arg-type]
    for value in (2**63, -(2**63) - 1, float("nan"), float("inf"), [2**64], [float("nan")]):
        with pytest.raises((ValueError, OverflowError)):
            draft.set("/k", value)
    draft.increment("/zero", 0)
    for _ in range(4):
        draft.increment("/k", 2**63 - 1)
    replica.document.apply(draft.close(author.seed))
    assert replica.document.get("/k") == 4 * (2**63 - 1)
    assert replica.document.get("/zero") == 0
