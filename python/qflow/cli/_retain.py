"""Legal holds, erasure and retention, on the running node or on the files while none runs."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from qflow.cli._audit import progress_bar
from qflow.cli._exit import NOT_FOUND, OK, USAGE, Refusal, printable
from qflow.cli._output import moment, plural
from qflow.cli._when import time_ms
from qflow.errors import ErasedError, ExecutionNotFoundError

if TYPE_CHECKING:
    from qflow.api import Client
    from qflow.audit._retention import Hold, Step
    from qflow.cli._session import Session
    from qflow.config import Config, RetentionRule
    from qflow.node._care import Care

_STATUSES: Final = ("completed", "faulted", "aborted")
_STYLES: Final = {"erase": "yellow", "held": "cyan", "prune": "yellow"}


def hold(
    session: Session, *, reason: str, since: str | None, until: str | None, **named: Any
) -> None:
    """Begin a hold."""
    check_texts(reason=reason, **named)
    selected = {**named, "since": time_ms(since, "--since"), "until": time_ms(until, "--until")}
    if all(value is None for value in selected.values()):
        raise Refusal(
            "a hold says what it covers", USAGE, "--execution, --flow, --actor, --since or --until"
        )

    async def change() -> Hold:
        async with caretaker(session) as care:
            return await care.hold(reason=reason, **selected)

    _print_hold(session, session.run(change), "held")


def release(session: Session, name: str, reason: str) -> None:
    """End a hold."""

    check_texts(hold=name, reason=reason)

    async def change() -> Hold:
        async with caretaker(session) as care:
            try:
                return await care.release(name, reason=reason)
            except ExecutionNotFoundError as error:
                raise Refusal(str(error), NOT_FOUND, "qflow audit holds lists them") from error

    _print_hold(session, session.run(change), "released")


def _print_hold(session: Session, found: Hold, what: str) -> None:
    if session.out.json:
        session.out.document({"hold": found, "status": what, "durable": True})
    else:
        session.out.line(f"{found.id}  {what}")


def holds(session: Session) -> None:
    """Print the holds that stand."""

    async def read() -> Sequence[Hold]:
        async with caretaker(session) as care:
            return await care.holds()

    found = session.run(read)
    if session.out.json:
        session.out.document(found)
    elif not found:
        session.out.note("no legal holds")
    else:
        rows = [(item.id, moment(item.at), item.by, _covered(item), item.reason) for item in found]
        session.out.table(("HOLD", "SINCE", "BY", "COVERS", "REASON"), rows)


def _covered(item: Hold) -> str:
    times = [
        f"{name} {moment(at)}"
        for name, at in (("since", item.since), ("until", item.until))
        if at is not None
    ]
    named = (("execution", item.execution), ("flow", item.flow), ("actor", item.actor))
    return ", ".join([f"{name} {value}" for name, value in named if value is not None] + times)


def erase(session: Session, execution: str, *, reason: str, yes: bool) -> int:
    """Destroy the key of one execution's payloads."""
    check_texts(execution=execution, reason=reason)
    if not yes and not confirmed(session, f"erase what {execution} took and gave, for good?"):
        return OK

    async def change() -> str:
        async with caretaker(session) as care:
            return await care.erase(execution, reason=reason)

    try:
        name = session.run(change)
    except ErasedError as error:
        return _print_again(session, str(error))
    if session.out.json:
        session.out.document({"execution": name, "erased": True, "durable": True})
    else:
        session.out.line(f"{name}  erased")
    return OK


def _print_again(session: Session, already: str) -> int:
    """It is done, but not now: whoever asked is not to take their reason for recorded."""
    if session.out.json:
        name = already.partition(" ")[0]
        told = {"execution": name, "erased": True, "durable": True, "already": already}
        session.out.document(told)
    else:
        session.out.line(already)
        session.out.note("note: nothing was put on record now, also not the reason")
    return OK


def retain(
    session: Session, *, rules: Sequence[RetentionRule] | None, dry_run: bool, yes: bool
) -> int:
    """Apply retention rules, or say what they would do."""
    if not dry_run and not yes:
        check_asked(session)
        would = _run(session, rules, dry_run=True, shown=False)
        if not would:
            session.out.note("nothing is due")
            return OK
        if not confirmed(session, " and ".join(would) + "?"):
            return OK
    done = _run(session, rules, dry_run=dry_run, shown=True)
    if not session.out.json:
        verb = "would " if dry_run else "done: "
        session.out.note(verb + " and ".join(done) if done else "nothing is due")
    return OK


