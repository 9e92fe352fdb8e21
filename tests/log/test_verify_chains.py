"""Chains and pieces: what is checked by every core for itself fits together as one history."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest

from qflow import _core
from tests.audit.chains import Chain, chain_id
from tests.log.logs import VKEY, change_byte, frames, open_log, report, segments, verify


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log"


def append_each(path: Path, *appends: list[bytes]) -> list[str]:
    """The findings about a log of these appends."""
    log = open_log(path)
    for records in appends:
        log.append_durable(records)
    log.close()
    return verify(path)


@pytest.mark.holds("H17")
def test_a_record_moved_to_another_chain_is_found(path: Path) -> None:
    one, two = Chain(chain_id(1)), Chain(chain_id(2))
    ones = [one.frame("created")[0], one.frame("step_completed")[0]]
    twos = [two.frame("created")[0], two.frame("step_completed")[0]]
    # Number 1 of chain 1 is there, twice, and that of chain 2 is not.
    assert ones[1] != twos[1]
    found = append_each(path, ones[0], twos[0], ones[1], ones[1], two.frame("completed")[0])
    assert [one.split(":")[0] for one in found] == ["record 3", "record 4"]


@pytest.mark.holds("H17")
@pytest.mark.parametrize("apart", [0, 40])
def test_a_record_that_names_another_chains_record_is_found(path: Path, apart: int) -> None:
    one, two, other = Chain(chain_id(1)), Chain(chain_id(2)), Chain(chain_id(3))
    first = one.frame("created")[0]
    two.frame("created")
    two.id = one.id
    # A segment has 15 commits, and is a piece of its own.
    between = [other.frame("created" if turn == 0 else "continued")[0] for turn in range(apart)]
    found = append_each(path, first, *between, two.frame("completed")[0])
    assert [one.split(":")[0] for one in found] == [f"record {apart + 1}"]
    assert "does not name the one before" in found[0]


@pytest.mark.holds("H2")
@pytest.mark.holds("H17")
@pytest.mark.parametrize("apart", [0, 300])
def test_a_chain_that_ended_does_not_begin_again(path: Path, apart: int) -> None:
    one, again, other = Chain(chain_id(1)), Chain(chain_id(1)), Chain(chain_id(2))
    again.at = 0
    between = [other.frame("created" if turn == 0 else "continued")[0] for turn in range(apart)]
    found = append_each(
        path, one.frame("created", "completed")[0], *between, again.frame("created")[0]
    )
    assert [(one.split(":")[0], "begins again" in one) for one in found] == [
        (f"record {apart + 2}", True)
    ]


def test_many_chains_are_told_apart(path: Path) -> None:
    log = open_log(path, segment_bytes=16 << 20)
    for start in range(0, 20_000, 500):
        chains = [Chain(chain_id(number)) for number in range(start, start + 500)]
        log.append_durable([chain.frame("created", "completed")[0][0] for chain in chains])
    log.close()
    found = report(path)
    assert (found["findings"], found["chains"]) == ([], 20_000)


def write_large(path: Path) -> None:
    """Some megabytes in one segment: commits of one record, of many, and one that is long."""
    log = open_log(path, segment_bytes=16 << 20)
    made = frames(9_000, chains=40)
    sizes = [1] * 300 + [1000, 3, 997, 700, 2000]
    start = 0
    for size in sizes:
        part = made[start : start + size]
        log.append_durable([r for f in part for r in f[0]], [b for f in part for b in f[1]])
        start += size
    data = b"x" * (2 << 20)
    cid = bytes(_core.cid_of(data, "raw"))
    log.append_durable([made[start][0][0]], [(cid, data)])
    rest = made[start + 1 :]
    log.append_durable([r for f in rest for r in f[0]])
    log.close()


def test_a_log_of_many_pieces_verifies_whatever_its_commits_are(path: Path) -> None:
    write_large(path)
    found = report(path)
    log = _core.LogReader(str(path))
    assert found["findings"] == []
    assert (found["size"], found["heads"], found["chains"]) == (9_000, 307, 40)
    assert log.head.splitlines()[2] == base64.b64encode(found["root"]).decode()


@pytest.mark.holds("H1")
def test_one_changed_byte_in_any_piece_is_found(path: Path) -> None:
    write_large(path)
    [used, *_] = segments(path)
    size = used.stat().st_size
    missed = []
    for at in range(0, size, size // 50 | 1):
        change_byte(used, at)
        if not verify(path):
            missed.append(at)
        change_byte(used, at)
    assert missed == []
    assert verify(path) == []


def test_roots_are_those_of_the_sizes_that_are_asked_for(path: Path) -> None:
    write_large(path)
    sizes = [0, 1, 255, 256, 257, 299, 300, 301, 1300, 1303, 2560, 5000, 8999, 9000]
    found = _core.verify_log(str(path), VKEY, known=[*sizes, 9001])["roots"]
    leaves = [
        _core.record_hash(record) for frame in frames(9_000, chains=40) for record in frame[0]
    ]
    assert sorted(found) == sizes
    for size in sizes[1:]:
        assert found[size] == tree_hash(leaves[:size]), size


def tree_hash(leaves: list[bytes]) -> bytes:
    """RFC 6962, section 2.1."""
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    both = tree_hash(leaves[:split]) + tree_hash(leaves[split:])
    return hashlib.sha256(b"\1" + both).digest()
