"""The port of a blockstore: bytes that are named by their hash, kept while something pins them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Final, Protocol

import anyio

from qflow import _core
from qflow.errors import QflowError

Block = tuple[bytes, bytes]
"""The bytes of a CID, and the bytes that they name."""

BLOCK_BYTES_MAX: Final = 2 << 20
"""What IPFS nodes exchange at most."""
NAME_BYTES_MAX: Final = 255
"""Of a pin's name in UTF-8, as in Kubo."""


class Blockstore(Protocol):
    """Blocks by CID. The public suite `qflow.testing.check_blockstore` holds one to all of this.

    A pin is recursive: it keeps a block and all that is beneath it by its links. Blocks that no
    pin reaches may go when somebody collects them, so who puts blocks pins a root soon.
    Every method raises UnavailableError when the store cannot be reached or its disk fails.
    """

    async def put_many(self, blocks: Iterable[Block]) -> None:
        """Store blocks; durable on return. Those that are there already are left as they are.

        Raises ValueError, and stores none, when one is not what its CID says, is larger than
        BLOCK_BYTES_MAX, or is named by a hash function other than sha2-256 and BLAKE3.
        """
        ...

    async def get(self, cid: bytes) -> bytes:
        """The bytes of a block, hashed again.

        Raises BlockNotFoundError, or VerificationError when the store has other bytes: it is
        marked then, `has` says no, and it can be stored again.
        """
        ...

    async def get_many(self, cids: Sequence[bytes]) -> list[bytes]:
        """As `get` of each, in this order; raises for the first that cannot be had."""
        ...

    async def has(self, cid: bytes) -> bool:
        """Whether the block is here, by what the store says of itself."""
        ...

    async def delete(self, cids: Iterable[bytes]) -> None:
        """Remove blocks; those that are not here are no matter. Durable on return.

        Raises ValueError, and removes none, when one is pinned or beneath a pin.
        """
        ...

    async def pin(self, cid: bytes, name: str = "") -> None:
        """Keep a block and all that is beneath it; durable on return. Again: the name changes.

        Raises BlockNotFoundError, and pins nothing, when something of it is not here, ValueError
        for a name of more than NAME_BYTES_MAX bytes.
        """
        ...

    async def unpin(self, cid: bytes) -> None:
        """Take the pin of this block back; durable on return. One that has none is no matter."""
        ...

    def pins(self) -> AsyncIterator[tuple[bytes, str]]:
        """The pinned CIDs, each once, with their names, in any order."""
        ...


async def get_each(
    get: Callable[[bytes], Awaitable[bytes]], cids: Sequence[bytes], at_once: int
) -> list[bytes]:
    """`Blockstore.get_many` of what has only `get`; after a failure no further one is begun."""
    found: dict[bytes, bytes | QflowError] = {}
    due = list(dict.fromkeys(cids))[::-1]

    async def fetch() -> None:
        while due:
            cid = due.pop()
            try:
                found[cid] = await get(cid)
            except QflowError as error:
                found[cid] = error
                due.clear()

    async with anyio.create_task_group() as tasks:
        for _ in range(min(at_once, len(due))):
            tasks.start_soon(fetch)
    for cid in cids:
        if isinstance(fault := found.get(cid), QflowError):
            raise fault
    return [data for cid in cids if isinstance(data := found[cid], bytes)]


def check_size(blocks: Iterable[Block]) -> None:
    """Raise ValueError for a block that is too large to exchange."""
    for cid, data in blocks:
        if len(data) > BLOCK_BYTES_MAX:
            raise ValueError(f"block {text_of(cid)} has {len(data)} bytes of {BLOCK_BYTES_MAX}")


def check_blocks(blocks: Sequence[Block]) -> None:
    """Raise ValueError unless each block is what its CID says, and not too large."""
    check_size(blocks)
    for (cid, _), fit in zip(blocks, fits(blocks), strict=True):
        if not fit:
            raise ValueError(f"a block is not what its CID says: {text_of(cid)}")


def check_name(name: str) -> None:
    """Raise ValueError for a pin's name that is too long."""
    if len(name.encode()) > NAME_BYTES_MAX:
        raise ValueError(f"the name of a pin has more than {NAME_BYTES_MAX} bytes")


def fits(blocks: Sequence[Block]) -> list[bool]:
    """Of each block whether it hashes to its CID, and is canonical when it is DAG-CBOR."""
    return _core.check_blocks(blocks)


def is_raw(cid: bytes) -> bool:
    """Whether a CIDv1 is of codec `raw`: such a block has no links."""
    return cid[:2] == b"\x01\x55"


def text_of(cid: bytes) -> str:
    """A CID for people; in hexadecimal when it is none."""
    try:
        return str(_core.Cid(cid))
    except ValueError:
        return cid.hex()
