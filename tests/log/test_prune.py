"""Pruning: what goes, what stays provable, and what a cut without a record is."""

from __future__ import annotations

import hashlib
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qflow import _core
from qflow.errors import CorruptError
from tests.audit.chains import Chain
from tests.log.logs import (
    VKEY,
    change_byte,
    files,
    frames,
    open_log,
    read_all,
    report,
    segments,
    verify,
    write_log,
)
from tests.log.pruning import OWN, prune, pruned_file, record_pruning


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log"


def begin(path: Path, count: int = 600) -> tuple[_core.Log, Chain]:
    """A log of several segments and five chains that go on, and the node's own chain."""
    log = open_log(path)
    own = Chain(OWN)
    log.append_durable(own.frame("q.qflow.history.opened.v1")[0])
    made = frames(count)
    for start in range(0, count, 10):
        part = made[start : start + 10]
        log.append_durable([r for f in part for r in f[0]], [b for f in part for b in f[1]])
    return log, own


def pruned(path: Path) -> tuple[int, int]:
    """A closed log that was pruned: its minimum index and the index of the record."""
    log, own = begin(path)
    segment, minimum, _ = log.segments[-2]
    record = prune(log, own, segment)
    log.close()
    return minimum, record


@pytest.mark.holds("H21")
def test_a_pruned_log_verifies_and_says_what_it_keeps(path: Path) -> None:
    log, own = begin(path)
    records = read_all(log)
    before = [number for number, _, _ in log.segments]
    segment, minimum, _ = log.segments[-2]
    record = prune(log, own, segment)
    assert (log.first, log.size) == (minimum, len(records) + 1)
    live = {chain for chain, _, _ in log.carried}
    assert (len(live), OWN in live) == (6, True)
    log.close()
    found = report(path)
    assert found["findings"] == []
    assert (found["first"], found["size"], record) == (minimum, len(records) + 1, len(records))
    assert int(segments(path)[0].name) == segment > before[0]
    assert not (path / "tile" / "entries" / "000").exists()
    assert (path / "tile" / "0" / "000").exists()
    assert f"{minimum // 256:03}" in {file.name[:3] for file in (path / "tile/entries").iterdir()}


@pytest.mark.holds("H21")
def test_receipts_from_before_hold_and_later_records_still_get_them(path: Path) -> None:
    log, own = begin(path)
    log.publish()
    old = [_core.make_receipt(str(path), index) for index in (0, 1, 200)]
    size, root = log.size, log.root
    log.append_durable(own.frame("q.qflow.history.opened.v1")[0])
    segment, minimum, _ = log.segments[-2]
    prune(log, own, segment)
    log.publish()
    for index, receipt in zip((0, 1, 200), old, strict=True):
        assert _core.check_receipt(receipt, VKEY)["index"] == index
    for index in range(minimum, log.size):
        made = _core.check_receipt(_core.make_receipt(str(path), index), VKEY)
        assert (made["index"], made["size"]) == (index, log.size)
    for first in (1, 100, 256, 300, minimum, size):
        proof = _core.consistency_proof(str(path), first, log.size)
        if first == size:
            _core.verify_consistency(first, log.size, proof, root, log.root)
    # A leaf that was pruned can still be proven to be there, by who has the record.
    leaf = _core.record_hash(frames(1)[0][0][0])
    proof = _core.inclusion_proof(str(path), 1, log.size)
    _core.verify_inclusion(1, log.size, leaf, proof, log.root)


def test_a_pruned_log_opens_goes_on_and_is_pruned_again(path: Path) -> None:
    log, own = begin(path)
    first = prune(log, own, log.segments[2][0])
    log.close()
    log = open_log(path)
    assert log.first == report(path)["first"] > 0
    chains = [Chain(bytes([9]) * 15 + bytes([n])) for n in range(4)]
    for turn in range(400):
        log.append_durable(*chains[turn % 4].frame(("step_completed", {}, {"turn": turn})))
    second = prune(log, own, log.segments[-2][0])
    assert second > first
    assert read_all_from(log)[0] == log.first > first
    log.close()
    assert verify(path) == []
    log = open_log(path)
    assert (log.first, len(log.carried)) == (report(path)["first"], 10)
    log.close()


