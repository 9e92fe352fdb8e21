"""Exports prove that they are whole: a row that is missing, added or changed is found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pyarrow as pa
import pytest
from pyarrow import parquet

from qflow import _core
from qflow.audit import Query, prune
from qflow.audit.export import Format, LogFolder, verify_export
from qflow.audit.export._manifest import EMBEDDED, PAYLOAD_TYPE, SUFFIX, build_manifest
from qflow.errors import VerificationError
from qflow.trust import NodeKey
from qflow.trust._envelope import sign_envelope
from tests.audit.exports import (
    AT,
    FORMATS,
    KEY,
    check,
    clock,
    drop_lines,
    manifest_of,
    of_chain,
    sign,
    sign_again,
    write,
    write_log,
)
from tests.audit.test_prune import add, opened

FAILED = Query(type="exec.step_failed")
QUESTIONS = (
    ("range", Query()),
    ("chain", of_chain(0)),
    ("chain", of_chain(2)),
    ("claimed", FAILED),
)


def pruned_log(path: Path) -> LogFolder:
    """A log that has lost its beginning, with the record that says so."""

    async def main() -> None:
        async with opened(path) as (log, own):
            await add(log, 60)
            await prune(log, own, 40, reason="", actor="ann")

    anyio.run(main)
    return LogFolder(path)


def where(report: Any) -> set[str]:
    return {finding.where for finding in report.findings}


@pytest.mark.parametrize(("completeness", "query"), QUESTIONS)
@pytest.mark.parametrize("form", FORMATS)
def test_an_export_says_what_it_is_complete_as(
    tmp_path: Path, form: Format, completeness: str, query: Query
) -> None:
    folder = write_log(tmp_path)
    path = tmp_path / f"a.{form}"
    assert write(folder, path, query=query).completeness == completeness
    report = check(path)
    assert report.ok, report.findings
    assert report.completeness == completeness
    assert ("exporter" in report.complete) == (completeness == "claimed" or query == of_chain(2))
    compared = check(path, log=folder.path)
    assert compared.ok, compared.findings
    assert "exporter" not in compared.complete


@pytest.mark.holds("H20")
@pytest.mark.parametrize("number", [0, 1, 60, 123, 124])
def test_a_row_missing_from_a_range_is_found_whoever_signs(tmp_path: Path, number: int) -> None:
    folder = write_log(tmp_path)
    path = tmp_path / "a.jsonl"
    write(folder, path)
    (gone,) = drop_lines(path, number)
    assert not check(path).ok
    sign_again(path)
    report = check(path)
    assert not report.ok
    assert f"record {gone}" in where(report)
    assert any("signed head" in finding.what for finding in report.findings)


@pytest.mark.holds("H20")
@pytest.mark.parametrize("number", [0, 1, 20, 41])
def test_a_row_missing_from_a_chain_is_found_whoever_signs(tmp_path: Path, number: int) -> None:
    folder = write_log(tmp_path)
    path = tmp_path / "a.jsonl"
    write(folder, path, query=of_chain(0))
    assert manifest_of(path).predicate.proof.ended is True
    drop_lines(path, number)
    sign_again(path)
    report = check(path)
    assert not report.ok
    if number < 41:
        assert f"record {number} of chain" in " ".join(one.what for one in report.findings)
    else:
        assert "the receipt" in where(report)


@pytest.mark.holds("H20")
def test_a_row_missing_from_an_answer_is_found_beside_the_log(tmp_path: Path) -> None:
    folder = write_log(tmp_path)
    path = tmp_path / "a.jsonl"
    write(folder, path, query=FAILED)
    gone = drop_lines(path, 1, 4, 17)
    assert not check(path).ok
    sign_again(path)
    alone = check(path)
    assert alone.ok
    assert "the exporter says" in alone.complete
    report = check(path, log=folder.path)
    assert where(report) == {f"record {index}" for index in gone}
    assert {finding.what for finding in report.findings} == {"missing"}


@pytest.mark.holds("H20")
def test_a_row_that_was_not_asked_for_is_found(tmp_path: Path) -> None:
    folder = write_log(tmp_path)
    every, some = tmp_path / "every.jsonl", tmp_path / "some.jsonl"
    write(folder, every)
    write(folder, some, query=FAILED)
    extra = every.read_bytes().splitlines(keepends=True)[0]
    some.write_bytes(extra + some.read_bytes())
    sign_again(some)
    assert [one.what for one in check(some).findings] == ["is not what was asked for"]
    found = [one.what for one in check(some, log=folder.path).findings]
    assert "the log has no such record that was asked for" in found


@pytest.mark.holds("H20")
def test_an_answer_cut_short_by_its_claim_is_found(tmp_path: Path) -> None:
    """A range that ends early under the same head is whole; under the query that asked for all it
    would be a lie that its span tells."""
    folder = write_log(tmp_path)
    path = tmp_path / "a.jsonl"
    write(folder, path, query=of_chain(0))
    manifest = manifest_of(path)
    proof = msgspec.structs.replace(manifest.predicate.proof, ended=False)
    said = msgspec.structs.replace(manifest.predicate, proof=proof)
    assert manifest.root is not None
    sign(path, build_manifest(said, manifest.root, manifest.file))
    assert "end otherwise" in check(path).findings[0].what


@pytest.mark.holds("H1", "H3")
@pytest.mark.parametrize("form", FORMATS)
def test_any_changed_byte_of_a_file_is_found(tmp_path: Path, form: Format) -> None:
    folder = write_log(tmp_path, steps=4)
    path = tmp_path / f"a.{form}"
    write(folder, path)
    whole = path.read_bytes()
    for place in range(0, len(whole), max(1, len(whole) // 150)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert not check(path).ok, place
    for cut in (0, 1, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        assert not check(path).ok, cut
    path.write_bytes(whole + b"\n")
    assert not check(path).ok


@pytest.mark.holds("H20")
@pytest.mark.parametrize("form", [Format.PARQUET, Format.ARROW, Format.ARROW_STREAM])
@pytest.mark.parametrize("query", [Query(), of_chain(0), FAILED])
def test_the_file_alone_proves_its_rows(tmp_path: Path, form: Format, query: Query) -> None:
    folder = write_log(tmp_path)
    path = tmp_path / f"a.{form}"
    write(folder, path, query=query)
    path.with_name(path.name + SUFFIX).unlink()
    report = check(path)
    assert report.ok, report.findings
    assert report.manifest == "in the file"


@pytest.mark.holds("H20")
def test_a_parquet_file_that_was_written_again_with_a_row_less_is_found(tmp_path: Path) -> None:
    folder = write_log(tmp_path)
    path = tmp_path / "a.parquet"
    for query in (Query(), of_chain(0), FAILED):
        write(folder, path, query=query, force=True)
        path.with_name(path.name + SUFFIX).unlink()
        table = parquet.read_table(path)
        inside = parquet.read_metadata(path).metadata[EMBEDDED]
        # As programs write it that have other types for the same: Polars, DuckDB, Spark.
        large = [pa.large_string() if "string" in str(t) else t for t in table.schema.types]
        table = table.cast(pa.schema(list(zip(table.schema.names, large, strict=True))))
        for kept in (table, pa.concat_tables([table.slice(0, 3), table.slice(4)])):
            with parquet.ParquetWriter(path, kept.schema) as writer:
                writer.write_table(kept)
                writer.add_key_value_metadata({EMBEDDED: inside})
            # The rows are proven, not the bytes: who only packs them anew changes nothing.
            assert check(path).ok == (kept is table)


@pytest.mark.holds("H2", "H17")
def test_a_changed_record_is_found_by_its_chain(tmp_path: Path) -> None:
    folder = write_log(tmp_path)
    path = tmp_path / "a.jsonl"
    write(folder, path, query=of_chain(0))
    lines = path.read_text().splitlines(keepends=True)
    lines[5] = lines[5].replace('"actor":"ann"', '"actor":"bob"')
    path.write_text("".join(lines))
    sign_again(path)
    report = check(path)
    found = " ".join(finding.what for finding in report.findings)
    assert "does not name the record before it" in found


@pytest.mark.holds("H20")
def test_the_log_beside_must_be_the_one_of_the_head(tmp_path: Path) -> None:
    folder = write_log(tmp_path / "one")
    write(folder, tmp_path / "a.csv")
    other = write_log(tmp_path / "other", steps=41)
    found = check(tmp_path / "a.csv", log=other.path)
    assert not found.ok
    assert "the log" in where(found)
    small = write_log(tmp_path / "small", steps=3)
    assert not check(tmp_path / "a.csv", log=small.path).ok


def test_rows_in_another_order_or_twice_are_found(tmp_path: Path) -> None:
    folder = write_log(tmp_path)
    path = tmp_path / "a.jsonl"
    write(folder, path)
    lines = path.read_bytes().splitlines(keepends=True)
    for made in ([*lines[:3], lines[2], *lines[3:]], [lines[1], lines[0], *lines[2:]]):
        path.write_bytes(b"".join(made))
        sign_again(path)
        assert not check(path).ok


OTHER_SPELLINGS = (
    (b'{"index":0,', b'{"index": 0,'),
    (b'{"index":0,', b'{"index":00,'),
    (b'"step":"/do/0/a"', b'"step":"\\/do/0/a"'),
    (b'"attempt":1,', b'"attempt":1.0,'),
    (b'"epoch":1,', b'"epoch":1,"extra":1,'),
    (b"\n", b"\r\n"),
)


@pytest.mark.parametrize(("old", "new"), OTHER_SPELLINGS)
def test_another_spelling_of_a_row_is_refused(tmp_path: Path, old: bytes, new: bytes) -> None:
    folder = write_log(tmp_path, steps=3)
    path = tmp_path / "a.jsonl"
    write(folder, path)
    text = path.read_bytes()
    assert old in text
    path.write_bytes(text.replace(old, new, 1))
    assert "row 1" in where(check(path))


@pytest.mark.holds("H4", "H5", "H6")
def test_a_manifest_that_says_anything_else_is_refused(tmp_path: Path) -> None:
    folder = write_log(tmp_path, steps=3)
    path = tmp_path / "a.jsonl"
    write(folder, path)
    good = json.loads(msgspec.json.encode(manifest_of(path)))
    said = good["predicate"]
    changes: list[dict[str, Any]] = [
        {"unknown": 1},
        {"_type": "https://in-toto.io/Statement/v0.1"},
        {"predicateType": "urn:qflow:export:v2"},
        {"subject": []},
        {"subject": good["subject"][:1]},
        {"subject": good["subject"][1:]},
        {"predicate": said | {"unknown": 1}},
        *({"predicate": said | {name: wrong}} for name in said for wrong in (1.5, [None])),
        *({"predicate": said | {name: "x"}} for name in said if name != "node"),
        {"predicate": said | {"expiresAt": AT}},
        {"predicate": said | {"completeness": "chain"}},
        {"predicate": said | {"query": {"flow": "a", "type": "exec.created"}}},
        {"predicate": said | {"query": {"after": "1.00"}}},
        {"predicate": said | {"span": {"first": 5, "end": 3}}},
        {"predicate": said | {"span": {"first": 0, "end": 3}}},
        {"predicate": said | {"rows": said["rows"] | {"count": 3}}},
        {"predicate": said | {"format": said["format"] | {"version": 2}}},
        {"predicate": said | {"format": said["format"] | {"spreadsheet": 0}}},
        {"predicate": said | {"proof": said["proof"] | {"before": ["00" * 32]}}},
        {"predicate": said | {"proof": {}}},
    ]
    beside = path.with_name(path.name + SUFFIX)
    for change in changes:
        beside.write_bytes(sign_envelope(PAYLOAD_TYPE, json.dumps(good | change).encode(), KEY))
        try:
            assert not check(path).ok, change
        except VerificationError:
            continue
    beside.write_bytes(sign_envelope(PAYLOAD_TYPE, json.dumps(good).encode(), KEY))
    assert check(path).ok
    late = good | {"predicate": said | {"expiresAt": AT + 1}}
    beside.write_bytes(sign_envelope(PAYLOAD_TYPE, json.dumps(late).encode(), KEY))
    assert check(path).ok
    with pytest.raises(VerificationError, match="expired"):
        check(path, clock=clock(AT + 1))


@pytest.mark.holds("H4", "H5")
def test_an_export_without_a_manifest_or_by_another_key_is_refused(tmp_path: Path) -> None:
    folder = write_log(tmp_path, steps=3)
    path = tmp_path / "a.csv"
    write(folder, path)
    seed = bytes(range(1, 33))
    vkey = _core.generate_vkey(KEY.origin, seed)
    with pytest.raises(VerificationError, match="no signature of this key"):
        verify_export(path, vkey, clock=clock())
    path.with_name(path.name + SUFFIX).unlink()
    with pytest.raises(VerificationError, match="no manifest"):
        check(path)
    with pytest.raises(VerificationError, match="not there"):
        check(path, manifest=tmp_path / "none.json")
    stranger = NodeKey(seed=seed, public=bytes(32))
    with pytest.raises(VerificationError, match="not signed by this node's key"):
        write(folder, tmp_path / "b.csv", key=stranger)
    assert not (tmp_path / "b.csv").exists()


@pytest.mark.holds("H20", "H21")
@pytest.mark.parametrize("form", FORMATS)
def test_what_a_pruned_log_keeps_is_exported_and_proven(tmp_path: Path, form: Format) -> None:
    folder = pruned_log(tmp_path)
    assert folder.first > 0
    path = tmp_path / f"a.{form}"
    done = write(folder, path)
    assert (done.rows, done.completeness) == (folder.size - folder.first, "range")
    either: tuple[dict[str, Any], ...] = ({}, {"log": folder.path})
    for options in either:
        report = check(path, **options)
        assert report.ok, report.findings
    # The beginning of the chain is gone: nothing proves that what is left is all of it.
    assert write(folder, path, query=of_chain(1), force=True).completeness == "claimed"
    report = check(path, log=folder.path)
    assert report.ok, report.findings


@pytest.mark.holds("H20", "H21")
@pytest.mark.parametrize("query", [Query(), of_chain(1), Query(type="exec.*")])
@pytest.mark.parametrize("later", [0, 40])
def test_rows_that_were_pruned_since_are_no_finding(
    tmp_path: Path, query: Query, later: int
) -> None:
    path = tmp_path / "a.csv"

    async def main() -> None:
        async with opened(tmp_path) as (log, own):
            await add(log, 60)
        write(LogFolder(tmp_path), path, query=query)
        async with opened(tmp_path) as (log, own):
            await add(log, 60, number=2)
            await prune(log, own, 40 + later, reason="", actor="ann")

    anyio.run(main)
    folder = LogFolder(tmp_path)
    assert folder.first > 0
    report = check(path, log=folder.path)
    assert report.ok, report.findings
    assert 0 < report.pruned <= report.rows
    assert report.head_size is not None
    assert (report.pruned == report.rows) == (folder.first >= report.head_size)
    assert "of the log that was asked for" not in report.complete
    stranger = write_log(tmp_path / "other", steps=41)
    assert not check(path, log=stranger.path).ok


def test_a_chain_from_its_middle_is_claimed(tmp_path: Path) -> None:
    folder = write_log(tmp_path)
    path = tmp_path / "a.jsonl"
    assert write(folder, path, query=of_chain(0), first=10).completeness == "claimed"
    report = check(path, log=folder.path)
    assert report.ok, report.findings
