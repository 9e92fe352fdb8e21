"""An export is written whole with its manifest, or not at all."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from qflow import _core
from qflow.audit.export import Format
from qflow.errors import CorruptError, ErasedError
from tests.audit.chains import chain_id
from tests.audit.exports import FORMATS, Writer, check, write, write_log

SEALING = _core.SealingKey(3, bytes(range(32)))


class Stop(Exception):
    pass


def stop(done: int, whole: int) -> None:
    raise Stop


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"log"}


@pytest.mark.holds("H8")
@pytest.mark.parametrize("form", FORMATS)
def test_a_failed_export_leaves_nothing_and_changes_nothing(tmp_path: Path, form: Format) -> None:
    folder = write_log(tmp_path)
    path = tmp_path / f"a.{form}"
    with pytest.raises(Stop):
        write(folder, path, progress=stop)
    assert files(tmp_path) == set()
    write(folder, path)
    before = path.read_bytes()
    with pytest.raises(FileExistsError):
        write(folder, path)
    with pytest.raises(Stop):
        write(folder, path, progress=stop, force=True)
    assert path.read_bytes() == before
    assert check(path).ok
    write(folder, path, force=True, first=3)
    assert check(path).first == 3
    assert files(tmp_path) == {path.name, path.name + ".manifest.json"}


@pytest.mark.holds("H8")
def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    folder = write_log(tmp_path)
    code = f"""
import resource, signal
from tests.audit.exports import *
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
for form in FORMATS:
    try:
        write(LogFolder({str(folder.path)!r}), Path({str(tmp_path)!r}) / f"a.{{form}}")
    except OSError as error:
        assert error.errno == {errno.EFBIG}, error
    else:
        raise SystemExit(f"{{form}} was written")
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
    assert files(tmp_path) == set()


def test_a_file_that_comes_to_be_there_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    folder = write_log(tmp_path)
    path = tmp_path / "a.csv"

    def other(done: int, whole: int) -> None:
        path.write_text("mine")

    with pytest.raises(FileExistsError):
        write(folder, path, progress=other)
    assert path.read_text() == "mine"
    assert files(tmp_path) == {"a.csv"}


@pytest.mark.parametrize("form", FORMATS)
def test_a_damaged_record_ends_the_export(tmp_path: Path, form: Format) -> None:
    folder = write_log(tmp_path)
    segment = folder.path / "journal" / "0000000000"
    data = bytearray(segment.read_bytes())
    at = data.index(b"step_completed", 200_000)
    data[at] ^= 1
    segment.write_bytes(data)
    with pytest.raises(CorruptError):
        write(folder, tmp_path / f"a.{form}")
    assert files(tmp_path) == set()


@pytest.mark.parametrize("form", FORMATS)
def test_progress_goes_to_the_end(tmp_path: Path, form: Format) -> None:
    folder = write_log(tmp_path)
    told: list[tuple[int, int]] = []
    write(folder, tmp_path / f"a.{form}", progress=lambda *step: told.append(step))
    assert told[-1] == (folder.size, folder.size)
    assert told == sorted(told)


class Keys:
    """Two keys: one that is here and one that was destroyed."""

    def key_of(self, _chain: bytes, number: int) -> _core.SealingKey:
        if number == SEALING.number:
            return SEALING
        raise ErasedError("destroyed")


def sealed(key: _core.SealingKey, chain: bytes, value: Any) -> tuple[bytes, tuple[bytes, bytes]]:
    block = key.seal(
        _core.encode(value), subnet="default", chain=chain, seq=0, epoch=1, prev=bytes(32)
    )
    cid = _core.cid_of(block, "raw")
    return bytes(cid), (bytes(cid), block)


@pytest.mark.holds("H21")
@pytest.mark.parametrize("form", FORMATS)
def test_payloads_are_written_where_their_keys_are(tmp_path: Path, form: Format) -> None:
    from tests.audit.test_export import READERS, read_arrow

    writer = Writer(tmp_path)
    chains = [chain_id(number) for number in range(3)]
    writer.add([("a.plain", None, None, ({"n": [1, "=x"]},), {})], chain=chains[0])
    writer.add([("a.none", None, None, None, {})], chain=chains[1])
    writer.add([("a.null", None, None, (None,), {})], chain=chains[2])
    folder = writer.close()
    path = tmp_path / f"a.{form}"
    write(folder, path, unsealer=Keys())
    report = check(path)
    assert report.ok, report.findings
    rows = READERS.get(form, read_arrow)(path)
    contents = [row.get("content") for row in rows]
    if form is Format.JSONL:
        assert contents == [{"n": [1, "=x"]}, None, None]
        assert ["content" in row for row in rows] == [True, False, True]
    else:
        assert contents[0] == '{"n":[1,"=x"]}'
        assert not contents[1]
        assert contents[2] == "null"


def test_an_unsealer_opens_what_was_sealed_and_leaves_what_was_erased(tmp_path: Path) -> None:
    from qflow.audit.export._contents import opener

    opened = opener(Keys())
    cid, (_, block) = sealed(SEALING, chain_id(1), {"card": 1})
    found = opened(record_of(cid), block)
    assert found is not None
    assert _core.decode(found) == {"card": 1}
    with pytest.raises(CorruptError):
        opened(record_of(cid), block + b"x")
    gone, (_, other) = sealed(_core.SealingKey(4, bytes(range(32))), chain_id(1), {"card": 1})
    assert opened(record_of(gone), other) is None


def record_of(cid: bytes) -> bytes:
    """A record as of `Writer`, with another payload."""
    records, blocks, _ = _core.encode_records(
        chain_id(1), 0, bytes(32), "f", 1, "a", "n", "default", 1, [("t", None, None, (1,), {})]
    )
    return records[0].replace(blocks[0][0], cid)


def test_the_standard_output_takes_texts_and_streams(tmp_path: Path) -> None:
    folder = write_log(tmp_path)
    for form in (Format.JSONL, Format.CSV, Format.XML, Format.ARROW_STREAM):
        write(folder, tmp_path / f"a.{form}", key=None)
        code = (
            "from tests.audit.exports import *\n"
            f"write(LogFolder({str(folder.path)!r}), '-', key=None, form=Format({form.value!r}))"
        )
        found = subprocess.run(
            [sys.executable, "-c", code],
            check=True,
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
        )
        assert found.stdout == (tmp_path / f"a.{form}").read_bytes()
        assert not (tmp_path / f"a.{form}.manifest.json").exists()
