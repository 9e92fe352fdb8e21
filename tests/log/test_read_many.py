"""Many records by their addresses are what each of them is, or the same error."""

from __future__ import annotations

from pathlib import Path

import pytest

from qflow import _core
from qflow.errors import CorruptError
from tests.log.logs import change_byte, open_log


def everything(log: _core.Log | _core.LogReader) -> list[tuple[int, int, bytes]]:
    found: list[tuple[int, int, bytes]] = []
    address, after = 0, -1
    while address != after:
        after, (records, _, address) = address, log.scan(address, 1 << 20)
        found += records
    return found


@pytest.fixture
def log(tmp_path: Path) -> _core.Log:
    """Records of all lengths in commits of all lengths, over several segments."""
    log = open_log(tmp_path / "log")
    for turn in range(60):
        records = [bytes([turn]) * (1 + 397 * n % 8000) for n in range(turn % 9 + 1)]
        log.append_durable(records, [(b"cid%d" % turn, bytes(turn * 497))])
    return log


def test_they_are_the_records(log: _core.Log, tmp_path: Path) -> None:
    found = everything(log)
    assert len(log.segments) > 1
    for one in (log, _core.LogReader(str(tmp_path / "log"))):
        for step in (1, 2, 7, 50):
            some = found[::step]
            assert one.read_many([at for _, at, _ in some]) == [data for _, _, data in some]
        assert one.read_many([]) == []
        # They need not ascend; it is only slower then.
        assert one.read_many([at for _, at, _ in found[::-1]]) == [d for *_, d in found[::-1]]
    log.close()


def test_what_is_no_record_is_the_same_error(log: _core.Log, tmp_path: Path) -> None:
    found = everything(log)
    good = found[0][1]
    for wrong in (0, good + 1, found[-1][1] + (1 << 20), 1 << 63):
        with pytest.raises((CorruptError, ValueError, OverflowError)) as one:
            log.read(wrong)
        with pytest.raises(one.type):
            log.read_many([good, wrong])
    log.close()
    at = found[3][1]
    change_byte(tmp_path / "log" / "journal" / f"{at >> 32:010}", (at & 0xFFFFFFFF) + 9)
    with pytest.raises(CorruptError, match=f"byte {at & 0xFFFFFFFF}"):
        _core.LogReader(str(tmp_path / "log")).read_many([at for _, at, _ in found[:6]])
