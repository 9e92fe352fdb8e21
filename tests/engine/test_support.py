from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qflow.engine import _tasks, _walk
from qflow.engine._check import DIRECTIVES
from qflow.engine._support import REFUSED, SUPPORTED
from tests.engine.flows import flow, load, problem

ROOT = Path(__file__).resolve().parent.parent.parent
HTTP = "call: http, with: {method: get, endpoint: "

REFUSALS = [
    ("call: asyncapi", "- a: {call: asyncapi, with: {document: {endpoint: 'http://x'}, "
     "operation: o, message: {}}}", ""),
    ("call: grpc", "- a: {call: grpc, with: {proto: {endpoint: 'file://x'}, "
     "service: {name: s, host: h}, method: m}}", ""),
    ("call: a2a", "- a: {call: a2a, with: {method: message/send, server: 'http://x'}}", ""),
    ("call: mcp", "- a: {call: mcp, with: {method: tools/list, "
     "transport: {stdio: {command: x}}}}", ""),
    ("call of a function by URL", "- a: {call: 'https://x/function.yaml'}", ""),
    ("call of a function from a catalog", "- a: {call: 'f:1.0.0@catalog'}", ""),
    ("run: container", "- a: {run: {container: {image: x}}}", ""),
    ("run: shell", "- a: {run: {shell: {command: x}}}", ""),
    ("run: script in another language than python",
     "- a: {run: {script: {language: javascript, code: x}}}", ""),
    ("run: script with code from an expression",
     "- a: {run: {script: {language: python, code: '${ .x }'}}}", ""),
    ("run: script that is not awaited",
     "- a: {run: {script: {language: python, code: x}, await: false}}", ""),
    ("an external resource that is not a file",
     "- a: {run: {script: {language: python, source: {endpoint: 'https://x/y.py'}}}}", ""),
    ("an external resource that is not a file", "- a: {set: {x: 1}}",
     "input: {schema: {resource: {endpoint: 'https://x/y'}}}\n"),
    ("authentication: oauth2", "- a: {set: {x: 1}}",
     "use: {secrets: [s], authentications: {p: {oauth2: {use: s}}}}\n"),
    ("authentication: oidc",
     "- a: {call: openapi, with: {document: {endpoint: 'http://x'}, operationId: o, "
     "authentication: {oidc: {use: s}}}}", ""),
    ("use.catalogs", "- a: {set: {x: 1}}", "use: {catalogs: {c: {endpoint: 'http://x'}}}\n"),
    ("use.extensions", "- a: {set: {x: 1}}", "use: {extensions: [{e: {extend: all}}]}\n"),
    ("schedule.on", "- a: {set: {x: 1}}", "schedule: {on: {one: {with: {type: x}}}}\n"),
    ("more than one kind of schedule", "- a: {set: {x: 1}}",
     "schedule: {every: PT1S, cron: '* * * * *'}\n"),
    ("listen with read: raw", "- a: {listen: {to: {any: []}, read: raw}}", ""),
    ("options of a backoff",
     "- a: {try: [], catch: {retry: {backoff: {exponential: {factor: 3}}}}}", ""),
    ("options of a backoff", "- a: {set: {x: 1}}",
     "use: {retries: {r: {backoff: {constant: {x: 3}}}}}\n"),
    ("run.return of a workflow",
     "- a: {run: {workflow: {namespace: a, name: b, version: '1'}, return: all}}", ""),
    ("a schema format other than json",
     "- a: {input: {schema: {format: avro, document: {}}}, set: {x: 1}}", ""),
    ("a URI template with operators", f"- a: {{{HTTP}'http://x/{{?q}}'}}}}", ""),
    ("an endpoint that is not http or https", f"- a: {{{HTTP}{{uri: 'ftp://x'}}}}}}", ""),
]  # fmt: skip


@pytest.mark.holds("E1")
@pytest.mark.parametrize(("feature", "tasks", "head"), REFUSALS)
def test_what_is_not_supported_is_refused_by_name(feature: str, tasks: str, head: str) -> None:
    found = problem(flow(tasks, head))
    assert f"{feature} is not supported" in found.message
    assert found.fix == REFUSED[feature]
    assert found.line is not None


