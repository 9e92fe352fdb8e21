"""Two hundred hostile flows, made of ordinary ones: the same on every machine.

`python -m tests.engine.hostile` loads each and prints, a line of JSON each: its kind and number,
what came of it, the seconds of CPU time it took, and the peak memory so far in bytes.
"""

from __future__ import annotations

import copy
import json
import resource
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from qflow.engine._load import load_flow
from qflow.errors import FlowError

EACH = 25
ORDINARY = """document: {dsl: '1.0.3', namespace: test, name: hostile, version: '1.0.0'}
use:
  secrets: [key]
  errors: {gone: {type: 'https://example.com/gone', status: 410}}
input:
  schema: {document: {type: object, properties: {n: {type: integer}}}}
do:
  - ask:
      call: http
      with: {method: get, endpoint: 'https://example.com/{id}', headers: {a: '${ .a }'}}
  - each:
      for: {in: .items, each: order}
      do:
        - take: {set: {n: '${ $order.n + 1 }'}}
  - careful:
      try:
        - send: {emit: {event: {with: {type: x, source: 'https://example.com'}}}}
      catch:
        as: e
        when: $e.status == 503
        retry: {delay: PT1S, backoff: {exponential: {}}, limit: {attempt: {count: 3}}}
  - hear: {listen: {to: {any: [{with: {type: y}}], until: '. | length > 2'}}}
  - both: {fork: {compete: true, branches: [{left: {wait: PT1S}}, {right: {wait: PT2S}}]}}
  - fail: {raise: {error: gone}}
"""


ENDLESS = [
    "def f: f; f",
    "def f(g): f(f(g)); f(.)",
    "[range(1e12)]",
    '"x" * 1e9',
    "repeat(.)",
    "last(range(1e12))",
    "reduce range(1e9) as $i (0; . + $i)",
    "[recurse([.])]",
    "[limit(1e9; repeat(1))] | length",
    "." + "[0]" * 5000,
    "(" * 5000 + "1" + ")" * 5000,
    "(" * 16_000,
    "[" * 5000,
    "1" + "+1" * 8000,
    "if 1 then " * 1500,
    "def f: " * 2000,
    '"\\(' * 3000,
    "." * 16_000,
    "{" * 16_000,
    "$" * 16_000,
    "try " * 4000 + "1",
    "-" * 16_000 + "1",
    '"' + "a" * 200_000 + '"',
    "[" + "," * 15_000 + "]",
    "reduce . as $x (" * 900,
]


class Hostile(NamedTuple):
    kind: str
    text: str | bytes
    must_fail: bool


class Draws:
    """Numbers that look drawn (the 64-bit finaliser of SplitMix64), from a seed."""

    def __init__(self, seed: int) -> None:
        self._state = seed

    def below(self, bound: int) -> int:
        self._state = (self._state + 0x9E3779B97F4A7C15) % 2**64
        mixed = self._state
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
            mixed = (mixed ^ mixed >> shift) * factor % 2**64
        return mixed % bound

    def of(self, items: list[Any]) -> Any:
        return items[self.below(len(items))]


def corpus() -> Iterator[Hostile]:
    draws = Draws(2024)
    for make in (_deep, _large, _anchors, _twice, _types, _endless, _bytes, _schemas):
        for number in range(EACH):
            yield make(draws, number)


def _places(value: Any, found: list[Any]) -> list[Any]:
    """Every object and list of a document that has something in it."""
    if isinstance(value, dict | list) and value:
        found.append(value)
        for item in value.values() if isinstance(value, dict) else value:
            _places(item, found)
    return found


def _replaced(draws: Draws, value: Any) -> dict[str, Any]:
    """The ordinary flow with one value somewhere replaced."""
    document: dict[str, Any] = copy.deepcopy(load_flow(ORDINARY).document)
    place = draws.of(_places(document, []))
    keys: list[Any] = list(place) if isinstance(place, dict) else list(range(len(place)))
    place[draws.of(keys)] = value
    return document


def _deep(draws: Draws, number: int) -> Hostile:
    levels = 65 + draws.below(100_000)
    opening, closing = draws.of([("[", "]"), ('{"a":', "}"), ("{a: ", "}"), ("- ", ""), ("? ", "")])
    text = opening * levels + "1" + closing * levels
    yaml = ORDINARY + f"metadata: {text}\n" if number % 2 else text
    return Hostile("depth", yaml[: 1 << 20], must_fail=True)


