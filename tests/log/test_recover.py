"""Opening what a crash left, and refusing what no crash leaves."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from qflow import _core
from qflow.errors import CorruptError
from tests.log.logs import (
    BLOCK,
    change_byte,
    frame_starts,
    frames,
    open_log,
    read_all,
    report,
    segments,
    verify,
    write_log,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log"


def crashed(path: Path, count: int = 30, published: int = 0) -> list[bytes]:
    """A log as a killed process leaves it: `published` of its records are in the checkpoint."""
    live = path.parent / "live"
    log = open_log(live)
    records: list[bytes] = []
    for written, blocks in frames(count):
        log.append_durable(written, blocks)
        records += written
        if len(records) == published:
            log.publish()
    if path.exists():
        shutil.rmtree(path)
    # A segment that is being prepared may go while it is copied.
    shutil.copytree(live, path, ignore=shutil.ignore_patterns("*.new"))
    log.close()
    shutil.rmtree(live)
    return records


def last_frame(path: Path) -> tuple[Path, int, int]:
    """The last frame: its file, where it begins, and its bytes without the padding."""
    used = [file for file in segments(path) if next(frame_starts(file), None)][-1]
    *_, start = frame_starts(used)
    length = int.from_bytes(used.read_bytes()[start + 8 : start + 12], "little")
    return used, start, length


def zero(file: Path, start: int, end: int) -> None:
    with file.open("r+b") as handle:
        handle.seek(start)
        handle.write(bytes(end - start))


@pytest.mark.holds("H22")
def test_a_killed_log_keeps_what_was_acknowledged(path: Path) -> None:
    records = crashed(path, published=20)
    assert verify(path) == []
    log = open_log(path)
    assert read_all(log) == records
    log.close()
    assert (verify(path), report(path)["published"]) == ([], len(records))


@pytest.mark.holds("H22")
@pytest.mark.parametrize("kept", ["first sectors", "last sectors", "all but the first"])
def test_a_write_that_was_cut_is_dropped_whole(path: Path, kept: str) -> None:
    records = crashed(path, published=20)
    file, start, length = last_frame(path)
    end = start + -(-length // BLOCK) * BLOCK
    assert length > 512
    match kept:
        case "first sectors":
            zero(file, start + 512, end)
        case "last sectors":
            zero(file, start, start + 512)
        case "all but the first":
            zero(file, start + 512, start + 1024)
    assert (verify(path), report(path)["size"]) == ([], len(records) - 1)
    assert report(path)["torn_bytes"] > 0
    log = open_log(path)
    assert (log.size, read_all(log)) == (len(records) - 1, records[:-1])
    log.close()
    assert (verify(path), report(path)["torn_bytes"]) == ([], 0)


def test_a_last_frame_that_was_written_whole_and_changed_is_refused(path: Path) -> None:
    crashed(path)
    file, start, length = last_frame(path)
    before = file.read_bytes()
    for at in (start, start + 9, start + 20, start + 60, start + length - 3):
        change_byte(file, at)
        with pytest.raises(CorruptError):
            open_log(path)
        change_byte(file, at)
    assert file.read_bytes() == before
    open_log(path).close()


def test_damage_before_good_frames_is_refused_and_nothing_is_changed(path: Path) -> None:
    crashed(path)
    file, *_ = last_frame(path)
    early = list(frame_starts(file))[1]
    zero(file, early, early + 512)
    before = file.read_bytes()
    with pytest.raises(CorruptError):
        open_log(path)
    assert file.read_bytes() == before
    assert verify(path)


def test_a_tail_that_the_checkpoint_proves_is_missed(path: Path) -> None:
    records = crashed(path, published=30)
    file, start, _ = last_frame(path)
    zero(file, start, file.stat().st_size)
    assert len(records) == 30
    with pytest.raises(CorruptError, match="checkpoint"):
        open_log(path)
    assert verify(path)


def test_a_closed_log_has_no_cut_write(path: Path) -> None:
    write_log(path, 40)
    file, start, length = last_frame(path)
    change_byte(file, start + -(-length // BLOCK) * BLOCK + 5000)
    with pytest.raises(CorruptError, match="closed"):
        open_log(path)


@pytest.mark.parametrize("name", ["checkpoint", "journal/0000000000", "journal/0000000001"])
def test_a_log_without_one_of_its_files_is_refused(path: Path, name: str) -> None:
    write_log(path, 200)
    (path / name).unlink()
    with pytest.raises(CorruptError):
        open_log(path)


@pytest.mark.holds("H18")
@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"\n", b"\r\n"),
        (b"\n40\n", b"\n040\n"),
        (b"\n40\n", b"\n1000000000000000000\n"),
        (b"\n40\n", b"\n41\n"),
        (b"\n\n", b"\n"),
        (b"=\n", b"\n"),
        (b"\xe2\x80\x94", b"-"),
        (b"node.example/log\n40", b"node.example/lag\n40"),
    ],
)
def test_a_malformed_checkpoint_is_refused(path: Path, old: bytes, new: bytes) -> None:
    write_log(path, 40)
    file = path / "checkpoint"
    note = file.read_bytes()
    assert old in note
    file.write_bytes(note.replace(old, new))
    assert verify(path)
    with pytest.raises(CorruptError):
        open_log(path)


def test_a_log_of_another_key_is_refused(path: Path) -> None:
    write_log(path, 40)
    with pytest.raises(CorruptError):
        open_log(path, seed=bytes(32))
    with pytest.raises(CorruptError):
        open_log(path, origin="other.example/log")
    open_log(path).close()


def test_segments_may_change_their_size_between_openings(path: Path) -> None:
    records: list[bytes] = []
    made = frames(120)
    for turn, size in enumerate((1 << 20, 64 << 10, 256 << 10, 64 << 10)):
        log = open_log(path, segment_bytes=size)
        for written, blocks in made[turn * 30 : turn * 30 + 30]:
            log.append_durable(written, blocks)
            records += written
        log.close()
    log = open_log(path)
    assert read_all(log) == records
    log.close()
    assert verify(path) == []


def test_a_segment_that_was_begun_without_a_commit_is_used_again(path: Path) -> None:
    """The process dies between the header of a segment and its first frame."""
    write_log(path, 200)
    used = [file for file in segments(path) if next(frame_starts(file), None)][-1]
    number = int(used.name)
    shutil.copy(path / "journal" / f"{number:010}", path.parent / "begun")
    begun = crash_before_first_frame(path, used)
    log = open_log(path)
    assert log.size == begun
    log.append_durable([b"goes on"])
    assert len(read_all(log)) == begun + 1
    log.close()


def crash_before_first_frame(path: Path, used: Path) -> int:
    """Undo the commits of the last segment, as if only its header had been written."""
    base = int.from_bytes(used.read_bytes()[40:48], "little")
    zero(used, BLOCK, used.stat().st_size)
    (path / "lock").unlink()
    # A checkpoint as it was published before: that of a log that ends there.
    before = path.parent / "before"
    write_log(before, base)
    shutil.copy(before / "checkpoint", path / "checkpoint")
    return base


def test_a_reader_does_not_pass_damage(path: Path) -> None:
    write_log(path, 40)
    [file, *_] = segments(path)
    early = list(frame_starts(file))[1]
    change_byte(file, early + 60)
    with pytest.raises(CorruptError):
        read_all(_core.LogReader(str(path)))