def read_all_from(log: _core.Log | _core.LogReader) -> list[int]:
    found: list[int] = []
    address = 0
    while (page := log.scan(address, 1 << 16))[2] != address:
        found += [index for index, _, _ in page[0]]
        address = page[2]
    return found


def test_readers_begin_where_the_log_does(path: Path) -> None:
    log, own = begin(path)
    reader, late = _core.LogReader(str(path)), _core.LogReader(str(path))
    [(_, gone, _), *_], _, _ = reader.scan(0, 1)
    assert (reader.first, reader.carried) == (0, [])
    segment, minimum, _ = log.segments[-2]
    prune(log, own, segment)
    for one in (log, reader, _core.LogReader(str(path))):
        assert (one.first, len(one.carried)) == (minimum, 6)
        assert read_all_from(one) == list(range(minimum, log.size))
        for read in (one.read, lambda at, one=one: one.scan(at, 1)):
            with pytest.raises(ValueError, match="pruned"):
                read(gone)
    with pytest.raises(ValueError, match="pruned"):
        late.read(gone)
    assert read_all_from(late) == list(range(minimum, log.size))
    log.close()


@pytest.mark.holds("H1")
@pytest.mark.holds("H21")
def test_one_changed_byte_of_a_pruned_log_is_found(path: Path) -> None:
    pruned(path)
    missed = []
    for file in files(path):
        size = file.stat().st_size
        for at in range(0, size, max(size // 40, 1) | 1):
            change_byte(file, at, 1 << at % 8)
            if not verify(path):
                missed.append((file.name, at))
            change_byte(file, at, 1 << at % 8)
    assert missed == []
    assert verify(path) == []


@pytest.mark.holds("H3")
@pytest.mark.holds("H21")
def test_a_head_that_is_known_from_before_the_cut_is_still_compared(path: Path) -> None:
    log, own = begin(path)
    leaves = [_core.record_hash(record) for record in read_all(log)]
    prune(log, own, log.segments[-2][0])
    log.close()
    known = (1, 255, 256, 257, 300, 511, 512)
    found = _core.verify_log(str(path), VKEY, known=known)
    assert found["findings"] == []
    assert {size: found["roots"][size] for size in known} == {
        size: tree_hash(leaves[:size]) for size in known
    }


def tree_hash(leaves: list[bytes]) -> bytes:
    """RFC 6962, section 2.1."""
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    both = tree_hash(leaves[:split]) + tree_hash(leaves[split:])
    return hashlib.sha256(b"\1" + both).digest()


def test_a_log_that_is_pruned_while_it_is_verified_is_looked_at_again(path: Path) -> None:
    log, own = begin(path, 3000)
    segment, minimum, _ = log.segments[-2]
    asked: list[int] = []

    def prune_it(_done: int, _whole: int) -> None:
        if not asked:
            asked.append(prune(log, own, segment))

    found = _core.verify_log(str(path), VKEY, prune_it)
    assert (found["findings"], found["first"], asked) == ([], minimum, [3001])
    log.close()


# -- laundering ---------------------------------------------------------------------------------


def partials(path: Path, minimum: int) -> bytes:
    """The partial tiles and the partial bundle at a cut, from the files."""
    out = b""
    for level in range(7):
        width = (minimum >> 8 * level) % 256
        index = minimum >> 8 * (level + 1)
        if width:
            out += tile(path, str(level), index)[: width * 32]
    bundle, at = tile(path, "entries", minimum >> 8), 0
    for _ in range(minimum % 256):
        at += 2 + int.from_bytes(bundle[at : at + 2], "big")
    return out + bundle[:at]


def tile(path: Path, level: str, index: int) -> bytes:
    whole = path / "tile" / level / f"{index:03}"
    if whole.exists():
        return whole.read_bytes()
    parts = (path / "tile" / level / f"{index:03}.p").iterdir()
    return max(parts, key=lambda part: int(part.name)).read_bytes()


def cut_front(path: Path, segment: int) -> None:
    for file in segments(path):
        if int(file.name) < segment:
            file.unlink()


def frame_address(path: Path, record: int) -> int:
    log = _core.LogReader(str(path))
    address = 0
    while True:
        records, _, following = log.scan(address, 1)
        start = records[0][1] // 4096 * 4096
        if any(index == record for index, _, _ in records):
            # A frame begins at a multiple of 4,096, and these are short.
            return start
        address = following


def launder(path: Path, segment: int, minimum: int, record: int) -> None:
    """Cut by hand, and make the file that says so."""
    address = frame_address(path, record)
    data = pruned_file(VKEY, segment, minimum, record, address, partials(path, minimum))
    (path / "pruned").write_bytes(data)
    cut_front(path, segment)


def recorded(path: Path, **other: Any) -> tuple[int, int, int]:
    """A closed log with a record of a pruning that was not carried out."""
    log, own = begin(path)
    segment, minimum, _ = log.segments[3]
    record = record_pruning(log, own, segment, **other)
    log.close()
    return segment, minimum, record


def test_the_file_of_a_pruning_is_what_its_page_says(path: Path) -> None:
    segment, minimum, record = recorded(path)
    copy = shutil.copytree(path, path.parent / "copy")
    launder(copy, segment, minimum, record)
    assert verify(copy) == [], "a cut by hand that the record allows is the pruning"
    log = open_log(path)
    log.prune(record)
    log.close()
    assert (path / "pruned").read_bytes() == (copy / "pruned").read_bytes()


@pytest.mark.holds("H3")
@pytest.mark.holds("H21")
def test_a_front_that_is_cut_without_a_record_is_found(path: Path) -> None:
    segment, minimum, record = recorded(path)
    whole = shutil.copytree(path, path.parent / "whole")
    cut_front(path, segment)
    assert any("missing" in one for one in verify(path))
    shutil.rmtree(path)
    # With a file that names a record which is none of a pruning.
    shutil.copytree(whole, path)
    launder(path, segment, minimum, record - 1)
    assert any(f"record {record - 1} is not that of a pruning" in one for one in verify(path))
    shutil.rmtree(path)
    # Deeper than the record says.
    shutil.copytree(whole, path)
    log = open_log(whole)
    deeper, first, _ = log.segments[4]
    log.close()
    launder(path, deeper, first, record)
    assert any(f"record {record} says {minimum}" in one for one in verify(path))


@pytest.mark.holds("H3")
@pytest.mark.holds("H21")
def test_a_run_that_goes_on_looks_at_a_cut_that_it_has_not_seen(path: Path) -> None:
    segment, minimum, record = recorded(path)
    whole = shutil.copytree(path, path.parent / "whole")

    def run(folder: Path, before: dict[str, Any] | None = None) -> dict[str, Any]:
        state = None if before is None else (before["state"], before["head"])
        return _core.verify_log(str(folder), VKEY, state=state, keep=True)

    first = run(path)
    launder(path, segment, minimum, record - 1)
    seen = run(path, first)
    assert any("is not that of a pruning" in one["what"] for one in seen["findings"])
    launder(whole, segment, minimum, record)
    second = run(whole, first)
    assert (second["started"], second["findings"]) == (0, [])
    assert "was pruned" in second["whole"]
    third = run(whole, second)
    assert (third["started"], third["findings"]) == (second["size"], [])


@pytest.mark.holds("H18")
def test_a_file_that_claims_2_48_pruned_records_takes_no_longer(path: Path) -> None:
    segment, _, record = recorded(path)
    tile = bytes(32)
    (path / "pruned").write_bytes(pruned_file(VKEY, segment, 1 << 48, record, 4096, tile))
    assert any("tile/0/" in one for one in verify(path))


FORGED: dict[str, Callable[[list[tuple[bytes, int, bytes]]], list[tuple[bytes, int, bytes]]]] = {
    "a chain less": lambda live: live[1:],
    "another number": lambda live: [(live[0][0], live[0][1] + 1, live[0][2]), *live[1:]],
    "another hash": lambda live: [(live[0][0], live[0][1], bytes(32)), *live[1:]],
    "no chains": lambda _: [],
}


@pytest.mark.holds("H21")
@pytest.mark.parametrize("how", FORGED)
def test_a_record_that_does_not_fit_the_chains_is_found_and_never_carried_out(
    path: Path, how: str
) -> None:
    log, own = begin(path)
    segment, minimum, _ = log.segments[3]
    record = record_pruning(log, own, segment, carried=FORGED[how](log.survey(segment)))
    with pytest.raises(ValueError, match="other chains"):
        log.prune(record)
    log.close()
    assert verify(path) == []
    launder(path, segment, minimum, record)
    assert any("chain" in one for one in verify(path))


@pytest.mark.parametrize(
    "what", ["minimum", "segment", "head", "kind", "no record", "not there yet"]
)
def test_a_record_that_is_not_true_is_not_carried_out(path: Path, what: str) -> None:
    log, own = begin(path)
    segment, minimum, _ = log.segments[3]
    wrong: dict[str, dict[str, Any]] = {
        "minimum": {"minimum": minimum + 1},
        "segment": {"segment": segment + 1},
        "kind": {"kind": "q.qflow.exec.step_completed.v1"},
        "head": {"head": log.head.replace("600", "599").replace("601", "600")},
    }
    record = record_pruning(log, own, segment, **wrong.get(what, {}))
    record += {"no record": -1, "not there yet": 1}.get(what, 0)
    log.publish()
    before = sorted(files(path))
    with pytest.raises((ValueError, CorruptError)):
        log.prune(record)
    assert sorted(files(path)) == before
    assert log.first == 0
    log.close()
    assert verify(path) == []


@pytest.mark.holds("H21")
def test_a_record_of_another_type_is_no_pruning(path: Path) -> None:
    segment, minimum, record = recorded(path, kind="q.qflow.exec.step_completed.v1")
    launder(path, segment, minimum, record)
    assert any("is not that of a pruning" in one for one in verify(path))


def test_a_head_that_the_record_made_up_is_found(path: Path) -> None:
    forged = open_log(path.parent / "forged")
    forged.append_durable([b"x"] * 601)
    head = forged.head
    forged.close()
    segment, minimum, record = recorded(path, head=head)
    launder(path, segment, minimum, record)
    assert any("another tree" in one for one in verify(path))


# -- crashes ------------------------------------------------------------------------------------


@pytest.mark.faults
@pytest.mark.holds("H21")
@pytest.mark.holds("H22")
def test_killed_between_any_two_deletions_it_opens_and_verifies(strace: str, path: Path) -> None:
    log, _ = begin(path)
    log.close()
    whole = path.parent / "whole"
    path.rename(whole)
    killed = 0
    for call in ("unlink", "rename", "fsync", "syncfs", "rmdir"):
        for when in range(1, 60):
            shutil.copytree(whole, path)
            status = killed_at(path, call, when)
            assert verify(path) == [], (call, when)
            log = open_log(path)
            first, size = log.first, log.size
            assert first in (0, first_of(whole)), (call, when)
            assert read_all_from(log) == list(range(first, size)), (call, when)
            log.append_durable([Chain(b"z" * 16).frame("created")[0][0]])
            log.close()
            assert verify(path) == [], (call, when)
            if first:
                assert int(segments(path)[0].name) > 0, (call, when)
            shutil.rmtree(path)
            if status == 0:
                break
            killed += 1
    assert killed >= 8


def killed_at(path: Path, call: str, when: int) -> int:
    inject = f"inject={call}:signal=SIGKILL:when={when}"
    command = [sys.executable, "-m", "tests.log.pruning", str(path)]
    traced = ["strace", "-f", "-o", "/dev/null", "-e", f"trace={call}", "-e", inject]
    done = subprocess.run([*traced, *command], capture_output=True, check=False)
    assert done.returncode in (0, -signal.SIGKILL, 128 + signal.SIGKILL), done.stderr[-500:]
    return done.returncode


def first_of(whole: Path) -> int:
    log = open_log(whole)
    first = log.segments[-2][1]
    log.close()
    return first


def test_the_default_log_is_not_pruned(path: Path) -> None:
    write_log(path, 50)
    log = open_log(path)
    assert (log.first, log.carried) == (0, [])
    for segment in (0, 1, 99):
        with pytest.raises(ValueError, match="segment"):
            log.survey(segment)
    log.close()