def _large(draws: Draws, number: int) -> Hostile:
    size = 1 << (15 + draws.below(6))
    line = draws.of(["- a\n", "#\n", "a" * 80, "\n", '"\\n",', "'',", "a: b\n", "&a ", "!", "|\n "])
    head = draws.of(["", "a: ", "a: [", 'a: "', "{", '{"a": "', '{"a": [', ORDINARY])
    return Hostile("size", head + line * (size // len(line)), must_fail=True)


def _anchors(draws: Draws, number: int) -> Hostile:
    width, depth = 2 + draws.below(20), 5 + draws.below(40)
    first = draws.of(["[x, x]", "{a: 1}", "word", "'" + "y" * 5000 + "'"])
    lines = [f"a0: &a0 {first}"]
    for level in range(1, depth):
        items = ", ".join(f"k{i}: *a{level - 1}" for i in range(width))
        lines.append(f"a{level}: &a{level} {{{items}}}")
    lines.append(draws.of(["z: &z [*z]", "z: {<<: *a1}", "z: *nothing", "z: 1"]))
    return Hostile("anchors", ORDINARY + "\n".join(lines) + "\n", must_fail=True)


def _twice(draws: Draws, number: int) -> Hostile:
    lines = ORDINARY.splitlines(keepends=True)
    at = draws.of([i for i, line in enumerate(lines) if ":" in line and "- " not in line])
    key = lines[at].partition(":")[0]
    return Hostile("twice", "".join([*lines[: at + 1], f"{key}: 1\n", *lines[at + 1 :]]), True)


def _types(draws: Draws, number: int) -> Hostile:
    values: list[Any] = [
        None,
        True,
        -1,
        1.5,
        2**63 - 1,
        "",
        "\x00",
        [],
        {},
        [[]],
        {"": {}},
        "${",
        "$" * 9999,
    ]
    document = _replaced(draws, draws.of(values))
    return Hostile("types", json.dumps(document), must_fail=False)


def _endless(draws: Draws, number: int) -> Hostile:
    """Some of these load: what they do when they run is bounded there (E4)."""
    document = copy.deepcopy(load_flow(ORDINARY).document)
    document["do"][1]["each"]["do"][0]["take"]["set"]["n"] = f"${{ {ENDLESS[number]} }}"
    return Hostile("expressions", json.dumps(document), must_fail=False)


def _bytes(draws: Draws, number: int) -> Hostile:
    data = bytearray(ORDINARY.encode(draws.of(["utf-8", "utf-8", "utf-16", "utf-32", "utf-16-be"])))
    for _ in range(1 + draws.below(40)):
        data[draws.below(len(data))] = draws.of([0, 7, 9, 10, 34, 58, 0x7F, 0x80, 0xC0, 0xFF])
    return Hostile("bytes", bytes(data), must_fail=False)


def _schemas(draws: Draws, number: int) -> Hostile:
    """Schemas that would take for ever, or go somewhere else, when they are asked."""
    keyword = draws.of(["allOf", "anyOf", "oneOf"])
    depth = 20 + draws.below(40)
    schemas: list[Callable[[], Any]] = [
        lambda: {"$ref": "#"},
        lambda: {"$ref": "https://example.com/x"},
        lambda: {"pattern": "(?=a)" * depth},
        lambda: {"pattern": "(" * 2000},
        lambda: {"pattern": "((a{99}){99}){99}"},
        lambda: {"allOf": [{"$ref": "#"}] * depth},
        lambda: {"properties": {"n": {keyword: [{"$ref": "#"}, {"$ref": "#"}]}}},
        lambda: {
            "$ref": "#/$defs/d0",
            "$defs": {
                f"d{i}": {keyword: [{"$ref": f"#/$defs/d{(i + 1) % depth}"}] * 2}
                for i in range(depth)
            },
        },
    ]
    document = copy.deepcopy(load_flow(ORDINARY).document)
    document["input"]["schema"]["document"] = draws.of(schemas)()
    return Hostile("schemas", json.dumps(document), must_fail=True)


def main() -> None:
    load_flow(ORDINARY)
    for number, hostile in enumerate(corpus()):
        began = time.process_time()
        try:
            load_flow(hostile.text)
            outcome = "loads"
        except FlowError as error:
            outcome = "refused" if error.problems and len(str(error)) < 20_000 else "unclear"
        line = {
            "kind": hostile.kind,
            "number": number,
            "outcome": outcome,
            "expected": hostile.must_fail,
            "cpu_s": time.process_time() - began,
            "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
