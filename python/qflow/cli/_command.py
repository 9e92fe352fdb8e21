"""How a function becomes a command: its session, its errors, its exit code."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated, Any

import typer

from qflow import diagnostics
from qflow.cli._exit import OK, USAGE, Refusal, report
from qflow.cli._session import Session

Home = Annotated[
    Path | None,
    typer.Option("--home", metavar="FOLDER", help="The node's files.  [env: QFLOW_HOME]"),
]
Json = Annotated[bool, typer.Option("--json", help="JSON instead of text.")]


def command(
    app: typer.Typer, name: str, *, example: str
) -> Callable[[Callable[..., int | None]], Callable[..., None]]:
    """Add a function to `app`. It takes a `Session` first and returns an exit code or None.

    `--home` and `--json` are added to what it declares; errors become a line on stderr.
    """

    def add(function: Callable[..., int | None]) -> Callable[..., None]:
        declared = inspect.signature(function, eval_str=True)

        def run(ctx: typer.Context, home: Path | None, as_json: bool, **options: Any) -> None:
            given = ctx.obj or {}
            session = Session(
                home=home or given.get("home"), as_json=as_json or given.get("json", False)
            )
            code = _guarded(function, session, options)
            if code != OK:
                raise typer.Exit(code)

        _declare(run, declared, function.__doc__)
        app.command(name, epilog=f"Example: {example}")(run)
        return run

    return add


def _declare(run: Callable[..., None], declared: inspect.Signature, text: str | None) -> None:
    """Give `run` the parameters of the function that it wraps, as typer reads them."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    own = [*declared.parameters.values()][1:]
    parameters = [
        inspect.Parameter("ctx", keyword, annotation=typer.Context),
        *(parameter.replace(kind=keyword) for parameter in own),
        inspect.Parameter("home", keyword, annotation=Home, default=None),
        inspect.Parameter("as_json", keyword, annotation=Json, default=False),
    ]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {item.name: item.annotation for item in parameters}
    run.__doc__ = text


def _is_terminal() -> bool:
    return sys.stdin.isatty()


def _typed(question: str) -> str | None:
    """A secret from the terminal; None when there is none. Refused when it is not typed."""
    if not _is_terminal():
        return None
    import getpass

    try:
        return getpass.getpass(question, stream=sys.stderr)
    except EOFError:
        print(file=sys.stderr)
        raise Refusal("no passphrase was typed: nothing is done", USAGE) from None


def _guarded(function: Callable[..., int | None], session: Session, options: dict[str, Any]) -> int:
    diagnostics.ask_with(_typed)
    try:
        with redirect_stdout(sys.stderr):
            code = function(session, **options) or OK
        session.out.stdout.flush()
    except BrokenPipeError:
        # Whoever read us has enough. Python flushes once more at exit: let that go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), session.out.stdout.fileno())
        return OK
    except (typer.Exit, typer.Abort, typer.BadParameter):
        raise
    except (KeyboardInterrupt, Exception) as error:  # noqa: BLE001 - the process's last resort
        return report(error, as_json=session.out.json)
    return code