def test_every_refusal_has_its_test() -> None:
    assert {feature for feature, _, _ in REFUSALS} == set(REFUSED)


@pytest.mark.holds("E1")
@pytest.mark.parametrize(
    ("tasks", "path", "words"),
    [
        (f"- a: {{{HTTP}'http://x', }}}}".replace("get", "gett"), "/do/0/a/with/method", "'GET'"),
        ("- a: {set: .x}", "/do/0/a/set", "write ${ .x }"),
        ("- a: {listen: {to: {all: []}}}", "/do/0/a/listen/to/all", "at least one"),
        ("- a: {emit: {event: {wth: {}}}}", "/do/0/a/emit/event/wth", "'with'"),
        (
            "- a: {emit: {event: {with: {type: x, source: 'http://x', Own: 1}}}}",
            "/do/0/a/emit/event/with/Own",
            "lower-case",
        ),
        (
            "- a: {try: [], catch: {errors: {with: {detail: x}}}}",
            "/do/0/a/catch/errors/with/detail",
            "'details'",
        ),
        (
            "- a: {listen: {to: {one: {with: {type: x}, correlate: {k: {from: .x, expct: 1}}}}}}",
            "/do/0/a/listen/to/one/correlate/k/expct",
            "'expect'",
        ),
        (
            f"- a: {{{HTTP}{{uri: 'http://x', authentication: "
            "{bearer: {token: t}, bear: 1}}}}",
            "/do/0/a/with/endpoint/authentication/bear",
            "'bearer'",
        ),
    ],
)
def test_what_nobody_would_read_is_refused(tasks: str, path: str, words: str) -> None:
    found = problem(flow(tasks))
    assert found.path == path
    assert words in f"{found.message} {found.fix}"


def test_flows_of_another_version_of_the_language_are_refused() -> None:
    text = flow("- a: {set: {x: 1}}").replace("1.0.3", "2.0.0")
    assert problem(text).path == "/document/dsl"


@pytest.mark.parametrize(
    "tasks",
    [
        f"- a: {{{HTTP}'https://x/{{pet}}/{{petId}}?q={{q}}'}}}}",
        f"- a: {{{HTTP}'${{ .url }}'}}}}",
        f"- a: {{{HTTP}{{uri: '${{ .url }}', authentication: {{bearer: {{token: t}}}}}}}}}}",
        "- a: {call: openapi, with: {document: {endpoint: 'file://x.json'}, operationId: o}}",
        "- a: {run: {script: {language: python3, source: {endpoint: 'file://x.py'}}, return: all}}",
        "- a: {run: {workflow: {namespace: a, name: b, version: '1'}, await: false}}",
        "- a: {listen: {to: {any: []}, read: envelope}}",
        "- a: {fork: {compete: true, branches: [{b: {wait: PT1S}}]}}",
        "- a: {try: [], catch: {retry: {delay: PT1S, backoff: {exponential: {}}, "
        "jitter: {from: PT0S, to: PT1S}, limit: {duration: PT1M, attempt: {count: 3, "
        "duration: PT1S}}}}}",
    ],
)
def test_what_is_supported_is_taken(tasks: str) -> None:
    load(tasks)


def test_the_kinds_are_those_that_the_engine_carries_out() -> None:
    assert set(_walk.KINDS) | {"subflow"} == set(_tasks.BEGIN)
    for kind in _walk.KINDS:
        task: dict[str, Any] = {kind: {}, "do": []} if kind == "for" else {kind: {}}
        assert _tasks.kind_of(task) == kind


def test_the_guide_tells_all_of_it() -> None:
    guide = (ROOT / "docs" / "guides" / "flows.md").read_text()
    for name, note in (*SUPPORTED.items(), *REFUSED.items()):
        assert f"| {name} | {note} |" in guide, name
    assert all(directive in guide for directive in DIRECTIVES)
