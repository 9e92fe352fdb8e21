"""Taking care of the history: legal holds, erasure, retention. Of a running node, or of its files
while none runs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import anyio
import msgspec

from qflow import model
from qflow.audit import History, Index, Log
from qflow.audit._erasures import ERASED, apply_erasures, erasure_of, pages
from qflow.audit._own import OwnChain, Row
from qflow.audit._result import key_number
from qflow.audit._retention import (
    HELD,
    RELEASED,
    TEXT_CHARS_MAX,
    Hold,
    Holds,
    Step,
    Subject,
    Verdict,
    describe,
    judge,
)
from qflow.clock import Clock
from qflow.config import RetentionRule, can_name_flows
from qflow.diagnostics import logger
from qflow.engine._replay import type_of
from qflow.engine._state import FINAL
from qflow.errors import (
    ErasedError,
    ExecutionNotFoundError,
    ExecutionStateError,
    HeldError,
    PoisonedError,
    QflowError,
    UnavailableError,
)
from qflow.node._erasing import Erasing, Remnants
from qflow.node._files import open_files
from qflow.node._pruning import Pruner, Stored
from qflow.node._stored import stored_beside
from qflow.trust import Keyring

if TYPE_CHECKING:
    from qflow.config import Config

PAGE: Final = 200
"""Executions that are looked at, and erased, at a time."""
_SCHEDULED: Final = type_of("scheduled")
_HOUR_MS: Final = 3_600_000
_AGAIN_MS: Final = 1_000
_AGAIN_MS_MAX: Final = 60_000
_FIRST_MS: Final = 600_000
"""After a start: also a node that is started more often than it retains comes to it."""
_log = logger(__name__)


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One execution with what decides about it."""

    view: model.Execution
    subject: Subject
    key: int | None
    """None: its payloads are plain, from before they were sealed."""
    chain: bytes
    awaited: str | None
    """The execution that still waits for what this one came to."""


