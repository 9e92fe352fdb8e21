"""The log as its callers see it."""

from __future__ import annotations

import gc
import os
import select
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from qflow import _core
from qflow.errors import BusyError, LockedError, LogError, PoisonedError
from tests.log.logs import ORIGIN, SEED, VKEY, frames, open_log, read_all, report, write_log


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log"


def test_durable_appends_are_served_in_order(path: Path) -> None:
    log = open_log(path)
    assert (log.size, log.append_durable([b"one", b"two"]), log.size) == (0, 0, 2)
    assert (log.append_durable([b"three"], [(b"cid", b"data")]), log.size) == (2, 3)
    assert read_all(log) == [b"one", b"two", b"three"]
    _, blocks, _ = log.scan(0, 1 << 20)
    [(cid, address, length)] = blocks
    assert (cid, length, log.read(address)) == (b"cid", 4, b"data")
    log.close()


def test_tickets_complete_in_order_and_wake_the_descriptor(path: Path) -> None:
    log = open_log(path)
    tickets = [log.append([f"record {n}".encode()]) for n in range(100)]
    assert tickets == list(range(1, 101))
    done: list[tuple[int, int, str | None]] = []
    while len(done) < 100:
        assert select.select([log.fileno()], [], [], 10)[0]
        done += log.drain(7)
    assert done == [(n, n - 1, None) for n in range(1, 101)]
    assert not select.select([log.fileno()], [], [], 0)[0]
    log.close()


def test_a_descriptor_stays_readable_until_all_is_drained(path: Path) -> None:
    log = open_log(path)
    for n in range(3):
        log.append([bytes([n])])
    log.close()
    for _ in range(3):
        assert select.select([log.fileno()], [], [], 0)[0]
        assert len(log.drain(1)) == 1
    assert not select.select([log.fileno()], [], [], 0)[0]


def test_scan_goes_on_where_it_stopped(path: Path) -> None:
    records = write_log(path, 400, group=3)
    log = open_log(path)
    assert read_all(log) == records
    _, _, second = log.scan(0, 1)
    for _, address, data in log.scan(second, 1)[0]:
        assert log.read(address) == data
    end = log.scan(0, 1 << 30)[2]
    assert log.scan(end, 1 << 20) == ([], [], end)
    log.close()


@pytest.mark.holds("H9")
def test_a_restart_keeps_everything_and_verifies(path: Path) -> None:
    records: list[bytes] = []
    made = frames(60)
    for start in range(0, 60, 6):
        log = open_log(path)
        assert (log.size, read_all(log)) == (len(records), records)
        for written, blocks in made[start : start + 6]:
            log.append_durable(written, blocks)
            records += written
        head, root = log.head, log.root
        log.close()
        found = report(path)
        assert (found["findings"], found["size"], found["root"]) == ([], len(records), root)
        assert (path / "checkpoint").read_text() == head


@pytest.mark.holds("H7")
def test_a_thousand_concurrent_appends_verify(path: Path) -> None:
    log = open_log(path, segment_bytes=1 << 20)
    made = frames(1000, chains=1000)
    with ThreadPoolExecutor(32) as pool:
        waited = pool.map(lambda frame: log.append_durable(*frame), made[:500])
        tickets = [log.append(*frame) for frame in made[500:]]
        indices = set(waited)
    log.close()
    done = log.drain(1000)
    assert [ticket for ticket, _, _ in done] == tickets
    assert not [error for _, _, error in done if error]
    assert indices | {first for _, first, _ in done} == set(range(1000))
    found = report(path)
    assert (found["size"], found["chains"], found["findings"]) == (1000, 1000, [])
    assert found["heads"] < 1000


def test_a_reader_follows_a_log_that_is_written(path: Path) -> None:
    log = open_log(path)
    reader = _core.LogReader(str(path))
    assert (reader.size, read_all(reader)) == (0, [])
    written: list[bytes] = []
    for records, blocks in frames(120):
        log.append_durable(records, blocks)
        written += records
        assert (reader.size, reader.head) == (log.size, log.head)
    assert read_all(reader) == written
    assert report(path)["findings"] == []
    log.close()
    assert read_all(_core.LogReader(str(path))) == written


def test_a_second_writer_is_refused(path: Path) -> None:
    log = open_log(path)
    with pytest.raises(LockedError):
        open_log(path)
    log.close()
    open_log(path).close()


