"""The files of a home in which no node runs, opened for one who changes them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import msgspec

from qflow.audit import History, Index, Log
from qflow.audit._own import OwnChain, own_chain
from qflow.clock import Clock, SystemClock
from qflow.engine import Identity
from qflow.trust import Keyring, NodeKey, load_or_create_key

if TYPE_CHECKING:
    from qflow.config import Config


class Files(msgspec.Struct, frozen=True, kw_only=True):
    """What such a one needs."""

    key: NodeKey
    log: Log
    index: Index
    history: History
    keys: Keyring
    own: OwnChain
    chain: bytes
    """Of the node itself."""
    clock: Clock


@asynccontextmanager
async def open_files(config: Config) -> AsyncIterator[Files]:
    """Takes the lock of the log. Erasures on record are for the caller to carry out.

    Raises LockedError, CorruptError, SigningKeyError.
    """
    key = load_or_create_key(config.home, passphrase=config.keys.passphrase_file)
    bounds, clock = config.log, SystemClock()
    async with AsyncExitStack() as stack:
        log = await stack.enter_async_context(
            Log(
                str(config.home / "log"),
                key,
                queue_bytes_max=bounds.queue_bytes_max,
                segment_bytes=bounds.segment_bytes,
            )
        )
        keys = Keyring(config.home, lambda: key.seed)
        stack.callback(keys.close)
        index = Index(config.home / "index.db")
        stack.callback(index.close)
        index.catch_up(log)
        history, chain = History(index, log, keys), own_chain(key.public)
        identity = Identity(node=key.did, subnet=config.subnet)
        own = OwnChain(log, index, history, clock, public_key=key.public, identity=identity)
        yield Files(
            key=key,
            log=log,
            index=index,
            history=history,
            keys=keys,
            own=own,
            chain=chain,
            clock=clock,
        )
