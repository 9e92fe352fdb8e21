"""A report as one page for a person: no scripts, nothing loaded, whatever names stand in it."""

from __future__ import annotations

import html
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib import resources
from typing import Final

import msgspec

from qflow.audit.compliance._evaluate import Result
from qflow.audit.compliance._finding import Finding, Named, short_type
from qflow.audit.compliance._report import Report
from qflow.audit.compliance._rules import SEVERITIES, Rule

SHOWN_MAX: Final = 500
"""Findings of a rule on the page; it says how many more there are, and where."""

_HEAD: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<main>
"""


def report_page(report: Report, findings: Iterable[Finding], receipts: Iterable[int]) -> str:
    """The page of a report, all of its findings, and the indexes of the records with receipts."""
    style = resources.files("qflow.audit.compliance").joinpath("report.css").read_text("utf-8")
    shown: dict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        if len(shown[finding.rule]) < SHOWN_MAX:
            shown[finding.rule].append(finding)
    proven = frozenset(receipts)
    parts = [
        _HEAD.format(title=f"Compliance report {_text(report.id)}", style=style),
        _header(report),
        _judged(report),
        _rules(report),
        *(_findings(result, shown[result.rule.id], proven) for result in _worst_first(report)),
        _footer(report),
        "</main>\n</body>\n</html>\n",
    ]
    return "".join(parts)


def _header(report: Report) -> str:
    counts = report.by_severity
    kind = "good" if report.ok else "error"
    title = "No errors were found" if report.ok else f"{_number(counts['error'], 'error')} found"
    cards = [(counts[name], _plural(counts[name], name), name) for name in SEVERITIES]
    cards += [(report.outcome.executions, _plural(report.outcome.executions, "execution"), "")]
    cards += [(report.outcome.size - report.outcome.first, "records read, all of them", "")]
    return (
        f'<header>\n<div class="over">Compliance report</div>\n<h1 class="{kind}">{title}</h1>\n'
        f"<p>{_text(report.origin)}, made {_time(report.made_at)}</p>\n</header>\n"
        '<div class="cards">\n'
        + "".join(
            f'<div class="card {style if count else ""}"><b>{count:,}</b>'
            f"<span>{_text(name)}</span></div>\n"
            for count, name, style in cards
        )
        + "</div>\n"
    )


def _judged(report: Report) -> str:
    outcome, scope = report.outcome, report.scope
    root = report.head.split("\n")[2]
    times = [f"from {_time(scope.since)}"] if scope.since is not None else []
    times += [f"before {_time(scope.until)}"] if scope.until is not None else []
    running = outcome.executions - outcome.over
    records = f"{outcome.size - outcome.first:,}, from number {outcome.first:,} on: all that"
    fields = [
        ("Flows", "all" if scope.flow is None else _code(scope.flow)),
        ("Time", " ".join(times) or "all"),
        ("Executions", f"{outcome.executions:,}: {outcome.over:,} over, {running:,} not"),
        ("Records", f"{records} the log holds under its head"),
        ("Head", f"{outcome.size:,} records, root {_code(root)}"),
        ("Node", _code(report.node)),
        ("Subnet", _code(report.subnet)),
        ("Rules", f"{_text(report.rules_from)}, SHA-256 {_code(report.rules_sha256)}"),
        ("Report", _code(report.id)),
    ]
    rows = "".join(f"<dt>{name}</dt><dd>{value}</dd>\n" for name, value in fields)
    return f"<h2>What was judged</h2>\n<dl>\n{rows}</dl>\n"


def _rules(report: Report) -> str:
    head = "".join(
        f"<th{' class=number' if name in _COUNTS else ''}>{name}</th>"
        for name in ("Rule", "Severity", *_COUNTS)
    )
    rows = "".join(map(_rule, report.results))
    return (
        f'<h2>Rules</h2>\n<div class="wide"><table>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{rows}</tbody>\n</table></div>\n"
        '<p class="small">Each chain that a rule is about is counted once: passed, failed, or not'
        " judged, with the reason.</p>\n"
    )


_COUNTS: Final = ("Passed", "Failed", "Not judged", "Findings")


def _rule(result: Result) -> str:
    rule, not_judged = result.rule, sum(result.not_applicable.values())
    why = "".join(
        f'<div class="small">{count:,} not judged: {_text(reason)}</div>'
        for reason, count in result.not_applicable.items()
    )
    counts = (result.passed, result.failed, not_judged, result.findings)
    cells = "".join(f"<td class=number>{count:,}</td>" for count in counts)
    return (
        f'<tr><td class="what">{_link(result)} '
        f'<span class="small">{_text(rule.kind)}{_parameters(result)}</span>'
        f"<div>{_text(rule.text)}</div>{why}</td>"
        f"<td>{_mark(rule.severity)}</td>{cells}</tr>\n"
    )


def _link(result: Result) -> str:
    name = f'<b class="id">{_text(result.rule.id)}</b>'
    return f'<a href="#{_text(result.rule.id)}">{name}</a>' if result.findings else name


def _parameters(result: Result) -> str:
    """What the rule asks for otherwise than by default, as a person would say it."""
    rule = result.rule
    given = msgspec.to_builtins(rule)
    usual = dict(zip(rule.__struct_fields__, _usual(rule), strict=True))
    said = [
        f"{name}: {_value(given[name])}"
        for name in rule.__struct_fields__
        if name not in ("id", "text", "severity") and getattr(rule, name) != usual[name]
    ]
    return "".join(f"; {_text(item)}" for item in said)


def _usual(rule: Rule) -> tuple[object, ...]:
    defaults = rule.__struct_defaults__
    return (msgspec.NODEFAULT,) * (len(rule.__struct_fields__) - len(defaults)) + defaults


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _worst_first(report: Report) -> list[Result]:
    found = [result for result in report.results if result.findings]
    return sorted(found, key=lambda result: SEVERITIES.index(result.rule.severity))


def _findings(result: Result, shown: list[Finding], proven: frozenset[int]) -> str:
    more = result.findings - len(shown)
    rest = (
        f'<p class="more">{more:,} more findings of this rule are in the report itself; this page'
        f" shows the first {len(shown):,}.</p>\n"
        if more
        else ""
    )
    rows, rule = "".join(_finding(finding, proven) for finding in shown), result.rule
    return (
        f'<h3 id="{_text(rule.id)}">{_mark(rule.severity)} <span class="id">{_text(rule.id)}</span>'
        f": {_number(result.findings, 'finding')}</h3>\n<p>{_text(rule.text)}</p>\n"
        '<div class="wide"><table>\n<thead><tr><th>When (UTC)</th><th>What was found</th>'
        f"<th>Records</th></tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n{rest}"
    )


def _finding(finding: Finding, proven: frozenset[int]) -> str:
    named, last = "", ""
    for record in finding.records:
        # Mostly they are of one execution, which is named once.
        named += "" if record.execution == last else f"{_code(record.execution)}\n"
        named, last = named + _named(record, proven), record.execution
    times = f" ({finding.count:,} records)" if finding.count > 1 else ""
    open_ = "" if finding.judged else ' <span class="small">(could not be judged)</span>'
    return (
        f'<tr><td class="time">{_time(finding.at, zone=False)}</td><td class="what">'
        f'{_text(finding.what)}{times}{open_}<div class="small">{_text(finding.flow)}</div></td>'
        f'<td class="who">{named}</td></tr>\n'
    )


def _named(record: Named, proven: frozenset[int]) -> str:
    mark = ' <span class="mark good">receipt</span>' if record.index in proven else ""
    return (
        f'<div class="small">{record.seq:,}: {_text(short_type(record.type))} by'
        f" {_text(record.actor) or 'nobody'}, log index {record.index:,}{mark}</div>"
    )


def _footer(report: Report) -> str:
    return (
        "<h2>How to check this</h2>\n"
        "<p>This page is a rendering. The report is signed by the node&#39;s key and names the"
        " signed head of the log that it is about. Whoever has the public key can check the"
        " report, and the log:</p>\n"
        f"<pre>qflow audit report {_text(report.id)} -o report.json\n"
        "qflow audit check-report report.json --key node.pub\n"
        "qflow audit verify --key node.pub</pre>\n"
        "<footer>Findings follow from the types, decisions and numbers in the records, never from"
        " words in them. A report says what the records under its head show; it cannot speak of"
        " what was never recorded, nor of a clock that was set while no node ran.</footer>\n"
    )


def _mark(severity: str) -> str:
    return f'<span class="mark {severity}">{severity}</span>'


def _code(text: str) -> str:
    return f"<code>{_text(text)}</code>"


def _time(at_ms: int, *, zone: bool = True) -> str:
    try:
        moment = datetime.fromtimestamp(at_ms / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return f"{at_ms} ms since 1970"
    return moment.strftime("%Y-%m-%d %H:%M:%S") + (" UTC" if zone else "")


def _number(count: int, word: str) -> str:
    return f"{count:,} {_plural(count, word)}"


def _plural(count: int, word: str) -> str:
    return word if count == 1 else word + "s"


def _text(text: str) -> str:
    """Text that is text in HTML: no markup, and nothing that hides or turns round what follows."""
    shown = "".join(
        letter if letter == " " or unicodedata.category(letter)[0] not in "CZ" else _escaped(letter)
        for letter in text
    )
    return html.escape(shown)


def _escaped(letter: str) -> str:
    return f"\\u{{{ord(letter):x}}}"
