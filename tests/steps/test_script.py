"""`run: script` in real processes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from qflow.errors import StepError
from qflow.model import ERRORS, Attempt
from qflow.steps import Limits
from tests.steps.conftest import Make, Stub, attempt

pytestmark = pytest.mark.anyio


def script(code: str, value: Any = None, **given: Any) -> Attempt:
    run: dict[str, Any] = {name: given.pop(name) for name in ("return", "await") if name in given}
    kept: dict[str, Any] = {name: given.pop(name) for name in ("use", "base") if name in given}
    task = {"run": {"script": {"language": "python", "code": code, **given}, **run}}
    return attempt(task, value, **kept)


async def output(make: Make, tried: Attempt, **settings: Any) -> Any:
    async with make(**settings) as runner:
        return await runner.run(tried)


async def failure(make: Make, tried: Attempt, **settings: Any) -> dict[str, Any]:
    with pytest.raises(StepError) as caught:
        await output(make, tried, **settings)
    return caught.value.problem


async def test_stdout_is_the_output(make: Make) -> None:
    assert await output(make, script("print('hello')")) == "hello\n"


async def test_stdin_arguments_and_environment_are_evaluated(make: Make) -> None:
    code = (
        "import os,sys,json; print(json.dumps([sys.stdin.read(), sys.argv[1:], os.environ['N']]))"
    )
    tried = script(
        code,
        {"text": "grüße", "n": 7, "list": [1]},
        stdin="${ .text }",
        arguments=["-x", "${ .n }", "${ .list }"],
        environment={"N": "${ .n }"},
    )
    assert json.loads(await output(make, tried)) == ["grüße", ["-x", "7", "[1]"], "7"]


async def test_the_nodes_environment_is_not_passed_on(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QFLOW_SECRET_X", "hidden-value")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    got = json.loads(
        await output(make, script("import os,json; print(json.dumps(dict(os.environ)))"))
    )
    assert got.keys() <= {"PATH", "LANG", "LC_CTYPE"}


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("stdout", "o"),
        ("stderr", "e"),
        ("code", 0),
        ("all", {"code": 0, "stdout": "o", "stderr": "e"}),
        ("none", None),
    ],
)
async def test_return_forms(make: Make, wanted: str, expected: Any) -> None:
    code = "import sys; sys.stdout.write('o'); sys.stderr.write('e')"
    assert await output(make, script(code, **{"return": wanted})) == expected


async def test_failing_script_is_a_runtime_error_unless_its_code_is_wanted(make: Make) -> None:
    code = "import sys; sys.exit('went wrong')"
    problem = await failure(make, script(code))
    assert problem["type"] == ERRORS + "runtime"
    assert (problem["title"], problem["detail"]) == ("The script ended with code 1", "went wrong")
    assert await output(make, script(code, **{"return": "code"})) == 1
    assert (await output(make, script(code, **{"return": "all"})))["stderr"] == "went wrong\n"


async def test_signal_is_named(make: Make) -> None:
    problem = await failure(make, script("import os; os.kill(os.getpid(), 9)"))
    assert problem["title"] == "The script ended with signal SIGKILL"


async def test_script_from_the_flows_folder_and_from_a_server(
    make: Make, stub: Stub, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text("print(1)")
    stub.answer("/mine.py", b"print(2)")
    for place, expected in (("file://mine.py", "1\n"), (f"{stub.url}/mine.py", "2\n")):
        task = {"run": {"script": {"language": "python", "source": {"endpoint": place}}}}
        assert await output(make, attempt(task, base=tmp_path)) == expected


@pytest.mark.parametrize(
    ("code", "title"),
    [
        ("while True: print('x' * 1000)", "The script wrote too much and was killed"),
        ("import sys\nwhile True: sys.stderr.write('x' * 1000)", "The script wrote too much"),
        ("x = bytearray(1 << 40)", "The script ended with code 1"),
        ("open('f','wb').write(b'x' * (8 << 20))", "The script ended with"),
        ("[open('/dev/null') for _ in range(1000)]", "The script ended with code 1"),
        ("while True: pass", "The script ended with signal SIG"),
    ],
)
async def test_limits_hold(make: Make, code: str, title: str) -> None:
    limits = Limits(script_cpu_s=1, script_file_bytes=1 << 20, script_output_bytes_max=100_000)
    problem = await failure(make, script(code), limits=limits)
    assert problem["type"] == ERRORS + "runtime"
    assert problem["title"].startswith(title)


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


async def gone(pid: int) -> bool:
    """Killing is asynchronous: wait until the system has done it."""
    with anyio.move_on_after(10):
        while is_alive(pid):
            await anyio.to_thread.run_sync(os.sched_yield)
    return not is_alive(pid)


# A child that would go on for ever, and says who it is.
FAMILY = """
import os, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
with open(sys.argv[1] + ".new", "w") as file:
    file.write(f"{os.getpid()} {child.pid}")
