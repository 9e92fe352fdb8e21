"""The store of states of a home: `state.db`, opened in one way for a node and for commands."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import anyio
import msgspec

from qflow.audit._erasures import Erased
from qflow.clock import Clock
from qflow.node._elsewhere import Elsewhere
from qflow.node._keys import know_chains
from qflow.state import States
from qflow.storage import Database, Outbox, SqliteBlocks
from qflow.trust import Keyring, NodeKey, Signers

if TYPE_CHECKING:
    from qflow.config import Config
    from qflow.node._files import Files

FILE: Final = "state.db"


class Stored(msgspec.Struct, frozen=True):
    """The parts of a home's store of states."""

    database: Database
    blocks: SqliteBlocks
    states: States
    signers: Signers
    elsewhere: Elsewhere
    """What of it is at other places, with the outbox that tells them."""
    is_erased: Callable[[bytes], bool]
    """Whether the execution of a chain was erased here."""

    def close(self) -> None:
        """Commit what waits, and close the file. Idempotent; blocks."""
        self.database.close()


def open_stored(
    config: Config,
    key: NodeKey,
    keys: Keyring,
    *,
    is_erased: Callable[[bytes], bool] = lambda chain: False,
    clock: Clock | None = None,
    tell: Callable[[str, dict[str, Any]], None] = lambda name, data: None,
) -> Stored:
    """Open `state.db`; it is made when it is not there. Blocks.

    Raises CorruptError, which says what to do, when the file is damaged or of another version.
    """
    database = Database(config.home / FILE)
    try:
        blocks = SqliteBlocks(database)
        signers = Signers(key.did, keys.subnet.nodes)
        elsewhere = Elsewhere(database, keys, key, config.subnet)
        states = States(
            blocks,
            subnet=config.subnet,
            keys=keys,
            signer=key,
            signers=signers,
            pins=elsewhere,
            is_erased=is_erased,
            tell=tell,
            cache_bytes_max=config.storage.cache_bytes_max,
        )
        outbox = Outbox(
            database,
            config.storage.kubo,
            clock=clock,
            timeout_s=config.storage.timeout_s,
            quorum=config.storage.quorum,
            envelope=elsewhere.envelope_of,
            tell=tell,
        )
        elsewhere.bind(states, outbox)
    except BaseException:
        database.close()
        raise
    return Stored(database, blocks, states, signers, elsewhere, is_erased)


@asynccontextmanager
async def stored_beside(config: Config, files: Files) -> AsyncIterator[Stored]:
    """The store of a home whose log is open, for whoever has its lock. From now on the keyring
    takes no key of what the log says is erased."""
    erased = Erased(files.history, files.chain).__contains__
    know_chains(files.keys, files.history, erased, files.key.did)
    open_it = partial(
        open_stored, config, files.key, files.keys, is_erased=erased, clock=files.clock
    )
    stored = await anyio.to_thread.run_sync(open_it)
    try:
        yield stored
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(stored.close)
