"""Files of rules: what is unknown or malformed is refused, with its line and the fix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qflow.audit._patterns import is_flow, is_like
from qflow.audit.compliance import load_rules, parse_rules
from qflow.audit.compliance._rules import KINDS
from qflow.errors import ConfigError
from tests.audit.compliance.histories import rule

TOP = "version = 1\n"


def refused(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_rules(text.encode(), "my.toml")
    return str(caught.value)


def test_the_rules_that_come_with_qflow_are_rules() -> None:
    rules = load_rules()
    assert rules.source == "default"
    assert len(rules.rules) == len({one.id for one in rules.rules}) >= 5


def test_every_kind_can_be_written() -> None:
    needs: dict[str, dict[str, Any]] = {
        "approved-nodes": {"nodes": ["n"]},
        "retention": {"days": 30},
        "forbidden-flow": {"flow": "bank/*"},
        "required-step": {"step": "*/approve"},
    }
    text = TOP + "".join(rule(kind, id=kind, **needs.get(kind, {})) for kind in KINDS)
    assert {one.kind for one in parse_rules(text.encode(), "all.toml").rules} == set(KINDS)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", 1, "version = 1"),
        ("version = 2\n", 1, "version = 1"),
        ("version = true\n", 1, "version = 1"),
        (TOP, 1, r"\[\[rule\]\]"),
        (TOP + "rule = 3\n", 2, r"\[\[rule\]\]"),
        (TOP + "rules = []\n", 2, "unknown 'rules', did you mean 'rule'"),
        (TOP + "[[rule]]\nid = 'a'\n", 2, "no kind; the kinds are"),
        (TOP + "[[rule]]\nkind = 'retension'\n", 3, "did you mean 'retention'"),
        (TOP + "[[rule]]\nkind = 5\n", 3, "unknown kind 5"),
        (TOP + rule("retention"), 2, "'days' is missing"),
        (TOP + rule("forbidden-flow"), 2, "'flow' is missing"),
        (TOP + rule("retention", dayz=3), 6, "unknown field 'dayz', did you mean 'days'"),
        (TOP + rule("retention", days="3"), 6, "'days' is '3'"),
        (TOP + rule("retention", days=-1), 6, "'days' is -1"),
        (TOP + rule("risk-admitted", threshold=101), 6, "<= 100"),
        (TOP + rule("risk-admitted", threshold=True), 6, "'threshold' is True"),
        (TOP + rule("approved-nodes", nodes=[]), 6, "'nodes' is"),
        (TOP + rule("actor-missing", id="A B"), 4, "'id' is 'A B'"),
        (TOP + rule("actor-missing", severity="fatal"), 6, "'severity' is 'fatal'"),
        (TOP + rule("clock-regression", moves=["up"]), 6, "'moves'"),
        (TOP + rule("actor-missing") + rule("actor-missing"), 8, "two rules 'the-rule'"),
        # Rules that no record could break.
        (TOP + rule("actor-missing", types=["exec.*", "exec.creatd"]), 6, "did you mean 'q.qflow"),
        (TOP + rule("separation-of-duties", first=["created"]), 6, "no type 'created'"),
        (TOP + rule("separation-of-duties", second=["exec.resume"]), 6, "no type 'exec.resume'"),
        (TOP + rule("forbidden-flow", flow="bank/pay/1.0.0/x"), 6, "no flow can be"),
        (TOP + rule("actor-missing", flow="bank/"), 6, "no flow can be"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text: str, line: int, words: str) -> None:
    message = refused(text)
    assert message.startswith(f"my.toml:{line}: "), message
    with pytest.raises(ConfigError, match=words):
        parse_rules(text.encode(), "my.toml")


def test_lines_are_right_beside_strings_that_look_like_rules() -> None:
    text = TOP + "rule = [] # [[rule]]\n"
    assert refused(text).startswith("my.toml:2")
    text = (
        TOP + '[[rule]]\nkind = "retention"\ntext = """\n[[rule]]\ndays = 1\n"""\nid = "a"\nx = 1\n'
    )
    assert refused(text).startswith("my.toml:9: ")


def test_what_is_no_toml_or_too_much_is_refused(tmp_path: Path) -> None:
    assert "not TOML" in refused("version =")
    assert "not TOML" in refused("x = " + "[" * 5000)
    assert "longer than" in refused("#" * 300_000)
    many = "".join(rule("actor-missing", id=f"r{number}") for number in range(257))
    assert "256 are allowed" in refused(TOP + many)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_rules(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="not TOML"):
        parse_rules(b"\xff", "bad.toml")


@given(st.text(alphabet="ab*/", max_size=8), st.text(alphabet="ab/", max_size=8))
def test_patterns_mean_what_regular_expressions_would(pattern: str, text: str) -> None:
    import re

    wanted = re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text) is not None
    assert is_like(pattern, text) is wanted


def test_a_pattern_of_many_stars_takes_no_longer() -> None:
    assert not is_like("*a" * 2000 + "b", "a" * 100_000)


def test_flows_are_named_by_one_two_or_three_parts() -> None:
    flow = "bank/pay/1.0.0"
    for pattern in ("*", "pay", "p*", "bank/pay", "*/pay", "bank/*/1.*", flow):
        assert is_flow(pattern, flow)
    for pattern in ("bank", "bank/*/2.*", "pay/1.0.0", "bank/pay/1.0.0/x", ""):
        assert not is_flow(pattern, flow)


def test_a_star_in_brackets_is_a_star_as_in_queries() -> None:
    assert is_like("a[*]", "a*")
    assert not is_like("a[*]", "ab")
    assert is_like("[*]*", "*tail")
    assert is_like("*x[*]y*", "-x*y-")
    assert not is_like("*x[*]y*", "-x-y-")
