"""Exports: every format gives back every record, whatever its names are."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from base64 import b64decode
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import ipc, parquet

from qflow import _core, model
from qflow.audit import Query
from qflow.audit.export import Format, LogFolder
from qflow.audit.export import _formats as formats
from qflow.errors import UnavailableError
from tests.audit.chains import chain_id
from tests.audit.exports import FORMATS, KEY, Fact, Writer, check, of_chain, write, write_log

HOSTILE = (
    "=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", "\ufeff=1", "\u200b=1",
    "\uff1d1+1", "\uff0b1", "\uff0d1", "\uff201", "'=1", "''", "'", '"', '""', '"=1"', ",", ";",
    "\x00", "\x00=1", "\x01", "\x1f", "\x7f", "\x85", "\u2028", "\u2029", "\ufffe", "\uffff",
    "\U0001fffe", "\U0010ffff", "\r", "\n", "\r\n", "a\rb", "]]>", "<r>", "&amp;", "&#13;", "</r>",
    "\u202e\u2066abc", "\U0001f4a9", "e\u0301", "\\", "\\n", "\\u0000", "null", "true", "1e5",
    '=cmd|" /C calc"!A0', '=HYPERLINK("http://a.example","b")', "{}", "/", "",
)  # fmt: skip

texts = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=12))
names = texts.filter(bool)
metas = st.dictionaries(
    st.one_of(st.sampled_from(["/", "", "bytes", "map"]), texts),
    st.recursive(
        st.one_of(
            st.none(),
            st.booleans(),
            st.integers(-(2**64), 2**64 - 1),
            st.floats(allow_nan=False, allow_infinity=False),
            texts,
            st.binary(max_size=9),
            st.just(_core.cid_of(b"a block", "raw")),
        ),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
        max_leaves=6,
    ),
    max_size=4,
)
records = st.fixed_dictionaries(
    {
        "type": names,
        "flow": names,
        "step": st.none() | texts,
        "attempt": st.none() | st.integers(0, 2**63 - 1),
        "at": st.integers(0, 2**63 - 1) | st.integers(0, 253_402_300_800_000),
        "actor": texts,
        "node": texts,
        "subnet": texts,
        "payload": st.none() | st.tuples(st.integers(0, 5)),
        "meta": metas,
    }
)


def log_of(path: Path, made: list[dict[str, Any]]) -> LogFolder:
    writer = Writer(path)
    for number, one in enumerate(made):
        fact: Fact = (one["type"], one["step"], one["attempt"], one["payload"], one["meta"])
        rest = {name: one[name] for name in ("flow", "actor", "node", "subnet", "at")}
        writer.add([fact], chain=chain_id(number), **rest)
    return writer.close()


TEXT_FIELDS = ("type", "flow", "step", "actor", "node", "subnet")


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def read_csv(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))


def read_xml(path: Path) -> list[dict[str, Any]]:
    rows = []
    for element in ET.parse(path).getroot():
        row: dict[str, Any] = dict(element.attrib)
        for child in element:
            text = child.text or ""
            encoded = child.get("enc") == "base64"
            row[child.tag.partition("}")[2]] = b64decode(text).decode() if encoded else text
        rows.append(row)
    return rows


def read_arrow(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        table = parquet.read_table(path)
    elif path.suffix == ".arrow":
        table = ipc.open_file(path).read_all()
    else:
        table = ipc.open_stream(path.read_bytes()).read_all()
    at = table.schema.get_field_index("at")
    # Python's own times end with the year 9999.
    table = table.set_column(at, "at", table.column("at").cast(pa.int64()))
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


READERS = {Format.JSONL: read_jsonl, Format.CSV: read_csv, Format.XML: read_xml}


@pytest.mark.holds("H14")
@given(made=st.lists(records, min_size=1, max_size=6))
def test_every_format_gives_back_every_record_whatever_its_names(
    made: list[dict[str, Any]],
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = log_of(Path(name), made)
        for form in FORMATS:
            path = Path(name) / f"export.{form}"
            write(folder, path)
            report = check(path)
            assert report.ok, (form, report.findings)
            rows = READERS.get(form, read_arrow)(path)
            assert len(rows) == len(made)
            for row, due in zip(rows, made, strict=True):
                for field in TEXT_FIELDS:
                    found = row.get(field)
                    if form is Format.CSV and field == "step" and due["step"] is None:
                        found = found or None
                    assert found == due[field], (form, field)


@pytest.mark.holds("H14")
@given(made=st.lists(records, min_size=1, max_size=6))
def test_no_cell_of_the_spreadsheet_mode_begins_as_a_formula(made: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = log_of(Path(name), made)
        path = Path(name) / "export.csv"
        write(folder, path, spreadsheet=True)
        report = check(path)
        assert report.ok, report.findings
        rows = read_csv(path)
        for row, due in zip(rows, made, strict=True):
            for cell in row.values():
                assert not cell or cell[0] not in "=+-@\t\r\n \x00\ufeff\uff1d\uff0b\uff0d\uff20"
            for field in TEXT_FIELDS:
                # How it is undone: one apostrophe is taken away.
                assert row[field].removeprefix("'") == (due[field] or "")


def test_the_manifest_says_that_cells_are_guarded(tmp_path: Path) -> None:
    folder = write_log(tmp_path)
    write(folder, tmp_path / "safe.csv", spreadsheet=True)
    write(folder, tmp_path / "exact.csv")
    (tmp_path / "exact.csv.manifest.json").replace(tmp_path / "other.json")
    report = check(tmp_path / "safe.csv", manifest=tmp_path / "other.json")
    assert not report.ok
    assert check(tmp_path / "safe.csv").ok


@pytest.mark.holds("H14")
def test_json_numbers_bytes_and_links_survive(tmp_path: Path) -> None:
    link = _core.cid_of(b"a block", "raw")
    meta = {"i": 1, "f": 1.0, "big": 2**64 - 1, "b": b"\x00\xff", "l": link, "/": {"bytes": "x"}}
    writer = Writer(tmp_path)
    writer.add([("a.b", None, None, None, meta)])
    folder = writer.close()
    write(folder, tmp_path / "a.jsonl")
    line = (tmp_path / "a.jsonl").read_text()
    assert '"i":1,' in line
    assert '"f":1.0,' in line
    assert '"b":{"/":{"bytes":"AP8"}}' in line
    assert f'"l":{{"/":"{link}"}}' in line
    assert '{"/":{"map":{"/":{"bytes":"x"}' in line
    assert check(tmp_path / "a.jsonl").ok


@pytest.mark.parametrize("form", FORMATS)
def test_an_empty_answer_is_an_export_too(tmp_path: Path, form: Format) -> None:
    folder = write_log(tmp_path)
    path = tmp_path / f"none.{form}"
    done = write(folder, path, query=Query(actor="nobody"))
    assert done.rows == 0
    report = check(path, log=folder.path)
    assert report.ok, report.findings
    assert (report.first, report.last) == (None, None)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(("first", "end"), [(0, 0), (0, 1), (5, 5), (5, 64), (1, 124), (124, 125)])
def test_any_range_leads_to_the_signed_root(
    tmp_path: Path, form: Format, first: int, end: int
) -> None:
    folder = write_log(tmp_path)
    path = tmp_path / f"part.{form}"
    done = write(folder, path, first=first, end=end)
    assert (done.rows, done.completeness) == (end - first, "range")
    report = check(path, log=folder.path)
    assert report.ok, report.findings


def test_a_filter_and_a_limit_take_what_a_query_takes(tmp_path: Path) -> None:
    folder = write_log(tmp_path)
    path = tmp_path / "some.jsonl"
    done = write(folder, path, query=Query(type="exec.step_failed", flow="shop/flow-0", limit=3))
    rows = read_jsonl(path)
    assert done.rows == len(rows) == 3
    assert {row["type"] for row in rows} == {"q.qflow.exec.step_failed.v1"}
    assert {row["flow"] for row in rows} == {"shop/flow-0/1.0.0"}
    report = check(path, log=folder.path)
    assert report.ok, report.findings
    assert report.completeness == "claimed"


def test_scan_gives_batches_that_pyarrow_reads(tmp_path: Path) -> None:
    folder = write_log(tmp_path)
    reader = folder.scan(of_chain(1))
    assert isinstance(reader, pa.RecordBatchReader)
    table = reader.read_all()
    assert table.column("seq").to_pylist() == list(range(42))
    assert set(table.column("chain").to_pylist()) == {model.id_text(chain_id(1))}
    assert table.schema.field("at").type == pa.timestamp("ms", "UTC")
    assert json.loads(table.column("meta").to_pylist()[1]) == {"frame": 0}
    everything = LogFolder(tmp_path).scan(first=3, end=9).read_all()
    assert everything.column("index").to_pylist() == [3, 4, 5, 6, 7, 8]


def test_a_scan_is_read_once_and_only_of_what_is_there(tmp_path: Path) -> None:
    folder = write_log(tmp_path)
    scan = folder.rows(folder.choose())
    scan.__arrow_c_stream__()
    with pytest.raises(ValueError, match="read once"):
        scan.__arrow_c_stream__()
    for first, end in ((-1, 2), (3, 2), (0, folder.size + 1)):
        with pytest.raises(ValueError, match="records"):
            folder.choose(first=first, end=end)
    for query in (Query(reverse=True), Query(after=Query().cursor(3))):
        with pytest.raises(ValueError, match="order of the log"):
            folder.choose(query)


def test_a_log_without_a_head_is_no_source(tmp_path: Path) -> None:
    (tmp_path / "log" / "journal").mkdir(parents=True)
    with pytest.raises(UnavailableError, match="checkpoint"):
        LogFolder(tmp_path)


def test_what_is_newer_than_the_head_is_not_exported(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    writer.add([("a.b", None, None, None, {})], chain=chain_id(1))
    writer.log.publish()
    folder = LogFolder(tmp_path)
    writer.add([("a.c", None, None, None, {})], chain=chain_id(2))
    assert write(folder, tmp_path / "a.csv").rows == 1
    writer.log.close()
    assert check(tmp_path / "a.csv", log=tmp_path).ok


def test_without_pyarrow_the_error_names_the_extra_and_texts_still_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "find_spec", lambda name: None)
    folder = write_log(tmp_path)
    with pytest.raises(UnavailableError, match=r"anarq-qflow\[arrow\]"):
        folder.scan()
    with pytest.raises(UnavailableError, match=r"anarq-qflow\[arrow\]"):
        write(folder, tmp_path / "a.parquet")
    assert list(tmp_path.glob("*.parquet*")) == []
    write(folder, tmp_path / "a.xml")
    assert check(tmp_path / "a.xml").ok


def test_names_beyond_the_bound_of_a_kept_dictionary_are_refused(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    for number in range(1100):
        fact: Fact = ("a.b", None, None, None, {})
        writer.add([fact], chain=chain_id(number), flow=f"{number:04}{'x' * 4000}")
    folder = writer.close()
    with pytest.raises(ValueError, match="too many different names"):
        write(folder, tmp_path / "a.arrow")
    assert not (tmp_path / "a.arrow").exists()
    assert write(folder, tmp_path / "a.arrows").rows == 1100
    assert check(tmp_path / "a.arrows").ok


def test_batches_are_small_and_texts_do_not_wait_for_the_end(tmp_path: Path) -> None:
    folder = write_log(tmp_path, steps=200)
    scan = folder.rows(folder.choose(), batch_rows=50)
    batches = list(pa.RecordBatchReader.from_stream(scan))
    assert {batch.num_rows for batch in batches[:-1]} == {50}
    assert scan.position == folder.size
    out = io.BytesIO()
    with ipc.new_stream(out, batches[0].schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    assert KEY.vkey.startswith("qflow.node/")