class Care:
    """Holds, erasures and retention over one log, by its only writer."""

    def __init__(
        self,
        *,
        own: OwnChain,
        chain: bytes,
        index: Index,
        history: History,
        log: Log,
        keys: Keyring,
        clock: Clock,
        rules: Sequence[RetentionRule] = (),
        stored: Stored | None = None,
        remnants: Remnants | None = None,
    ) -> None:
        self._own, self._chain = own, chain
        self._index, self._history, self._log = index, history, log
        self._pruner = Pruner(own=own, index=index, history=history, log=log, stored=stored)
        self._scheduled: dict[str, int] = {}
        self._keys, self._clock, self._rules = keys, clock, rules
        self._erasing, self._left = Erasing(keys, remnants), anyio.Event()
        self._holds, self._seen = Holds(), -1
        self._lock = anyio.Lock()
        """Between looking for holds and erasing, no hold comes."""

    # -- legal holds -----------------------------------------------------------------------

    async def holds(self) -> list[Hold]:
        """The holds that stand, oldest first."""
        async with self._lock:
            return list(await self._standing())

    async def hold(self, *, reason: str, by: str, **selected: Any) -> Hold:
        """Begin a hold over what `selected` names (see `Hold`), asked for `by` somebody. Durable on
        return.

        Raises ExecutionNotFoundError, or QflowError for a hold over nothing.
        """
        for field, text in {**selected, "reason": reason}.items():
            if isinstance(text, str):
                _check_text(field, text)
        if (execution := selected.get("execution")) is not None:
            selected["execution"] = self._view(execution).id
        now = self._clock.now_ms()
        name = model.id_text(model.new_id(now))
        try:
            given = {name: value for name, value in selected.items() if value is not None}
            named = {"id": name, "reason": reason, "by": by, "at": now}
            made = msgspec.convert({**given, **named}, Hold)
        except (ValueError, TypeError) as error:
            raise QflowError(str(error)) from None
        if made.flow is not None and not can_name_flows(made.flow):
            raise QflowError(f"no flow can be {made.flow!r}: namespace/name/version, or less of it")
        async with self._lock:
            await self._own.append([(HELD, None, None, None, made.meta())], by)
        return made

    async def release(self, hold: str, *, reason: str, actor: str) -> Hold:
        """End a hold, named by its id or a unique beginning. Durable on return."""
        _check_reason(reason)
        async with self._lock:
            found = _named(await self._standing(), hold)
            meta = {"id": found.id, "reason": reason}
            await self._own.append([(RELEASED, None, None, None, meta)], actor)
        return found

    # -- erasure ---------------------------------------------------------------------------

    async def erase(self, execution: str, *, reason: str, actor: str) -> str:
        """Destroy the key of an execution's payloads; its whole id. Durable on return.

        The tombstone is on record before the key is destroyed: after a crash between the two, the
        next opening destroys it. UnavailableError says that it is on record and not finished. Again
        is no harm: nothing more goes on record, what is left is done, and ErasedError says when it
        was done, and by whom. Raises ExecutionStateError (it is not over, or awaited, or was never
        sealed) or HeldError, which names the hold.
        """
        _check_reason(reason)
        async with self._lock:
            case = await anyio.to_thread.run_sync(self._case, self._view(execution))
            if case.key is not None and self._is_erased(case.chain, case.key):
                unfinished = case.chain in self._erasing
                with anyio.CancelScope(shield=True):
                    said = await anyio.to_thread.run_sync(self._again, case.view.id, case.key)
                if not unfinished:
                    raise ErasedError(said)
                return case.view.id
            _check_erasable(case)
            if (hold := (await self._standing()).over(case.subject)) is not None:
                raise HeldError(f"{case.view.id} is under legal hold {hold.id}: {hold.reason}")
            await self._destroy([(case, {"reason": reason})], actor)
        return case.view.id

    def _is_erased(self, chain: bytes, key: int) -> bool:
        return chain in self._erasing or self._keys.is_destroyed_of(chain, key)

    def _again(self, execution: str, key: int) -> str:
        """Carry an erasure out once more. When, by whom and why it was asked for, as far as the
        chain still has it. Raises UnavailableError when it cannot be finished."""
        for page in pages(self._history, self._chain, -1):
            for entry in page:
                record = entry.record
                if record["type"] == ERASED and record["meta"].get("execution") == execution:
                    self._erasing.again(execution, key, record["meta"])
                    at = datetime.fromtimestamp(record["at"] / 1000, UTC)
                    when = at.isoformat(timespec="seconds").replace("+00:00", "Z")
                    why = record["meta"].get("reason")
                    return f"{execution} was erased already, {when} by {record['actor']}: {why}"
        self._erasing.again(execution, key, None)
        return f"{execution} was erased already"

    async def _destroy(self, doomed: Sequence[tuple[Case, dict[str, Any]]], actor: str) -> None:
        metas = await anyio.to_thread.run_sync(self._tombstones, doomed)
        if metas:
            rows: list[Row] = [(ERASED, None, None, None, meta) for meta in metas]
            # Shielded: an append happens also when its wait is cancelled, and what is on record is
            # done, as far as that is possible.
            with anyio.CancelScope(shield=True):
                await self._own.append(rows, actor)
                erased = [erasure for meta in metas if (erasure := erasure_of(meta)) is not None]
                try:
                    await anyio.to_thread.run_sync(self._erasing.carry_out, erased)
                finally:
                    if self._erasing.is_unfinished:
                        self._left.set()

    def _tombstones(self, doomed: Sequence[tuple[Case, dict[str, Any]]]) -> list[dict[str, Any]]:
        return [
            self._erasing.tombstone(case.view.id, case.key, why)
            for case, why in doomed
            if case.key is not None and not self._is_erased(case.chain, case.key)
        ]

    async def finish_erasures(self) -> None:
        """Carry out what an erasure left undone, again and again until it is done. Until
        cancelled."""
        wait_ms = _AGAIN_MS
        while True:
            await self._left.wait()
            await self._clock.sleep_until(self._clock.now_ms() + wait_ms)
            wait_ms = min(2 * wait_ms, _AGAIN_MS_MAX)
            async with self._lock:
                try:
                    await anyio.to_thread.run_sync(self._erasing.finish)
                except UnavailableError as error:
                    _log.error("an erasure is not finished", error=str(error))
                else:
                    wait_ms, self._left = _AGAIN_MS, anyio.Event()

    # -- retention -------------------------------------------------------------------------

    async def retain(
        self, rules: Sequence[RetentionRule] | None = None, *, actor: str, dry_run: bool
    ) -> AsyncGenerator[Step, None]:
        """Apply these rules, or those of the settings: what is erased or kept, execution by
        execution, then a summary.

        What a step says is durable, unless it is a dry run. Stopped in between, the rest is left
        for the next time. Erasures that are unfinished are finished first: UnavailableError when
        they cannot be.
        """
        rules = self._rules if rules is None else rules
        whole = await anyio.to_thread.run_sync(self._count)
        done, erased, before = 0, 0, None
        if not dry_run:
            async with self._lock:
                await anyio.to_thread.run_sync(self._erasing.finish)
        while True:
            async with self._lock:
                found = partial(self._judged, rules, await self._standing(), before)
                page, looked_at, before = await anyio.to_thread.run_sync(found)
                doomed = [(case, why) for case, verdict, why in page if verdict.erase]
                if doomed and not dry_run:
                    await self._destroy(doomed, actor)
            done, erased = done + looked_at, erased + len(doomed)
            for case, verdict, why in page:
                yield _step(case, verdict, why)
            yield Step(what="progress", done=done, whole=max(whole, done))
            if before is None:
                break
        if any(rule.records_days is not None for rule in rules):
            yield await self._cut(rules, actor, dry_run=dry_run)
        yield Step(what="summary", done=erased, whole=done)

    async def retain_every(self, hours: float, actor: str) -> None:
        """Apply the rules of the settings again and again, until cancelled."""
        wait_ms = min(hours * _HOUR_MS, _FIRST_MS)
        while True:
            await self._clock.sleep_until(self._clock.now_ms() + round(wait_ms))
            wait_ms = hours * _HOUR_MS
            try:
                done = Step(what="summary")
                async with aclosing(self.retain(actor=actor, dry_run=False)) as steps:
                    async for step in steps:
                        done = step
            except PoisonedError:
                # The node stops, and says why itself.
                return
            except (QflowError, OSError) as error:
                _log.error("retention was not applied to the end", error=str(error))
            else:
                _log.info("retention applied", executions=done.whole, erased=done.done)

    async def _cut(self, rules: Sequence[RetentionRule], actor: str, *, dry_run: bool) -> Step:
        """Prune what the rules let go, as far as journal files can go."""
        async with self._lock:
            size = self._log.size
            stays = partial(self._stays, rules, await self._standing())
            planned = partial(self._pruner.plan, stays, self._scheduled, size)
            plan = await anyio.to_thread.run_sync(planned)
            cut = plan.cut
            if cut is None:
                return Step(what="kept", why=plan.why)
            if not dry_run:
                reason = "; ".join(describe(rule) for rule in rules)[:TEXT_CHARS_MAX]
                await self._pruner.prune(plan, cut, self._folded, reason=reason, actor=actor)
        return Step(what="prune", done=cut.records, minimum=cut.minimum, why=plan.why)

    def _stays(
        self, rules: Sequence[RetentionRule], holds: Holds, view: model.Execution
    ) -> str | None:
        """Why the records of an execution must stay; None when they may go."""
        now = self._clock.now_ms()
        if not judge(rules, Holds(), _subject(view, ""), now).prune:
            return "no rule lets it go yet" if view.status in FINAL else f"it is {view.status}"
        case = self._case(view)
        if (hold := judge(rules, holds, case.subject, now).hold) is not None:
            return f"legal hold {hold.id}"
        return None if case.awaited is None else f"{case.awaited} waits for it"

    def _judged(
        self, rules: Sequence[RetentionRule], holds: Holds, before: str | None
    ) -> tuple[list[tuple[Case, Verdict, dict[str, Any]]], int, str | None]:
        """Those of a page that a rule's time is over for, how many were looked at, where to go
        on."""
        found = self._index.executions(limit=PAGE, before=before)
        now, page = self._clock.now_ms(), []
        for view in found:
            # Nobody's hold asks for less than a rule: those it lets stay need no closer look.
            if not judge(rules, Holds(), _subject(view, ""), now).erase:
                continue
            case = self._case(view)
            if case.key is not None and not self._keys.has_of(case.chain, case.key):
                continue
            verdict = judge(rules, holds, case.subject, now)
            rule = f"rule {verdict.rule}: {describe(rules[(verdict.rule or 1) - 1])}"
            if case.key is None or case.awaited is not None:
                verdict = msgspec.structs.replace(verdict, erase=False)
            page.append((case, verdict, {"reason": rule, "rule": verdict.rule}))
        return page, len(found), found[-1].id if len(found) == PAGE else None

    def _count(self) -> int:
        self._index.catch_up(self._log)
        return sum(self._index.counts().values())

    # -- reading ---------------------------------------------------------------------------

    async def _standing(self) -> Holds:
        return await anyio.to_thread.run_sync(self._folded)

    def _folded(self) -> Holds:
        """The holds by the end of the own chain."""
        for page in pages(self._history, self._chain, self._seen):
            for entry in page:
                self._holds.apply(entry.record)
                if entry.record["type"] == _SCHEDULED:
                    self._scheduled[entry.record["meta"]["key"]] = entry.index
                self._seen = entry.seq
        return self._holds

    def _view(self, execution: str) -> model.Execution:
        self._index.catch_up(self._log)
        return self._index.execution(execution)

    def _case(self, view: model.Execution) -> Case:
        first = self._history.records(model.id_bytes(view.id), limit=1)
        actor = str(first[0].record["actor"]) if first else ""
        return Case(
            view=view,
            subject=_subject(view, actor),
            key=key_number(self._history, view.id),
            chain=model.id_bytes(view.id),
            awaited=self._awaited(view),
        )

    def _awaited(self, view: model.Execution) -> str | None:
        if view.parent is None:
            return None
        above = view.parent.rpartition(":")[0]
        try:
            return above if self._index.execution(above).status not in FINAL else None
        except ExecutionNotFoundError:
            return None


