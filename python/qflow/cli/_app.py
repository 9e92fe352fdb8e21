"""The commands, their options and their help. What they do is in the modules beside."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from pathlib import Path
from typing import Annotated

import typer

from qflow.cli._app_audit import audit_app
from qflow.cli._app_checkpoint import checkpoint_app
from qflow.cli._app_doc import doc_app
from qflow.cli._app_keys import keys_app
from qflow.cli._app_state import state_app
from qflow.cli._app_witness import witness_app
from qflow.cli._command import Home, Json, command
from qflow.cli._exit import CODES, INTERRUPTED, USAGE, report
from qflow.cli._session import Session

# "\b" keeps the lines of a paragraph of help as they are.
EPILOG = "\b\nExit codes:\n" + "\n".join(f"{code:>5}  {text}" for code, text in CODES.items())

app = typer.Typer(
    name="qflow",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
)
schedule_app = typer.Typer(help="Flows that start by themselves.", no_args_is_help=True)
index_app = typer.Typer(help="The index of the log.", no_args_is_help=True)
config_app = typer.Typer(help="The settings.", no_args_is_help=True)
for name, group in (
    ("schedule", schedule_app),
    ("audit", audit_app),
    ("checkpoint", checkpoint_app),
    ("state", state_app),
    ("doc", doc_app),
    ("keys", keys_app),
    ("witness", witness_app),
    ("index", index_app),
    ("config", config_app),
):
    app.add_typer(group, name=name)

Execution = Annotated[str, typer.Argument(metavar="ID", help="Its id, or how the id begins.")]
Reason = Annotated[str | None, typer.Option("--reason", help="Why: kept in the history.")]
Flow = Annotated[Path, typer.Argument(metavar="FILE", help="A flow, YAML or JSON; - is stdin.")]
Functions = Annotated[
    list[Path] | None,
    typer.Option(
        "--functions", metavar="FILE", help="Python with @qflow.function; may be repeated."
    ),
]


@app.callback()
def options(ctx: typer.Context, home: Home = None, as_json: Json = False) -> None:
    """Runs flows that survive the loss of their machine and leave a verifiable history.

    A node is one process (`qflow serve`); commands talk to it, or read its files when none runs.
    """
    ctx.obj = {"home": home, "json": as_json}


@command(app, "init", example="qflow init --home ~/qflow")
def init(session: Session) -> int | None:
    """Make a home: its folder, its key, its settings."""
    from qflow.cli import _home

    return _home.init(session)


@command(app, "serve", example="qflow serve --functions orders.py")
def serve(session: Session, functions: Functions = None) -> int | None:
    """Run a node until it is interrupted.

    It takes flows from other commands; executions that are not over go on.
    """
    from qflow.cli import _serve

    return _serve.serve(session, functions or [])


@command(app, "run", example="qflow run orders.yaml --input @orders.json --watch")
def run(
    session: Session,
    file: Flow,
    input: Annotated[
        str | None, typer.Option("--input", "-i", help="JSON, @FILE, or - for stdin.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Print each step.")] = False,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Print the id at once.")] = False,
    functions: Functions = None,
) -> int | None:
    """Run a flow and print its output as JSON.

    Everything else goes to stderr. The node that runs in this home takes the flow; when none
    does, one runs in this process until the flow is over.
    """
    from qflow.cli import _run

    wish = _run.Wish(file=file, input=input, watch=watch, detach=detach, functions=functions or [])
    return _run.run(session, wish)


@command(app, "list", example="qflow list --status waiting")
def list_(
    session: Session,
    status: Annotated[str | None, typer.Option("--status", "-s", help="Only this status.")] = None,
    flow: Annotated[
        str | None, typer.Option("--flow", "-f", help="Only this flow: namespace/name[/version].")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many.")] = 50,
    before: Annotated[
        str | None, typer.Option("--before", metavar="ID", help="Only older than this one.")
    ] = None,
) -> int | None:
    """List executions, newest first."""
    from qflow.cli import _executions

    return _executions.list_(session, status=status, flow=flow, limit=limit, before=before)


@command(app, "show", example="qflow show 01k9x")
def show(session: Session, execution: Execution) -> int | None:
    """Show one execution.

    Where it stands, what it waits for, its output or its problem.
    """
    from qflow.cli import _executions

    return _executions.show(session, execution)


@command(app, "logs", example="qflow logs 01k9x -f --payloads")
def logs(
    session: Session,
    execution: Execution,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until it ends.")] = False,
    payloads: Annotated[
        bool, typer.Option("--payloads", "-p", help="Inputs, outputs, problems.")
    ] = False,
) -> int | None:
    """Print the records of one execution."""
    from qflow.cli import _logs

    return _logs.logs(session, execution, follow=follow, payloads=payloads)


@command(app, "pause", example="qflow pause 01k9x --reason 'supplier is down'")
def pause(session: Session, execution: Execution, reason: Reason = None) -> int | None:
    """Hold an execution at its next step.

    Durable on return, also with no node running.
    """
    from qflow.cli import _executions

    return _executions.steer(session, "pause", execution, reason)


@command(app, "resume", example="qflow resume 01k9x")
def resume(session: Session, execution: Execution, reason: Reason = None) -> int | None:
    """Let a paused execution go on.

    Durable on return; with no node running it takes effect when one starts.
    """
    from qflow.cli import _executions

    return _executions.steer(session, "resume", execution, reason)


@command(app, "abort", example="qflow abort 01k9x --reason 'wrong input'")
def abort(session: Session, execution: Execution, reason: Reason = None) -> int | None:
    """End an execution.

    Attempts under way are cancelled. Durable on return, also with no node running.
    """
    from qflow.cli import _executions

    return _executions.steer(session, "abort", execution, reason)


@command(app, "emit", example="""qflow emit -t com.example.approved --data '{"by": "ada"}'""")
def emit(
    session: Session,
    type_: Annotated[str, typer.Option("--type", "-t", help="CloudEvents type.")],
    source: Annotated[str, typer.Option("--source", help="CloudEvents source.")] = "/qflow/cli",
    data: Annotated[
        str | None, typer.Option("--data", "-d", help="JSON, @FILE, or - for stdin.")
    ] = None,
    subject: Annotated[str | None, typer.Option("--subject", help="CloudEvents subject.")] = None,
) -> int | None:
    """Send an event to the running node.

    Prints the ids of the executions that took it; when none did, the exit code is 3.
    """
    from qflow.cli import _events

    return _events.emit(session, type_=type_, source=source, data=data, subject=subject)


@command(app, "events", example="qflow events -f --type 'q.qflow.exec.*'")
def events(
    session: Session,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Until interrupted.")] = False,
    pattern: Annotated[str, typer.Option("--type", "-t", help="Types; * is any text.")] = "*",
) -> int | None:
    """Print the events of the running node.

    With -f as they happen; without, the next one.
    """
    from qflow.cli import _events

    return _events.events(session, follow=follow, pattern=pattern)


@command(schedule_app, "add", example="qflow schedule add nightly.yaml")
def schedule_add(session: Session, file: Flow) -> int | None:
    """Start a flow by its own `schedule`.

    Its rule is `every`, `cron` or `after`. One of the same name is replaced.
    """
    from qflow.cli import _schedules

    return _schedules.add(session, file)


@command(schedule_app, "list", example="qflow schedule list --json")
def schedule_list(session: Session) -> int | None:
    """List the schedules of the node."""
    from qflow.cli import _schedules

    return _schedules.list_(session)


@command(schedule_app, "remove", example="qflow schedule remove shop/nightly")
def schedule_remove(
    session: Session,
    key: Annotated[str, typer.Argument(metavar="KEY", help="As `schedule list` shows it.")],
) -> int | None:
    """Forget a schedule. Executions that it started go on."""
    from qflow.cli import _schedules

    return _schedules.remove(session, key)


@command(app, "validate", example="qflow validate flows/*.yaml")
def validate(
    session: Session,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Flows.")],
    functions: Functions = None,
) -> int | None:
    """Check flows without running them.

    Each finding says file:line:column, what is wrong, and the fix.
    """
    from qflow.cli import _validate

    return _validate.validate(session, files, functions or [])


@command(index_app, "rebuild", example="qflow index rebuild")
def index_rebuild(session: Session) -> int | None:
    """Make the index anew from the log.

    No node may run meanwhile.
    """
    from qflow.cli import _audit

    return _audit.rebuild(session)


@command(app, "doctor", example="qflow doctor --json")
def doctor(session: Session, functions: Functions = None) -> int | None:
    """Check this installation, with what to do.

    The home, the key, the log and its index, the disk, the clock, the functions.
    """
    from qflow.cli import _doctor

    return _doctor.doctor(session, functions or [])


@command(config_app, "show", example="qflow config show")
def config_show(session: Session) -> int | None:
    """Print every setting, and where it comes from."""
    from qflow.cli import _home

    return _home.config_show(session)


@command(app, "version", example="qflow version")
def version(session: Session) -> int | None:
    """Print the version."""
    from qflow.cli import _home

    return _home.version(session)


def main() -> None:
    """The console script: run the command that the arguments name, and exit with its code."""
    code = _run(sys.argv[1:])
    if threading.active_count() > 1:
        # A function of a flow that never returns keeps its thread; all that counts is durable.
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    try:
        return app(args=arguments, prog_name="qflow", standalone_mode=False) or 0
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the process's last resort
        return _usage(error, as_json="--json" in arguments)


def _usage(error: Exception, *, as_json: bool) -> int:
    """What typer refuses, in the same one line as every other error."""
    from typer.exceptions import TyperException

    from qflow.cli._exit import Refusal

    if not isinstance(error, TyperException):
        return report(error, as_json=as_json)
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "qflow"
    if type(error).__name__ == "NoArgsIsHelpError":
        print(error.format_message(), file=sys.stderr)
        return USAGE
    message = error.format_message().rstrip(".")
    return report(Refusal(message, USAGE, f"{path} --help"), as_json=as_json)
