"""Reports prove themselves: signed, about one head, with every finding, or refused."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from qflow import _core
from qflow.audit.compliance import (
    Finding,
    Report,
    Signed,
    check_report,
    findings_of,
    receipts_of,
    report_file,
    report_page,
    verify_signed,
)
from qflow.audit.compliance._html import SHOWN_MAX
from qflow.audit.compliance._report import CHUNK_BYTES, RECEIPTS_MAX, sign
from qflow.errors import VerificationError
from qflow.trust import NodeKey, load_or_create_key, public_half
from tests.audit.compliance.histories import Recorded, name, rule
from tests.core.vectors import load_vectors

CONSENT = rule("consent-present")


@pytest.fixture
def history(tmp_path: Path) -> Recorded:
    return Recorded(tmp_path / "home")


def denied(history: Recorded, count: int) -> list[bytes]:
    admission = {"consent": {"decision": "denied", "grant": "g" * 200}}
    chains = [history.begin(admission=admission) for _ in range(count)]
    history.close()
    return chains


def all_of(report: Report, signed: Signed) -> list[Finding]:
    return list(findings_of(report, signed.blocks.__getitem__))


@pytest.mark.holds("H12")
def test_a_report_names_its_head_and_carries_findings_with_receipts(history: Recorded) -> None:
    chains = denied(history, RECEIPTS_MAX + 5)
    report, signed = history.report(CONSENT)
    checked = check_report(report_file(signed), history.key.vkey)
    assert checked.report == report
    assert checked.receipts == RECEIPTS_MAX
    assert (report.outcome.size, report.findings) == (len(chains), len(chains))
    assert _core.parse_checkpoint(report.head.encode(), history.key.vkey)[0] == len(chains)
    assert [f.records[0].execution for f in all_of(report, signed)] == [*map(name, chains)]
    for index, data in receipts_of(report, signed.blocks.__getitem__):
        assert _core.check_receipt(data, history.key.vkey, None)["index"] == index
    assert not report.ok


@pytest.mark.holds("H12")
def test_findings_without_number_are_cut_into_blocks_and_none_is_lost(history: Recorded) -> None:
    chains = denied(history, 20_000)
    report, signed = history.report(CONSENT)
    assert len(report.chunks) > 3
    assert all(len(block) < CHUNK_BYTES + 8192 for block in signed.blocks.values())
    found = all_of(report, signed)
    assert [finding.records[0].execution for finding in found] == [*map(name, chains)]
    assert verify_signed(signed, history.key.vkey).report.findings == len(chains)


Harm = Callable[[dict[str, Any], Report], None]


def statement_of(file: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(b64decode(file["envelope"]["payload"]))
    return found


def change_payload(file: dict[str, Any], change: Callable[[dict[str, Any]], None]) -> None:
    statement = statement_of(file)
    change(statement)
    file["envelope"]["payload"] = b64encode(json.dumps(statement).encode()).decode()


def less_severe(file: dict[str, Any], report: Report) -> None:
    change_payload(file, lambda s: s["predicate"].update(by_severity={"error": 0}))


def no_findings(file: dict[str, Any], report: Report) -> None:
    change_payload(file, lambda s: s["predicate"].update(findings=0, chunks=[]))


def no_signature(file: dict[str, Any], report: Report) -> None:
    file["envelope"]["signatures"] = []


def empty_signature(file: dict[str, Any], report: Report) -> None:
    file["envelope"]["signatures"][0]["sig"] = ""


def another_type(file: dict[str, Any], report: Report) -> None:
    file["envelope"]["payloadType"] = "application/json"


def block_is_gone(file: dict[str, Any], report: Report) -> None:
    del file["blocks"][report.chunks[0].cid]


def block_is_changed(file: dict[str, Any], report: Report) -> None:
    cid = report.chunks[0].cid
    data = b64decode(file["blocks"][cid])
    file["blocks"][cid] = b64encode(data.replace(b"denied", b"waived")).decode()


def block_is_added(file: dict[str, Any], report: Report) -> None:
    file["blocks"][str(_core.cid_of(b"\x80"))] = b64encode(b"\x80").decode()


def another_format(file: dict[str, Any], report: Report) -> None:
    file["format"] = "qflow compliance report 2"


def more_fields(file: dict[str, Any], report: Report) -> None:
    file["verdict"] = "fine"


@pytest.mark.holds("H5", "H6", "H12")
@pytest.mark.parametrize(
    "harm",
    [
        less_severe, no_findings, no_signature, empty_signature, another_type, block_is_gone,
        block_is_changed, block_is_added, another_format, more_fields,
    ],
    ids=lambda harm: harm.__name__,
)  # fmt: skip
def test_a_report_that_was_changed_in_any_way_is_refused(history: Recorded, harm: Harm) -> None:
    denied(history, 3)
    report, signed = history.report(CONSENT)
    file = json.loads(report_file(signed))
    harm(file, report)
    with pytest.raises(VerificationError):
        check_report(json.dumps(file).encode(), history.key.vkey)


@pytest.mark.holds("H6")
def test_a_report_by_another_key_is_refused(history: Recorded, tmp_path: Path) -> None:
    denied(history, 1)
    report, signed = history.report(CONSENT)
    stranger = load_or_create_key(tmp_path / "other")
    root = _core.parse_checkpoint(report.head.encode(), history.key.vkey)[1]
    forged = sign(report, signed.blocks, root, stranger)
    for vkey in (history.key.vkey, stranger.vkey):
        with pytest.raises(VerificationError):
            verify_signed(forged, vkey)
    with pytest.raises(VerificationError):
        verify_signed(signed, stranger.vkey)


@pytest.mark.holds("H12")
@pytest.mark.parametrize("what", ["size", "root", "count", "results", "rule"])
def test_a_signed_report_that_contradicts_itself_is_refused(history: Recorded, what: str) -> None:
    denied(history, 3)
    report, signed = history.report(CONSENT)
    root = _core.parse_checkpoint(report.head.encode(), history.key.vkey)[1]
    replace, outcome = msgspec.structs.replace, report.outcome
    if what == "size":
        report = replace(report, outcome=replace(outcome, size=2))
    elif what == "root":
        root = bytes(32)
    elif what == "count":
        report = replace(report, findings=2)
    elif what == "results":
        report = replace(report, outcome=replace(outcome, results=()))
    else:
        result = outcome.results[0]
        other = replace(result, rule=replace(result.rule, id="another"))
        report = replace(report, outcome=replace(outcome, results=(other,)))
    with pytest.raises(VerificationError):
        verify_signed(sign(report, signed.blocks, root, history.key), history.key.vkey)


DEEP = b'{"format":"qflow compliance report 1","envelope":' + b"[" * 200_000


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff", b'{"format":1}', b"<html>", DEEP])
def test_what_is_no_report_is_refused(history: Recorded, data: bytes) -> None:
    with pytest.raises(VerificationError):
        check_report(data, history.key.vkey)


HOSTILE = (
    "<script>alert(1)</script>", "\"'><img src=x onerror=alert(1)>", "</style>&amp;&#0;",
    "a\u202egnp.exe", "\x00\x1b[31m\r\n", "\u2028\ufeff", "\U0001f600", "é" * 500,
)  # fmt: skip


def test_a_page_shows_hostile_names_as_text_and_needs_nothing_else(history: Recorded) -> None:
    for text in HOSTILE:
        history.begin(text, flow=f"{text}/f/1.0.0")
    history.close()
    report, signed = history.report(rule("consent-present", text="<b>x</b> & y"))
    page = report_page(report, all_of(report, signed), [0])
    body = page[page.index("<body>") :]
    for markup in ("<script", "<img", "<b>x", 'onerror=alert(1)>"', "&amp;&#0;<", "\u202e", "\x00"):
        assert markup not in body
    assert "&lt;script&gt;alert(1)" in body
    assert "a\\u{202e}gnp.exe" in body
    assert "http" not in page.replace("http-equiv", "")
    assert body.count("receipt</span>") == 1


def test_a_page_says_how_many_findings_it_does_not_show(history: Recorded) -> None:
    denied(history, SHOWN_MAX + 7)
    report, signed = history.report(CONSENT)
    page = report_page(report, all_of(report, signed), [])
    assert page.count("although consent was denied") == SHOWN_MAX
    assert "7 more findings" in page
    assert "507 errors found" in page


def test_a_clean_history_has_a_page_that_says_so(history: Recorded) -> None:
    history.run("completed", admission={"consent": {"decision": "granted"}})
    history.close()
    report, signed = history.report(CONSENT)
    assert report.ok
    assert "No errors were found" in report_page(report, all_of(report, signed), [])


def test_a_report_of_this_release_is_read_and_written_byte_for_byte() -> None:
    """Made by an earlier state of this code; later ones must read it, and write the same."""
    vector = load_vectors("report.json")
    file, seed = vector["file"].encode(), bytes.fromhex(vector["seed"])
    checked = check_report(file, vector["vkey"])
    assert (checked.report.findings, checked.receipts) == (7, 4)
    assert [finding.rule for finding in all_of(checked.report, checked.signed)] == [
        "risk", "duties", "consent", "risk", "duties", "actors", "clocks",
    ]  # fmt: skip
    root = _core.parse_checkpoint(checked.report.head.encode(), vector["vkey"])[1]
    key = NodeKey(seed=seed, public=public_half(seed))
    assert report_file(sign(checked.report, checked.signed.blocks, root, key)) == file
