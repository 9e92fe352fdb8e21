"""Documents in `state.db`: made, appended to, loaded block by block, let go. All calls block."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Final, NamedTuple, TypeVar

from qflow import _core, model
from qflow.errors import BlockNotFoundError, VerificationError
from qflow.state import _document_form as form
from qflow.state import _document_rows as rows
from qflow.state._document_form import About, Owner, Parsed
from qflow.state._document_rows import BlockRow, Row
from qflow.state._document_words import ALIVE
from qflow.state._draft import Block
from qflow.storage import Database, SqliteBlocks
from qflow.storage._blocks import text_of

T = TypeVar("T")

RELEASE_BLOCKS: Final = 64
"""Let go in one transaction: whoever commits waits for no more."""
LOAD_BLOCKS: Final = 64
"""Read at a time."""


class Added(NamedTuple):
    """Blocks to be added behind the last one of a document."""

    blocks: list[Block]
    """Those with changes, in order; the last one is the new head."""
    rows: list[BlockRow]
    parts: list[Block]
    """Beneath them."""


class Tail(NamedTuple):
    """Where the log of a document ends, and what lies behind its base."""

    head: bytes
    number: int
    """Of the last block."""
    base: int
    """Number of the base."""
    blocks: int = 0
    size_bytes: int = 0
    operations: int = 0

    def with_blocks(self, new: Sequence[BlockRow]) -> Tail:
        """With blocks added at the end."""
        if not new:
            return self
        return Tail(
            new[-1].cid,
            new[-1].number,
            self.base,
            self.blocks + len(new),
            self.size_bytes + sum(block.size for block in new),
            self.operations + sum(block.operations for block in new),
        )


class Stored(NamedTuple):
    """A document as it lies on the disk: verified and unsealed."""

    about: About
    base: BlockRow
    snapshot: list[bytes]
    """In pieces."""
    blocks: list[BlockRow]
    """Behind the base."""


class Store:
    """The blocks and rows of documents. Safe to call from several threads."""

    def __init__(self, blocks: SqliteBlocks, subnet: str) -> None:
        self.blocks, self.subnet = blocks, subnet
        self.database: Database = blocks.database
        self.database.schema(rows.TABLES)

    # -- writing ---------------------------------------------------------------------------

    def create(self, name: str, owner: Owner, created_ms: int) -> Row:
        """The row of a document, made with an empty base when there is none; durable."""
        about = About(name=name, created=created_ms)
        (cid, data), _ = form.make_base(owner, 0, about, [])
        wanted = Row(0, owner.doc, name, ALIVE, owner.key.number, created_ms, cid, None)

        def job(db: sqlite3.Connection) -> Row:
            if (found := rows.row_of(db, owner.doc)) is not None:
                return found
            self.blocks.put_blocks(db, [(cid, data)])
            self.blocks.pin_block(db, cid, pin_name(owner.doc))
            return rows.insert(db, wanted, BlockRow(0, cid, len(data), 0))

        return self.database.write(job)

    def append(
        self, db: sqlite3.Connection, doc: bytes, head: bytes, added: Added, digest: bytes | None
    ) -> bool:
        """Add blocks behind `head` within a transaction; False, and nothing is written, when the
        operation `digest` was done already. Raises StaleError, ErasedError."""
        row = rows.checked_head(db, doc, head)
        if digest is not None and not rows.take_operation(db, row.number, digest):
            return False
        new = added.blocks[-1][0]
        self.blocks.put_blocks(db, [*added.parts, *added.blocks])
        self.blocks.pin_block(db, new, pin_name(doc))
        self.blocks.unpin_block(db, head)
        rows.put_blocks(db, row.number, added.rows)
        rows.set_head(db, row.number, new)
        return True

    def replace(
        self, db: sqlite3.Connection, doc: bytes, head: bytes, base: Added, added: Added | None
    ) -> None:
        """Have a new base, and the blocks behind it, in the place of all that a document had. The
        parts of the base are here. What it had is let go by `release`. Raises as `append`."""
        row = rows.checked_head(db, doc, head)
        last = added or base
        new = last.blocks[-1][0]
        self.blocks.put_blocks(db, [*base.blocks, *(added.parts + added.blocks if added else ())])
        self.blocks.pin_block(db, new, pin_name(doc))
        rows.drop_blocks(db, row.number)
        rows.put_blocks(db, row.number, [*base.rows, *(added.rows if added else ())])
        rows.set_head(db, row.number, new)
        self.blocks.pin_block(db, head, f"{pin_name(doc)}/old")
        rows.want_release(db, head)

    def put_parts(self, parts: Sequence[Block], batch_bytes: int) -> None:
        """Store blocks that are pinned soon, in small transactions."""
        batch: list[Block] = []
        size = 0
        for at, part in enumerate(parts):
            batch.append(part)
            size += len(part[1])
            if size >= batch_bytes or at == len(parts) - 1:
                self.database.write(partial(self.blocks.put_blocks, blocks=batch))
                batch, size = [], 0

    # -- reading ---------------------------------------------------------------------------

    def load(self, row: Row, owner: Owner, tail: Tail | None = None) -> Stored:
        """The base of a document with its snapshot, and the list of the blocks behind it, as far as
        `tail`, or all that there are now.

        Raises VerificationError, which names document and block, and ErasedError."""

        def read(db: sqlite3.Connection) -> tuple[bytes, list[BlockRow]]:
            return rows.alive(db, row.id).head, rows.blocks_of(db, row.number)

        head, found = self.database.read(read)
        if tail is not None:
            head, found = tail.head, [one for one in found if one.number <= tail.number]
        if not found or found[-1].cid != head:
            raise VerificationError(f"document {row.name}: its blocks are not all listed")
        base = found[0]
        (parsed,) = self._parsed(row, [base])
        about = _named(row, base, partial(form.unseal_about, parsed, owner))
        if about.name != row.name:
            raise damaged(row, base, " is of another")
        snapshot = [self._part(row, base, root, owner) for root in parsed.roots]
        return Stored(about, base, snapshot, found[1:])

    def packs(
        self, row: Row, owner: Owner, blocks: Sequence[BlockRow], before: bytes
    ) -> Iterator[list[bytes]]:
        """The packs of each block, in order; the first block has to follow `before`.

        Raises VerificationError, which names document and block; memory: LOAD_BLOCKS blocks."""
        for at in range(0, len(blocks), LOAD_BLOCKS):
            some = blocks[at : at + LOAD_BLOCKS]
            for block, parsed in zip(some, self._parsed(row, some), strict=True):
                if parsed.previous != before:
                    raise damaged(row, block, f" does not follow {text_of(before)}")
                before = block.cid
                packs = _named(row, block, partial(form.unseal_packs, parsed, owner))
                yield packs + [self._part(row, block, root, owner) for root in parsed.roots]

    def _parsed(self, row: Row, blocks: Sequence[BlockRow]) -> list[Parsed]:
        try:
            found = self.blocks.load([block.cid for block in blocks])
        except (BlockNotFoundError, VerificationError) as error:
            raise VerificationError(f"document {row.name}: {error}") from None
        made = []
        for block, data in zip(blocks, found, strict=True):
            parsed = _named(row, block, partial(form.parse, data))
            if parsed.number != block.number:
                raise damaged(row, block, " is listed as another one")
            made.append(parsed)
        return made

    def _part(self, row: Row, block: BlockRow, root: bytes, owner: Owner) -> bytes:
        try:
            found = dict(self.blocks.walk([root]))
        except (BlockNotFoundError, VerificationError, ValueError) as error:
            raise VerificationError(f"document {row.name}: {error}") from None
        unseal = partial(owner.key.unseal_state, root, found)
        return _named(row, block, partial(unseal, subnet=owner.subnet, chain=owner.doc))

    # -- letting go ------------------------------------------------------------------------

    def release(self, pause: Callable[[], bool]) -> bool:
        """Let go of what compactions and deletions left, a piece at a time; False when `pause`
        asked to stop before all was done."""
        for cid in self.database.read(rows.releases):
            at: bytes | None = cid
            while at is not None:
                at, parts = self.database.write(partial(self._release_some, first=at))
                for begin in range(0, len(parts), RELEASE_BLOCKS):
                    some = parts[begin : begin + RELEASE_BLOCKS]
                    self.database.write(partial(self._drop, cids=some))
                    if pause():
                        return False
                if pause():
                    return False
        return True

    def _release_some(
        self, db: sqlite3.Connection, first: bytes
    ) -> tuple[bytes | None, list[bytes]]:
        """Let go of a chain from its last block down; where to go on, and the parts beneath what
        went."""
        if not rows.is_wanted_release(db, first):
            return None, []
        gone, parts = list[bytes](), list[bytes]()
        at: bytes | None = first
        while at is not None and len(gone) < RELEASE_BLOCKS:
            gone.append(at)
            at, beneath = _links_of(db, self.blocks, at)
            parts += beneath
        if at is not None:
            (name,) = db.execute("SELECT name FROM pin WHERE cid = ?", (first,)).fetchone()
            self.blocks.pin_block(db, at, name)
            rows.want_release(db, at)
        rows.released(db, first)
        self.blocks.unpin_block(db, first)
        self._drop(db, gone)
        return at, parts

    def _drop(self, db: sqlite3.Connection, cids: Iterable[bytes]) -> None:
        """Delete those that nothing holds."""
        for cid in cids:
            try:
                self.blocks.delete_blocks(db, [cid])
            except ValueError:  # the new snapshot has it too
                continue


def _links_of(
    db: sqlite3.Connection, blocks: SqliteBlocks, cid: bytes
) -> tuple[bytes | None, list[bytes]]:
    """What a block names: the one before it, and its parts. Of one that cannot be read nothing:
    `collect` finds what it held."""
    (data,) = blocks.load_blocks(db, [cid])
    try:
        parsed = form.parse(data or b"")
    except ValueError:
        return None, []
    parts = list(parsed.roots)
    for root, found in zip(parsed.roots, blocks.load_blocks(db, parsed.roots), strict=True):
        parts += _parts_of(root, found)
    return parsed.previous, parts


def _parts_of(root: bytes, data: bytes | None) -> list[bytes]:
    try:
        return [] if data is None else _core.block_links(root, data)
    except ValueError:
        return []


def added_blocks(
    owner: Owner, number: int, previous: bytes, packs: Sequence[tuple[bytes, int]]
) -> Added:
    """Blocks from `number` on behind another block, for packs with their operations."""
    made = Added([], [], [])
    count = dict(packs)
    groups = form.group_packs([pack for pack, _ in packs])
    for place, group in enumerate(groups, number):
        (cid, data), parts = form.make_changes(owner, place, previous, group)
        operations = sum(count[pack] for pack in group)
        size = len(data) + sum(len(part) for _, part in parts)
        made.blocks.append((cid, data))
        made.rows.append(BlockRow(place, cid, size, operations))
        made.parts.extend(parts)
        previous = cid
    return made


def base_block(owner: Owner, number: int, about: About, snapshot: bytes) -> Added:
    """The base of a document, with the parts of its snapshot."""
    at = range(0, len(snapshot), form.PART_BYTES_MAX)
    pieces = [snapshot[begin : begin + form.PART_BYTES_MAX] for begin in at]
    (cid, data), parts = form.make_base(owner, number, about, pieces)
    size = len(data) + sum(len(part) for _, part in parts)
    return Added([(cid, data)], [BlockRow(number, cid, size, 0)], parts)


def pin_name(doc: bytes) -> str:
    """What the pin of a document is called."""
    return f"qflow.document/{model.id_text(doc)}"


def _named(row: Row, block: BlockRow, read: Callable[[], T]) -> T:
    """What a function reads of a block. Raises VerificationError, which names it."""
    try:
        return read()
    except (ValueError, VerificationError) as error:
        raise damaged(row, block, f": {error}") from None


def damaged(row: Row, block: BlockRow, why: str) -> VerificationError:
    """Why a document stays closed: said right behind the name of the block."""
    return VerificationError(f"document {row.name}: block {text_of(block.cid)}{why}")
