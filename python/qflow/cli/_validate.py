"""Checking flows without running them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qflow.cli._exit import FAILED, OK, printable
from qflow.cli._input import all_functions, read_flow
from qflow.cli._output import plural
from qflow.errors import FlowError

if TYPE_CHECKING:
    from qflow.cli._session import Session
    from qflow.node import Node


def validate(session: Session, files: list[Path], functions: list[Path]) -> int | None:
    """Print the findings of each file on stdout. Exit code 1 when there are any."""
    from qflow.node import Node

    node = Node(session.config, functions=all_functions(session, functions))
    reports = [_check(file, node) for file in files]
    invalid = sum(not report["valid"] for report in reports)
    if session.out.json:
        session.out.document(reports)
        return FAILED if invalid else OK
    for report in reports:
        if report["valid"]:
            session.out.line(f"{report['file']}: valid ({report['flow']})")
        for problem in report["problems"]:
            session.out.line(printable(problem["text"]))
    if invalid:
        session.out.note(f"{invalid} of {plural(len(files), 'file')} invalid", "red")
    return FAILED if invalid else OK


def _check(file: Path, node: Node) -> dict[str, Any]:
    from qflow.api import to_plain

    report: dict[str, Any] = {"file": str(file), "valid": False, "flow": None, "problems": []}
    try:
        flow = node.validate(read_flow(file))
    except FlowError as error:
        report["problems"] = [
            {**to_plain(problem), "text": str(problem)} for problem in error.problems
        ] or [{"message": str(error), "text": f"{file}: {error}"}]
        return report
    return {**report, "valid": True, "flow": flow.key}
