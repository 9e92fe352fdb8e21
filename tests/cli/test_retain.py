"""Holds, erasure and retention by commands: on the files of a home, and on a node that runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal
from typer.testing import Result

from qflow import audit
from qflow.api import serve, socket_path
from qflow.cli import _retain
from qflow.cli._exit import Refusal
from qflow.cli._when import time_ms
from qflow.config import Config
from qflow.node import Node

Run = Callable[..., Result]
SECRET = "marker-of-a-person"
FLOW = {
    "document": {"dsl": "1.0.3", "namespace": "shop", "name": "order", "version": "1.0.0"},
    "do": [{"a": {"set": "${ . }"}}],
}


@pytest.fixture(params=["files", "node"])
def ids(request: pytest.FixtureRequest, home: Path, qflow: Run) -> Iterator[list[str]]:
    """Two finished executions in the home, and perhaps a node that runs there."""
    path = home.parent / "flow.json"
    path.write_text(json.dumps(FLOW))
    for n in range(2):
        ran = qflow("run", str(path), "--input", json.dumps({"name": f"{SECRET}-{n}"}))
        assert ran.exit_code == 0, ran.stderr
    found = [item["id"] for item in json.loads(qflow("list", "--json").stdout)]
    if request.param == "files":
        yield found
        return
    with start_blocking_portal() as portal:
        node = portal.wrap_async_context_manager(Node(Config(home=home)))
        with node as here, portal.wrap_async_context_manager(serve(here, socket_path(home))):
            yield found


def lines(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.mark.holds("H21")
def test_what_is_held_is_not_erased_and_what_is_erased_still_verifies(
    qflow: Run, home: Path, ids: list[str]
) -> None:
    newer, older = ids
    ((held,)) = lines(qflow("audit", "hold", "--flow", "shop/*", "--reason", "case 4711", "--json"))
    assert (held["status"], held["durable"]) == ("held", True)
    name = held["hold"]["id"]
    refused = qflow("audit", "erase", older, "--reason", "asked", "--yes")
    assert refused.exit_code == 4
    assert f"legal hold {name}: case 4711" in refused.stderr
    assert "qflow audit holds" in refused.stderr
    found = qflow("audit", "holds").stdout
    assert "flow shop/*" in found
    assert "case 4711" in found
    assert qflow("audit", "release", name[:16], "--reason", "over").exit_code == 0
    assert qflow("audit", "holds").stdout == ""
    (erased,) = lines(qflow("audit", "erase", older, "--reason", "asked", "--yes", "--json"))
    assert erased == {"execution": older, "erased": True, "durable": True}
    assert "erased" in qflow("show", older).stdout
    assert json.loads(qflow("show", older, "--json").stdout)["payloads"] == "erased"
    shown = qflow("logs", older, "--payloads").stdout
    assert "(erased)" in shown
    assert SECRET not in shown
    assert SECRET in qflow("show", newer).stdout
    report = audit.verify(home / "log", home / "node.pub")
    assert report.ok, report


def test_rules_say_what_they_would_do_and_do_it(qflow: Run, home: Path, ids: list[str]) -> None:
    command = ("audit", "retain", "--flow", "shop/*", "--payloads-days", "0")
    (held,) = lines(qflow("audit", "hold", "--execution", ids[0][:20], "--reason", "x", "--json"))
    dry = lines(qflow(*command, "--dry-run", "--json"))
    assert [(step["what"], step.get("execution")) for step in dry] == [
        ("held", ids[0]),
        ("erase", ids[1]),
        ("summary", None),
    ]
    assert held["hold"]["id"] in dry[0]["why"]
    assert "payloads 0 days" in dry[1]["why"]
    assert SECRET in qflow("show", ids[1]).stdout
    told = qflow(*command, "--dry-run")
    assert "would erase the payloads of 1 execution" in told.stderr
    assert lines(qflow(*command, "--yes", "--json")) == dry
    assert "erased" in qflow("show", ids[1]).stdout
    assert SECRET in qflow("show", ids[0]).stdout
    (nothing,) = lines(qflow("audit", "retain", "--yes", "--json"))
    assert nothing == {"what": "summary", "done": 0, "whole": 2}


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("hold", "--reason", "x"), 2, "a hold says what it covers"),
        (("hold", "--reason", "x", "--since", "soon"), 2, "is no time"),
        (("hold", "--flow", "x", "--reason", " "), 2, "the reason is empty"),
        (("hold", "--execution", "0000", "--reason", "x"), 3, "no execution"),
        (("release", "zz", "--reason", "x"), 3, "hint: qflow audit holds"),
        (("release", "zz", "--reason", "x"), 3, "no hold begins with"),
        (("release", "", "--reason", "x"), 2, "the hold is empty"),
        (("release", "zz", "--reason", ""), 2, "the reason is empty"),
        (("hold", "--flow", "", "--reason", "x"), 2, "the flow is empty"),
        (("hold", "--actor", "", "--reason", "x"), 2, "the actor is empty"),
        (("hold", "--execution", "", "--reason", "x"), 2, "the execution is empty"),
        (("hold", "--flow", "x", "--reason", "\udcff"), 2, "the reason is no UTF-8"),
        (("hold", "--flow", "\udcff", "--reason", "x"), 2, "the flow is no UTF-8"),
        (("erase", "0", "--yes", "--reason", ""), 2, "the reason is empty"),
        (("erase", "0", "--yes", "--reason", "\udcff"), 2, "the reason is no UTF-8"),
        (("erase", "0000", "--yes", "--reason", "x"), 3, "no execution"),
        (("retain", "--flow", "x"), 2, "how long?"),
        (("retain", "--status", "over", "--payloads-days", "1"), 2, "completed, faulted, aborted"),
        (("retain", "--status", "", "--payloads-days", "1"), 2, "--status: '' is none"),
        (("retain", "--flow", "", "--payloads-days", "0"), 2, "the flow is empty"),
        (("retain", "--payloads-days", "nan"), 2, "is no number of days"),
        (("retain", "--records-days", "inf"), 2, "is no number of days"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(
    qflow: Run, ids: list[str], arguments: tuple[str, ...], code: int, says: str
) -> None:
    result = qflow("audit", *arguments)
    assert (result.exit_code, says in result.stderr) == (code, True), result.stderr
    assert len(result.stderr.splitlines()) <= 3
    assert qflow("audit", "holds", "--json").stdout == "[]\n"


def test_a_home_without_a_history_has_nothing_to_hold(qflow: Run, home: Path) -> None:
    result = qflow("audit", "holds")
    assert result.exit_code == 3
    assert "no node ever ran there" in result.stderr


def test_times_of_a_hold_are_local_unless_they_say_otherwise(home: Path) -> None:
    assert time_ms("2026-01-02T03:04:05+00:00", "--since") == 1_767_323_045_000
    assert time_ms("2026-01-02T03:04:05Z", "--since") == 1_767_323_045_000
    assert time_ms(None, "--since") is None
    with pytest.raises(Refusal):
        time_ms("2026-13-01", "--since")


def test_a_person_is_asked_before_anything_goes(
    qflow: Run, ids: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("audit", "retain", "--payloads-days", "0")
    monkeypatch.setattr(_retain, "is_asked", lambda _: True)
    asked = qflow(*command, input="n\n")
    assert "erase the payloads of 2 executions?" in asked.stderr
    assert SECRET in qflow("show", ids[0]).stdout
    asked = qflow("audit", "erase", ids[0], "--reason", "x", input="n\n")
    assert "for good?" in asked.stderr
    assert SECRET in qflow("show", ids[0]).stdout
    assert qflow(*command, input="y\n").exit_code == 0
    assert "erased" in qflow("show", ids[0]).stdout
    assert "nothing is due" in qflow(*command).stderr
    assert qflow("audit", "erase", ids[1], "--reason", "again", "--yes").exit_code == 0


def test_nothing_goes_when_nobody_can_say_yes(qflow: Run, ids: list[str]) -> None:
    for command in (
        ("audit", "erase", ids[0], "--reason", "x"),
        ("audit", "retain", "--payloads-days", "0"),
        ("keys", "rotate", "--forget"),
    ):
        for options, typed in (((), "y\n"), ((), ""), (("--json",), None)):
            refused = qflow(*command, *options, input=typed)
            assert (refused.exit_code, refused.stdout) == (2, ""), command
            assert "--yes" in refused.stderr
    assert SECRET in qflow("show", ids[0]).stdout
    assert SECRET in qflow("show", ids[1]).stdout
    assert json.loads(qflow("keys", "show", "--json").stdout)["epoch"] == 0


def test_what_was_erased_already_is_said_with_when_and_by_whom(qflow: Run, ids: list[str]) -> None:
    assert qflow("audit", "erase", ids[0], "--reason", "first", "--yes").exit_code == 0
    again = qflow("audit", "erase", ids[0], "--reason", "second", "--yes")
    assert again.exit_code == 0
    assert f"{ids[0]} was erased already, 20" in again.stdout
    assert again.stdout.endswith(": first\n")
    assert "nothing was put on record" in again.stderr
    (told,) = lines(qflow("audit", "erase", ids[0], "--reason", "third", "--yes", "--json"))
    assert (told["execution"], told["erased"]) == (ids[0], True)
    assert told["already"].endswith(": first")
