"""What others made verifies our log: golang.org/x/mod/sumdb, and a witness that is not ours."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from qflow import _core
from qflow.audit import Log, Witnessing
from qflow.clock import SystemClock
from qflow.trust import NodeKey, load_or_create_key
from tests.compatibility.go_programs import LiteWitness, litewitness, verify_log
from tests.log.logs import VKEY, change_byte, frames, open_log, write_log

WIDE = 70_000
"""Records of a log whose tiles have three levels."""


def grow(path: Path, count: int) -> str:
    """Append to the log of a folder and publish; its head."""
    log = open_log(path)
    for frame in frames(count):
        log.append([*frame[0]])
    log.close()
    return (path / "checkpoint").read_text()


@pytest.mark.parametrize("sizes", [(1, 1), (255, 2), (256, 1), (300, 250), (513, 700)])
def test_go_verifies_heads_tiles_bundles_inclusion_and_consistency(
    tmp_path: Path, sizes: tuple[int, int]
) -> None:
    log, old = tmp_path / "log", tmp_path / "old"
    first, more = sizes
    write_log(log, count=first)
    old.write_text((log / "checkpoint").read_text())
    grow(log, more)
    done = verify_log(log, VKEY, "-sample", "0", "-old", str(old))
    assert done.returncode == 0, done.stderr
    whole = first + more
    assert f"inclusion: proven for {whole} of {whole} records" in done.stdout
    assert f"the head of {whole} records extends that of {first}" in done.stdout


def test_go_verifies_a_log_whose_tiles_have_three_levels(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log", segment_bytes=64 << 20)
    for start in range(0, WIDE, 1000):
        log.append_durable([b"record %d" % number for number in range(start, start + 1000)])
    log.close()
    assert (tmp_path / "log" / "tile" / "2").is_dir()
    done = verify_log(tmp_path / "log", VKEY, "-sample", "200")
    assert done.returncode == 0, done.stderr
    assert f"bundles: {WIDE} records" in done.stdout


@pytest.mark.holds("H1", "H18")
@pytest.mark.parametrize(
    "name", ["checkpoint", "tile/0/000", "tile/0/001.p/44", "tile/1/000.p/1", "tile/entries/000"]
)
def test_go_finds_a_flipped_bit_anywhere_in_what_is_published(tmp_path: Path, name: str) -> None:
    log = tmp_path / "log"
    write_log(log, count=300)
    file = log / name
    length = file.stat().st_size
    for at in (0, length // 2, length - 1):
        change_byte(file, at)
        done = verify_log(log, VKEY)
        assert done.returncode == 1, f"byte {at} of {name}"
        assert "NOT verified" in done.stderr
        change_byte(file, at)
    assert verify_log(log, VKEY).returncode == 0


@pytest.mark.holds("H16")
def test_go_finds_a_log_that_is_no_extension_of_a_known_head(tmp_path: Path) -> None:
    known = tmp_path / "known"
    write_log(tmp_path / "first", count=400)
    known.write_text((tmp_path / "first" / "checkpoint").read_text())
    other = open_log(tmp_path / "second")
    other.append_durable([b"another history %d" % number for number in range(500)])
    other.close()
    done = verify_log(tmp_path / "second", VKEY, "-old", str(known))
    assert done.returncode == 1
    assert "inconsistent" in done.stderr or "invalid" in done.stderr


async def cosigned(home: Path, key: NodeKey, witness: LiteWitness, counts: list[int]) -> None:
    """Grow a log and have every head cosigned before it grows on."""
    text = f"log {key.vkey}\nwitness w1 {witness.vkey} {witness.url}\nquorum w1\n"
    policy = _core.Policy(text)
    async with Log(str(home / "log"), key, segment_bytes=1 << 20) as log:
        asked = Witnessing(log, policy, SystemClock(), every_s=0.0, timeout_s=10.0)
        async with anyio.create_task_group() as tasks:
            for count in counts:
                await log.append([b"record %d" % number for number in range(count)])
                if count == counts[0]:
                    tasks.start_soon(asked.run)
                with anyio.fail_after(20):
                    while not (asked.status().met and asked.status().size == log.size):
                        await anyio.lowlevel.checkpoint()
                assert policy.is_met((home / "log" / "witnessed").read_bytes())
            assert asked.status().witnesses[0].problem is None
            tasks.cancel_scope.cancel()


@pytest.mark.anyio
@pytest.mark.holds("H16")
async def test_a_witness_by_others_cosigns_our_heads_as_they_grow(tmp_path: Path) -> None:
    key = load_or_create_key(tmp_path)
    with litewitness(tmp_path, key.vkey) as witness:
        await cosigned(tmp_path, key, witness, [1, 300, 7, 600])
        done = verify_log(tmp_path / "log", key.vkey, "-witness", witness.vkey)
        assert done.returncode == 0, done.stderr
        assert f"{witness.vkey.partition('+')[0]} cosigned the head of 908 records" in done.stdout
