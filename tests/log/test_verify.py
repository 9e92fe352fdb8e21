"""Proving a log from its files and a public key."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from qflow import _core
from qflow.errors import CorruptError
from tests.audit.chains import Chain, chain_id
from tests.log.logs import (
    SEED,
    SEGMENT_BYTES,
    VKEY,
    change_byte,
    crc32c,
    files,
    frame_checksum,
    frame_starts,
    frames,
    open_log,
    report,
    segments,
    used,
    verify,
    write_log,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log"


def test_a_log_as_it_was_written_verifies(path: Path) -> None:
    write_log(path, 700)
    found = report(path)
    head = (path / "checkpoint").read_text()
    assert found["findings"] == []
    assert (found["size"], found["chains"], found["heads"], found["blocks"]) == (700, 5, 70, 700)
    assert (found["absent"], found["torn_bytes"], found["published"]) == (0, 0, 700)
    assert head.startswith("node.example/log\n700\n")


@pytest.mark.holds("H1")
def test_one_changed_byte_anywhere_is_found(path: Path, full: bool) -> None:
    write_log(path, 400)
    missed = []
    for file in files(path):
        size = file.stat().st_size
        # A step that is no power of two meets every kind of byte: headers, data, padding.
        step = 1 if full else max(size // 60, 1) | 1
        for at in range(0, size, step):
            bit = 1 << at % 8
            change_byte(file, at, bit)
            if not verify(path):
                missed.append((file.name, at))
            change_byte(file, at, bit)
    assert missed == []
    assert verify(path) == []


@pytest.mark.holds("H1")
def test_one_byte_more_or_less_in_any_file_is_found(path: Path) -> None:
    write_log(path, 300)
    for file in files(path):
        data = file.read_bytes()
        for changed in (data[:-1], data + b"\0", data + b"\n", b""):
            file.write_bytes(changed)
            # No lock file and an empty one say the same: that nobody closed the log.
            assert verify(path) or (file.name == "lock" and not changed), file
        file.write_bytes(data)
    assert verify(path) == []


@pytest.mark.holds("H2")
def test_replacing_an_early_record_invalidates_all_later_heads(path: Path) -> None:
    write_log(path, 300, group=10)
    other = path.parent / "other"
    log = open_log(other)
    made = frames(300)
    made[3] = Chain(chain_id(3)).frame(("step_completed", {"frame": "y" * 20}, {"turn": 3}))
    for start in range(0, 300, 10):
        part = made[start : start + 10]
        log.append_durable([r for f in part for r in f[0]], [b for f in part for b in f[1]])
    log.close()
    # A forger without the key can make all bytes but the signatures: take the other log's frames,
    # checksums and all, up to the heads.
    found = splice(path, other)
    bad = [one for one in found if "signed another tree" in one or "head" in one]
    assert len(bad) >= 30
    assert any("record 8" in one for one in found)


def splice(path: Path, other: Path) -> list[str]:
    """The other log, made by another hand, checked with this log's signatures in it."""
    forged = path.parent / "forged"
    shutil.copytree(other, forged)
    log = _core.LogReader(str(path))
    heads = []
    address = 0
    while (following := log.scan(address, 1)[2]) != address:
        address = following
        heads.append(address)
    resign(forged, path)
    return verify(forged)


def resign(forged: Path, source: Path) -> None:
    """Put the heads of the source's frames into the forged frames, with good checksums."""
    for mine, theirs in zip(segments(forged), segments(source), strict=True):
        data, good = bytearray(mine.read_bytes()), theirs.read_bytes()
        for at in frame_starts(mine):
            length = int.from_bytes(data[at + 8 : at + 12], "little")
            head = int.from_bytes(data[at + 36 : at + 40], "little")
            end = at + length
            if good[at : at + 4] != b"QFR1":
                continue
            data[end - head : end] = good[end - head : end]
            data[at + 4 : at + 8] = frame_checksum(bytes(data[at:end]), head)
        mine.write_bytes(data)


def cut_bytes(file: Path, start: int, end: int) -> None:
    """Zeros, as where nothing was ever written."""
    with file.open("r+b") as handle:
        handle.seek(start)
        handle.write(bytes(end - start))


def cut_frame(file: Path, number: int, following: int | None) -> None:
    """Cut from one frame up to another, or to the end of the segment."""
    starts = list(frame_starts(file))
    end = file.stat().st_size if following is None else starts[following]
    cut_bytes(file, starts[number], end)


def remove(files: list[Path]) -> None:
    for file in files:
        file.unlink()


CUTS: dict[str, Callable[[Path], object]] = {
    "the last frame": lambda path: cut_frame(used(path)[-1], -1, None),
    "the first frame": lambda path: cut_frame(used(path)[0], 0, 1),
    "a frame in the middle": lambda path: cut_frame(used(path)[1], 1, 2),
    "the first segment": lambda path: used(path)[0].unlink(),
    "a segment in the middle": lambda path: used(path)[1].unlink(),
    "the last segment": lambda path: remove(segments(path)[len(used(path)) - 1 :]),
    "all that a segment says": lambda path: cut_bytes(used(path)[1], 0, SEGMENT_BYTES),
    "half of the last segment": lambda path: os.truncate(used(path)[-1], SEGMENT_BYTES // 2),
    "all segments": lambda path: remove(segments(path)),
    "the checkpoint": lambda path: (path / "checkpoint").unlink(),
    "a tile": lambda path: (path / "tile" / "0" / "000").unlink(),
    "all tiles": lambda path: shutil.rmtree(path / "tile"),
}


@pytest.mark.holds("H3")
@pytest.mark.parametrize("cut", CUTS)
def test_what_is_cut_from_anywhere_is_found(path: Path, cut: str) -> None:
    write_log(path, 400)
    assert len(used(path)) >= 3
    assert verify(path) == []
    CUTS[cut](path)
    assert verify(path)


def test_frames_in_another_order_are_found(path: Path) -> None:
    write_log(path, 100, group=1, segment_bytes=1 << 20)
    [used, *_] = segments(path)
    starts = list(frame_starts(used))
    data = bytearray(used.read_bytes())
    one, two = slice(starts[3], starts[4]), slice(starts[4], starts[5])
    data[one], data[two] = data[two], data[one]
    used.write_bytes(data)
    assert verify(path)


@pytest.mark.holds("H3")
def test_a_segment_that_begins_with_another_tree_is_found(path: Path) -> None:
    write_log(path, 400)
    for at, value in ((56, b"?"), (40, b"\1")):
        copy = shutil.copytree(path, path.parent / f"copy-{at}")
        segment = used(copy)[1]
        data = bytearray(segment.read_bytes())
        data[at : at + 1] = value
        data[8:12] = crc32c(bytes(data[12:4096])).to_bytes(4, "little")
        segment.write_bytes(data)
        assert any(segment.name in one for one in verify(copy))


def test_files_that_a_log_does_not_have_are_found(path: Path) -> None:
    write_log(path, 300)
    for name in ("journal/x", "tile/x", "x", "tile/0/007", "tile/0/001.p/200", "journal/00000009"):
        (path / name).write_bytes(b"")
        assert verify(path), name
        (path / name).unlink()
    assert verify(path) == []


def test_another_key_or_name_does_not_verify(path: Path) -> None:
    write_log(path, 50)
    for vkey in (
        _core.generate_vkey("node.example/log", bytes(32)),
        _core.generate_vkey("other.example/log", SEED),
    ):
        assert _core.verify_log(str(path), vkey)["findings"]
    with pytest.raises(ValueError, match="key"):
        _core.verify_log(str(path), VKEY + "A")


def test_a_segment_of_another_log_is_found_and_not_opened(path: Path) -> None:
    write_log(path, 50)
    other = path.parent / "other"
    write_log(other, 50, seed=bytes(32))
    shutil.copy(segments(other)[0], segments(path)[0])
    assert verify(path)
    with pytest.raises(CorruptError, match="another log"):
        open_log(path)


def test_records_that_are_no_chain_are_found(path: Path) -> None:
    log = open_log(path)
    chain = Chain(chain_id(1))
    first, second = chain.frame("created")[0], chain.frame("completed")[0]
    log.append_durable(first)
    log.append_durable(first)
    log.append_durable([b"no record"])
    log.append_durable(second)
    log.append_durable(second)
    log.close()
    assert [one.split(":")[0] for one in verify(path)] == ["record 1", "record 2", "record 4"]


def test_blocks_that_are_not_their_cids_are_found(path: Path) -> None:
    log = open_log(path)
    records, [(cid, data)] = Chain(chain_id(1)).frame(("created", {}, {"input": 1}))
    log.append_durable(records, [(cid, data)])
    log.append_durable([], [(cid, data + b"!"), (b"not a cid", data)])
    log.close()
    found = verify(path)
    assert len(found) == 2
    assert all("CID" in one for one in found)


def test_payloads_that_are_elsewhere_are_counted(path: Path) -> None:
    log = open_log(path)
    records, blocks = Chain(chain_id(1)).frame(("created", {}, {"input": 1}))
    log.append_durable([], blocks)
    log.append_durable(records)
    log.close()
    assert (report(path)["absent"], verify(path)) == (1, [])


def test_progress_is_told_and_may_stop(path: Path) -> None:
    write_log(path, 400)
    told: list[tuple[int, int]] = []
    _core.verify_log(str(path), VKEY, lambda done, total: told.append((done, total)))
    assert told == sorted(told)
    assert told[-1][0] == told[-1][1] == sum(file.stat().st_size for file in segments(path))

    class Enough(Exception):
        pass

    def stop(done: int, total: int) -> None:
        raise Enough

    with pytest.raises(Enough):
        _core.verify_log(str(path), VKEY, stop)


def test_nothing_to_read_is_an_error(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        _core.verify_log(str(path), VKEY)


def test_an_empty_log_verifies(path: Path) -> None:
    open_log(path).close()
    assert (report(path)["size"], verify(path)) == (0, [])


def test_a_spare_segment_that_was_shortened_is_found_and_made_anew(path: Path) -> None:
    write_log(path, 100)
    spare = segments(path)[-1]
    assert not spare.read_bytes().strip(b"\0")
    os.truncate(spare, 8192)
    assert verify(path) == []
    os.truncate(spare, 5000)
    assert verify(path)
    open_log(path).close()
    assert spare.stat().st_size == SEGMENT_BYTES
    assert verify(path) == []


def test_a_reader_does_not_take_damage_for_the_end(path: Path) -> None:
    log = open_log(path, segment_bytes=16 << 20)
    data = b"x" * (1 << 20)
    block = (bytes(_core.cid_of(data, "raw")), data)
    for records, _ in frames(9):
        log.append_durable(records, [block])
    log.close()
    last = used(path)[-1]
    starts = list(frame_starts(last))
    assert len(starts) >= 4
    change_byte(last, starts[1] + 5000)
    with pytest.raises(CorruptError, match="checksum"):
        _ = _core.LogReader(str(path)).size
    # The last one may be a commit that is being written.
    change_byte(last, starts[1] + 5000)
    change_byte(last, starts[-1] + 5000)
    assert _core.LogReader(str(path)).size == 8