@asynccontextmanager
async def open_care(config: Config) -> AsyncIterator[Care]:
    """Care of a home in which no node runs. Takes the lock of the log.

    Raises LockedError, CorruptError, SigningKeyError.
    """
    async with open_files(config) as files, stored_beside(config, files) as stored:
        apply_erasures(
            files.history, files.chain, files.keys, mark=True, also=stored.elsewhere.erase
        )
        yield Care(
            own=files.own,
            chain=files.chain,
            index=files.index,
            history=files.history,
            log=files.log,
            keys=files.keys,
            clock=files.clock,
            rules=config.retention.rules,
            remnants=stored.elsewhere,
        )


def _subject(view: model.Execution, actor: str) -> Subject:
    return Subject(
        execution=view.id,
        flow=view.flow,
        actor=actor,
        status=view.status,
        started_at=view.started_at,
        ended_at=view.updated_at,
    )


def _step(case: Case, verdict: Verdict, why: dict[str, Any]) -> Step:
    what, because = "erase", why["reason"]
    if verdict.hold is not None:
        what, because = "held", f"legal hold {verdict.hold.id}: {verdict.hold.reason}"
    elif case.key is None:
        what, because = "plain", "written before payloads were sealed"
    elif case.awaited is not None:
        what, because = "awaited", f"{case.awaited} waits for what it came to"
    return Step(what=what, execution=case.view.id, flow=case.view.flow, why=because)


def _check_erasable(case: Case) -> None:
    name = case.view.id
    if case.view.status not in FINAL:
        raise ExecutionStateError(f"{name} is {case.view.status}; abort it before it is erased")
    if case.awaited is not None:
        raise ExecutionStateError(f"{case.awaited} still waits for what {name} came to")
    if case.key is None:
        raise ExecutionStateError(
            f"{name} was written before payloads were sealed: no key can be destroyed"
        )


def _named(holds: Holds, text: str) -> Hold:
    found = holds.find(text)
    if found is None:
        several = text and any(hold.id.startswith(text.lower()) for hold in holds)
        what = "more than one hold begins" if several else "no hold begins"
        raise ExecutionNotFoundError(f"{what} with {text!r}")
    return found


def _check_text(name: str, text: str) -> None:
    if not text.strip():
        raise QflowError(f"{name} is empty")
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise QflowError(f"{name} is no UTF-8")


def _check_reason(reason: str) -> None:
    if not reason.strip():
        raise QflowError("a reason is needed")
    _check_text("reason", reason)
    if len(reason) > TEXT_CHARS_MAX:
        raise QflowError(f"the reason has more than {TEXT_CHARS_MAX} characters")
