"""Versions from elsewhere: verified before they are listed, and the newest only moves forward."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from qflow import _core
from qflow.errors import StaleError
from qflow.state import Block, Draft, Saved, Taken
from qflow.state._segment import make_segments
from qflow.state._version import Summary, Version, make_version
from tests.state.executions import SUBNET, Execution, Home, Keys, node

ALICE, BOB, MALLORY = node(1), node(2), node(3)


@pytest.fixture
def elsewhere(tmp_path: Path, keys: Keys) -> Iterator[Home]:
    """Another home, of Bob, who believes Alice."""
    made = Home(tmp_path / "other.db", keys, BOB, trusted=(ALICE,))
    yield made
    made.close()


def filled(home: Home, execution: Execution, count: int = 3) -> list[Saved]:
    saved = []
    for number in range(count):
        execution.facts(6)
        since = home.states.next_seq(execution.chain)
        draft = execution.checkpoint(b"state %d" % number * 3000, since=since)
        saved.append(home.states.commit(draft))
    return saved


def carried(source: Home, cids: Sequence[bytes]) -> list[Block]:
    """The blocks of versions, as a CAR has them."""
    return list(source.blocks.walk(cids))


def brought(target: Home, blocks: Sequence[Block], cids: Sequence[bytes]) -> Taken:
    """Blocks put, and the versions among them taken in."""
    target.database.write(lambda db: target.blocks.put_blocks(db, blocks))
    return target.states.ingest(cids)


def names(saved: Sequence[Saved]) -> list[bytes]:
    return [one.cid for one in saved]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_versions_are_taken_in_any_order(
    home: Home, elsewhere: Home, execution: Execution, order: Sequence[int]
) -> None:
    saved = filled(home, execution)
    cids = [saved[at].cid for at in order]
    taken = brought(elsewhere, carried(home, cids), cids)
    assert (taken.taken, taken.known, taken.refused, taken.diverged) == (saved, 0, [], [])
    states = elsewhere.states
    assert states.newest(execution.chain) == saved[2]
    assert states.history(execution.chain) == saved[::-1]
    assert states.check(saved[2].cid) == saved[2]
    assert states.verify().findings == []
    assert states.garbage().blocks == 0
    assert sorted(elsewhere.pins.wanted) == sorted(cids)
    again = states.ingest(cids)
    assert (again.taken, again.known, again.refused) == ([], 3, [])


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_one_at_a_time_the_head_only_moves_forward(
    home: Home, elsewhere: Home, execution: Execution, order: Sequence[int]
) -> None:
    saved = filled(home, execution)
    newest = -1
    for at in order:
        cid = saved[at].cid
        taken = brought(elsewhere, carried(home, [cid]), [cid])
        assert (names(taken.taken), taken.refused, taken.diverged) == ([cid], [], [])
        newest = max(newest, at)
        assert elsewhere.states.newest(execution.chain) == saved[newest]
    assert elsewhere.states.history(execution.chain) == saved[::-1]


def test_the_other_home_goes_on_in_the_next_epoch_and_fences_the_first(
    home: Home, elsewhere: Home, execution: Execution
) -> None:
    saved = filled(home, execution)
    records, prev = list(execution.records), execution.prev
    brought(elsewhere, carried(home, [saved[2].cid]), [saved[2].cid])
    execution.writer, execution.epoch = BOB, 1
    execution.facts(4)
    theirs = elsewhere.states.commit(execution.checkpoint(b"bob", since=saved[2].seq + 1))
    assert (theirs.number, theirs.previous, theirs.epoch) == (3, saved[2].cid, 1)
    assert elsewhere.states.check(theirs.cid) == theirs

    home.signers._others = lambda: [BOB.did]
    taken = brought(home, carried(elsewhere, [theirs.cid]), [theirs.cid])
    assert (names(taken.taken), taken.diverged) == ([theirs.cid], [])
    execution.records, execution.prev = records, prev
    execution.writer, execution.epoch = ALICE, 0
    execution.facts(50)
    with pytest.raises(StaleError, match="epoch 1"):
        home.states.commit(execution.checkpoint(b"alice", since=saved[2].seq + 1))


# -- two that went on from one place -------------------------------------------------------


def fork(source: Home, execution: Execution, tmp_path: Path, *, epoch: int, facts: int) -> Home:
    """A copy of a home whose owner goes on in its own way."""
    copy = Home(tmp_path / f"fork-{epoch}-{facts}.db", source.keys, source.owner)
    newest = source.states.newest(execution.chain)
    assert newest is not None
    brought(copy, carried(source, [newest.cid]), [newest.cid])
    records, prev, before = list(execution.records), execution.prev, execution.epoch
    execution.epoch = epoch
    execution.facts(facts, content=f"fork {epoch} {facts}")
    copy.states.commit(execution.checkpoint(b"fork", since=newest.seq + 1))
    execution.records, execution.prev, execution.epoch = records, prev, before
    return copy


@pytest.mark.holds("S13", "S14")
@pytest.mark.parametrize("facts", [1, 6, 60])
def test_a_fork_of_the_same_epoch_never_replaces_the_newest(
    home: Home, execution: Execution, tmp_path: Path, facts: int
) -> None:
    filled(home, execution, 1)
    copy = fork(home, execution, tmp_path, epoch=0, facts=facts)
    saved = filled(home, execution, 1)[0]
    other = copy.states.newest(execution.chain)
    assert other is not None
    taken = brought(home, carried(copy, [other.cid]), [other.cid])
    assert (taken.taken, taken.refused) == ([], [])
    (diverged,) = taken.diverged
    assert diverged.cid == other.cid
    assert "two owners" in diverged.why
    assert home.states.newest(execution.chain) == saved
    assert other not in home.states.history(execution.chain)
    copy.close()


@pytest.mark.holds("S13")
@pytest.mark.parametrize("facts", [1, 60])
def test_a_fork_of_a_later_epoch_replaces_it_and_both_are_told_of(
    home: Home, execution: Execution, tmp_path: Path, facts: int
) -> None:
    filled(home, execution, 1)
    copy = fork(home, execution, tmp_path, epoch=1, facts=facts)
    left = filled(home, execution, 1)[0]
    other = copy.states.newest(execution.chain)
    assert other is not None
    taken = brought(home, carried(copy, [other.cid]), [other.cid])
    assert taken.taken == [other]
    assert [one.cid for one in taken.diverged] == [left.cid]
    assert home.states.newest(execution.chain) == other
    # In the other order the same: the fenced one is not taken.
    back = brought(copy, carried(home, [left.cid]), [left.cid])
    assert back.taken == []
    assert [one.cid for one in back.diverged] == [left.cid]
    assert copy.states.newest(execution.chain) == other
    copy.close()


@pytest.mark.holds("S14")
def test_an_older_head_that_is_put_back_stays_older(home: Home, execution: Execution) -> None:
    saved = filled(home, execution, 4)
    for rounds, one in enumerate(saved[:3], 1):
        home.states.delete(cid=one.cid)
        home.pins.wanted.clear()
        copies = carried(home, [saved[3].cid])
        taken = brought(home, copies, [one.cid])
        assert taken.taken == [], "its block is gone"
        assert len(taken.refused) == 1
        assert home.states.newest(execution.chain) == saved[3], rounds


# -- refused -------------------------------------------------------------------------------


def remade(block: bytes, keys: Keys, seed: bytes = ALICE.seed, **change: Any) -> bytes:
    """A version with other fields, sealed and signed again: what its author could have made."""
    version = Version.parse(block)
    key = keys.key_of(version.chain, version.key)
    fields = version.fields()
    del fields["sealed"], fields["sig"]
    return make_version(fields | change, version.summary(key), key, seed)


def test_every_lie_is_refused_and_nothing_of_it_is_listed(
    home: Home, elsewhere: Home, execution: Execution, keys: Keys
) -> None:
    """What a trusted signer signs has to be true, too: the chain of records says what was."""
    saved = filled(home, execution)
    (block,) = home.blocks.load([saved[2].cid])
    (before,) = home.blocks.load([saved[1].cid])
    old = Version.parse(before)
    other = Execution(2, ALICE, keys)
    theirs = filled(home, other)[2]
    foreign = Version.parse(home.blocks.load([theirs.cid])[0])
    lies: dict[str, dict[str, Any]] = {
        "subnet": {"subnet": "other"},
        "chain": {"chain": other.chain, "key": 2},
        "epoch": {"epoch": 1},
        "time": {"at": saved[2].at + 1},
        "record": {"seq": saved[2].seq - 1},
        "hash": {"head": bytes(32)},
        "an older record": {"seq": old.seq, "head": old.head},
        "an older state": {"state": old.state},
        "an older history": {"history": old.history},
        "the state of another": {"state": foreign.state},
        "the flow of another": {"flow": foreign.flow},
        "the history of another": {"history": foreign.history},
        "a state for a flow": {"flow": old.state, "state": old.flow},
    }
    blocks = carried(home, [saved[2].cid, saved[1].cid, theirs.cid])
    for name, lie in lies.items():
        made = remade(block, keys, **lie)
        cid = bytes(_core.cid_of(made))
        taken = brought(elsewhere, [*blocks, (cid, made)], [cid])
        assert taken.taken == [], name
        assert [one.cid for one in taken.refused] == [cid], name
        assert elsewhere.states.list().versions == [], name
    assert len(lies) == 13


@pytest.mark.holds("S5", "S6")
def test_unsigned_stripped_or_signed_by_a_stranger_is_refused(
    home: Home, elsewhere: Home, execution: Execution, keys: Keys
) -> None:
    saved = filled(home, execution)[2]
    (block,) = home.blocks.load([saved.cid])
    made = _core.decode(block)
    bad = [
        _core.encode({**made, "sig": bytes(64)}),
        _core.encode({name: value for name, value in made.items() if name != "sig"}),
        remade(block, keys, MALLORY.seed),
        remade(block, keys, MALLORY.seed, node=MALLORY.did),
        remade(block, keys, BOB.seed),
        remade(block, keys, MALLORY.seed, node=BOB.did),
    ]
    blocks = carried(home, [saved.cid]) + [(bytes(_core.cid_of(data)), data) for data in bad]
    taken = brought(elsewhere, blocks, [cid for cid, _ in blocks[-len(bad) :]])
    assert taken.taken == []
    assert len(taken.refused) == len(bad)
    assert sum("not good" in one.why for one in taken.refused) == 4
    assert sum("does not trust" in one.why for one in taken.refused) == 1
    assert elsewhere.states.list().versions == []
    assert [name for name, _ in elsewhere.told] == ["q.qflow.state.refused.v1"] * len(bad)
    # A trusted node that did not write the checkpoint's record cannot claim it either.
    theirs = remade(block, keys, BOB.seed, node=BOB.did)
    cid = bytes(_core.cid_of(theirs))
    refused = brought(elsewhere, [(cid, theirs)], [cid]).refused
    assert "another node" in refused[0].why


def test_an_erased_execution_and_one_without_its_key_are_refused(
    home: Home, elsewhere: Home, execution: Execution, keys: Keys
) -> None:
    saved = filled(home, execution)[2]
    blocks = carried(home, [saved.cid])
    elsewhere.erased.add(execution.chain)
    assert "erased" in brought(elsewhere, blocks, [saved.cid]).refused[0].why
    elsewhere.erased.clear()
    known = keys.known.pop((execution.chain, 1))
    assert "no key" in brought(elsewhere, blocks, [saved.cid]).refused[0].why
    keys.known[execution.chain, 1] = known
    assert names(brought(elsewhere, blocks, [saved.cid]).taken) == [saved.cid]


@pytest.mark.holds("S14")
def test_a_version_with_any_block_missing_is_refused(
    home: Home, elsewhere: Home, execution: Execution
) -> None:
    saved = filled(home, execution)[2]
    blocks = carried(home, [saved.cid])
    for at, (gone, _) in enumerate(blocks):
        taken = brought(elsewhere, [*blocks[:at], *blocks[at + 1 :]], [saved.cid])
        assert taken.taken == [], at
        assert str(_core.Cid(gone)) in taken.refused[0].why, at
        elsewhere.states.collect()
    assert len(blocks) > 15
    assert brought(elsewhere, blocks, [saved.cid]).taken == [saved]


@pytest.mark.holds("S14")
def test_records_that_were_cut_reordered_or_spliced_are_refused(
    home: Home, elsewhere: Home, execution: Execution, keys: Keys
) -> None:
    """Segments made anew, by somebody with the key and a trusted name, of other records."""
    saved = filled(home, execution, 1)[0]
    (block,) = home.blocks.load([saved.cid])
    records = list(execution.records)
    stranger = Execution(execution.chain[-1], ALICE, Keys())
    stranger.facts(7, content="another history")
    swapped = [records[1], records[0], *records[2:]]
    wrong = {
        "without the last": (0, records[:-1]),
        "without the first": (0, records[1:]),
        "without one": (0, [*records[:3], *records[4:]]),
        "twice": (0, [*records[:3], records[2], *records[3:]]),
        "swapped": (0, swapped),
        "reversed": (0, records[::-1]),
        "of another history": (0, [*stranger.records[:3], *records[3:]]),
        "the last alone": (0, records[-1:]),
        "longer": (0, [*records, records[-1]]),
    }
    blocks = carried(home, [saved.cid])
    for name, (first, changed) in wrong.items():
        named = [(data, payload and payload[0]) for data, payload in changed]
        segments = make_segments(execution.chain, first, None, named, execution.key)
        made = remade(block, keys, history=segments[-1][0])
        cid = bytes(_core.cid_of(made))
        extra = [payload for _, payload in changed if payload is not None]
        taken = brought(elsewhere, [*blocks, *extra, *segments, (cid, made)], [cid])
        assert (taken.taken, len(taken.refused)) == ([], 1), name
    for at in range(1, len(records)):  # cut in two, and the second half put alone
        named = [(data, payload and payload[0]) for data, payload in records[at:]]
        before = bytes(_core.cid_of(b"\xf6"))
        segments = make_segments(execution.chain, at, before, named, execution.key)
        made = remade(block, keys, history=segments[-1][0])
        cid = bytes(_core.cid_of(made))
        taken = brought(elsewhere, [*blocks, *segments, (cid, made)], [cid])
        assert (taken.taken, len(taken.refused)) == ([], 1), at
    assert elsewhere.states.list().versions == []


@pytest.mark.parametrize("shift", [-2, -1, 1, 2])
def test_a_segment_with_a_wrong_number_is_refused(
    home: Home, elsewhere: Home, execution: Execution, keys: Keys, shift: int
) -> None:
    """Its records follow each other, and only where it says that they begin is not so."""
    saved = filled(home, execution, 1)[0]
    (block,) = home.blocks.load([saved.cid])
    named = [(data, payload and payload[0]) for data, payload in execution.records]
    segments = make_segments(execution.chain, 0, None, named[:4], execution.key)
    segments += make_segments(execution.chain, 4 + shift, segments[0][0], named[4:], execution.key)
    made = remade(block, keys, history=segments[-1][0])
    cid = bytes(_core.cid_of(made))
    taken = brought(elsewhere, [*carried(home, [saved.cid]), *segments, (cid, made)], [cid])
    assert "does not end with record" in taken.refused[0].why


def test_a_segment_that_says_another_execution_is_refused(
    home: Home, elsewhere: Home, execution: Execution, keys: Keys
) -> None:
    saved = filled(home, execution, 1)[0]
    (block,) = home.blocks.load([saved.cid])
    named = [(data, payload and payload[0]) for data, payload in execution.records]
    segments = make_segments(bytes(16), 0, None, named, execution.key)
    made = remade(block, keys, history=segments[-1][0])
    cid = bytes(_core.cid_of(made))
    taken = brought(elsewhere, [*carried(home, [saved.cid]), *segments, (cid, made)], [cid])
    assert "of another execution" in taken.refused[0].why


def test_a_segment_that_links_to_other_payloads_than_its_records_is_refused(
    home: Home, elsewhere: Home, execution: Execution, keys: Keys
) -> None:
    saved = filled(home, execution, 1)[0]
    (block,) = home.blocks.load([saved.cid])
    names_ = [(data, payload and payload[0]) for data, payload in execution.records]
    names_[0] = (names_[0][0], None)
    segments = make_segments(execution.chain, 0, None, names_, execution.key)
    made = remade(block, keys, history=segments[-1][0])
    cid = bytes(_core.cid_of(made))
    taken = brought(elsewhere, [*carried(home, [saved.cid]), *segments, (cid, made)], [cid])
    assert "links to other payloads" in taken.refused[0].why


def test_a_summary_that_is_not_the_state_is_refused(
    home: Home, elsewhere: Home, execution: Execution, keys: Keys
) -> None:
    saved = filled(home, execution, 1)[0]
    (block,) = home.blocks.load([saved.cid])
    version = Version.parse(block)
    fields = version.fields()
    del fields["sealed"], fields["sig"]
    summary = Summary(flow="other", why="facts", size=1, frames=3, status="running")
    made = make_version(fields, summary, execution.key, ALICE.seed)
    cid = bytes(_core.cid_of(made))
    taken = brought(elsewhere, [*carried(home, [saved.cid]), (cid, made)], [cid])
    assert (taken.taken, len(taken.refused)) == ([], 1)


def forged(execution: Execution, draft: Draft) -> list[Block]:
    """The blocks of a version of a draft that `States` refuses, the version last."""
    records = [(data, payload and payload[0]) for data, payload in draft.records]
    segments = make_segments(execution.chain, 0, None, records, execution.key)
    flow, document = execution.key.seal_state(b"flow", subnet=SUBNET, chain=execution.chain)
    last = _core.decode_record(draft.records[-1][0])
    fields = {name: last[name] for name in ("subnet", "chain", "epoch", "at", "node", "seq")}
    fields |= {"number": 0, "previous": None, "key": execution.key.number, "flow": flow}
    fields |= {"head": execution.prev, "state": draft.blocks[-1][0], "history": segments[-1][0]}
    said = {name: last["meta"][name] for name in ("why", "size", "frames")}
    summary = Summary(flow=execution.flow, status="running", **said)
    data = make_version(fields, summary, execution.key, execution.writer.seed)
    payloads = [payload for _, payload in draft.records if payload is not None]
    return [
        *draft.blocks,
        *document,
        *payloads,
        *segments,
        (bytes(_core.cid_of(data)), data),
    ]


def test_a_chain_that_does_not_begin_and_a_size_that_is_none_are_refused(
    elsewhere: Home, keys: Keys
) -> None:
    """All of it signed by a trusted node, and each record following the one before."""
    good, headless, lying = (Execution(number, ALICE, keys) for number in (5, 6, 7))
    headless.prev = bytes(31) + b"\1"
    for one in (good, headless, lying):
        one.facts(4)
    cases = [
        (forged(good, good.checkpoint(b"state")), None),
        (forged(headless, headless.checkpoint(b"state")), "record 0 names a record before it"),
        (forged(lying, lying.checkpoint(b"state", size=6)), "said to have 6"),
    ]
    for blocks, why in cases:
        taken = brought(elsewhere, blocks, [blocks[-1][0]])
        assert len(taken.taken) == (why is None)
        assert [why in one.why for one in taken.refused if why] == ([] if why is None else [True])


def test_an_execution_goes_on_from_an_older_version_that_was_restored(
    home: Home, execution: Execution
) -> None:
    saved = filled(home, execution, 3)
    execution.records = execution.records[: saved[0].seq + 1]
    execution.prev, execution.epoch = saved[0].head, 1
    execution.facts(2)
    with pytest.raises(StaleError):
        home.states.commit(execution.checkpoint(b"late", since=saved[0].seq + 1))
    execution.records, execution.prev = execution.records[: saved[0].seq + 1], saved[0].head
    home.states.go_on_from(saved[0].cid)
    assert home.states.next_seq(execution.chain) == saved[0].seq + 1
    execution.facts(2)
    made = home.states.commit(execution.checkpoint(b"again", since=saved[0].seq + 1))
    assert (made.number, made.previous, made.epoch) == (1, saved[0].cid, 1)
    assert home.states.history(execution.chain) == [made, saved[2], saved[1], saved[0]]
    assert home.states.newest_good(execution.chain, whole=True).version == made
    assert home.states.verify().findings == []
    assert home.states.rebuild() == 4
    assert home.states.newest(execution.chain) == made


def test_what_was_left_behind_on_purpose_does_not_take_the_place_again(
    home: Home, elsewhere: Home, execution: Execution
) -> None:
    saved = filled(home, execution, 3)
    blocks = carried(home, names(saved))
    brought(elsewhere, blocks, names(saved[:2]))
    elsewhere.states.go_on_from(saved[0].cid)
    taken = brought(elsewhere, blocks, [saved[2].cid])
    assert (taken.taken, taken.diverged) == ([saved[2]], [])
    assert elsewhere.states.newest(execution.chain) == saved[0]
    execution.records, execution.prev = execution.records[: saved[0].seq + 1], saved[0].head
    execution.writer, execution.epoch = BOB, 1
    execution.facts(1)
    made = elsewhere.states.commit(execution.checkpoint(b"bob", since=saved[0].seq + 1))
    assert elsewhere.states.newest(execution.chain) == made
    # A later epoch fences this one, also where it was chosen.
    home.signers._others = lambda: [BOB.did]
    home.states.go_on_from(saved[1].cid)
    back = brought(home, carried(elsewhere, [made.cid]), [made.cid])
    assert names(back.taken) == [made.cid]
    assert home.states.newest(execution.chain) == made
