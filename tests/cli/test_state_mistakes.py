"""What people get wrong about checkpoints: names, consent, and another one than was named."""

from __future__ import annotations

import pytest

from tests.cli.test_checkpoint import carried, damage, other, qflow, waiting
from tests.cli.test_processes import Home

__all__ = ["other", "qflow"]


def test_nothing_is_deleted_when_nobody_can_say_yes(qflow: Home) -> None:
    execution = waiting(qflow, "a", "b", "c")
    before = qflow.json("checkpoint", "list")
    for command in (
        ("state", "delete", execution),
        ("checkpoint", "prune", "--keep", "1", "--labelled"),
    ):
        for options, typed in (((), "n\n"), ((), "y\n"), ((), ""), (("--json",), None)):
            refused = qflow(*command, *options, code=2, input=typed)
            assert "--yes" in refused.stderr
            assert refused.stdout == ""
    assert qflow.json("checkpoint", "list") == before
    prune = ("checkpoint", "prune", "--keep", "1", "--labelled")
    assert len(qflow.json(*prune, "--dry-run")["deleted"]) == 2
    qflow(*prune, "--yes")
    qflow("state", "delete", execution, "--yes")
    assert qflow.json("checkpoint", "list") == []


@pytest.mark.holds("S8")
@pytest.mark.parametrize("running", [False, True])
def test_another_checkpoint_than_the_one_named_is_taken_only_when_that_is_said(
    qflow: Home, other: Home, running: bool
) -> None:
    execution = waiting(qflow, "early", "late")
    newest, older = (item["cid"] for item in qflow.json("checkpoint", "list", execution))
    carried(qflow, other, newest, older)
    damage(other, newest)
    if running:
        with other.serving():
            _refused_then_taken(other, execution, newest, older)
    else:
        _refused_then_taken(other, execution, newest, older)


def _refused_then_taken(other: Home, execution: str, newest: str, older: str) -> None:
    for name in (newest, newest[:20], "late"):
        for options in ((), ("--dry-run",)):
            refused = other("checkpoint", "restore", name, *options, code=1)
            assert f"checkpoint {newest} is not good" in refused.stderr
            assert f"--or-older takes {older}" in refused.stderr
    assert other.json("list") == []
    dry = other("checkpoint", "restore", execution, "--dry-run")
    assert f"{newest} is not good: the older {older} would be taken" in dry.stderr
    done = other("checkpoint", "restore", "late", "--or-older", "--json")
    assert f"{newest} is not good: the older {older} is taken" in done.stderr
    assert f'"asked":"{newest}","taken":"{older}"' in done.stdout
    assert [item["id"] for item in other.json("list")] == [execution]


def test_a_good_one_that_is_named_is_what_is_taken(qflow: Home, other: Home) -> None:
    execution = waiting(qflow, "early", "late")
    newest, older = (item["cid"] for item in qflow.json("checkpoint", "list", execution))
    carried(qflow, other, newest, older)
    damage(other, newest)
    done = other.json("checkpoint", "restore", "early")
    assert (done["asked"], done["taken"], done["refused"]) == (older, older, [])


def test_an_unknown_name_is_said_alike_by_every_command(qflow: Home) -> None:
    waiting(qflow, "a")
    out = ("--out", str(qflow.flows / "x.car"))
    for name in ("nope", "0000zz", "bafyreiaaaaaaaaaaaaaaaa"):
        for command in (
            ("state", "show"), ("state", "history"), ("state", "delete", "--yes"),
            ("state", "verify"), ("state", "export", *out), ("checkpoint", "show"),
            ("checkpoint", "restore"), ("checkpoint", "prune", "--yes"),
        ):  # fmt: skip
            refused = qflow(*command, name, code=3)
            said = f"error: no checkpoint or execution is known by '{name}'\nhint: qflow "
            assert refused.stderr.startswith(said), (command, refused.stderr)
    with qflow.serving():
        assert "is known by 'nope'" in qflow("state", "history", "nope", code=3).stderr


def test_a_label_is_one_line_without_control_characters(qflow: Home) -> None:
    execution = waiting(qflow)
    for label in ("two\nlines", "\x1b[2Jx", "a\tb", "x\r", "x\u2028y"):
        refused = qflow("checkpoint", "create", execution, "--label", label, code=2)
        assert "control character" in refused.stderr
    assert qflow.json("checkpoint", "list") == []
    text = "first\nstatus      completed\x1b[2J"
    qflow("checkpoint", "create", execution, "--label", "fine — ünï", "--description", text)
    shown = qflow("checkpoint", "show", execution).stdout
    assert "about       first\\x0astatus      completed\\x1b[2J\n" in shown
    assert qflow.json("checkpoint", "show", execution)["checkpoint"]["description"] == text
