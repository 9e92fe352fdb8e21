from __future__ import annotations

import pytest

from qflow import errors
from qflow.api._wire import error_document, error_of, parse_json, to_json
from qflow.errors import ExecutionFailedError, FlowError, QflowError, StepError, UnavailableError


def every_error() -> list[type[QflowError]]:
    found: list[type[QflowError]] = [QflowError]
    for kind in found:
        found.extend(kind.__subclasses__())
    return [kind for kind in found if kind.__module__ == "qflow.errors"]


@pytest.mark.parametrize("kind", every_error())
def test_every_error_keeps_its_class_and_message_on_the_way(kind: type[QflowError]) -> None:
    made = kind.__new__(kind, "what happened")
    Exception.__init__(made, "what happened")
    back = error_of(parse_json(to_json(error_document(made))))
    assert type(back) is kind
    assert str(back) == "what happened"


def test_errors_keep_what_they_carry() -> None:
    failed = ExecutionFailedError("01", "faulted", {"title": "No", "status": 500})
    back = error_of(parse_json(to_json(error_document(failed))))
    assert isinstance(back, ExecutionFailedError)
    assert (back.execution, back.status) == ("01", "faulted")
    assert back.problem == {"title": "No", "status": 500}
    step = error_of(error_document(StepError({"title": "No"})))
    assert isinstance(step, StepError)
    assert step.problem == {"title": "No"}


def test_the_problems_of_a_flow_can_be_printed_on_the_other_side() -> None:
    back = error_of(error_document(FlowError("refused", [{"line": 3, "message": "no"}])))
    assert isinstance(back, FlowError)
    assert back.problems == ({"line": 3, "message": "no"},)


def test_an_error_of_an_unknown_class_fails_closed() -> None:
    for name in ("KeyboardInterrupt", "Any", "os", "__loader__", None):
        assert type(error_of({"type": name, "message": "x"})) is UnavailableError


def test_an_unexpected_error_does_not_pretend_to_be_ours() -> None:
    assert error_document(KeyError("x")) == {"type": "QflowError", "message": "KeyError: 'x'"}


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":1,"a":2}',
        b'[{"b":{"a":1,"a":1}}]',
        b"NaN",
        b"[Infinity]",
        b"-Infinity",
        b"1e999",
        b"[" * 100_000,
        b"\xff",
        b"",
        b"{'a':1}",
        b"1 2",
    ],
)
def test_json_that_two_readers_may_read_differently_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - each kind has its own message
        parse_json(text)


def test_plain_json_keeps_its_values() -> None:
    value = {"a": [1, -2, 1.5, 2**63, "é\u2028", None, True], "": {}}
    assert parse_json(to_json(value)) == value
    assert b"\n" not in to_json({"a": "line\nline"})


def test_errors_has_no_class_that_cannot_be_named() -> None:
    assert all(getattr(errors, kind.__name__) is kind for kind in every_error())
