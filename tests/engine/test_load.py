from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qflow.engine._document import DEPTH_MAX, DOCUMENT_BYTES_MAX, NODES_MAX, YAML_BYTES_MAX
from qflow.engine._load import load_flow
from qflow.engine._problems import PROBLEMS_MAX
from qflow.errors import FlowError
from tests.engine.flows import HEAD, flow, load, problem, problems

SET = "- a: {set: {x: 1}}"


# -- what is taken -------------------------------------------------------------------------


def test_text_bytes_data_and_files_give_the_same_flow(tmp_path: Path) -> None:
    text = flow(SET)
    loaded = load_flow(text)
    (tmp_path / "flow.yaml").write_text(text)
    (tmp_path / "flow.json").write_text(json.dumps(loaded.document))
    sources: list[Any] = [
        text.encode(),
        b"\xef\xbb\xbf" + text.encode(),
        json.dumps(loaded.document),
        json.dumps(loaded.document, indent=1).encode(),
        loaded.document,
        tmp_path / "flow.yaml",
        str(tmp_path / "flow.json"),
    ]
    for source in sources:
        assert load_flow(source).document == loaded.document
    assert load_flow(tmp_path / "flow.yaml").base == str(tmp_path)
    assert load_flow(text, base="/srv").base == "/srv"


def test_data_is_copied() -> None:
    document = load_flow(flow(SET)).document
    loaded = load_flow(document)
    document["do"].clear()
    assert loaded.document["do"] == [{"a": {"set": {"x": 1}}}]


def test_yaml_is_1_2_and_timestamps_are_texts() -> None:
    tasks = (
        "- a: {set: {a: 2024-01-01T00:00:00Z, b: yes, c: 0o17, d: 1.5e3, e: ~, f: True, g: 1:30}}"
    )
    value = load(tasks).at("/do/0/a/set")
    assert value == {
        "a": "2024-01-01T00:00:00Z",
        "b": "yes",
        "c": 15,
        "d": 1500.0,
        "e": None,
        "f": True,
        "g": "1:30",
    }


def test_an_unquoted_version_with_two_dots_is_a_text() -> None:
    text = flow(SET).replace("'1.0.3'", "1.0.3").replace("'1.0.0'", "1.0.0")
    assert load_flow(text).version == "1.0.0"


def test_small_anchors_are_expanded() -> None:
    loaded = load("- a: {set: &x {y: [1]}}\n- b: {set: *x}")
    assert loaded.at("/do/1/b/set") == {"y": [1]}


# -- where and how to mend it --------------------------------------------------------------


@pytest.mark.holds("E1")
def test_an_unknown_task_type_names_file_line_path_and_fix(tmp_path: Path) -> None:
    file = tmp_path / "orders.yaml"
    file.write_text(flow("- ask:\n    cal: http\n"))
    found = problem(file)
    assert (found.line, found.column, found.path) == (4, 5, "/do/0/ask/cal")
    assert found.message == "unknown task type 'cal'"
    assert found.fix == "did you mean 'call'?"
    with pytest.raises(FlowError) as caught:
        load_flow(file)
    assert f"{file}:4:5: /do/0/ask/cal: unknown task type 'cal' (did you mean 'call'?)" in str(
        caught.value
    )


