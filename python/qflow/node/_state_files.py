"""Stored states into CAR files and out of them. Everything here blocks."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple

from msgspec.structs import replace

from qflow import model
from qflow.api._states import Brought, Exported, Refused
from qflow.clock import random_bytes
from qflow.errors import QflowError, UnavailableError, VerificationError
from qflow.node._state_views import cid_text, reach
from qflow.state._version import is_version
from qflow.storage import read_car, write_car
from qflow.trust import ENVELOPE_BYTES_MAX, parse_envelope
from qflow.trust._files import PRIVATE, sync

if TYPE_CHECKING:
    from qflow.node._state_views import Views
    from qflow.state import Refused as Unbelieved
    from qflow.state import Saved, States
    from qflow.storage import Block, SqliteBlocks

PUT_BYTES: Final = 8 << 20
"""Of blocks that go to the store in one transaction."""

Steps = tuple[int, int]
"""Bytes done and bytes in all."""
Envelope = Callable[["Saved"], "Block"]
"""The key envelope of a version's execution. Raises ErasedError, UnavailableError."""
Adopt = Callable[[bytes], bool]
"""Takes the key in an envelope; False when it was here. Raises VerificationError and others."""


class Chosen(NamedTuple):
    """What is to be exported."""

    versions: list[Saved]
    refused: list[Refused]
    children: frozenset[bytes] = frozenset()
    """Those versions that others wait for."""
    missing: tuple[str, ...] = ()
    """Executions that are waited for, and have no version."""


def exporting(
    blocks: SqliteBlocks,
    views: Views,
    chosen: Chosen,
    path: Path,
    *,
    envelope: Envelope | None,
    replace: bool,
) -> Generator[Steps, None, Exported]:
    """Write versions, with all beneath them and their keys, into a file: whole or not at all.

    Raises UnavailableError when there is nothing to write or the file cannot be, and then leaves
    what was there. Memory does not depend on the size.
    """
    versions, keys, refused = _with_keys(chosen, envelope)
    if not versions:
        why = "" if not refused else f": {refused[0].why}"
        raise UnavailableError(f"there is no checkpoint to export{why}")
    roots = [saved.cid for saved in versions]
    whole = blocks.database.read(
        lambda db: sum(sum(reach(db, blocks, root).values()) for root in roots)
    )
    count = done = 0
    with _whole_file(path, replace=replace) as file:
        counted = _Counted(_all_of(blocks, keys, roots))
        for piece in write_car([*roots, *(cid for cid, _ in keys)], counted):
            file.write(piece)
            done += len(piece)
            yield min(done, whole), whole
        count = counted.count
    return Exported(
        path=str(path),
        checkpoints=tuple(views.checkpoint(saved) for saved in versions),
        blocks=count,
        bytes=done,
        keys=len(keys),
        refused=tuple(refused),
        children=sum(saved.cid in chosen.children for saved in versions),
        missing=chosen.missing,
    )


def _with_keys(
    chosen: Chosen, envelope: Envelope | None
) -> tuple[list[Saved], list[Block], list[Refused]]:
    """The versions whose keys can go with them, those keys, and what cannot be exported."""
    versions, keys, refused = [], list["Block"](), list(chosen.refused)
    for saved in chosen.versions:
        try:
            if envelope is not None:
                keys.append(envelope(saved))
            versions.append(saved)
        except QflowError as error:
            refused.append(refused_of(saved, str(error)))
    return versions, keys, refused


class _Counted:
    """Blocks as they go by."""

    def __init__(self, blocks: Iterator[Block]) -> None:
        self._blocks, self.count = blocks, 0

    def __iter__(self) -> Iterator[Block]:
        for block in self._blocks:
            self.count += 1
            yield block


def _all_of(blocks: SqliteBlocks, keys: list[Block], roots: list[bytes]) -> Iterator[Block]:
    """Keys first: whoever reads the file in one go has them before what they open."""
    yield from keys
    yield from blocks.walk(roots)


@contextmanager
def _whole_file(path: Path, *, replace: bool) -> Iterator[BinaryIO]:
    """A file that is there, durable, when this is left; else what was there before, if any."""
    spare = path.with_name(f".{path.name}.{random_bytes(8).hex()}")
    try:
        descriptor = os.open(spare, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE)
    except OSError as error:
        raise UnavailableError(f"{path}: {error.strerror}") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if replace:
            spare.replace(path)
        else:
            # Unlike a rename, a link never replaces what came to be there meanwhile.
            os.link(spare, path)
        sync(path.parent)
    except FileExistsError as error:
        raise UnavailableError(f"{path} is there already") from error
    except OSError as error:
        raise UnavailableError(f"{path}: {error.strerror}") from error
    finally:
        with suppress(FileNotFoundError):
            spare.unlink()


