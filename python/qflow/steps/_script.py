"""`run: script`: Python in a process of its own, with limits, and nothing left of it afterwards."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import anyio
import msgspec
from anyio import to_thread
from anyio.abc import ByteReceiveStream, ByteSendStream, Process

from qflow.model import ErrorKind
from qflow.steps._limits import Limits
from qflow.steps._scope import Scope, failed

_LANGUAGES: Final = frozenset({"python", "python3"})
_ARGUMENTS_BYTES_MAX: Final = 128 * 1024
"""Of arguments and environment together: the system takes no longer ones reliably."""
# The limits are set by the child, then it becomes the script's interpreter: setting them between
# fork and exec would run Python in a copy of a process with threads.
_STARTER: Final = """
import json, os, resource, sys
for name, value in json.loads(sys.argv[1]).items():
    limit = getattr(resource, name)
    hard = resource.getrlimit(limit)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(limit, (value, value))
os.execv(sys.executable, [sys.executable, "-I", "-B", *sys.argv[2:]])
"""

Redact = Callable[..., Any]
FetchScript = Callable[[Any], Awaitable[bytes]]


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a process. A negative code is the signal that ended it."""

    code: int
    stdout: str
    stderr: str


async def run_script(scope: Scope, limits: Limits, redact: Redact, fetch: FetchScript) -> Any:
    """Run the script of the attempt's task and give what its `return` asks for.

    Raises StepError; when cancelled, every process of the script's group is killed first.
    """
    run = scope.attempt.task.get("run") or {}
    script = run.get("script")
    if script is None:
        raise failed(ErrorKind.CONFIGURATION, f"run: {next(iter(run), 'nothing')} is not supported")
    if run.get("await", True) is False:
        raise failed(ErrorKind.CONFIGURATION, "A script that is not awaited is not supported")
    if script.get("language") not in _LANGUAGES:
        detail = f"{script.get('language')!r}; python is supported"
        raise failed(ErrorKind.CONFIGURATION, "The script's language is not supported", detail)
    own = "timeout" in scope.attempt.task
    limit_s = math.inf if own else limits.call_timeout_s
    with anyio.move_on_after(limit_s) as deadline:
        code = await _code(scope, script, limits, fetch)
        outcome = await _execute(code, scope, script, limits)
    if deadline.cancelled_caught:
        raise failed(
            ErrorKind.TIMEOUT, "The script ran out of time", f"it was killed after {limit_s:g} s"
        )
    return _shape(outcome, run.get("return", "stdout"), scope, limits, redact)


def _shape(outcome: Outcome, wanted: str, scope: Scope, limits: Limits, redact: Redact) -> Any:
    whole = {"code": outcome.code, "stdout": outcome.stdout, "stderr": outcome.stderr}
    if outcome.code and wanted not in ("code", "all"):
        # Redacted whole and cut then: a cut secret would not be recognised.
        tail = redact(outcome.stderr, scope.sensitive).strip()[-limits.excerpt_chars_max :]
        raise failed(
            ErrorKind.RUNTIME, f"The script ended with {_ending(outcome.code)}", tail or None
        )
    if wanted == "none":
        return None
    return whole if wanted == "all" else whole[wanted]


def _ending(code: int) -> str:
    if code >= 0:
        return f"code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"


async def _code(
    scope: Scope, script: Mapping[str, Any], limits: Limits, fetch: FetchScript
) -> bytes:
    if "source" in script:
        return await fetch(script["source"]["endpoint"])
    code = scope.resolve(script.get("code"))
    if not isinstance(code, str):
        raise failed(ErrorKind.CONFIGURATION, "The script's code is not a text")
    content = code.encode()
    if len(content) > limits.script_bytes_max:
        detail = f"it is longer than {limits.script_bytes_max} bytes"
        raise failed(ErrorKind.CONFIGURATION, "The script is too long", detail)
    return content