@pytest.mark.holds("E1")
@pytest.mark.parametrize(
    ("tasks", "path", "words"),
    [
        ("- a: {}", "/do/0/a", "does not say what to do"),
        ("- a: null", "/do/0/a", "must be an object, not null"),
        ("- {a: {set: {x: 1}}, b: {set: {x: 1}}}", "/do/0", "holds 2 tasks"),
        ("- a: {call: f, set: {x: 1}}", "/do/0/a/set", "'call', 'set'"),
        ("- a: {set: {}}", "/do/0/a/set", "must not be empty"),
        ("- a: {wait: 3}", "/do/0/a/wait", "a duration such as PT30S"),
        ("- a: {wait: {second: 3}}", "/do/0/a/wait/second", "did you mean 'seconds'?"),
        ("- a: {timeout: {afer: PT1S}, set: {x: 1}}", "/do/0/a/timeout/afer", "'after'"),
        ("- a: {set: {x: 1}, fi: .x}", "/do/0/a/fi", "unknown field 'fi'"),
        ("- a: {switch: []}", "/do/0/a/switch", "must not be empty"),
        ("- a: {run: {scrpt: {}}}", "/do/0/a/run/scrpt", "'script'"),
        ("- a: {run: {script: {language: python, cod: x}}}", "/do/0/a/run/script/cod", "'code'"),
        ("- a: {listen: {to: {}}}", "/do/0/a/listen/to", "one, any, all"),
        (
            "- a: {listen: {to: {any: [], one: {with: {type: x}}}}}",
            "/do/0/a/listen/to",
            "two choices",
        ),
        ("- a: {listen: {to: {one: {with: {type: 3}}}}}", "/do/0/a/listen/to/one/with/type", "3"),
        ("- a: {raise: {error: {type: 'http://x', staus: 1}}}", "/do/0/a/raise/error/staus", ""),
        ("- a: {raise: {error: {type: x, status: 1}}}", "/do/0/a/raise/error/type", "a URI"),
        ("- a: {emit: {event: {with: {type: x}}}}", "/do/0/a/emit/event/with", "'source'"),
        (
            "- a: {try: [], catch: {retry: {limit: {attempt: {count: x}}}}}",
            "/do/0/a/catch/retry/limit/attempt/count",
            "a whole number",
        ),
        ("- a: {call: http, with: {endpoint: 'http://x'}}", "/do/0/a/with", "'method'"),
        (
            "- a: {call: http, with: {method: get, endpoint: x}}",
            "/do/0/a/with/endpoint",
            "a URL such as",
        ),
        (
            "- a: {call: http, with: {method: get, endpoint: 'http://x', bdy: 1}}",
            "/do/0/a/with/bdy",
            "'body'",
        ),
        (
            "- a: {call: http, with: {method: get, endpoint: 'http://x', headers: {n: 3}}}",
            "/do/0/a/with/headers/n",
            "write it in quotes",
        ),
        (
            "- a: {call: http, with: {method: get, endpoint: {uri: 'http://x', "
            "authentication: {basic: {username: u}}}}}",
            "/do/0/a/with/endpoint/authentication/basic",
            "'password' is missing",
        ),
    ],
)
def test_one_message_stands_for_all_that_the_schema_says(tasks: str, path: str, words: str) -> None:
    found = problem(flow(tasks))
    assert found.path == path
    assert found.line is not None
    assert found.line >= 3
    assert words in f"{found.message} {found.fix}"


@pytest.mark.holds("E1")
def test_nested_tasks_are_checked_where_they_are() -> None:
    places = {
        "- a: {do: [{b: {st: 1}}]}": "/do/0/a/do/0/b/st",
        "- a: {for: {in: .x}, do: [{b: {st: 1}}]}": "/do/0/a/do/0/b/st",
        "- a: {fork: {branches: [{b: {st: 1}}]}}": "/do/0/a/fork/branches/0/b/st",
        "- a: {try: [{b: {st: 1}}], catch: {}}": "/do/0/a/try/0/b/st",
        "- a: {try: [], catch: {do: [{b: {st: 1}}]}}": "/do/0/a/catch/do/0/b/st",
        "- a: {listen: {to: {any: []}}, foreach: {do: [{b: {st: 1}}]}}": (
            "/do/0/a/foreach/do/0/b/st"
        ),
        "- 'a/b': {do: [{'c~d': {st: 1}}]}": "/do/0/a~1b/do/0/c~0d/st",
    }
    for tasks, path in places.items():
        assert problem(flow(tasks)).path == path
    head = "use: {functions: {f: {st: 1}}}\n"
    assert problem(flow(SET, head)).path == "/use/functions/f/st"