def _run(
    session: Session, rules: Sequence[RetentionRule] | None, *, dry_run: bool, shown: bool
) -> list[str]:
    """What is done, or would be, in words."""
    words = []

    async def main() -> None:
        async with caretaker(session) as care:
            steps = care.retain(rules, dry_run=dry_run)
            with progress_bar(session.out, "looking" if dry_run else "erasing") as step:
                async with aclosing(steps):
                    async for item in steps:
                        _show(session, item, step, shown=shown)
                        if item.what == "prune":
                            words.append(f"prune {plural(item.done or 0, 'record')}")
                        elif item.what == "summary" and item.done:
                            words.append(f"erase the payloads of {plural(item.done, 'execution')}")

    session.run(main)
    return words


def _show(
    session: Session, item: Step, step: Callable[[int, int], None] | None, *, shown: bool
) -> None:
    if item.what == "progress":
        if step is not None:
            step(item.done or 0, item.whole or 0)
    elif not shown:
        return
    elif session.out.json:
        session.out.document(item)
    elif item.what != "summary":
        words = [f"{item.what:<8}", *filter(None, (item.execution, item.flow))]
        if item.what == "prune":
            words.append(f"{plural(item.done or 0, 'record')} before {item.minimum}; behind it:")
        elif item.what == "kept":
            words.append("no journal file can go:")
        session.out.line("  ".join([*words, item.why]), _STYLES.get(item.what))


def is_asked(session: Session) -> bool:
    """Whether somebody is there to confirm."""
    return not session.out.json and sys.stdin.isatty() and session.out.notes.is_terminal


def check_asked(session: Session) -> None:
    """Refuse what is to be confirmed when nobody is there."""
    if not is_asked(session):
        raise Refusal("nobody is there to confirm it", USAGE, "--yes does it without asking")


def confirmed(session: Session, question: str) -> bool:
    """What somebody who is there answers; refused when nobody is."""
    check_asked(session)
    import typer

    return typer.confirm(question, err=True)


def rules_of(
    flow: str | None,
    status: Sequence[str],
    payloads_days: float | None,
    records_days: float | None,
) -> list[RetentionRule] | None:
    """The rule that the options name; None: those of the settings apply."""
    import msgspec

    from qflow.config import RetentionRule

    check_texts(flow=flow)
    for word in status:
        if word not in _STATUSES:
            raise Refusal(f"--status: {word!r} is none", USAGE, ", ".join(_STATUSES))
    for option, days in (("payloads", payloads_days), ("records", records_days)):
        if days is not None and not math.isfinite(days):
            raise Refusal(f"--{option}-days: {days} is no number of days", USAGE)
    if payloads_days is None and records_days is None:
        if flow is not None or status:
            raise Refusal("how long?", USAGE, "--payloads-days or --records-days")
        return None
    named = {
        "flow": "*" if flow is None else flow,
        "status": list(status),
        "payloads_days": payloads_days,
        "records_days": records_days,
    }
    try:
        return [msgspec.convert(named, RetentionRule)]
    except msgspec.ValidationError as error:
        raise Refusal(str(error), USAGE) from None


def check_texts(**texts: str | None) -> None:
    """Refuse what is given and says nothing: it would stand for everything; and what is no text."""
    for name, text in texts.items():
        if text is None:
            continue
        if not text.strip():
            raise Refusal(f"the {name} is empty", USAGE)
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            raise Refusal(f"the {name} is no UTF-8", USAGE)


def check_line(name: str, text: str | None) -> None:
    """Refuse a text that is more than a line, or could steer a terminal."""
    if text is not None and printable(text, lines=False) != text:
        raise Refusal(f"the {name} has a control character or a new line in it", USAGE)


def caretaker(session: Session) -> AbstractAsyncContextManager[Client | _Files]:
    """Whoever takes care of the history of this home: the running node, or its files."""
    return session.running_or(_care_of_files)


class _Files:
    """The methods of `Client` on the files of a home, in the name of the user of this process."""

    def __init__(self, care: Care, actor: str) -> None:
        self._care, self._actor = care, actor

    async def hold(self, *, reason: str, **selected: Any) -> Hold:
        return await self._care.hold(reason=reason, by=self._actor, **selected)

    async def release(self, name: str, *, reason: str) -> Hold:
        return await self._care.release(name, reason=reason, actor=self._actor)

    async def holds(self) -> Sequence[Hold]:
        return await self._care.holds()

    async def erase(self, execution: str, *, reason: str) -> str:
        return await self._care.erase(execution, reason=reason, actor=self._actor)

    def retain(
        self, rules: Sequence[RetentionRule] | None, *, dry_run: bool
    ) -> AsyncGenerator[Step, None]:
        return self._care.retain(rules, actor=self._actor, dry_run=dry_run)


@asynccontextmanager
async def _care_of_files(config: Config) -> AsyncIterator[_Files]:
    """Under the lock of the log. Raises LockedError when a node runs after all."""
    from qflow.api import actor_of
    from qflow.node._care import open_care

    if not (config.home / "log").is_dir():
        raise Refusal(f"{config.home} has no history: no node ever ran there", NOT_FOUND)
    async with open_care(config) as care:
        yield _Files(care, actor_of(os.getuid()))
