"""The bytes of exports are promises.

`python -m tests.audit.test_export_golden` writes them anew.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from qflow.audit.export import LogFolder
from tests.audit.chains import chain_id
from tests.audit.exports import FORMATS, TEXTS, Fact, Writer, check, of_chain, write

GOLDEN = Path(__file__).resolve().parent.parent / "vectors" / "export"
SAFE = "guarded.csv"
NAMES = (*(f"all.{form}" for form in FORMATS), "chain.jsonl", SAFE)


def make_log(path: Path) -> LogFolder:
    writer = Writer(path)
    meta = {"n": 1, "f": 0.5, "b": b"\x00\xff", "/": ["=x", {"deep": None}]}
    plain: list[Fact] = [
        ("q.qflow.exec.created.v1", None, None, ({"order": 7},), {"key": 0}),
        ("q.qflow.exec.step_completed.v1", "/do/0/charge", 1, None, {"note": 'a "b", c\r\nd'}),
        ("q.qflow.exec.completed.v1", None, None, (None,), {}),
    ]
    odd: list[Fact] = [
        ("=1+1", "\x00\ufffe\r", 2**63 - 1, None, meta),
        ("q.qflow.test.v1", "", 0, None, {}),
    ]
    writer.add(plain, chain=chain_id(1))
    writer.add(odd, chain=chain_id(2), actor="@SUM(A1)", node="\U0001f4a9 <&>", subnet="", at=2**62)
    return writer.close()


def make(folder: LogFolder, out: Path) -> None:
    for form in FORMATS:
        write(folder, out / f"all.{form}")
    write(folder, out / "chain.jsonl", query=of_chain(1))
    write(folder, out / SAFE, spreadsheet=True)


@pytest.mark.parametrize("name", NAMES)
def test_files_that_were_written_before_still_verify(name: str) -> None:
    report = check(GOLDEN / name)
    assert report.ok, report.findings


def test_texts_and_manifests_are_written_as_they_were(tmp_path: Path) -> None:
    make(make_log(tmp_path / "home"), tmp_path)
    for form in TEXTS:
        names = [f"all.{form}"]
        names += ["chain.jsonl"] if form == "jsonl" else [SAFE] if form == "csv" else []
        for name in names:
            for one in (name, f"{name}.manifest.json"):
                assert (tmp_path / one).read_bytes() == (GOLDEN / one).read_bytes(), one


def test_rows_are_the_same_in_every_format(tmp_path: Path) -> None:
    folder = make_log(tmp_path)
    for name in NAMES:
        assert check(GOLDEN / name, log=folder.path).ok, name


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as home:
        for old in GOLDEN.glob("*"):
            old.unlink()
        GOLDEN.mkdir(exist_ok=True)
        make(make_log(Path(home)), GOLDEN)