os.rename(sys.argv[1] + ".new", sys.argv[1])
"""


async def pids(path: Path) -> list[int]:
    file = anyio.Path(path)
    with anyio.fail_after(20):
        while not await file.exists():
            await anyio.to_thread.run_sync(os.sched_yield)
    return [int(word) for word in (await file.read_text()).split()]


async def test_timeout_kills_the_whole_family(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "pids"
    tried = script(FAMILY + "child.wait()", arguments=[str(path)])
    problem = await failure(make, tried, limits=Limits(call_timeout_s=1.5))
    assert (problem["type"], problem["status"]) == (ERRORS + "timeout", 408)
    for pid in await pids(path):
        assert await gone(pid)


async def test_cancelling_kills_the_whole_family_and_removes_the_folder(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    path = tmp_path / "pids"
    async with make() as runner, anyio.create_task_group() as tasks:
        tasks.start_soon(runner.run, script(FAMILY + "child.wait()", arguments=[str(path)]))
        family = await pids(path)
        tasks.cancel_scope.cancel()
    for pid in family:
        assert await gone(pid)
    assert list((tmp_path / "temporary").iterdir()) == []


async def test_what_a_script_leaves_running_is_killed(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "pids"
    assert await output(make, script(FAMILY + "print('done')", arguments=[str(path)])) == "done\n"
    for pid in await pids(path):
        assert await gone(pid)


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({"language": "javascript"}, "configuration"),
        ({"await": False}, "configuration"),
        ({"environment": {"A=B": "x"}}, "validation"),
        ({"environment": {"A": "x\0y"}}, "validation"),
        ({"arguments": ["x" * 200_000]}, "validation"),
        ({"stdin": "${ .a.b.c | error }"}, "expression"),
    ],
)
async def test_what_cannot_run_is_refused(make: Make, given: dict[str, Any], kind: str) -> None:
    problem = await failure(make, script("print(1)", {}, **given))
    assert problem["type"] == ERRORS + kind


async def test_other_processes_are_refused_by_name(make: Make) -> None:
    problem = await failure(make, attempt({"run": {"shell": {"command": "ls"}}}))
    assert problem["title"] == "run: shell is not supported"


async def test_stdin_that_nobody_reads_is_no_error(make: Make) -> None:
    assert await output(make, script("print(1)", stdin="x" * (1 << 20))) == "1\n"


@pytest.mark.holds("S18")
async def test_secret_in_a_failing_script_is_not_shown(
    make: Make, put_secret: Callable[[str, Any], None]
) -> None:
    put_secret("token", "tok-very-secret")
    tried = script(
        "import os; raise ValueError(os.environ['T'])",
        environment={"T": "${ $secrets.token }"},
        use={"secrets": ["token"]},
    )
    problem = await failure(make, tried)
    assert "ValueError" in problem["detail"]
    assert "very-secret" not in json.dumps(problem)


@pytest.mark.holds("S18")
async def test_error_output_is_cut_after_it_is_redacted(
    make: Make, put_secret: Callable[[str, Any], None]
) -> None:
    put_secret("token", "tok-very-secret")
    code = "import os, sys; sys.exit(os.environ['T'] + 'x' * 1017)"
    given = {"environment": {"T": "${ $secrets.token }"}, "use": {"secrets": ["token"]}}
    problem = await failure(make, script(code, **given))
    assert problem["detail"].endswith("x" * 1017)
    assert "secret" not in problem["detail"]
