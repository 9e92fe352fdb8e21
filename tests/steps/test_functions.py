"""Python functions as steps."""

from __future__ import annotations

import threading
from functools import partial
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qflow import _core, steps
from qflow.errors import ConfigError, StepError
from qflow.model import ERRORS, Attempt, ErrorKind, problem
from qflow.steps import Functions
from qflow.steps._plain import parse_json, plain
from tests.steps.conftest import Make, attempt


def known(**calls: Any) -> Functions:
    functions = Functions()
    for name, call in calls.items():
        functions.register(name, call)
    return functions


async def run(make: Make, call: Any, value: Any = None, **arguments: Any) -> Any:
    task = {"call": "f", "with": arguments} if arguments else {"call": "f"}
    async with make(functions=known(f=call)) as runner:
        return await runner.run(attempt(task, value))


async def problem_of(make: Make, call: Any, **arguments: Any) -> dict[str, Any]:
    with pytest.raises(StepError) as caught:
        await run(make, call, **arguments)
    return caught.value.problem


@pytest.mark.anyio
async def test_async_function_runs_on_the_event_loop(make: Make) -> None:
    async def f(a: int, b: int = 2) -> dict[str, Any]:
        await anyio.lowlevel.checkpoint()
        return {"sum": a + b, "thread": threading.current_thread() is threading.main_thread()}

    assert await run(make, f, {"n": 40}, a="${ .n }") == {"sum": 42, "thread": True}


@pytest.mark.anyio
async def test_sync_function_runs_in_a_worker_thread(make: Make) -> None:
    def f() -> bool:
        return threading.current_thread() is threading.main_thread()

    assert await run(make, f) is False


@pytest.mark.anyio
async def test_attempt_parameter_gets_the_idempotency_key(make: Make) -> None:
    async def f(x: int, attempt: Attempt) -> str:
        return f"{x}:{attempt.key}"

    assert await run(make, f, x=1) == f"1:{attempt({}).key}"
    assert (await problem_of(make, f, x=1, attempt=2))["type"] == ERRORS + "validation"


@pytest.mark.anyio
@pytest.mark.parametrize("arguments", [{}, {"b": 1}, {"a": 1, "c": 2}])
async def test_arguments_that_do_not_bind_are_a_validation_error(
    make: Make, arguments: dict[str, Any]
) -> None:
    def f(a: int, *, b: int = 0) -> None: ...

    assert (await problem_of(make, f, **arguments))["type"] == ERRORS + "validation"


@pytest.mark.anyio
@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize(
    "error", [ValueError("no such order"), TypeError("inside"), SystemExit(3), RecursionError()]
)
async def test_exception_is_a_runtime_error_without_a_traceback(
    make: Make, error: BaseException, is_async: bool
) -> None:
    def f() -> None:
        raise error

    async def g() -> None:
        raise error

    found = await problem_of(make, g if is_async else f)
    assert (found["type"], found["status"]) == (ERRORS + "runtime", 500)
    assert found["detail"].startswith(type(error).__name__)
    assert str(error) in found["detail"]
    assert ".py" not in found["detail"]


@pytest.mark.anyio
async def test_function_may_raise_a_problem_of_its_own(make: Make) -> None:
    async def f() -> None:
        raise StepError(problem(ErrorKind.AUTHORIZATION, "Not you"))

    assert (await problem_of(make, f))["title"] == "Not you"

    async def odd() -> None:
        raise StepError({"title": object()})

    assert "not data" in (await problem_of(make, odd))["detail"]


@pytest.mark.anyio
@pytest.mark.parametrize(
    "output",
    [object(), b"bytes", {1: "x"}, float("nan"), 1 << 64, {"a": {1, 2}}, "\ud800", {"\ud800": 1}],
)
async def test_returned_value_that_is_not_data_is_refused(make: Make, output: Any) -> None:
    async def f() -> Any:
        return output

    found = await problem_of(make, f)
    assert found["type"] == ERRORS + "runtime"
    assert "returned what is not data" in found["title"]


@pytest.mark.anyio
async def test_value_that_holds_itself_is_refused(make: Make) -> None:
    async def f() -> Any:
        loop: list[Any] = []
        loop.append(loop)
        return loop

    assert "holds itself" in (await problem_of(make, f))["detail"]


@pytest.mark.anyio
async def test_returned_value_is_a_copy(make: Make) -> None:
    kept = {"items": [(1, 2)]}

    async def f() -> Any:
        return kept

    output = await run(make, f)
    kept["items"].append((3, 4))
    assert output == {"items": [[1, 2]]}


