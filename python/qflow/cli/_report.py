"""A compliance report as it is printed and written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from qflow.cli._exit import USAGE, Refusal
from qflow.cli._output import moment, plural

if TYPE_CHECKING:
    from qflow.audit.compliance import Checked, Finding, Report, Scope
    from qflow.cli._session import Session

SHOWN_MAX: Final = 20
"""Findings of each rule on the terminal; it says how many more there are."""
_STYLES: Final = {"error": "bold red", "warning": "yellow", "notice": "cyan"}


def check_suffix(out: Path | None) -> None:
    """Refuse a name that says neither of the two forms."""
    if out is not None and out.suffix not in (".json", ".html"):
        raise Refusal(f"{out}: a report is a .json or a .html file", USAGE)


def write(session: Session, checked: Checked, out: Path | None, receipts: Path | None) -> None:
    """Write the report, and the receipts of all records that it names."""
    from qflow.audit.compliance import (
        findings_of,
        make_receipts,
        receipts_of,
        report_file,
        report_page,
    )

    report, blocks = checked.report, checked.signed.blocks
    if out is not None and out.suffix == ".json":
        out.write_bytes(report_file(checked.signed))
    elif out is not None:
        proven = [index for index, _ in receipts_of(report, blocks.__getitem__)]
        page = report_page(report, findings_of(report, blocks.__getitem__), proven)
        out.write_text(page, encoding="utf-8")
    if receipts is not None:
        receipts.mkdir(parents=True, exist_ok=True)
        for index, data in make_receipts(session.home / "log", _named(checked)):
            (receipts / f"record-{index}.tlog-proof").write_bytes(data)


def _named(checked: Checked) -> Iterator[int]:
    """The index of every record that a finding names, once."""
    from qflow.audit.compliance import findings_of

    seen: set[int] = set()
    for finding in findings_of(checked.report, checked.signed.blocks.__getitem__):
        for named in finding.records:
            if named.index not in seen:
                seen.add(named.index)
                yield named.index


def document_of(checked: Checked, **more: Any) -> dict[str, Any]:
    """The report with all of its findings, as one document."""
    from qflow.api import to_plain
    from qflow.audit.compliance import findings_of

    report = checked.report
    plain: dict[str, Any] = to_plain(report)
    found = findings_of(report, checked.signed.blocks.__getitem__)
    return {**more, "ok": report.ok, "report": plain, "findings": [to_plain(f) for f in found]}


def print_report(
    session: Session, checked: Checked, *, stored: bool | None, out: Path | None
) -> None:
    report = checked.report
    if session.out.json:
        session.out.document(document_of(checked, stored=stored))
        return
    counts = [plural(report.by_severity[name], name) for name in ("error", "warning", "notice")]
    session.out.line(", ".join(counts), "bold green" if report.ok else "bold red")
    outcome = report.outcome
    where = f"{plural(outcome.executions, 'execution')}, {outcome.size - outcome.first:,} records"
    session.out.fields(
        [
            ("report", report.id if stored is not False else f"{report.id} (not on record)"),
            ("judged", f"{where}, all under the head of {outcome.size:,}"),
            ("scope", _scope(report.scope)),
            ("rules", f"{report.rules_from} ({len(report.results)})"),
        ]
    )
    _print_rules(session, report)
    _print_findings(session, checked)
    if out is not None:
        session.out.note(f"written to {out}")


def _print_rules(session: Session, report: Report) -> None:
    rows = [
        (
            result.rule.id,
            result.rule.severity,
            f"{result.passed:,}",
            f"{result.failed:,}",
            f"{sum(result.not_applicable.values()):,}",
            f"{result.findings:,}",
        )
        for result in report.results
    ]
    session.out.table(("RULE", "SEVERITY", "PASSED", "FAILED", "NOT JUDGED", "FINDINGS"), rows)


def _print_findings(session: Session, checked: Checked) -> None:
    """The first of each rule, the worst rules first; and how many more there are."""
    from qflow.audit.compliance import findings_of

    shown: dict[str, list[Finding]] = {result.rule.id: [] for result in checked.report.results}
    for finding in findings_of(checked.report, checked.signed.blocks.__getitem__):
        if len(shown[finding.rule]) < SHOWN_MAX:
            shown[finding.rule].append(finding)
    for severity in _STYLES:
        for result in checked.report.results:
            if result.rule.severity != severity:
                continue
            for finding in shown[result.rule.id]:
                session.out.line(_line(finding), _STYLES[severity])
            if (more := result.findings - SHOWN_MAX) > 0:
                rest = f"{result.rule.id}: {more:,} more; --json or -o report.json has all"
                session.out.line(rest, "bold")


def _line(finding: Finding) -> str:
    first = finding.records[0]
    times = f" ({finding.count:,} records)" if finding.count > 1 else ""
    where = f"{first.execution} {first.seq} (index {first.index})"
    return f"{finding.severity}: {finding.rule}: {where}: {finding.what}{times}"


def _scope(scope: Scope) -> str:
    parts = [] if scope.flow is None else [f"flow {scope.flow}"]
    parts += [] if scope.since is None else [f"since {moment(scope.since)}"]
    parts += [] if scope.until is None else [f"until {moment(scope.until)}"]
    return ", ".join(parts) or "everything"
