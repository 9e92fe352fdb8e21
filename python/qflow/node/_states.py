"""Checkpoints and stored states: finding, verifying, moving and restoring them. Of a running node,
or of its files while none runs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import anyio
from msgspec.structs import replace

from qflow import _core, model
from qflow.api._states import (
    Checkpoint,
    Deleted,
    Detail,
    Difference,
    Fault,
    Garbage,
    Pruned,
    Refused,
    Restored,
    StateStep,
    StoredState,
    Verified,
)
from qflow.engine._snapshot import thaw
from qflow.errors import (
    BlockNotFoundError,
    ConfigError,
    ExecutionStateError,
    QflowError,
    UnavailableError,
    VerificationError,
)
from qflow.node._difference import compare
from qflow.node._family import awaited, check_whole, choose, family_of, newest_good
from qflow.node._state_files import exporting, importing, joined
from qflow.node._state_recovery import Recovery
from qflow.node._state_views import cid_text, fault_of
from qflow.state._removal import surplus
from qflow.state._search import id_range

if TYPE_CHECKING:
    from qflow.api._states import Exported
    from qflow.node._state_carriers import Carriers
    from qflow.node._state_home import Adopted, Home
    from qflow.node._state_views import Views
    from qflow.state import Page, Saved, States
    from qflow.storage import SqliteBlocks

PAGE: Final = 200
"""Versions that are read at a time."""
FINDINGS_MAX: Final = 100
CHECKED: Final = (
    "signature",
    "signer",
    "every block",
    "seal",
    "every record",
    "place in the chain",
)
"""What `States.check` holds a version to."""
_T = TypeVar("_T")
Versions = list["Saved"]
Refusals = list[Refused]
Texts = list[str]


class StateCare:
    """What `qflow checkpoint` and `qflow state` do, over one store.

    Executions are named by their id, checkpoints by CID or label, both also by how they begin.
    """

    def __init__(
        self,
        *,
        states: States,
        blocks: SqliteBlocks,
        views: Views,
        carriers: Carriers,
        home: Home | None,
        keep: int,
    ) -> None:
        self._states, self._blocks, self._views = states, blocks, views
        self._carriers, self._home, self._keep = carriers, home, keep
        self._lock = anyio.Lock()
        """One import, recovery, restore, pruning or collection at a time."""

    # -- finding ---------------------------------------------------------------------------

    async def list(
        self,
        *,
        execution: str | None = None,
        flow: str | None = None,
        label: str | None = None,
        since: int | None = None,
        until: int | None = None,
        limit: int | None = None,
    ) -> AsyncGenerator[Checkpoint, None]:
        """Checkpoints, newest first; at most `limit`. Nothing was verified."""
        asked: dict[str, Any] = {"execution": execution, "flow": flow, "label": label}
        asked |= {"since": since, "until": until}
        async with aclosing(self._saved(asked, limit)) as found:
            async for saved in found:
                yield await _in_thread(self._views.checkpoint, saved)

    async def stored(
        self, *, execution: str | None = None, flow: str | None = None, limit: int | None = None
    ) -> AsyncGenerator[StoredState, None]:
        """Executions that have a stored state, those with the newest checkpoint first."""
        asked: dict[str, Any] = {"execution": execution, "flow": flow, "newest": True}
        async with aclosing(self._saved(asked, limit)) as found:
            async for saved in found:
                yield await _in_thread(self._views.stored, saved)

    async def _saved(self, asked: dict[str, Any], limit: int | None) -> AsyncGenerator[Saved, None]:
        after: str | None = None
        while limit is None or limit > 0:
            count = PAGE if limit is None else min(PAGE, limit)
            page = await _in_thread(partial(self._page, **asked, limit=count, after=after))
            for saved in page.versions:
                yield saved
            limit = None if limit is None else limit - len(page.versions)
            after = page.next
            if after is None:
                return

    def _page(self, **asked: Any) -> Page:
        try:
            return self._states.list(**asked)
        except ValueError as error:
            name = asked.get("execution")
            if name is not None and id_range(name.lower()) is None:
                raise _unknown(name) from None
            raise QflowError(str(error)) from None

    async def show(self, name: str) -> Detail:
        """One checkpoint, or the newest of an execution. Raises BlockNotFoundError."""
        return await _in_thread(lambda: self._views.detail(self._states.find(name)))

    async def diff(self, older: str, newer: str, *, paths: bool, limit: int) -> Difference:
        """What changed from one checkpoint to another of the same execution; with `paths` only
        where. Both are verified. Raises QflowError when they are of two executions."""
        return await _in_thread(partial(self._diff, older, newer, paths=paths, limit=limit))

    def _diff(self, older: str, newer: str, *, paths: bool, limit: int) -> Difference:
        before, after = self._states.find(older), self._states.find(newer)
        if before.chain != after.chain:
            raise QflowError(
                f"{cid_text(before.cid)} and {cid_text(after.cid)} are of two executions:"
                f" {model.id_text(before.chain)} and {model.id_text(after.chain)}"
            )
        states = [thaw(_core.decode(self._states.load(saved.cid))) for saved in (before, after)]
        found = compare(*states, limit=limit, values=not paths)
        return Difference(
            older=self._views.checkpoint(before),
            newer=self._views.checkpoint(after),
            changes=tuple(found.changes),
            more=found.more,
            entered=tuple(found.entered),
            left=tuple(found.left),
        )

    # -- keeping ---------------------------------------------------------------------------

    async def create(
        self, execution: str, *, label: str | None, description: str | None, actor: str
    ) -> Checkpoint:
        """Write down the state of an execution that is not over; durable on return.

        So is the state of the executions that it waits for, at any depth, without label and
        description. Raises ExecutionNotFoundError, ExecutionStateError, ErasedError, QflowError for
        a text that is too long.
        """
        home = self._writable()
        texts = {"label": label, "description": description}
        made = await home.checkpoint(execution, **texts, actor=actor)
        saved = await _in_thread(self._states.find, made)
        due = await _in_thread(awaited, self._states, saved)
        texts = {"label": None, "description": None}
        while due:
            name = due.pop()
            if not await _in_thread(home.is_open, name):
                continue
            try:
                made = await home.checkpoint(name, **texts, actor=actor)
            except ExecutionStateError:
                if await _in_thread(home.is_open, name):
                    raise
            else:
                child = await _in_thread(self._states.find, made)
                due += await _in_thread(awaited, self._states, child)
        return await _in_thread(self._views.checkpoint, saved)

    async def prune(
        self,
        execution: str | None,
        *,
        keep: int | None,
        dry_run: bool,
        actor: str,
        labelled: bool = False,
    ) -> Pruned:
        """Delete all but the newest checkpoints of one execution, or of each. Those with a label
        stay, unless they are named by `labelled`, too."""
        if not dry_run:
            self._writable()
        async with self._lock:
            keep = keep or self._keep
            return await _in_thread(partial(self._prune, execution, keep, dry_run, labelled))

    def _prune(self, execution: str | None, keep: int, dry_run: bool, labelled: bool) -> Pruned:
        deleted: list[Checkpoint] = []
        blocks = size = 0
        for newest in self._newest_of([] if execution is None else [execution]):
            line = self._states.history(newest.chain)
            doomed = surplus(line, keep, labelled=labelled)
            deleted += [self._views.checkpoint(saved) for saved in doomed]
            if doomed and dry_run:
                freed = self._views.alone(newest.chain, doomed)
                blocks, size = blocks + len(freed), size + sum(freed.values())
            elif doomed:
                removed = self._states.prune(newest.chain, keep, labelled=labelled)
                blocks, size = blocks + removed.blocks, size + removed.size_bytes
        return Pruned(deleted=tuple(deleted), blocks=blocks, bytes=size, dry_run=dry_run)

    async def delete(self, execution: str, *, actor: str) -> Deleted:
        """Delete every checkpoint of an execution; endpoints release their pins when they are
        reached. Durable on return. Raises BlockNotFoundError."""
        self._writable()
        async with self._lock:
            return await _in_thread(self._delete, execution)

    def _delete(self, execution: str) -> Deleted:
        (newest,) = self._newest_of([execution])
        versions = [saved.cid for saved in self._states.history(newest.chain)]
        removed = self._states.delete(chain=newest.chain)
        return Deleted(
            execution=model.id_text(newest.chain),
            versions=removed.versions,
            blocks=removed.blocks,
            bytes=removed.size_bytes,
            pins_owed=self._carriers.owed(versions),
        )

    async def garbage(self, *, collect: bool) -> Garbage:
        """What the store holds that nothing names; with `collect` it is deleted."""
        if not collect:
            found = await _in_thread(self._states.garbage)
        else:
            self._writable()
            async with self._lock:
                found = await _in_thread(self._states.collect)
        return Garbage(blocks=found.blocks, bytes=found.size_bytes, collected=collect)

    # -- verifying -------------------------------------------------------------------------

    def verify(self, executions: Sequence[str]) -> AsyncGenerator[StateStep, None]:
        """Verify every version of these executions, or of all; the last step has a `Verified`."""
        return _stepping(self._verifying(executions))

    def _verifying(self, executions: Sequence[str]) -> Generator[tuple[int, int], None, Verified]:
        chains = [newest.chain for newest in self._newest_of(executions)]
        faults: list[Fault] = []
        more = versions = blocks = size = records = 0
        for done, chain in enumerate([*chains, None] if not executions else chains):
            yield done, len(chains)
            # After them what is of none: the file itself, and the documents.
            found = self._states.verify_file() if chain is None else self._states.verify(chain)
            room = FINDINGS_MAX - len(faults)
            faults += [fault_of(item, chain) for item in found.findings[:room]]
            more += found.more + len(found.findings[room:])
            versions, blocks = versions + found.versions, blocks + found.blocks
            size, records = size + found.size_bytes, records + found.records
        return Verified(
            ok=not faults,
            executions=len(chains),
            versions=versions,
            blocks=blocks,
            bytes=size,
            records=records,
            findings=tuple(faults),
            more=more,
        )

    def _newest_of(self, executions: Sequence[str]) -> Versions:
        """The newest versions of the executions that are named, or of all."""
        found: Versions = []
        for name in executions or (None,):
            page = self._page(execution=name, newest=True, limit=PAGE)
            if name is not None and len(page.versions) != 1:
                raise _unknown(name, several=bool(page.versions))
            found += page.versions
            while page.next is not None:
                page = self._page(execution=name, newest=True, limit=PAGE, after=page.next)
                found += page.versions
        return list({saved.cid: saved for saved in found}.values())

    # -- moving ----------------------------------------------------------------------------

    def export(
        self, executions: Sequence[str], path: str, *, with_key: bool, replace: bool
    ) -> AsyncGenerator[StateStep, None]:
        """Write the newest good checkpoint of each execution (or the one that a CID names), and of
        those that it waits for, into a CAR file with its key; the last step has an `Exported`."""
        return _stepping(
            self._exporting(executions, Path(path), with_key=with_key, replace=replace)
        )

    def _exporting(
        self, executions: Sequence[str], path: Path, *, with_key: bool, replace: bool
    ) -> Generator[tuple[int, int], None, Exported]:
        names = executions or [cid_text(saved.cid) for saved in self._newest_of([])]
        chosen = choose(self._states, [self._states.find(name) for name in names])
        envelope = self._carriers.envelope if with_key else None
        return (
            yield from exporting(
                self._blocks, self._views, chosen, path, envelope=envelope, replace=replace
            )
        )

    async def import_(self, path: str) -> AsyncGenerator[StateStep, None]:
        """Take checkpoints and keys out of a CAR file, each verified; the last step has a
        `Brought`. Raises VerificationError, and takes nothing, when the file is damaged or cannot
        be read."""
        home = self._writable()
        async with self._lock:
            steps = importing(
                self._states, self._blocks, self._views, Path(path), adopt=home.adopt_key
            )
            async with aclosing(_stepping(steps)) as told:
                async for step in told:
                    yield step

    async def recover(self, executions: Sequence[str]) -> AsyncGenerator[StateStep, None]:
        """Fetch checkpoints of these executions and of those that they wait for, or of all, from
        the endpoints of the settings, each verified; the last step has a `Brought`. Raises
        BlockNotFoundError for what no id begins with, ConfigError when there is no endpoint,
        UnavailableError when none answers."""
        home = self._writable()
        if not self._carriers.urls:
            raise ConfigError("no endpoint is set to recover from: storage.kubo names them")
        for name in executions:
            if id_range(name.lower()) is None:
                raise _unknown(name)
        async with self._lock:
            done, due, asked = None, set(executions), set(executions)
            while due or done is None:
                async with aclosing(self._recovering(home, sorted(due))) as steps:
                    async for step in steps:
                        if step.result is None:
                            yield step
                        else:
                            done = joined(done, step.result)
                lacking = await _in_thread(self._lacking, executions)
                due = lacking - asked
                asked |= due
            yield StateStep(result=done)

    def _recovering(self, home: Home, executions: Sequence[str]) -> AsyncGenerator[StateStep, None]:
        recovery = Recovery(
            self._states,
            self._blocks,
            self._views,
            subnet=self._carriers.subnet,
            signers=self._carriers.signers,
            adopt=home.adopt_key,
            open_kubo=self._carriers.open_kubo,
        )
        return recovery.run(self._carriers.urls, executions)

    def _lacking(self, executions: Sequence[str]) -> set[str]:
        """Subflows of these executions of which nothing is here."""
        found: set[str] = set()
        for name in executions:
            for saved in self._page(execution=name, newest=True, limit=PAGE).versions:
                try:
                    good, _ = newest_good(self._states, saved)
                    found.update(family_of(self._states, good).missing)
                except QflowError:
                    continue  # a restore will say it
        return found

    def sync(self) -> AsyncGenerator[StateStep, None]:
        """Bring every endpoint up to date now; the last step has a `Synced`."""
        self._writable()
        return self._carriers.sync()

    # -- restoring -------------------------------------------------------------------------

    async def restore(
        self,
        name: str,
        *,
        dry_run: bool,
        actor: str,
        children_anew: bool = False,
        or_older: bool = False,
    ) -> Restored:
        """Bring an execution into the log of this home from its newest good checkpoint, or from
        the one that is named (`or_older`: or from a good one before it); and with it the executions
        that it waits for, at any depth, each from its newest good one. Durable on return.

        Raises ExecutionStateError when an execution of this home is ahead, over, or went another
        way, or when there is no checkpoint of one that is waited for (with `children_anew` that
        begins anew, under its old id and keys), ErasedError, VerificationError when no checkpoint
        is good, or not the one that is named.
        """
        home = self._writable()
        async with self._lock:
            named = await _in_thread(self._states.find, name)
            saved, refused = await _in_thread(newest_good, self._states, named)
            if refused and not or_older and not _is_execution(name, named):
                raise VerificationError(
                    f"checkpoint {refused[0].cid} is not good: {refused[0].why};"
                    f" --or-older takes {cid_text(saved.cid)}"
                )
            family = await _in_thread(partial(family_of, self._states, saved, settled=home.stands))
            check_whole(saved, family, children_anew=children_anew)
            versions = [saved, *family.versions]
            done = await home.restore(versions, dry_run=dry_run, actor=actor)
            children = [
                await self._restored(child, adopted, family.refused, dry_run)
                for child, adopted in zip(family.versions, done[1:], strict=True)
            ]
            parent = await self._restored(saved, done[0], refused, dry_run)
            return replace(parent, children=tuple(children), anew=tuple(family.missing))

    async def _restored(
        self, saved: Saved, done: Adopted, refused: Refusals, dry_run: bool
    ) -> Restored:
        name = model.id_text(saved.chain)
        bad = tuple(item for item in refused if item.execution == name)
        taken = cid_text(saved.cid)
        return Restored(
            asked=bad[0].cid if bad else taken,
            taken=taken,
            checkpoint=await _in_thread(self._views.checkpoint, saved),
            verified=CHECKED,
            refused=bad,
            records=done.records,
            present=done.present,
            status=done.status,
            dry_run=dry_run,
        )

    def _writable(self) -> Home:
        if self._home is None:
            raise UnavailableError("the files of this home were opened for reading only")
        return self._home


def _unknown(name: str, *, several: bool = False) -> BlockNotFoundError:
    if several:
        return BlockNotFoundError(f"several executions with a checkpoint begin with {name!r:.80}")
    return BlockNotFoundError(f"no checkpoint or execution is known by {name!r:.80}")


def _is_execution(name: str, found: Saved) -> bool:
    """Whether the text by which a version was found means its execution, rather than itself."""
    text = name.strip()
    return model.id_text(found.chain).startswith(text.lower()) and found.label != text


async def _in_thread(work: Callable[..., _T], *arguments: Any) -> _T:
    return await anyio.to_thread.run_sync(work, *arguments)


async def _stepping(
    steps: Generator[tuple[int, int], None, Any],
) -> AsyncGenerator[StateStep, None]:
    """Work in a thread, step by step; left before its end, it is closed there."""
    try:
        while True:
            told, result = await _in_thread(_advance, steps)
            if told is None:
                yield StateStep(result=result)
                return
            yield StateStep(done=told[0], whole=told[1])
    finally:
        with anyio.CancelScope(shield=True):
            await _in_thread(steps.close)


def _advance(
    steps: Generator[tuple[int, int], None, Any],
) -> tuple[tuple[int, int] | None, Any]:
    try:
        return next(steps), None
    except StopIteration as end:
        return None, end.value