async def _execute(code: bytes, scope: Scope, script: Mapping[str, Any], limits: Limits) -> Outcome:
    arguments = [_text(one, "argument") for one in scope.resolve(script.get("arguments")) or ()]
    environment = _environment(scope.resolve(script.get("environment")) or {})
    _check_size([*arguments, *environment, *environment.values()])
    stdin = scope.resolve(script.get("stdin"))
    content = b"" if stdin is None else _text(stdin, "standard input").encode()
    async with _folder() as folder:
        path = folder / "script.py"
        await anyio.Path(path).write_bytes(code)
        starter = [sys.executable, "-I", "-S", "-c", _STARTER, json.dumps(_rlimits(limits))]
        command = [*starter, str(path), *arguments]
        try:
            process = await anyio.open_process(
                command, cwd=folder, env=environment, start_new_session=True
            )
        except (OSError, ValueError) as error:
            raise failed(ErrorKind.RUNTIME, "The script cannot be started", str(error)) from None
        try:
            return await _converse(process, content, limits)
        finally:
            with anyio.CancelScope(shield=True):
                if process.returncode is None:
                    _kill_group(process)
                await process.wait()
                await process.aclose()


async def _converse(process: Process, stdin: bytes, limits: Limits) -> Outcome:
    """Feed the process and read it until it ends or writes too much."""
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    out, err = bytearray(), bytearray()
    bound = limits.script_output_bytes_max

    async def read(name: str, stream: ByteReceiveStream, kept: bytearray) -> None:
        async for chunk in stream:
            kept += chunk
            if len(kept) > bound:
                overrun.append(name)
                _kill_group(process)
                return

    overrun: list[str] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_feed, process.stdin, stdin)
        tasks.start_soon(read, "stdout", process.stdout, out)
        tasks.start_soon(read, "stderr", process.stderr, err)
        code = await process.wait()
        # What it left running would keep the pipes open; what left its group is cut off instead.
        _kill_group(process)
        tasks.cancel_scope.deadline = anyio.current_time() + limits.script_kill_grace_s
    if overrun:
        detail = f"{overrun[0]} is longer than {bound} bytes"
        raise failed(ErrorKind.RUNTIME, "The script wrote too much and was killed", detail)
    return Outcome(
        code=code, stdout=out.decode(errors="replace"), stderr=err.decode(errors="replace")
    )


async def _feed(stream: ByteSendStream, content: bytes) -> None:
    # A script need not read what it is given.
    with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
        await stream.send(content)
    await stream.aclose()


def _kill_group(process: Process) -> None:
    # It leads a group of its own, made with it: its number is that of the group.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


@asynccontextmanager
async def _folder() -> AsyncIterator[Path]:
    folder = Path(await to_thread.run_sync(lambda: tempfile.mkdtemp(prefix="qflow-script-")))
    try:
        yield folder
    finally:
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(lambda: shutil.rmtree(folder, ignore_errors=True))


def _rlimits(limits: Limits) -> dict[str, int]:
    return {
        "RLIMIT_CPU": limits.script_cpu_s,
        "RLIMIT_AS": limits.script_memory_bytes,
        "RLIMIT_FSIZE": limits.script_file_bytes,
        "RLIMIT_NOFILE": limits.script_files_max,
        "RLIMIT_NPROC": limits.script_processes_max,
        "RLIMIT_CORE": 0,
    }


def _environment(given: Any) -> dict[str, str]:
    """Only what the flow gives: the node's own environment may hold secrets."""
    if not isinstance(given, Mapping):
        raise failed(ErrorKind.VALIDATION, "The script's environment is not an object")
    made = {"PATH": os.defpath, "LANG": "C.UTF-8"}
    for name, value in given.items():
        if not name or "=" in name or "\0" in name:
            raise failed(
                ErrorKind.VALIDATION, "The environment has a name that cannot be", repr(name)
            )
        made[name] = _text(value, f"environment variable {name}")
    return made


def _text(value: Any, what: str) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, str):
        if "\0" in value:
            raise failed(ErrorKind.VALIDATION, f"The script's {what} holds a null character")
        return value
    return json.dumps(value, ensure_ascii=False)


def _check_size(texts: list[str]) -> None:
    if sum(len(text.encode()) for text in texts) > _ARGUMENTS_BYTES_MAX:
        detail = f"more than {_ARGUMENTS_BYTES_MAX} bytes; pass data by stdin"
        raise failed(ErrorKind.VALIDATION, "The script's arguments are too long", detail)