@pytest.mark.holds("E1")
def test_problems_of_one_kind_come_together_in_the_order_of_lines() -> None:
    found = problems(flow("- a: {cal: x}\n- b: {wait: 3}\n- c: {sett: {}}"))
    assert [item.line for item in found] == [3, 4, 5]


@pytest.mark.holds("E1")
def test_problems_are_bounded_and_say_so() -> None:
    tasks = "\n".join(f"- a{i}: {{sett: {{}}}}" for i in range(100))
    with pytest.raises(FlowError, match=f"more than {PROBLEMS_MAX} problems") as caught:
        load(tasks)
    assert len(caught.value.problems) == PROBLEMS_MAX


def test_a_message_is_one_line_that_no_terminal_obeys() -> None:
    with pytest.raises(FlowError) as caught:
        load('- "a\\nb\\x1b[31m": {set: {x: 1}}')
    assert str(caught.value).count("\n") == 1
    assert "\x1b" not in str(caught.value)


def test_data_without_lines_still_has_paths() -> None:
    document = load_flow(flow(SET)).document
    document["do"][0]["a"] = {"sett": {}}
    found = problem(document)
    assert (found.line, found.path) == (None, "/do/0/a/sett")
    assert str(found).startswith("flow: /do/0/a/sett: ")


def test_unknown_fields_at_the_top_are_refused() -> None:
    found = problem(flow(SET, "scheduel: {every: PT1S}\n"))
    assert found.fix == "did you mean 'schedule'?"


@pytest.mark.parametrize("text", ["{}", "[]\n", "word\n", "3\n"])
def test_what_is_no_flow_is_refused(text: str) -> None:
    assert "document" in problems(text)[0].message


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path, Path("/dev/zero"), "a\0b"):
        with pytest.raises(FlowError):
            load_flow(path)


# -- texts that are no documents -----------------------------------------------------------


@pytest.mark.holds("E1")
@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        ("a: b: c\n", 1, 5, "not YAML"),
        ("a: 'x\n", 2, 1, "not YAML"),
        ("\n", 1, 1, "empty"),
        ("a: 1\nb: 2\na: 3\n", 3, 1, "first at line 1, column 1"),
        ('{"a": 1,\n "a": 2}', 2, 2, "first at line 1, column 2"),
        ('{"a": 1,}', 1, 9, "not JSON"),
        ('{"a": 1} x', 1, 10, "not JSON"),
        ('{"a": "\n"}', 1, 7, "not JSON"),
        ('{"a": 01}', 1, 8, "not JSON"),
        ('{"a": NaN}', 1, 7, "not JSON"),
        ('{"a": 1', 1, 8, "the end of the text"),
        ('{"a": 1]', 1, 8, "not JSON"),
        ('{"a": "\\ud800"}', 1, 7, "surrogate"),
        ('a: "\\ud800"\n', 1, 4, "surrogate"),
        ("a: !!python/object:os.system x\n", 1, 4, "the tag"),
        ("a: ! x\n", 1, 4, "the tag"),
        ("a: &a [*a]\n", 1, 8, "inside what it names"),
        ("a: *b\n", 1, 4, "no anchor"),
        ("a: .nan\n", 1, 4, "not finite"),
        ("a: -.inf\n", 1, 4, "not finite"),
        ("a: 1e999\n", 1, 4, "not finite"),
        ('{"a": 1e999}', 1, 7, "not finite"),
        ("a: 9223372036854775808\n", 1, 4, "64 bits"),
        ("a: " + "9" * 9000 + "\n", 1, 4, "64 bits"),
        ('{"a": -9223372036854775809}', 1, 7, "64 bits"),
        ("1: 2\n", 1, 1, "not a text"),
        ("true: 2\n", 1, 1, "not a text"),
        ("? [a]\n: 2\n", 1, 3, "cannot be a key"),
        ("a: &a {b: 1}\nc: {<<: *a}\n", 2, 5, "merge key"),
        ("---\na: 1\n---\nb: 1\n", 3, 1, "more than one document"),
        ("%YAML 1.1\n---\na: 1\n", 2, 1, "another YAML"),
        (b"a: \xff\n", 1, 4, "not UTF-8"),
        ("a: 1\n".encode("utf-16"), 1, 1, "UTF-16"),
        ("a: 1\n".encode("utf-16-be"), 1, 1, "UTF-16"),
        (b"a: \x00\n", 1, 1, "UTF-16"),
    ],
)
def test_unreadable_texts_are_refused_with_their_place(
    text: str | bytes, line: int, column: int, words: str
) -> None:
    found = problem(text)
    assert words in found.message
    assert (found.line, found.column) == (line, column)


