"""Logs for tests: small segments, real records, and hands that damage files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qflow import _core
from tests.audit.chains import Chain, Frame, chain_id

ORIGIN = "node.example/log"
SEED = bytes(range(32))
VKEY = _core.generate_vkey(ORIGIN, SEED)
SEGMENT_BYTES = 64 << 10
BLOCK = 4096


def open_log(path: Path, **options: Any) -> _core.Log:
    path.mkdir(exist_ok=True)
    defaults: dict[str, Any] = {"origin": ORIGIN, "seed": SEED, "segment_bytes": SEGMENT_BYTES}
    return _core.Log(str(path), **(defaults | options))


def frames(count: int, chains: int = 5) -> list[Frame]:
    """`count` appends of one record and its payload each, of several chains in turn."""
    made = [Chain(chain_id(number)) for number in range(chains)]
    kind = "step_completed"
    return [
        made[turn % chains].frame((kind, {"frame": "x" * 20}, {"turn": turn}))
        for turn in range(count)
    ]


def write_log(path: Path, count: int = 400, group: int = 10, **options: Any) -> list[bytes]:
    """A closed log of `count` records, `group` of them a commit; its records."""
    log = open_log(path, **options)
    made = frames(count)
    for start in range(0, count, group):
        part = made[start : start + group]
        records = [record for frame in part for record in frame[0]]
        log.append_durable(records, [block for frame in part for block in frame[1]])
    log.close()
    return [record for frame in made for record in frame[0]]


def read_all(log: _core.Log | _core.LogReader) -> list[bytes]:
    """Every record that the log serves, in order."""
    found: list[bytes] = []
    address = 0
    while True:
        records, _, following = log.scan(address, 1 << 16)
        if following == address:
            return found
        assert [index for index, _, _ in records] == list(
            range(len(found), len(found) + len(records))
        )
        found.extend(data for _, _, data in records)
        address = following


def verify(path: Path) -> list[str]:
    """The findings, as text."""
    return [f"{one['where']}: {one['what']}" for one in report(path)["findings"]]


def report(path: Path) -> dict[str, Any]:
    return _core.verify_log(str(path), VKEY)


def files(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file())


def segments(path: Path) -> list[Path]:
    return sorted((path / "journal").iterdir())


def change_byte(file: Path, at: int, bit: int = 1) -> None:
    with file.open("r+b") as handle:
        handle.seek(at)
        (byte,) = handle.read(1)
        handle.seek(at)
        handle.write(bytes([byte ^ bit]))


def frame_starts(file: Path) -> Iterator[int]:
    """Where the frames of a segment begin."""
    data = file.read_bytes()
    yield from (at for at in range(BLOCK, len(data), BLOCK) if data[at : at + 4] == b"QFR1")


def used(path: Path) -> list[Path]:
    """The segments that have frames."""
    return [file for file in segments(path) if next(frame_starts(file), None)]


def frame_checksum(frame: bytes, head: int) -> bytes:
    """Of docs/formats/log.md, from the page."""
    at, covered = 48, b""
    while at < len(frame) - head:
        covered += frame[at : at + 8]
        at += 9 + int.from_bytes(frame[at + 4 : at + 8], "little")
    covered += frame[len(frame) - head :] + frame[8:48]
    return crc32c(covered).to_bytes(4, "little")


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF
