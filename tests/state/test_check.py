"""`verify` finds what is wrong with any version, names it, and is quiet when nothing is."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from itertools import combinations
from typing import Any

import pytest

from qflow import _core
from qflow.errors import CorruptError, VerificationError
from qflow.state import Checked, Version
from qflow.state._reader import name_of
from qflow.state._version import make_version
from tests.state.executions import Execution, Home, Keys, node
from tests.state.test_read import CHANGES, KINDS, filled, overwrite, parts_of
from tests.state.test_removal import count


def whats(checked: Checked) -> str:
    return "\n".join(f"{one.where}: {one.what}" for one in checked.findings)


def test_what_is_good_has_no_findings_and_is_counted(home: Home, keys: Keys) -> None:
    one, two = Execution(1, node(), keys), Execution(2, node(), keys)
    filled(home, one)
    filled(home, two, [b"x"])
    told: list[tuple[int, int]] = []
    checked = home.states.verify(progress=lambda done, of: told.append((done, of)))
    assert (checked.findings, checked.more, checked.begins) == ([], 0, [])
    assert (checked.chains, checked.versions) == (2, 4)
    assert checked.records == len(one.records) + len(two.records)
    (blocks, size) = home.database.read(
        lambda db: db.execute("SELECT count(*), sum(size) FROM block").fetchone()
    )
    assert (checked.blocks, checked.size_bytes) == (blocks, size)
    assert told == [(3, 4), (4, 4)]
    alone = home.states.verify(two.chain)
    assert (alone.chains, alone.versions, alone.records) == (1, 1, len(two.records))


@pytest.mark.holds("S14")
def test_one_changed_byte_in_any_block_is_found_and_named(home: Home, execution: Execution) -> None:
    filled(home, execution, [b"one" * 9000, b"two" * 9000])
    cids = home.database.read(lambda db: [cid for (cid,) in db.execute("SELECT cid FROM block")])
    for cid in cids:
        original = home.blocks.load([cid])[0]
        home.close()
        overwrite(home.path, cid, CHANGES["flipped"])
        home.open()
        assert str(_core.Cid(cid)) in whats(home.states.verify()), cid.hex()
        home.database.write(partial(home.blocks.put_blocks, blocks=[(cid, original)]))
    assert len(cids) > 60
    assert home.reopen().verify().findings == []


@pytest.mark.parametrize("kind", KINDS)
def test_one_bad_version_hides_no_other(home: Home, execution: Execution, kind: str) -> None:
    saved = filled(home, execution)
    cids = [parts_of(home, one)[kind] for one in (saved[1], saved[2])]
    home.close()
    for cid in cids:
        overwrite(home.path, cid, CHANGES["flipped"])
    home.open()
    found = whats(home.states.verify())
    assert all(str(_core.Cid(cid)) in found for cid in cids)


def change(home: Home, statement: str, *values: Any) -> None:
    home.database.write(lambda db: db.execute(statement, values))


INDEX = {
    "a label": "UPDATE state_version SET label = 'other'",
    "a number": "UPDATE state_version SET number = number + 1",
    "a time": "UPDATE state_version SET at = 0",
    "a node": "UPDATE state_version SET node = 'did:key:z6Mk'",
    "no head": "DELETE FROM state_head",
    "another head": "UPDATE state_head SET cid = zeroblob(36)",
    "no row": "DELETE FROM state_version WHERE number = 1",
    "no pin": "DELETE FROM pin",
}


@pytest.mark.parametrize("name", INDEX)
def test_an_index_that_says_other_things_than_the_blocks_is_found_and_mended(
    home: Home, execution: Execution, name: str
) -> None:
    saved = filled(home, execution)
    change(home, INDEX[name])
    assert home.states.verify().findings
    if name != "no pin":
        home.states.rebuild()
        assert home.states.verify().findings == []
        assert home.states.history(execution.chain) == saved[::-1]


PAGES = ("pin", "block", "state_version", "state_head", "state_index")


@pytest.mark.holds("S14")
@pytest.mark.parametrize(("one", "other"), list(combinations(PAGES, 2)))
def test_tables_that_were_exchanged_in_the_file_are_found_or_made_anew(
    home: Home, execution: Execution, one: str, other: str
) -> None:
    saved = filled(home, execution)
    query = "SELECT rootpage FROM sqlite_schema WHERE name = ?"
    roots = home.database.read(
        lambda db: [db.execute(query, (name,)).fetchone()[0] for name in (one, other)]
    )
    size = home.database.read(lambda db: db.execute("PRAGMA page_size").fetchone()[0])
    home.close()
    data = home.database.path.read_bytes()
    first, second = (slice((root - 1) * size, root * size) for root in roots)
    changed = bytearray(data)
    changed[first], changed[second] = data[second], data[first]
    home.database.path.write_bytes(changed)
    with suppress(CorruptError):
        home.open()
        if not home.states.verify().findings:
            assert home.states.history(execution.chain) == saved[::-1]


@pytest.mark.holds("S8", "S12", "S14")
def test_a_version_that_is_pinned_and_damaged_is_found_when_no_index_lists_it(
    home: Home, execution: Execution
) -> None:
    saved = filled(home, execution)
    overwrite(home.path, saved[-1].cid, CHANGES["flipped"])
    home.open()
    assert home.states.rebuild() == len(saved) - 1
    for _ in range(2):
        good = home.states.newest_good(execution.chain)
        assert (good.version, [one.cid for one in good.refused]) == (saved[-2], [saved[-1].cid])
        assert name_of(saved[-1].cid) in whats(home.states.verify())
        home.reopen()
    home.states.delete(chain=execution.chain)
    assert count(home, "pin") == 0
    assert home.states.verify().findings == []
    assert saved[-1].cid in home.pins.unwanted


@pytest.mark.holds("S8")
def test_when_no_version_can_be_listed_each_is_named(home: Home, execution: Execution) -> None:
    saved = filled(home, execution)
    for one in saved:
        overwrite(home.path, one.cid, CHANGES["flipped"])
    home.open()
    assert home.states.rebuild() == 0
    with pytest.raises(VerificationError) as refused:
        home.states.newest_good(execution.chain)
    assert all(name_of(one.cid) in str(refused.value) for one in saved)


@pytest.mark.holds("S10")
def test_versions_that_do_not_follow_each_other_are_found(home: Home, execution: Execution) -> None:
    """Made by somebody with the key and the name of this node."""
    saved = filled(home, execution)
    (block,) = home.blocks.load([saved[2].cid])
    version = Version.parse(block)
    lies: list[dict[str, Any]] = [
        {"number": 7},
        {"previous": saved[0].cid},
        {"previous": saved[2].cid, "number": 3},
    ]
    for lie in lies:
        fields = version.fields() | lie
        del fields["sealed"], fields["sig"]
        data = make_version(fields, version.summary(execution.key), execution.key, node().seed)
        cid = bytes(_core.cid_of(data))
        home.database.write(partial(home.blocks.put_blocks, blocks=[(cid, data)]))
        assert [one.cid for one in home.states.ingest([cid]).taken] == [cid]
        assert "does not follow" in whats(home.states.verify()), lie
        home.states.delete(cid=cid)
        assert home.states.verify().findings == []


def test_findings_are_bounded(home: Home, execution: Execution, monkeypatch: Any) -> None:
    monkeypatch.setattr("qflow.state._check.FINDINGS_MAX", 2)
    filled(home, execution)
    change(home, INDEX["a label"])
    checked = home.states.verify()
    assert (len(checked.findings), checked.more) == (2, 1)


@pytest.mark.holds("S14")
def test_what_rotted_on_the_disk_is_found_although_it_is_in_memory(
    home: Home, execution: Execution
) -> None:
    saved = filled(home, execution)
    assert home.states.verify().findings == []
    for kind in KINDS:
        cid = parts_of(home, saved[2])[kind]
        (data,) = home.blocks.load([cid])
        overwrite(home.path, cid, CHANGES["flipped"])
        assert f"block {_core.Cid(cid)} is damaged" in whats(home.states.verify()), kind
        home.database.write(partial(home.blocks.put_blocks, blocks=[(cid, data)]))


@pytest.mark.holds("S14")
def test_what_cannot_be_mended_is_made_again_from_the_log(home: Home, execution: Execution) -> None:
    """As the finding says: deleted, and the next checkpoint brings all records."""
    saved = filled(home, execution)
    history = home.states.version(saved[0].cid).history
    assert history is not None
    home.close()
    overwrite(home.path, history, CHANGES["flipped"])
    home.open()
    checked = home.states.verify()
    named = f"block {_core.Cid(history)} is"
    assert checked.findings
    for one in checked.findings:
        assert named in one.what
        assert "`qflow state recover`" in one.what
    home.states.delete(chain=execution.chain)
    since = home.states.next_seq(execution.chain)
    assert since == 0
    home.states.commit(execution.checkpoint(b"next", since=since))
    assert home.states.verify().findings == []
    assert home.states.newest_good(execution.chain, whole=True).version.seq == execution.seq - 1