@pytest.mark.holds("E1")
def test_every_bound_has_its_message() -> None:
    deep = "[" * (DEPTH_MAX + 1) + "]" * (DEPTH_MAX + 1)
    billion = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)
    )
    for text, words in {
        f"a: {deep}\n": f"more than {DEPTH_MAX} levels",
        f'{{"a": {deep}}}': f"more than {DEPTH_MAX} levels",
        billion: f"more than {NODES_MAX} values",
        "a:\n" + "- 1\n" * NODES_MAX: f"more than {NODES_MAX} values",
        json.dumps({"a": [1] * NODES_MAX}): f"more than {NODES_MAX} values",
        "a: &a " + "x" * 1000 + "\nb: [" + "*a, " * 2000 + "]\n": "longer than",
        "a: " + "x" * YAML_BYTES_MAX + "\n": f"longer than {YAML_BYTES_MAX} bytes",
        json.dumps({"a": "x" * DOCUMENT_BYTES_MAX}): f"longer than {DOCUMENT_BYTES_MAX} bytes",
        "x" * 600 + ": 1\n": "a key is longer",
    }.items():
        assert words in problem(text).message


def test_data_has_the_same_bounds() -> None:
    circle: dict[str, object] = {}
    circle["a"] = circle
    for document, words in (
        (circle, "levels"),
        ({"a": [0] * NODES_MAX}, "values"),
        ({"a": 1 << 64}, "64 bits"),
        ({"a": float("nan")}, "finite"),
        ({"a": b"x"}, "bytes"),
        ({1: 2}, "not a text"),
    ):
        assert words in problem(document).message


# -- schemas in files ----------------------------------------------------------------------


def test_a_schema_in_a_file_becomes_part_of_the_flow(tmp_path: Path) -> None:
    (tmp_path / "in.json").write_text('{"type": "object"}')
    file = tmp_path / "flow.yaml"
    file.write_text(flow(SET, "input: {schema: {resource: {endpoint: 'file://in.json'}}}\n"))
    assert load_flow(file).at("/input/schema") == {"document": {"type": "object"}}


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("file://none.json", "No such file"),
        ("file://../in.json", "outside"),
        ("file:///etc/passwd", "outside"),
        ("file://%2e%2e/in.json", "outside"),
        ("file://link.json", "outside"),
        ("file://bad.json", "bad.json:1:9: the text is not JSON"),
        ("file://text.yaml", "no JSON Schema"),
    ],
)
def test_only_files_beside_the_flow_are_read(tmp_path: Path, uri: str, words: str) -> None:
    (tmp_path / "in.json").write_text("{}")
    folder = tmp_path / "flows"
    folder.mkdir()
    (folder / "link.json").symlink_to(tmp_path / "in.json")
    (folder / "bad.json").write_text('{"a": 1,}')
    (folder / "text.yaml").write_text("word\n")
    text = flow(SET, f"input: {{schema: {{resource: {{endpoint: '{uri}'}}}}}}\n")
    found = problem(text, base=str(folder))
    assert found.path == "/input/schema/resource/endpoint"
    assert words in found.message
    assert "no files beside it" in problem(text).message


def test_head_is_a_flow_with_no_tasks() -> None:
    assert load_flow(HEAD + "do: []\n").document["do"] == []
