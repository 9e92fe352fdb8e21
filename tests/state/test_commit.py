"""What becomes a version, what is refused, and that a refusal changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from qflow import _core
from qflow.errors import (
    BlockNotFoundError,
    ErasedError,
    PoisonedError,
    QflowError,
    StaleError,
    UnavailableError,
    VerificationError,
)
from qflow.events import CloudEvent, validate
from qflow.state import Draft, Saved, Version
from tests.state.executions import DOCUMENT, FLOW, Execution, Home, Keys, node

STATE = _core.encode([{"item": at, "text": f"{at * 7919:032x}"} for at in range(4000)])


def everything(home: Home) -> tuple[Any, ...]:
    """All that a refused draft must leave as it was."""
    tables = ("block", "pin", "state_version", "state_head")

    def rows(db: Any) -> list[Any]:
        return [db.execute(f"SELECT * FROM {name}").fetchall() for name in tables]

    return (*home.database.read(rows), dict(home.pins.wanted))


def kept(home: Home, execution: Execution, *texts: bytes, facts: int = 5) -> list[Saved]:
    """Versions with these states."""
    made = []
    for text in texts:
        execution.facts(facts)
        since = home.states.next_seq(execution.chain)
        made.append(home.states.commit(execution.checkpoint(text, since=since)))
    return made


@pytest.mark.holds("S10")
def test_versions_form_a_chain_that_anybody_can_verify(home: Home, execution: Execution) -> None:
    saved = kept(home, execution, b"one", b"two", b"three")
    blocks = home.blocks.load([one.cid for one in saved])
    versions = [Version.parse(data) for data in blocks]
    assert [version.number for version in versions] == [0, 1, 2]
    assert [version.previous for version in versions] == [None, saved[0].cid, saved[1].cid]
    for version, one in zip(versions, saved, strict=True):
        version.verify(home.signers)
        record = _core.decode_record(execution.records[one.seq][0])
        assert version.head == _core.record_hash(execution.records[one.seq][0])
        assert (version.seq, version.at, version.node) == (one.seq, record["at"], record["node"])
        assert record["meta"]["state"] == str(_core.Cid(version.state))


def test_a_version_says_what_its_record_says(home: Home, execution: Execution) -> None:
    execution.facts(4)
    draft = execution.checkpoint(b"state", why="asked", label="before", description="Why not")
    saved = home.states.commit(draft)
    assert (saved.chain, saved.seq, saved.number, saved.epoch) == (execution.chain, 4, 0, 0)
    assert (saved.why, saved.label, saved.description) == ("asked", "before", "Why not")
    assert (saved.flow, saved.size, saved.frames, saved.status) == (FLOW, 5, 3, "running")
    assert saved.node == home.owner.did
    assert home.states.newest(execution.chain) == saved
    assert home.states.document(saved.cid) == DOCUMENT
    assert home.pins.wanted == {saved.cid: f"qflow.state/{1:026d}/0"}


def test_several_of_one_group_follow_each_other(home: Home, keys: Keys) -> None:
    executions = [Execution(number, node(), keys) for number in (1, 2, 3)]
    drafts = []
    for turn in range(3):
        for one in executions:
            one.facts(3)
            drafts.append(one.checkpoint(b"state %d" % turn, since=0))
    outcomes = home.states.commit_many(drafts)
    assert [one.number for one in outcomes if isinstance(one, Saved)] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert home.states.verify().findings == []


@pytest.mark.parametrize("bad", range(6))
def test_one_that_is_incomplete_leaves_the_others_of_its_group(
    home: Home, keys: Keys, bad: int
) -> None:
    """Two of each chain, and of one a block is missing, which only the store finds."""
    executions = [Execution(number, node(), keys) for number in (1, 2, 3)]
    drafts = []
    for turn in range(2):
        for one in executions:
            one.facts(3)
            drafts.append(one.checkpoint(b"state %d" % turn, since=0))
    drafts[bad] = msgspec.structs.replace(drafts[bad], blocks=drafts[bad].blocks[-1:])
    outcomes = home.states.commit_many(drafts)
    assert isinstance(outcomes[bad], BlockNotFoundError)
    kept_ones = [one for one in outcomes if isinstance(one, Saved)]
    assert len(kept_ones) == 5
    for execution in executions:
        history = home.states.history(execution.chain)
        assert [one.number for one in history] == list(range(len(history)))[::-1]
    assert home.states.verify().findings == []
    assert home.states.garbage().blocks == 0


@pytest.mark.holds("S3")
def test_one_that_is_refused_leaves_the_others_of_its_group(home: Home, keys: Keys) -> None:
    good, bad, other = (Execution(number, node(), keys) for number in (1, 2, 3))
    drafts = [one.checkpoint(b"x", since=0) for one in (good, bad, other)]
    drafts[1] = msgspec.structs.replace(drafts[1], key=None)
    first, second, third = home.states.commit_many(drafts)
    assert isinstance(first, Saved)
    assert isinstance(second, UnavailableError)
    assert isinstance(third, Saved)
    assert home.states.newest(bad.chain) is None
    assert home.states.garbage().blocks == 0


@pytest.mark.holds("S12", "S16")
@pytest.mark.parametrize("seen", ["before", "meanwhile"])
def test_nothing_of_an_erased_chain_is_kept(home: Home, keys: Keys, seen: str) -> None:
    """Also when it is erased while the version is made; the others of its group are kept."""
    erased, other = (Execution(number, node(), keys) for number in (1, 2))
    drafts = [one.checkpoint(b"x") for one in (erased, other)]
    (home.erased if seen == "before" else home.pins.erased).add(erased.chain)
    first, second = home.states.commit_many(drafts)
    assert isinstance(first, ErasedError)
    assert isinstance(second, Saved)
    assert home.states.newest(erased.chain) is None
    assert list(home.pins.wanted) == [second.cid]
    assert home.states.garbage().blocks == 0


# -- what is unchanged is the same block ---------------------------------------------------


def test_an_unchanged_part_is_the_same_block(home: Home, execution: Execution) -> None:
    changed = STATE[:100_000] + b"changed" + STATE[100_007:]
    first, second, third = kept(home, execution, STATE, changed, STATE)
    roots = [Version.parse(data) for data in home.blocks.load([first.cid, second.cid, third.cid])]
    parts = [
        set(_core.state_parts(data)[1])
        for data in home.blocks.load([version.state for version in roots])
    ]
    assert roots[0].state == roots[2].state, "equal states are one root"
    assert len(parts[0] & parts[1]) >= len(parts[0]) - 2
    assert len({version.flow for version in roots}) == 1, "the flow is sealed once"


def test_records_are_in_one_segment_each(home: Home, execution: Execution) -> None:
    saved = kept(home, execution, b"one", b"two", b"three")
    pieces = list(home.states.records(saved[2].cid))
    assert [record for piece, _ in pieces for record in piece] == [
        data for data, _ in execution.records
    ]
    assert len(pieces) == 3
    before = home.database.read(lambda db: db.execute("SELECT count(*) FROM block").fetchone())
    kept(home, execution, b"four")
    after = home.database.read(lambda db: db.execute("SELECT count(*) FROM block").fetchone())
    # Version, state with one part, segment, and the payloads of five facts: every third has none.
    assert 7 <= after[0] - before[0] <= 8


def test_records_that_are_known_are_left_out(home: Home, execution: Execution) -> None:
    kept(home, execution, b"one")
    execution.facts(5)
    saved = home.states.commit(execution.checkpoint(b"two", since=0))
    assert len(list(home.states.records(saved.cid))) == 2


# -- refused -------------------------------------------------------------------------------


def without(field: str, value: Any) -> Callable[[Execution, Draft], Draft]:
    return lambda _, draft: msgspec.structs.replace(draft, **{field: value})


def stranger(execution: Execution, draft: Draft) -> Draft:
    execution.writer = node(2)
    return execution.checkpoint(b"new", since=0)


def other_subnet(execution: Execution, draft: Draft) -> Draft:
    execution.subnet = "other"
    return execution.checkpoint(b"new", since=0)


def other_state(execution: Execution, draft: Draft) -> Draft:
    _, blocks = execution.key.seal_state(b"other", subnet="default", chain=execution.chain)
    return msgspec.structs.replace(draft, blocks=blocks)


def other_size(execution: Execution, draft: Draft) -> Draft:
    return execution.checkpoint(b"new", since=0, size=4)


def no_checkpoint(execution: Execution, draft: Draft) -> Draft:
    return msgspec.structs.replace(draft, records=draft.records[:-1])


def a_record_changed(execution: Execution, draft: Draft) -> Draft:
    records = list(draft.records)
    data = bytearray(records[2][0])
    data[-40] ^= 1
    records[2] = (bytes(data), records[2][1])
    return msgspec.structs.replace(draft, records=records)


def a_record_left_out(execution: Execution, draft: Draft) -> Draft:
    return msgspec.structs.replace(draft, records=[*draft.records[:2], *draft.records[3:]])


def records_swapped(execution: Execution, draft: Draft) -> Draft:
    records = list(draft.records)
    records[1], records[2] = records[2], records[1]
    return msgspec.structs.replace(draft, records=records)


def a_record_of_another(execution: Execution, draft: Draft) -> Draft:
    other = Execution(9, execution.writer, Keys())
    other.facts(5)
    records = [*draft.records[:2], other.records[2], *draft.records[3:]]
    return msgspec.structs.replace(draft, records=records)


def a_payload_left_out(execution: Execution, draft: Draft) -> Draft:
    records = [(draft.records[0][0], None), *draft.records[1:]]
    return msgspec.structs.replace(draft, records=records)


def a_payload_changed(execution: Execution, draft: Draft) -> Draft:
    data, block = draft.records[0]
    assert block is not None
    records = [(data, (block[0], block[1] + b"x")), *draft.records[1:]]
    return msgspec.structs.replace(draft, records=records)


def a_part_changed(execution: Execution, draft: Draft) -> Draft:
    blocks = [(draft.blocks[0][0], draft.blocks[0][1] + b"x"), *draft.blocks[1:]]
    return msgspec.structs.replace(draft, blocks=blocks)


def a_part_left_out(execution: Execution, draft: Draft) -> Draft:
    return msgspec.structs.replace(draft, blocks=draft.blocks[1:])


def label_too_long(execution: Execution, draft: Draft) -> Draft:
    return execution.checkpoint(b"new", since=0, label="x" * 101)


def says_not_why(execution: Execution, draft: Draft) -> Draft:
    return execution.checkpoint(b"new", since=0, why=None)


REFUSED: list[tuple[Callable[[Execution, Draft], Draft], type[Exception], str]] = [
    (without("key", None), UnavailableError, "no key to seal with"),
    (without("records", []), VerificationError, "without records"),
    (without("blocks", []), VerificationError, "without"),
    (stranger, VerificationError, "is of did:key"),
    (other_subnet, VerificationError, "of subnet 'other'"),
    (other_state, VerificationError, "names the state"),
    (other_size, VerificationError, "another size"),
    (no_checkpoint, VerificationError, "the last record of a draft"),
    (a_record_changed, VerificationError, "record"),
    (a_record_left_out, StaleError, "missing"),
    (records_swapped, VerificationError, "another record stands in the place"),
    (a_record_of_another, VerificationError, "another record stands in the place"),
    (a_payload_left_out, VerificationError, "another payload"),
    (a_payload_changed, VerificationError, "not what its CID says"),
    (a_part_changed, VerificationError, "not what its CID says"),
    (a_part_left_out, BlockNotFoundError, "not here"),
    (label_too_long, ValueError, "label"),
    (says_not_why, ValueError, "why"),
]


@pytest.mark.holds("S3", "S14")
@pytest.mark.parametrize(
    ("change", "error", "why"), REFUSED, ids=lambda value: getattr(value, "__name__", None)
)
def test_a_draft_that_cannot_be_sealed_or_contradicts_itself_is_not_stored(
    home: Home,
    execution: Execution,
    change: Callable[[Execution, Draft], Draft],
    error: type[Exception],
    why: str,
) -> None:
    execution.facts(5)
    draft = change(execution, execution.checkpoint(b"state"))
    before = everything(home)
    with pytest.raises(error, match=why):
        home.states.commit(draft)
    assert everything(home) == before
    assert home.told == []


@pytest.mark.holds("S5", "S7")
def test_without_a_signer_nothing_is_kept(home: Home, execution: Execution) -> None:
    states = home.reopen(signer=None)
    draft = execution.checkpoint(b"state")
    before = everything(home)
    with pytest.raises(UnavailableError, match="sign"):
        states.commit(draft)
    assert everything(home) == before


@pytest.mark.holds("S13")
def test_a_stale_writer_is_refused(home: Home, execution: Execution) -> None:
    (first,) = kept(home, execution, b"one")
    behind = (list(execution.records), execution.prev)

    def go_on(epoch: int, facts: int) -> Draft:
        """The chain from the first version on, in another epoch."""
        execution.records, execution.prev = list(behind[0]), behind[1]
        execution.epoch = epoch
        execution.facts(facts, content=f"of epoch {epoch}")
        return execution.checkpoint(b"epoch %d" % epoch, since=first.seq + 1)

    stale = [go_on(1, facts) for facts in (2, 5, 50)]
    owner = home.states.commit(go_on(2, 5))
    before = everything(home)
    for draft in stale:  # the owner before, whatever it wrote
        with pytest.raises(StaleError, match="epoch 2"):
            home.states.commit(draft)
    with pytest.raises(StaleError, match="too late"):  # the same once more
        home.states.commit(go_on(2, 5))
    execution.records, execution.prev = list(behind[0]), behind[1]
    execution.facts(60, content="a second writer")
    with pytest.raises(StaleError, match="another one"):
        home.states.commit(execution.checkpoint(b"fork", since=first.seq + 1))
    with pytest.raises(StaleError, match="missing"):
        home.states.commit(execution.checkpoint(b"fork", since=owner.seq + 2))
    with pytest.raises(StaleError, match="does not follow"):
        home.states.commit(execution.checkpoint(b"fork", since=owner.seq + 1))
    assert everything(home) == before
    assert home.states.newest(execution.chain) == owner


@pytest.mark.holds("S13")
def test_of_two_processes_that_write_at_once_one_is_refused(
    home: Home, execution: Execution
) -> None:
    second = Home(home.path, home.keys, home.owner)
    kept(home, execution, b"one")
    since = home.states.next_seq(execution.chain)
    records, prev = list(execution.records), execution.prev
    execution.facts(3, content="here")
    mine = execution.checkpoint(b"mine", since=since)
    execution.records, execution.prev = records, prev
    execution.facts(3, content="there")
    theirs = execution.checkpoint(b"theirs", since=since)
    won = second.states.commit(theirs)
    with pytest.raises(StaleError):
        home.states.commit(mine)
    assert home.states.newest(execution.chain) == won
    second.close()


def test_a_head_that_another_process_moved_is_followed(
    home: Home, execution: Execution, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one history: the versions are made anew behind what is there by now."""
    second = Home(home.path, home.keys, home.owner)
    (first,) = kept(home, execution, b"one")
    execution.facts(3)
    theirs = execution.checkpoint(b"two", since=first.seq + 1)
    execution.facts(3)
    mine = execution.checkpoint(b"three", since=first.seq + 1)
    monkeypatch.setattr(home.states, "_prepare", late(home, second, theirs))
    saved = home.states.commit(mine)
    assert saved.number == 2
    assert [one.number for one in home.states.history(execution.chain)] == [2, 1, 0]
    second.close()


