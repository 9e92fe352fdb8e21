"""The commands of `qflow audit` that decide what of the history may go."""

from __future__ import annotations

from typing import Annotated

import typer

from qflow.cli._command import command
from qflow.cli._session import Session

Reason = Annotated[str, typer.Option("--reason", help="Why; it stands in the record.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def add_to(app: typer.Typer) -> None:
    """Declare them."""
    command(
        app,
        "hold",
        example='qflow audit hold --flow "shop/*" --since 2026-01-01 --reason "case 4711"',
    )(audit_hold)
    command(app, "release", example='qflow audit release 01jd --reason "case closed"')(
        audit_release
    )
    command(app, "holds", example="qflow audit holds --json")(audit_holds)
    command(app, "erase", example='qflow audit erase 01jd --reason "asked by the customer"')(
        audit_erase
    )
    command(app, "retain", example="qflow audit retain --dry-run")(audit_retain)


def audit_hold(
    session: Session,
    reason: Reason,
    execution: Annotated[
        str | None, typer.Option("--execution", help="One execution, by its id or its beginning.")
    ] = None,
    flow: Annotated[
        str | None, typer.Option("--flow", help="Those of a flow; * stands for any characters.")
    ] = None,
    actor: Annotated[
        str | None, typer.Option("--actor", help="Those begun on behalf of an actor, also with *.")
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="Those not over before it.")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="TIME", help="Those begun before it.")
    ] = None,
) -> int | None:
    """Begin a legal hold: nothing that it covers is erased or pruned until it is released.

    It covers the executions that have all that is named, also those that begin later.
    """
    from qflow.cli import _retain

    _retain.hold(
        session,
        reason=reason,
        since=since,
        until=until,
        execution=execution,
        flow=flow,
        actor=actor,
    )
    return None


def audit_release(
    session: Session,
    hold: Annotated[str, typer.Argument(help="Its id, or the beginning of it.")],
    reason: Reason,
) -> int | None:
    """End a legal hold."""
    from qflow.cli import _retain

    _retain.release(session, hold, reason)
    return None


def audit_holds(session: Session) -> int | None:
    """List the legal holds that stand."""
    from qflow.cli import _retain

    _retain.holds(session)
    return None


def audit_erase(
    session: Session,
    execution: Annotated[str, typer.Argument(help="Its id, or the beginning of it.")],
    reason: Reason,
    yes: Yes = False,
) -> int | None:
    """Erase what an execution took and gave, for good: the key of its payloads is destroyed.

    Its records stay and verify. Refused while it runs or is under a legal hold. Asks first; where
    nobody can be asked it needs --yes.
    """
    from qflow.cli import _retain

    return _retain.erase(session, execution, reason=reason, yes=yes)


def audit_retain(
    session: Session,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would go, and why.")
    ] = False,
    flow: Annotated[
        str | None, typer.Option("--flow", help="Instead of the settings: of these flows,")
    ] = None,
    status: Annotated[
        list[str] | None, typer.Option("--status", help="that ended so (may be repeated),")
    ] = None,
    payloads_days: Annotated[
        float | None, typer.Option("--payloads-days", min=0, help="erase payloads after this,")
    ] = None,
    records_days: Annotated[
        float | None, typer.Option("--records-days", min=0, help="prune records after this.")
    ] = None,
    yes: Yes = False,
) -> int | None:
    """Apply the retention rules of the settings, or the one that the options name.

    It says how much is due and asks before it does anything; where nobody can be asked it needs
    --yes.
    """
    from qflow.cli import _retain

    rules = _retain.rules_of(flow, status or [], payloads_days, records_days)
    return _retain.retain(session, rules=rules, dry_run=dry_run, yes=yes)