def importing(
    states: States, blocks: SqliteBlocks, views: Views, path: Path, *, adopt: Adopt
) -> Generator[Steps, None, Brought]:
    """Take versions and keys out of a CAR file.

    The file is read twice: what is damaged, or cannot be read, anywhere is found before anything of
    it is taken (VerificationError). Then keys are taken, blocks stored, and versions verified one
    by one.
    """
    found, pace = _Found(), _Pace()
    missing, size = _roots(path)
    for at, block in _read(path):
        found.look(block)
        missing.discard(block[0])
        if pace.is_due(at):
            yield at, 2 * size
    if missing:
        raise VerificationError(f"the CAR {path} is cut: it has no {cid_text(min(missing))}")
    if not found.versions and not found.keys:
        raise VerificationError(f"{path} has no checkpoint and no key in it")
    keys, refused = take_keys(found.keys, adopt)
    put = Putting(blocks)
    for at, block in _read(path):
        if block[0] not in found.keys:
            put.add(block)
        if pace.is_due(size + at):
            yield size + at, 2 * size
    put.flush()
    return brought(states, views, found.versions, put, keys=keys, refused=refused)


def _roots(path: Path) -> tuple[set[bytes], int]:
    """What a CAR file says of itself that it has, and how many bytes there are of it."""
    with _to_read(path) as file:
        return set(read_car(file)[0]), os.fstat(file.fileno()).st_size


def _read(path: Path) -> Iterator[tuple[int, Block]]:
    """The blocks of a CAR file, each with how far it was read."""
    with _to_read(path) as file:
        _, found = read_car(file)
        for block in found:
            yield file.tell(), block


@contextmanager
def _to_read(path: Path) -> Iterator[BinaryIO]:
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise VerificationError(f"the CAR {path} cannot be read: {error.strerror}") from error


class _Pace:
    """Says when it is time to tell how far something is: each step costs a change of threads."""

    def __init__(self) -> None:
        self._next = 0

    def is_due(self, at: int) -> bool:
        if at < self._next:
            return False
        self._next = at + PUT_BYTES // 8
        return True


class _Found:
    """What of a stream is more than a block."""

    def __init__(self) -> None:
        self.versions: list[bytes] = []
        self.keys: dict[bytes, bytes] = {}

    def look(self, block: Block) -> None:
        cid, data = block
        if is_version(data):
            self.versions.append(cid)
        elif is_envelope(data):
            self.keys[cid] = data


def is_envelope(data: bytes) -> bool:
    """Whether a block is a key envelope by its form."""
    if len(data) > ENVELOPE_BYTES_MAX:
        return False
    try:
        parse_envelope(data)
    except VerificationError:
        return False
    return True


class Putting:
    """Stores blocks, many at a time."""

    def __init__(self, blocks: SqliteBlocks) -> None:
        self._blocks = blocks
        self._due: list[Block] = []
        self._due_bytes = 0
        self.count = self.bytes = 0

    def add(self, block: Block) -> None:
        self._due.append(block)
        self._due_bytes += len(block[1])
        if self._due_bytes >= PUT_BYTES:
            self.flush()

    def flush(self) -> None:
        """What was added is durable on return."""
        due, self._due = self._due, []
        self.count, self.bytes = self.count + len(due), self.bytes + self._due_bytes
        self._due_bytes = 0
        if due:
            self._blocks.database.write(lambda db: self._blocks.mend_blocks(db, due))


def refused_of(saved: Saved, why: str) -> Refused:
    """A version of this store that was not good."""
    return Refused(
        cid=cid_text(saved.cid),
        why=why,
        execution=model.id_text(saved.chain),
        number=saved.number,
    )


def _refused(item: Unbelieved) -> Refused:
    chain = model.id_text(item.chain) if any(item.chain) else None
    cid = cid_text(item.cid)
    # What is said of a version begins with its name, which stands beside here.
    return Refused(cid=cid, why=item.why.removeprefix(f"version {cid}: "), execution=chain)


def take_keys(keys: Mapping[bytes, bytes], adopt: Adopt) -> tuple[int, list[Refused]]:
    """Take the keys in envelopes: how many were new, and which were not believed."""
    taken, refused = 0, []
    for cid, data in keys.items():
        try:
            taken += adopt(data)
        except QflowError as error:
            chain = model.id_text(parse_envelope(data).chain)
            refused.append(Refused(cid=cid_text(cid), why=str(error), execution=chain))
    return taken, refused


def brought(
    states: States,
    views: Views,
    versions: Sequence[bytes],
    put: Putting,
    *,
    keys: int,
    refused: Iterable[Refused],
) -> Brought:
    """Verify and take in versions whose blocks are in the store; blocks of others go again."""
    taken = states.ingest(versions)
    if taken.refused:
        states.collect()
    return Brought(
        taken=tuple(views.checkpoint(saved) for saved in taken.taken),
        known=taken.known,
        keys=keys,
        refused=(*refused, *(_refused(item) for item in taken.refused)),
        diverged=tuple(_refused(item) for item in taken.diverged),
        blocks=put.count,
        bytes=put.bytes,
    )


def joined(before: Brought | None, after: Brought) -> Brought:
    """What two recoveries took, the one behind the other."""
    if before is None:
        return after
    return replace(
        before,
        taken=before.taken + after.taken,
        known=before.known + after.known,
        keys=before.keys + after.keys,
        refused=before.refused + after.refused,
        diverged=before.diverged + after.diverged,
        blocks=before.blocks + after.blocks,
        bytes=before.bytes + after.bytes,
        endpoints=after.endpoints,
    )