def late(home: Home, second: Home, theirs: Draft) -> Any:
    """Another process commits between the preparing and the writing."""
    prepare = home.states._prepare
    moved: list[Saved] = []

    def run(*arguments: Any) -> Any:
        made = prepare(*arguments)
        if not moved:
            moved.append(second.states.commit(theirs))
        return made

    return run


def test_a_failed_commit_is_an_error_and_changes_nothing(home: Home, execution: Execution) -> None:
    kept(home, execution, b"one")
    before = everything(home)
    writer = home.database._writer
    writer.poisoned = PoisonedError("a write failed")
    with pytest.raises(PoisonedError):
        kept(home, execution, b"two")
    assert everything(home) == before
    home.reopen()
    assert everything(home) == before


def test_what_is_kept_is_told_in_the_form_of_the_catalogue(
    home: Home, execution: Execution
) -> None:
    (saved,) = kept(home, execution, b"one")
    home.states.verify()
    home.states.delete(cid=saved.cid)
    assert [name.split(".")[3] for name, _ in home.told] == ["saved", "verified", "deleted"]
    for number, (name, data) in enumerate(home.told):
        assert data["payload"] == str(_core.Cid(saved.cid))
        validate(CloudEvent(id=str(number), source=home.owner.did, type=name, data=data))


def test_errors_about_a_draft_are_answers_and_others_are_raised(
    home: Home, execution: Execution
) -> None:
    (outcome,) = home.states.commit_many([execution.checkpoint(b"x", label="")])
    assert isinstance(outcome, ValueError | QflowError)
    assert home.states.commit_many([]) == []