@pytest.mark.anyio
async def test_cancelled_sync_function_is_abandoned(make: Make) -> None:
    started, release, ended = threading.Event(), threading.Event(), threading.Event()

    def f() -> None:
        started.set()
        release.wait(30)
        ended.set()

    async with make(functions=known(f=f)) as runner:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(runner.run, attempt({"call": "f"}))
            await anyio.to_thread.run_sync(started.wait)
            tasks.cancel_scope.cancel()
        assert not ended.is_set()
    release.set()
    assert await anyio.to_thread.run_sync(ended.wait, 30)


@pytest.mark.anyio
async def test_unknown_and_unsupported_calls_are_refused(make: Make) -> None:
    async with make() as runner:
        for name in ("nobody", "grpc", "https://example.org/function.yaml"):
            assert runner.unknown_function(name)
            assert not runner.can({"call": name})
            with pytest.raises(StepError) as caught:
                await runner.run(attempt({"call": name}))
            assert caught.value.problem["type"] == ERRORS + "configuration"
        assert runner.can({"call": "http"})
        assert runner.can({"run": {"script": {}}})
        assert not runner.can({"run": {"shell": {}}})


@pytest.mark.anyio
async def test_a_broken_runner_is_a_step_error_too(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with make() as runner:
        monkeypatch.setattr(runner, "_dispatch", lambda attempt: 1 / 0)
        with pytest.raises(StepError) as caught:
            await runner.run(attempt({"call": "f"}))
    assert caught.value.problem["type"] == ERRORS + "runtime"
    assert "ZeroDivisionError" in caught.value.problem["detail"]


def test_decorated_functions_are_known_everywhere() -> None:
    @steps.function
    def tested_plain() -> None: ...

    @steps.function(name="tested-named")
    def other() -> None: ...

    assert {"tested_plain", "tested-named"} <= set(Functions().names())


def test_two_functions_of_one_name_are_refused() -> None:
    @steps.function(name="tested-twice")
    def one() -> None: ...

    with pytest.raises(ConfigError, match="tested-twice"):

        @steps.function(name="tested-twice")
        def two() -> None: ...


def test_file_of_functions(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("import qflow.steps\n@qflow.steps.function\ndef from_a_file(x): return x\n")
    functions = Functions()
    functions.load_file(file)
    functions.load_file(file)
    found = functions.get("from_a_file")
    assert found is not None
    assert found.required == {"x"}


@pytest.mark.parametrize("text", ["syntax error", "1/0", "import nothing_like_it"])
def test_broken_file_of_functions_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(ConfigError, match=r"mine\.py"):
        Functions().load_file(tmp_path / "mine.py")
    with pytest.raises(ConfigError):
        Functions().load_file(tmp_path / "gone.py")


def test_entry_points_are_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [EntryPoint("len", "builtins:len", "qflow.functions")]
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: points)
    with pytest.raises(ConfigError, match="by position only"):
        Functions().load_entry_points()
    points[:] = [EntryPoint("dumps", "json:dumps", "qflow.functions")]
    functions = Functions()
    functions.load_entry_points()
    assert functions.names().count("dumps") == 1
    points[:] = [EntryPoint("gone", "json:gone", "qflow.functions")]
    with pytest.raises(ConfigError, match="gone"):
        functions.load_entry_points()


class Callable:
    async def __call__(self, x: int) -> int:
        return x


@pytest.mark.anyio
async def test_callable_objects_and_partials(make: Make) -> None:
    async def add(a: int, b: int) -> int:
        return a + b

    assert await run(make, Callable(), x=3) == 3
    assert await run(make, partial(add, b=2), a=1) == 3


json_like = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 63) - 1) | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)  # fmt: skip


@given(json_like)
def test_what_is_plain_can_be_encoded_and_reads_back_the_same(value: Any) -> None:
    copy = plain(value)
    assert copy == value
    assert _core.decode(_core.encode(copy)) == value


def test_depth_is_bounded_as_in_the_encoding() -> None:
    def nested(levels: int) -> Any:
        value: Any = 1
        for _ in range(levels):
            value = [value]
        return value

    deepest = next(n for n in range(100, 200) if not _fits(nested(n)))
    _core.encode(nested(deepest - 1))
    with pytest.raises(ValueError, match="nested"):
        plain(nested(10_000))


def _fits(value: Any) -> bool:
    try:
        plain(value)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(
    "text", ['{"a":1,"a":1}', "Infinity", "-NaN", "1e400", "9" * 30, "[" * 9999]
)
def test_json_that_is_not_data_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_json(text)
