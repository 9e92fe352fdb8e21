"""What of a home changes with its stored states: the log, by checkpoints and restores, and keys."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol

import anyio

from qflow import _core, model
from qflow.engine import Checkpoint, Flow, Identity, Live
from qflow.engine._keeping import DESCRIPTION_CHARS_MAX, LABEL_CHARS_MAX
from qflow.engine._replay import replay
from qflow.engine._sealed import ASKED, Asked
from qflow.engine._state import FINAL
from qflow.errors import ExecutionStateError, PoisonedError
from qflow.node._adoption import Adoption, Plan
from qflow.node._archive import Archive
from qflow.node._checkpoints import Checkpoints, confirming
from qflow.trust import open_envelope

if TYPE_CHECKING:
    from qflow.audit import Index
    from qflow.config import Config
    from qflow.node._files import Files
    from qflow.node._stored import Stored
    from qflow.state import Saved
    from qflow.trust import Keyring, Signers


class Adopted(NamedTuple):
    """What became of the records of a chain that was brought here."""

    records: int
    """That went to the log, or would."""
    present: int
    """That were there before."""
    status: str
    """Where the execution stands now, or would."""


class Checkpointing(Protocol):
    """Makes a checkpoint of an execution, named by its id or a beginning of it."""

    def __call__(
        self, execution: str, *, label: str | None, description: str | None, actor: str
    ) -> Awaitable[str]:
        """The CID of its version, which is durable."""
        ...


SetAside = Callable[[Mapping[str, Plan]], AbstractAsyncContextManager[set[str]]]
"""Gives those executions that are to be restored. While the context lasts, nothing is decided of
them; behind it, they go on."""


class Home:
    """The log and the keys of one home, by its only writer."""

    def __init__(
        self,
        *,
        adoption: Adoption,
        index: Index,
        keys: Keyring,
        signers: Signers,
        subnet: str,
        checkpoint: Checkpointing,
        set_aside: SetAside,
    ) -> None:
        self._adoption, self._index = adoption, index
        self._keys, self._signers, self._subnet = keys, signers, subnet
        self._set_aside = set_aside
        self.checkpoint = checkpoint
        """Makes a checkpoint. Raises ExecutionNotFoundError, ExecutionStateError."""

    async def restore(
        self, versions: Sequence[Saved], *, dry_run: bool, actor: str
    ) -> list[Adopted]:
        """Bring the chains of verified versions into the log; durable on return, and then the
        executions go on where a node runs. Raises as `Adoption.plan`, and then nothing was changed,
        unless the log changed meanwhile.

        Each stands before those that it waits for, and is brought in behind them: a crash leaves
        no execution that begins one of them anew.
        """
        names = [model.id_text(saved.chain) for saved in versions]
        plans = [await self._adoption.plan(saved) for saved in versions]
        if dry_run:
            statuses = [saved.status for saved in versions]
        else:
            async with self._set_aside(dict(zip(names, plans, strict=True))) as aside:
                for name, saved in zip(reversed(names), reversed(versions), strict=True):
                    if name in aside:
                        await self._adoption.adopt(saved, actor=actor)
            statuses = await anyio.to_thread.run_sync(self._statuses, names)
        pairs = zip(plans, statuses, strict=True)
        return [Adopted(plan.missing, plan.present, status) for plan, status in pairs]

    def _statuses(self, executions: Sequence[str]) -> list[str]:
        return [self._index.execution(execution).status for execution in executions]

    def stands(self, chain: bytes, saved: Saved | None) -> bool:
        """See `Adoption.stands`. Blocks."""
        return self._adoption.stands(chain, saved)

    def is_open(self, execution: str) -> bool:
        """See `Adoption.is_open`. Blocks."""
        return self._adoption.is_open(execution)

    def adopt_key(self, envelope: bytes) -> bool:
        """Take the key in an envelope; False when it was here. Durable on return; blocks.

        Raises VerificationError (changed, of another subnet, of a stranger), UnavailableError (no
        key of the subnet opens it), ErasedError.
        """
        opened = open_envelope(envelope, self._keys, self._signers, subnet=self._subnet)
        return self._keys.adopt(opened)


async def checkpoint_files(
    files: Files,
    stored: Stored,
    config: Config,
    execution: str,
    *,
    label: str | None,
    description: str | None,
    actor: str,
) -> str:
    """Make a checkpoint of an execution while no node runs; the CID of its version, which is
    durable. Raises ExecutionNotFoundError, ExecutionStateError."""
    _check_texts(label, description)
    asked = Asked(why=ASKED, label=label, description=description)
    live = await anyio.to_thread.run_sync(partial(_restored, files, stored, execution))
    identity = Identity(node=files.key.did, subnet=config.subnet)
    at = max(files.clock.now_ms(), live.state.now)
    try:
        records, made = live.checkpoint(asked, at, identity, actor)
    except ValueError as error:
        raise ExecutionStateError(f"no checkpoint of {live.id} can be made: {error}") from None
    await files.log.append(records, [])
    await anyio.to_thread.run_sync(files.index.catch_up, files.log)
    return await _kept(files, stored, config, made)


def _check_texts(label: str | None, description: str | None) -> None:
    for name, text, most in (
        ("label", label, LABEL_CHARS_MAX),
        ("description", description, DESCRIPTION_CHARS_MAX),
    ):
        if text is not None and not 0 < len(text) <= most:
            raise ExecutionStateError(f"a {name} has 1 to {most} characters, not {len(text)}")


def _restored(files: Files, stored: Stored, execution: str) -> Live:
    known = files.index.execution(execution)
    if known.status in FINAL:
        raise ExecutionStateError(f"execution {known.id} is over; it cannot be checkpointed")
    archive = Archive(
        files.index, files.history, files.log, files.keys, stored.states, node=files.key.did
    )
    flow = Flow(_core.decode(files.history.block(_core.Cid(known.definition))))
    found = replay(flow, known.id, archive.entries(known.id), archive.key(known.id))
    return Live.of(flow, known.definition, found)


async def _kept(files: Files, stored: Stored, config: Config, made: Checkpoint) -> str:
    told: list[tuple[str | None, Exception | None]] = []
    keeper = Checkpoints(
        stored.states,
        files.history,
        files.clock,
        keep=config.checkpoint.keep,
        poisoned=lambda: stored.database.poisoned,
        confirm=confirming(config, stored),
    )
    async with keeper:
        keeper.keep(made, lambda version, error: told.append((version, error)))
    ((version, why),) = told
    if version is None:
        raise why or PoisonedError("the store of states has stopped")
    return version
