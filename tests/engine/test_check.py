from __future__ import annotations

import pytest

from qflow.engine._expressions import EXPRESSIONS_MAX
from tests.engine.flows import flow, load, problem, problems

SET = "- a: {set: {x: 1}}"


# -- names, references, numbers ------------------------------------------------------------


@pytest.mark.holds("E1")
@pytest.mark.parametrize(
    ("tasks", "path", "words"),
    [
        ("- a: {set: {x: 1}}\n- a: {set: {x: 1}}", "/do/0/a", "two tasks"),
        ("- exit: {set: {x: 1}}", "/do/0/exit", "cannot be called"),
        ('- "a\\nb": {set: {x: 1}}', "/do/0/a\nb", "cannot be called"),
        ("- a: {set: {x: 1}, then: b}", "/do/0/a/then", "no task 'b'"),
        ("- a: {do: [{b: {set: {x: 1}, then: a}}]}", "/do/0/a/do/0/b/then", "no task 'a'"),
        ("- task: {switch: [{x: {then: tesk}}]}", "/do/0/task/switch/0/x/then", "'task'"),
        ("- a: {switch: [{x: {then: end}}, {y: {then: exit}}]}", "/do/0/a/switch/1/y", "one case"),
        (
            "- a: {fork: {branches: [{b: {set: {x: 1}, then: c}}, {c: {set: {x: 1}}}]}}",
            "/do/0/a/fork/branches/0/b/then",
            "a branch",
        ),
        ("- a: {raise: {error: gone}}", "/do/0/a/raise/error", "use.errors"),
        ("- a: {try: [], catch: {retry: r}}", "/do/0/a/catch/retry", "use.retries"),
        ("- a: {timeout: t, set: {x: 1}}", "/do/0/a/timeout", "use.timeouts"),
        (
            "- a: {call: http, with: {method: get, endpoint: {uri: 'http://x', "
            "authentication: {use: p}}}}",
            "/do/0/a/with/endpoint/authentication/use",
            "use.authentications",
        ),
        (
            "- a: {call: http, with: {method: get, endpoint: {uri: 'http://x', "
            "authentication: {bearer: {use: s}}}}}",
            "/do/0/a/with/endpoint/authentication/bearer/use",
            "use.secrets",
        ),
        ("- a: {call: f, with: {x: '${ $secrets.key }'}}", "/do/0/a/with/x", "use.secrets"),
        ("- a: {for: {in: .x, each: input}, do: []}", "/do/0/a/for/each", "variable"),
        ("- a: {for: {in: .x, each: i, at: i}, do: []}", "/do/0/a/for", "same name"),
        ("- a: {try: [], catch: {as: 'a b'}}", "/do/0/a/catch/as", "variable"),
        ("- a: {wait: {seconds: -1}}", "/do/0/a/wait", "negative"),
        ("- a: {set: {x: 1}, metadata: {qflow: 3}}", "/do/0/a/metadata/qflow", "object"),
        (
            "- a: {set: {x: 1}, metadata: {qflow: {chekpoint: true}}}",
            "/do/0/a/metadata/qflow/chekpoint",
            "'checkpoint'",
        ),
        (
            "- a: {set: {x: 1}, metadata: {qflow: {checkpoint: 1}}}",
            "/do/0/a/metadata/qflow/checkpoint",
            "true or false",
        ),
        (
            "- a: {set: {x: 1}, metadata: {qflow: {interrupted: retry}}}",
            "/do/0/a/metadata/qflow/interrupted",
            "call and run",
        ),
        (
            "- a: {call: f, metadata: {qflow: {interrupted: no}}}",
            "/do/0/a/metadata/qflow/interrupted",
            "'report'",
        ),
        (
            "- a: {for: {in: .x}, do: [], metadata: {qflow: {concurrency: 257}}}",
            "/do/0/a/metadata/qflow/concurrency",
            "256",
        ),
        (
            "- a: {for: {in: .x}, while: .y, do: [], metadata: {qflow: {concurrency: 2}}}",
            "/do/0/a/metadata/qflow/concurrency",
            "while",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(tasks: str, path: str, words: str) -> None:
    found = problems(flow(tasks))[0]
    assert found.path == path
    assert words in f"{found.message} {found.fix}"


@pytest.mark.parametrize(
    "tasks",
    [
        "- a: {set: {x: 1}, then: c}\n- b: {set: {x: 1}, then: exit}\n- c: {set: {x: 1}, then: b}",
        "- a: {fork: {branches: [{b: {set: {x: 1}, then: exit}}]}}",
        "- a: {call: f, metadata: {qflow: {interrupted: report, checkpoint: true}}}",
        "- a: {for: {in: .x}, do: [], metadata: {qflow: {concurrency: 256}, note: 1}}",
    ],
)
def test_what_makes_sense_is_taken(tasks: str) -> None:
    load(tasks)


@pytest.mark.holds("E1")
@pytest.mark.parametrize(
    ("head", "path"),
    [
        ("schedule: {cron: '* * *'}\n", "/schedule/cron"),
        ("schedule: {cron: '61 * * * *'}\n", "/schedule/cron"),
        ("schedule: {every: PT0S}\n", "/schedule/every"),
        ("schedule: {after: '${ .x }'}\n", "/schedule/after"),
        ("timeout: gone\n", "/timeout"),
        ("use: {retries: {r: {delay: {seconds: -1}}}}\n", "/use/retries/r/delay"),
        ("use: {timeouts: {t: {after: {days: -1}}}}\n", "/use/timeouts/t/after"),
        ("use: {authentications: {a: {basic: {use: s}}}}\n", "/use/authentications/a/basic/use"),
        (
            "use: {authentications: {a: {bearer: {token: '${ $secrets.s }'}}}}\n",
            "/use/authentications/a/bearer/token",
        ),
        ("use: {functions: {f: {call: f}}}\n", "/use/functions/f"),
        ("use: {functions: {f: {set: {x: 1}, then: end}}}\n", "/use/functions/f/then"),
    ],
)
def test_the_flow_itself_is_checked_too(head: str, path: str) -> None:
    assert problem(flow(SET, head)).path == path


def test_functions_that_call_in_a_circle_are_refused() -> None:
    head = "use: {functions: {f: {call: g}, g: {do: [{x: {call: f}}]}, h: {call: f}}}\n"
    assert {item.path for item in problems(flow(SET, head))} == {
        "/use/functions/f",
        "/use/functions/g",
        "/use/functions/h",
    }


def test_python_functions_are_asked_for_by_name() -> None:
    known = {"total"}.__contains__
    load("- a: {call: total}", is_function=known)
    load("- a: {call: f}", "use: {functions: {f: {set: {x: 1}}}}\n", is_function=known)
    found = problem(flow("- a: {call: totel}"), is_function=known)
    assert found.message == "there is no function 'totel'"


# -- expressions ---------------------------------------------------------------------------


@pytest.mark.holds("E1")
@pytest.mark.parametrize(
    ("tasks", "path"),
    [
        ("- a: {if: '.a ==', set: {x: 1}}", "/do/0/a/if"),
        ("- a: {set: {x: ['${ $inptu }']}}", "/do/0/a/set/x/0"),
        ("- a: {set: {x: '${ $output }'}}", "/do/0/a/set/x"),
        ("- a: {set: {x: '${ $secrets.s }'}}", "/do/0/a/set/x"),
        ("- a: {input: {from: $output}, set: {x: 1}}", "/do/0/a/input/from"),
        ("- a: {for: {in: $item}, do: []}", "/do/0/a/for/in"),
        ("- a: {for: {in: .x}, do: []}\n- b: {set: {x: '${ $item }'}}", "/do/1/b/set/x"),
        ("- a: {try: [{b: {set: {x: '${ $error }'}}}], catch: {}}", "/do/0/a/try/0/b/set/x"),
        ("- a: {try: [], catch: {as: e, when: $error}}", "/do/0/a/catch/when"),
        ("- a: {switch: [{x: {when: '$no', then: end}}]}", "/do/0/a/switch/0/x/when"),
        ("- a: {wait: '${ $no }'}", "/do/0/a/wait"),
        ("- a: {timeout: {after: '${ $no }'}, set: {x: 1}}", "/do/0/a/timeout/after"),
        ("- a: {listen: {to: {any: [], until: $no}}}", "/do/0/a/listen/to/until"),
        (
            "- a: {listen: {to: {one: {with: {type: x}, correlate: {k: {from: $no}}}}}}",
            "/do/0/a/listen/to/one/correlate/k/from",
        ),
        (
            "- a: {listen: {to: {any: [], until: {one: {with: {type: '${ $no }'}}}}}}",
            "/do/0/a/listen/to/until/one/with/type",
        ),
        (
            "- a: {run: {workflow: {namespace: a, name: b, version: '1', "
            "input: {x: '${ $secrets }'}}}}",
            "/do/0/a/run/workflow/input/x",
        ),
        (
            "- a: {raise: {error: {type: 'http://x', status: 1, title: '${ $no }'}}}",
            "/do/0/a/raise/error/title",
        ),
        (
            "- a: {emit: {event: {with: {type: x, source: 'http://x', data: '${ $no }'}}}}",
            "/do/0/a/emit/event/with/data",
        ),
    ],
)
def test_expressions_compile_with_what_is_in_scope_and_only_that(tasks: str, path: str) -> None:
    assert problem(flow(tasks)).path == path


def test_what_is_in_scope_is_taken() -> None:
    load(
        """
- a:
    if: $input.x and $context.y and $task.name and $workflow.id and $runtime.name
    input: {from: .x}
    output: {as: $output.x}
    export: {as: '{x: $output}'}
    for: {in: .x, each: order, at: i}
    while: $order.x and $i
    do:
    - b: {set: {x: '${ $order + $i }'}, output: {as: {y: '${ $output.x + $i }'}}}
    - c:
        try:
        - d: {call: f, with: {x: '${ $secrets.key + $order }'}}
        catch:
          as: e
          when: $e.status == 503 and $order
          retry: {when: $e.status, delay: '${ $order.delay }'}
          do: [{g: {set: {x: '${ $e.title }'}}}]
- l:
    listen: {to: {any: [], until: '. | length > 3'}}
    foreach: {item: it, at: n, output: {as: $it}, export: {as: $output}, do: [
      {p: {set: {x: '${ [$it, $n] }'}}}]}
- r: {run: {script: {language: python, code: print(1), arguments: ['${ $secrets.key }']}}}
- j: {set: {x: '${ .a as $y | $y }'}}
""",
        "use: {secrets: [key]}\n",
    )


def test_an_unknown_variable_is_told_with_what_is_near() -> None:
    assert problem(flow("- a: {set: {x: '${ $inptu }'}}")).fix == "did you mean 'input'?"
    found = problem(flow("- a: {set: {x: '${ $secrets.s }'}}"))
    assert found.fix is not None
    assert "where a runner evaluates" in found.fix


def test_a_retry_policy_by_name_sees_the_error_as_its_user_calls_it() -> None:
    head = "use: {retries: {r: {when: $e.status}, unused: {when: $error.status}}}\n"
    load("- a: {try: [], catch: {as: e, retry: r}}", head)
    assert problem(flow("- a: {try: [], catch: {retry: r}}", head)).path == "/use/retries/r/when"


def test_expressions_are_bounded_in_number_and_length() -> None:
    tasks = "\n".join(f"- a{i}: {{set: {{x: '${{ .a{i} }}'}}}}" for i in range(EXPRESSIONS_MAX + 1))
    assert f"more than {EXPRESSIONS_MAX} expressions" in problem(flow(tasks)).message
    assert "longer than" in problem(flow(f"- a: {{set: {{x: '${{ .{'x' * 20_000} }}'}}}}")).message
