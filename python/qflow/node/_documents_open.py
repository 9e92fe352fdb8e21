"""The documents of a home, put together: for a running node, and for its files."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio

from qflow.node._document_care import DocumentCare
from qflow.node._documents import SharedDocuments
from qflow.node._files import open_files
from qflow.node._stored import open_stored, stored_beside
from qflow.trust import Keyring, load_or_create_key, public_of_did

if TYPE_CHECKING:
    from collections.abc import Callable

    from qflow.clock import Clock
    from qflow.config import Config
    from qflow.node._stored import Stored
    from qflow.trust import NodeKey


@asynccontextmanager
async def shared_documents(
    stored: Stored,
    config: Config,
    key: NodeKey,
    keys: Keyring,
    *,
    clock: Clock | None = None,
    tell: Callable[[str, dict[str, Any]], None] | None = None,
) -> AsyncIterator[SharedDocuments]:
    """The documents in a store of states, written in the name of its node. Left: all is saved."""
    # Imported with the first home that is opened: it takes a while, and most commands need none.
    from qflow.state import CompactionLimits, Documents

    bounds = config.documents
    documents = Documents(
        stored.blocks,
        subnet=config.subnet,
        keys=keys,
        signer=key,
        members=partial(_members, keys, key.did),
        pins=stored.elsewhere,
        tell=tell,
        forget=stored.elsewhere.forget,
        clock=clock,
        limits=CompactionLimits(
            operations=bounds.compact_operations, size_bytes=bounds.compact_bytes
        ),
    )
    stored.elsewhere.key_of_document = documents.key_number
    async with documents:
        yield SharedDocuments(documents)


def _members(keys: Keyring, own: str, _name: str) -> Iterable[bytes]:
    """Every node whose keys were imported may write every document of the subnet."""
    return [public_of_did(did) for did in (own, *keys.subnet.nodes())]


@asynccontextmanager
async def open_documents(config: Config) -> AsyncIterator[DocumentCare]:
    """The documents of a home in which no node runs. Takes the lock of the log.

    Raises LockedError, CorruptError, SigningKeyError.
    """
    async with (
        open_files(config) as files,
        stored_beside(config, files) as stored,
        shared_documents(stored, config, files.key, files.keys, clock=files.clock) as shared,
    ):
        yield DocumentCare(shared)


@asynccontextmanager
async def open_document_view(config: Config) -> AsyncIterator[DocumentCare]:
    """The same for reading only, beside whoever else reads.

    Raises CorruptError, SigningKeyError.
    """
    async with AsyncExitStack() as stack:
        key = load_or_create_key(config.home, passphrase=config.keys.passphrase_file)
        keys = stack.enter_context(closing(Keyring(config.home, lambda: key.seed)))
        stored = await anyio.to_thread.run_sync(partial(open_stored, config, key, keys))
        stack.enter_context(closing(stored))
        shared = await stack.enter_async_context(shared_documents(stored, config, key, keys))
        yield DocumentCare(shared)
