"""Hostile expressions are cut off, by count: in bounded time and memory, the same everywhere."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from typing import Any

import pytest

from qflow._core import Expression
from qflow.errors import ExpressionError
from tests.core.vectors import load_lines

CPU_S_MAX = 1.0
MEMORY_MIB_MAX = 100

# Sources that are hostile to whoever compiles them, by their size.
NESTED = {
    "parentheses": "(" * 8000 + "1" + ")" * 8000,
    "brackets": "[" * 8000 + "]" * 8000,
    "objects": "{a:" * 4000 + "1" + "}" * 4000,
    "minus": "-" * 16000 + "1",
    "pipes": ".|" * 8000 + ".",
    "sums": "1+" * 8000 + "1",
    "try": "try " * 4000 + "1",
    "path": ".a" * 7000,
    "slices": ".[0]" * 4000,
    "labels": "label $a|" * 1700 + "1",
    "bindings": "1 as $x|" * 1900 + "1",
    "texts": '"\\(' * 2700 + "1" + ')"' * 2700,
    "branches": "if . then 1 " + "elif . then 1 " * 1100 + "else 2 end",
    "conditions": "if 1 then " * 1100 + "1" + " end" * 1100,
    "definitions": "def f: " * 1600 + "1" + "; f" * 1600,
    "patterns": ". as [" + "[" * 7000 + "$a" + "]" * 7000 + "] | 1",
    "folds": "reduce 1 as $x (" * 800 + "1" + ";1)" * 800,
    "members": "{" + ",".join(f"k{number}:1" for number in range(1500)) + "}",
    "items": "[" + ",".join("1" * 3000) + "]",
    "alternatives": "//".join(["null"] * 3000),
    "definitions in a row": "def f: 1; " * 1500 + "f",
    "unclosed": "(" * 16000,
    "long": "1" * 20_000,
}

PROBE = """
import json, resource, sys, time
from qflow._core import Expression
from qflow.errors import ExpressionError
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
limit = used + int(sys.argv[1]) * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for line in sys.stdin:
    began = time.process_time()
    try:
        Expression(json.loads(line), ()).evaluate({"a": [1, 2, 3]}, {})
        answer = "done"
    except ExpressionError as error:
        answer = str(error)[-80:]
    print(json.dumps([time.process_time() - began, answer]), flush=True)
"""


def probe(sources: list[str]) -> list[tuple[float, str]]:
    """(seconds of CPU, answer) for each, in a process that may take 100 MiB more than at start."""
    run = subprocess.run(
        [sys.executable, "-c", PROBE, str(MEMORY_MIB_MAX)],
        input="\n".join(map(json.dumps, sources)),
        capture_output=True,
        text=True,
        check=False,
    )
    answers = [tuple(json.loads(line)) for line in run.stdout.splitlines()]
    if run.returncode:
        pytest.fail(f"{run.returncode} at {sources[len(answers)]:.80}: {run.stderr[-300:]}")
    return answers


@pytest.mark.holds("E4")
def test_hostile_expressions_end_in_time_and_memory() -> None:
    sources = load_lines("hostile.jq")
    answers = probe(sources)
    slow = {
        source: answer
        for source, answer in zip(sources, answers, strict=True)
        if answer[0] >= CPU_S_MAX
    }
    assert not slow
    assert sum("it takes more than" in answer for _, answer in answers) > 80


@pytest.mark.holds("E4")
def test_hostile_sources_are_refused_in_time_and_memory() -> None:
    answers = probe(list(NESTED.values()))
    for name, (seconds, answer) in zip(NESTED, answers, strict=True):
        assert seconds < CPU_S_MAX, name
        assert answer != "done", name


@pytest.mark.holds("E4")
@pytest.mark.parametrize(
    ("source", "bound"),
    [
        ("[range(1e12)]", "memory|steps"),
        ("def f: f; f", "steps"),
        ("def f: 1 + f; f", "calls itself too deeply"),
        ("def f: [f]; f", "calls itself too deeply"),
        ("repeat(1) | select(false)", "steps"),
        ('"x" * 1e9', "memory"),
        ("reduce range(200) as $i (1; [.])", "nested more than 128"),
        ("[foreach range(1e9) as $x (0; ., . + 1)]", "unfinished"),
        ("def f(g): f(g | g); f(.)", "takes functions and calls itself"),
    ],
)
@pytest.mark.parametrize("form", ["{}", "try ({}) catch 1", "({})?", "[.[]?, ({})]", "first({})"])
def test_no_expression_catches_its_own_overrun(source: str, bound: str, form: str) -> None:
    with pytest.raises(ExpressionError, match=bound):
        Expression(form.format(source), ()).evaluate(None, {})


@pytest.mark.holds("E3", "E4")
def test_an_overrun_comes_at_the_same_step_each_time() -> None:
    def runs(count: int) -> bool:
        try:
            Expression(f"last(range({count}))", ()).evaluate(None, {})
        except ExpressionError:
            return False
        return True

    low, high = 1, 10_000_000
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if runs(middle) else (low, middle)
    # A number that moves is a change of what old histories replay to.
    assert low == BOUND
    assert all(runs(low) for _ in range(3))
    assert not any(runs(high) for _ in range(3))


BOUND = 999_992


@pytest.mark.holds("E4")
def test_ordinary_work_is_far_from_the_bounds() -> None:
    orders = [
        {"id": number, "customer": f"c{number % 97}", "total": number * 1.5, "paid": True}
        for number in range(5_000)
    ]
    source = """
      group_by(.customer)
      | map({customer: .[0].customer, n: length, total: (map(.total) | add)})
      | sort_by(-.total)
      | {top: .[:3], report: map("\\(.customer): \\(.total)") | join("\\n")}
    """
    answer: Any = Expression(source, ()).evaluate(orders, {})
    assert len(answer["top"]) == 3
    assert answer["report"].count("\n") == 96


@pytest.mark.holds("E4")
@pytest.mark.parametrize(
    "source",
    [
        "def f: 1 + f; f",
        "def f: [f]; f",
        "def f: {a: f}; f",
        "def f: try f catch f; f",
        "def f: f as [$a] | $a; f",
        "def f: reduce f as $x (0; f); f",
        "def f: .a |= f; f",
        "def f: path(f); f",
        "def f: first(f); f",
        "def f: limit(3; f); f",
        "def f: [.[]? | f] | sort_by(f); f",
        "def f: if f then f else f end; f",
        'def f: "\\(f)"; f',
        "def f: label $x | f | break $x; f",
        "path(repeat(.a))",
        "first(path(repeat(.a)) | select(false))",
        "reduce range(127) as $i (1; [.]) | [.., .] | tojson | fromjson | . == .",
        "|".join([".a"] * 120),
    ],
)
def test_recursion_fits_a_small_stack(source: str) -> None:
    ended: list[str] = []

    def work() -> None:
        try:
            Expression(source, ()).evaluate(None, {})
            ended.append("done")
        except ExpressionError as error:
            ended.append(str(error))

    before = threading.stack_size(4 * 1024 * 1024)
    try:
        thread = threading.Thread(target=work)
        thread.start()
    finally:
        threading.stack_size(before)
    thread.join()
    assert len(ended) == 1
