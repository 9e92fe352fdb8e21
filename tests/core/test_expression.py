"""Runtime expressions give what jq gives, the same for a value however it was stored."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import jq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qflow._core import Expression, decode, encode
from qflow.errors import ExpressionError
from tests.core.vectors import load_lines

INPUT: dict[str, Any] = {
    "a": {"b": 2, "c": [1, 2.5, "x", None, True]},
    "l": [{"k": "x", "v": 3}, {"k": "y", "v": 1}, {"k": "x", "v": 2}],
    "s": "héllo wörld",
    "n": -7,
    "f": 3.75,
    "z": None,
    "e": [],
    "o": {},
    "t": "2015-03-05T23:51:47Z",
    "big": 12345678901,
}
VARIABLES: dict[str, Any] = {"x": 41, "y": {"z": [1, 2]}}


def in_key_order(value: dict[str, Any]) -> dict[str, Any]:
    """Objects have no order here, and that of their keys in jq only when they are built so."""
    return dict(sorted(value.items()))


def json_values(bits: int) -> st.SearchStrategy[Any]:
    """JSON with numbers of so many bits; its floats are ones that no reader takes for integers."""
    leaf = (
        st.none()
        | st.booleans()
        | st.integers(-(2**bits), 2**bits)
        | st.text("abé \n\"'<,1", max_size=8)
        | st.integers(-(2**24), 2**24).map(lambda number: number + 0.5)
    )
    return st.recursive(
        leaf,
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.sampled_from("abcd"), inner, max_size=4).map(in_key_order)
        ),
        max_leaves=12,
    )


JSON = json_values(bits=53)
# Their products have 53 bits at most: beyond, integers are exact here and rounded by jq.
SMALL = json_values(bits=26)
# For any value: an answer, or null where the function does not take the value.
FUNCTIONS = [
    "type", "length", "keys", "tojson", "tostring", "tojson | fromjson", "add", "sort",
    "arrays | reverse", "unique", "flatten", "min", "max", "first", "last", ".[0]", ".[1:]",
    ".a", ".a.b", ".[-1]",
    "to_entries | from_entries", "with_entries(.value |= tojson)", "map(type)", "map_values(1)",
    "[.[]]", "[.[]?]", "[..] | length", "[paths] | sort", "del(.a)", "del(.[0])", "del(.[0,1])",
    ".a = 1", ".b += 1", ".[1] = 2", "group_by(.)", "unique_by(type)", "sort_by(type, .)", "not",
    "any", "all", "explode", "ascii_downcase", "@csv", "@html", "@uri", "@base64", "@sh", "@text",
    "split(\" \")", "join(\"-\")", "test(\"a\")", "[match(\"a|b\"; \"g\") | .offset, .string]",
    "gsub(\"a\"; \"b\")", "[scan(\"[ab]+\")]", "ltrimstr(\"a\")", "startswith(\"a\")", "tonumber",
    "indices(1)", "contains(\"a\")", "contains({a: 1})", "inside([1,2])", "-(.)",
    ". + 1", ". - 1", ". * 2", ". / 2", ". % 5", ". + .", ". == .", ". < 1", "floor", "abs",
    "has(\"a\")", "has(0)", "transpose", "tostream", "walk(.)", "getpath([\"a\",\"b\"])", "@tsv",
    "if . then 1 else 2 end", ".a // 1", "try error catch .", "isvalid(.a)?", "splits(\"a\")",
]  # fmt: skip


def ours(source: str, value: Any, variables: Mapping[str, Any] = VARIABLES) -> Any:
    """The first output in a list, or None when there is an error."""
    try:
        return [Expression(source, tuple(variables)).evaluate(value, variables)]
    except ExpressionError:
        return None


def by_jq(source: str, value: Any, variables: Mapping[str, Any] = VARIABLES) -> Any:
    try:
        outputs = iter(jq.compile(source, args=dict(variables)).input_value(value))
        return [next(outputs, None)]
    except ValueError:
        return None


def exactly(value: Any) -> str:
    """A text that tells 1 from 1.0 and true from 1."""
    return json.dumps(value, sort_keys=True)


@pytest.mark.parametrize("source", load_lines("expressions.jq"))
def test_the_answer_is_that_of_jq(source: str) -> None:
    for form in (source, f"[{source}]"):
        assert exactly(ours(form, INPUT)) == exactly(by_jq(form, INPUT))


@given(JSON, st.sampled_from(FUNCTIONS))
def test_functions_agree_with_jq_on_any_value(value: Any, source: str) -> None:
    form = f"[try ({source}) catch null]"
    assert exactly(ours(form, value)) == exactly(by_jq(form, value))


@given(SMALL, SMALL, st.sampled_from(["+", "-", "*", "/", "==", "!=", "<", "<=", ">", "//", "and"]))
def test_operators_agree_with_jq_on_any_values(left: Any, right: Any, operator: str) -> None:
    form = f"[try ($x {operator} $y) catch null]"
    variables = {"x": left, "y": right}
    if operator == "*" and str in (type(left), type(right)):
        # A text times a number of 26 bits is a large text; how often is another test's question.
        variables = {"x": "ab" if isinstance(left, str) else left, "y": 3}
    assert exactly(ours(form, None, variables)) == exactly(by_jq(form, None, variables))


@pytest.mark.holds("E3")
@given(JSON, st.sampled_from(FUNCTIONS))
def test_a_value_from_the_log_gives_the_same_answer(value: Any, source: str) -> None:
    stored = decode(encode(value))
    for form in (f"[try ({source}) catch null]", f"[({source})?] | tojson"):
        assert exactly(ours(form, value)) == exactly(ours(form, stored))


@pytest.mark.holds("E3")
def test_keys_have_one_order_however_they_came() -> None:
    one, two = {"b": 1, "aa": 2, "a": 3}, {"a": 3, "aa": 2, "b": 1}
    for source in ("keys", "keys_unsorted", "[.[]]", "to_entries", "tojson", "[paths]", "."):
        assert list(map(str, ours(source, one))) == list(map(str, ours(source, two)))


@given(st.integers(-(2**64), 2**64 - 1))
def test_integers_of_64_bits_pass_unchanged(number: int) -> None:
    assert ours(".a[0]", {"a": [number]}) == [number]
    assert ours("[$x, .]", number, {"x": number}) == [[number, number]]
    if number >= -(2**63):
        assert ours("tojson | fromjson", number) == [number]
    assert ours(". == $x", number, {"x": number + 1 if number < 0 else number - 1}) == [False]


@pytest.mark.parametrize(
    ("source", "answer"),
    [
        ("9007199254740993 + 1", 9007199254740994),
        ("9223372036854775807 + 0", 9223372036854775807),
        ("9223372036854775807 + 1", 9.223372036854775807e18),
        ("6 / 2", 3),
        ("1.5 * 2", 3),
        ("3.0", 3),
        (".half * 2", 1),
        (".one", 1.0),
    ],
)
def test_arithmetic_gives_integers_where_it_can(source: str, answer: float) -> None:
    assert exactly(ours(source, {"half": 0.5, "one": 1.0})) == exactly([answer])


def test_no_output_is_none() -> None:
    assert ours("empty", 1) == [None]
    assert ours(".[] | select(. > 5)", [1, 2]) == [None]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (".a.[", "line 1, column 5: expected a closing bracket"),
        (".a |", "expected term before the end"),
        ("1 + )", "line 1, column 5"),
        ("\n  .a\n  | foo(1)", "line 3, column 5: there is no function foo with 1 argument"),
        ("foo", "there is no function foo"),
        ("$nope", r"there is no variable \$nope here \(there are: \$x, \$y\)"),
        ('import "a" as a; 1', "line 1"),
        ("", "expected term"),
        ('"é" | foo', "column 7"),
    ],
)
def test_a_message_says_where_and_what(source: str, message: str) -> None:
    with pytest.raises(ExpressionError, match=message):
        Expression(source, ("x", "y"))


@pytest.mark.holds("E3")
@pytest.mark.parametrize(
    "source",
    [
        "now", "input", "inputs", "env", "$ENV", "$ENV.PATH", "halt", "halt_error", "debug",
        "stderr", "debug(.)", "halt_error(1)", "input_line_number", "input_filename", "localtime",
        "$__prog_args", 'strflocaltime("%H")', "[.[] | now]", '"\\(now)"', "def f: now; f",
        "if true then 1 else env end", "{a: now}", ".[now]", "reduce .[] as $x (0; input)",
        ". as {a: $b} | now", "get_search_list",
    ],
)  # fmt: skip
def test_what_a_replay_would_not_repeat_is_refused(source: str) -> None:
    with pytest.raises(ExpressionError, match=r"(now|input|ENV|env|halt|debug|std|time|prog|list)"):
        Expression(source, ())


@pytest.mark.parametrize(
    ("source", "value", "message"),
    [
        (".a", 1, 'cannot index 1 with "a"'),
        ('error("it is late")', None, "`: it is late$"),
        ("error({code: 7})", None, '`: {"code":7}$'),
        ("1 / 0", None, "divisor is zero"),
        (".[]", 1, "iterable"),
        ("tonumber", "x" * 500, r"x\.\.\. cannot be parsed as a number"),
        ("infinite", None, "not finite"),
        ("break_out", None, "no function"),
    ],
)
def test_a_failure_says_why(source: str, value: Any, message: str) -> None:
    with pytest.raises(ExpressionError, match=message) as raised:
        Expression(source, ()).evaluate(value, {})
    assert len(str(raised.value)) < 500


def test_only_variables_that_are_read_are_asked_for() -> None:
    expression = Expression("$y.z | map(. + $x)", ("w", "x", "y"))
    assert expression.variables == ("x", "y")

    class Strict(dict[str, Any]):
        def __missing__(self, name: str) -> Any:
            raise AssertionError(name)

    assert expression.evaluate(None, Strict(VARIABLES)) == [42, 43]
    with pytest.raises(ExpressionError, match=r"\$x has no value"):
        expression.evaluate(None, {"y": {"z": []}})


def test_only_what_is_read_is_converted() -> None:
    value: dict[str, Any] = {"a": {"b": 1, "c": [1]}, "rest": object()}
    for source, answer in {
        ".a.b + 1": 2,
        "{x: .a.b, y: .a.c[0]}": {"x": 1, "y": 1},
        "[.a.c[] | . + $v.a.b]": [2],
        "if .a.b == 1 then $v.a.c else .a.b end": [1],
    }.items():
        assert Expression(source, ("v",)).evaluate(value, {"v": value}) == answer
    assert Expression(".a.c", ()).evaluate(value, {}) is value["a"]["c"]
    for source in (".", "keys", ".a.b.c", "$v"):
        with pytest.raises(ExpressionError, match="type object"):
            Expression(f"[{source}]", ("v",)).evaluate(value, {"v": value})


def test_values_that_are_no_json_are_refused() -> None:
    for value in (b"x", {1: 2}, {1, 2}, object(), 2**64, -(2**64) - 1, "\ud800"):
        with pytest.raises((ExpressionError, ValueError)):
            Expression("[.]", ()).evaluate([value], {})


def test_one_expression_serves_many_threads() -> None:
    expression = Expression("[.[] | . * $x] | add", ("x",))
    answers: dict[int, Any] = {}

    def work(number: int) -> None:
        for _ in range(200):
            answers[number] = expression.evaluate(list(range(50)), {"x": number})

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {number: 1225 * number for number in range(4)}


def test_a_mapping_that_raises_is_heard() -> None:
    class Broken(Mapping[str, Any]):
        def __getitem__(self, name: str) -> Any:
            raise RuntimeError(name)

        def __iter__(self) -> Iterator[str]:
            return iter(())

        def __len__(self) -> int:
            return 0

    with pytest.raises(RuntimeError, match="x"):
        Expression("$x", ("x",)).evaluate(None, Broken())