def test_what_cannot_be_an_entry_is_refused_before_it_is_queued(path: Path) -> None:
    log = open_log(path)
    for records in ([], [b""], [b"x" * 8001], [b"x" * 8000] * 9):
        with pytest.raises(ValueError, match=r"append|record"):
            log.append(records)
        with pytest.raises(ValueError, match=r"append|record"):
            log.append_durable(records)
    with pytest.raises(ValueError, match="block"):
        log.append([b"x"], [(b"", b"data")])
    with pytest.raises(TypeError):
        log.append(["text"])  # type: ignore[list-item]
    assert (log.size, log.append_durable([b"x" * 8000])) == (0, 0)
    log.close()


def append_until_busy(log: _core.Log) -> int:
    for taken in range(1000):
        try:
            log.append([b"x" * 4000])
        except BusyError:
            return taken
    raise AssertionError("the queue has no bound")


def test_a_full_queue_takes_nothing(path: Path) -> None:
    log = open_log(path, queue_bytes_max=20_000)
    taken = append_until_busy(log)
    log.close()
    assert log.size == taken
    assert [ticket for ticket, _, _ in log.drain(2000)] == list(range(1, taken + 1))


def test_a_closed_log_takes_nothing(path: Path) -> None:
    log = open_log(path)
    log.close()
    log.close()
    with pytest.raises(LogError):
        log.append([b"late"])
    with pytest.raises(LogError):
        log.publish()


def test_a_log_that_is_dropped_frees_its_files(path: Path) -> None:
    log = open_log(path)
    log.append_durable([b"kept"])
    del log
    gc.collect()
    log = open_log(path)
    assert log.size == 1
    log.close()


def test_seeds_origins_and_sizes_are_checked(path: Path) -> None:
    for options in (
        {"seed": b"short"},
        {"origin": "has space"},
        {"origin": ""},
        {"origin": "a+b"},
        {"segment_bytes": 1},
        {"segment_bytes": 1 << 40},
    ):
        with pytest.raises(ValueError, match=r"seed|name|segment_bytes"):
            open_log(path, **options)
    assert _core.generate_vkey(ORIGIN, SEED) == VKEY


def test_a_forked_child_may_not_use_the_log(path: Path) -> None:
    log = open_log(path)
    log.append_durable([b"parent"])
    child = os.fork()
    if child == 0:
        try:
            log.append([b"child"])
        except LockedError:
            del log
            gc.collect()
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert log.append_durable([b"parent again"]) == 1
    log.close()


def run_python(code: str, path: Path) -> subprocess.CompletedProcess[str]:
    program = textwrap.dedent(code)
    command = [sys.executable, "-c", program, str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_an_interpreter_that_forgets_its_log_still_exits(path: Path) -> None:
    done = run_python(
        """
        import sys
        from tests.log.logs import *
        log = open_log(Path(sys.argv[1]))
        log.append_durable([b"durable"])
        for _ in range(100):
            log.append([b"x" * 8000])
        """,
        path,
    )
    assert (done.returncode, done.stderr) == (0, "")
    log = open_log(path)
    assert log.size >= 1
    log.close()


@pytest.mark.holds("H8")
def test_a_failed_write_is_an_error_to_everyone_who_waits(path: Path) -> None:
    done = run_python(
        """
        import resource, signal, sys
        from qflow.errors import PoisonedError
        from tests.log.logs import *
        log = open_log(Path(sys.argv[1]))
        log.append_durable([b"kept"])
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, resource.RLIM_INFINITY))
        ticket = log.append([b"lost"])
        import select
        select.select([log.fileno()], [], [])
        [(failed, _, error)] = log.drain()
        assert failed == ticket and "too large" in error.lower(), error
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        for append in (log.append, log.append_durable):
            try:
                append([b"after"])
            except PoisonedError as error:
                assert "too large" in str(error).lower(), error
            else:
                raise SystemExit("took a write after a failed one")
        assert log.size == 1 and read_all(log) == [b"kept"]
        log.close()
        """,
        path,
    )
    assert (done.returncode, done.stderr) == (0, "")
    log = open_log(path)
    assert read_all(log) == [b"kept"]
    log.close()


def test_waiting_does_not_hold_the_interpreter(path: Path) -> None:
    log = open_log(path)
    stop = threading.Event()
    counts = [0]

    def count() -> None:
        while not stop.is_set():
            counts[0] += 1

    thread = threading.Thread(target=count)
    thread.start()
    before = counts[0]
    for _ in range(20):
        log.append_durable([b"x"])
    stop.set()
    thread.join()
    assert counts[0] > before
    log.close()


def test_poison_is_a_log_error() -> None:
    assert issubclass(PoisonedError, LogError)
