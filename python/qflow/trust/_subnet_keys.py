"""The keys that data keys are wrapped under: one for each epoch of this node, and imported ones.

Epoch 0 is derived from the node's key. Later ones are keys of chance in the file `subnet.keys`,
which is sealed under a key that is derived from the node's: nobody reads it without that, and no
other home's file passes for it. docs/formats/keys.md is the page.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from threading import RLock
from typing import Any, Final

import msgspec

from qflow import _core
from qflow.clock import random_bytes
from qflow.errors import CorruptError, SigningKeyError, UnavailableError, VerificationError
from qflow.trust._files import read_private, replace_whole

FILE: Final = "subnet.keys"
DERIVED: Final = "qflow v1 keyring: wrapping key"
FILE_BYTES_MAX: Final = 1 << 20
KEYS_MAX: Final = 4096
"""Own epochs, and imported keys, that one file holds."""
_FILE_KEY: Final = "qflow v1 subnet keys: file key"
_MAGIC: Final = b"QFSK\x01"
_KEY_BYTES: Final = 32
_COMMITMENT_BYTES: Final = 32


class OwnKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key of chance that this node made."""

    epoch: int
    key: bytes

    def __repr__(self) -> str:
        return f"OwnKey({self.epoch})"


class ForeignKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key of another node, which brought the right to open what that node wrapped."""

    node: str
    """The did:key of the node whose key it is; its signatures are trusted."""
    epoch: int
    key: bytes

    def __repr__(self) -> str:
        return f"ForeignKey({self.node}, {self.epoch})"


class Ring(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the file holds."""

    v: int = 1
    generation: int = 0
    """Each writing has one more."""
    oldest: int = 0
    """The keys of own epochs below this are destroyed."""
    forget: int = 0
    """Those of own epochs below this are to be, as soon as nothing is wrapped under them."""
    own: tuple[OwnKey, ...] = ()
    """By epoch, from 1 on; some may be missing at the beginning."""
    imported: tuple[ForeignKey, ...] = ()

    @property
    def epoch(self) -> int:
        """The newest, under which new keys are wrapped."""
        return self.own[-1].epoch if self.own else 0


class SubnetKeys:
    """The file `subnet.keys` of a home. Safe to call from several threads.

    Nothing is read before it is needed. Raises SigningKeyError when the file is open to others or
    of another node, CorruptError when it is damaged.
    """

    def __init__(self, home: str | os.PathLike[str], seed: Callable[[], bytes]) -> None:
        self.path, self._seed = Path(home) / FILE, seed
        self._name = os.fspath(self.path)
        self._ring: Ring | None = None
        self._newest = 0
        self._seen: tuple[int, int] | None = None
        self._own: dict[int, _core.WrappingKey] = {}
        self._known: dict[bytes, _core.WrappingKey] = {}
        self._lock = RLock()

    def __repr__(self) -> str:
        return f"SubnetKeys({str(self.path)!r})"

    @property
    def epoch(self) -> int:
        """The newest epoch of this node."""
        return self.ring.epoch

    @property
    def ring(self) -> Ring:
        """What the file holds now: an import by another process is seen."""
        with self._lock:
            seen = _identity(self._name)
            if self._ring is None or seen != self._seen:
                ring = self._load()
                if ring.generation < self._newest:
                    raise CorruptError(f"{self.path} was exchanged for an older copy, or removed")
                self._take(ring, seen)
            assert self._ring is not None
            return self._ring

    def own(self, epoch: int) -> _core.WrappingKey:
        """The key of one of this node's epochs. Raises UnavailableError when it was destroyed."""
        with self._lock:
            ring = self.ring
            key = self._own.get(epoch)
        if key is None:
            what = "was destroyed" if epoch < ring.oldest else "is not in this file"
            raise UnavailableError(f"{self.path}: the subnet key of epoch {epoch} {what}")
        return key

    def fitting(self, wrapped: bytes) -> _core.WrappingKey:
        """The key that something is wrapped under, by its commitment. Raises UnavailableError."""
        with self._lock:
            _ = self.ring
            key = self._known.get(wrapped[:_COMMITMENT_BYTES])
        if key is None:
            raise UnavailableError("no subnet key that is known here opens it: import its key")
        return key

    def nodes(self) -> set[str]:
        """The did:keys of the nodes whose keys were imported."""
        return {key.node for key in self.ring.imported}

    def check_newest(self, generation: int, epoch: int) -> None:
        """Raise CorruptError unless the file is of this generation and epoch, or later ones."""
        ring = self.ring
        if generation > ring.generation or epoch > ring.epoch:
            raise CorruptError(
                f"{self.path} is an older copy, or was removed: bring it back, or this node's own"
                " newest export: qflow keys import FILE"
            )

    @property
    def epochs(self) -> list[int]:
        """This node's epochs whose keys are known, from the oldest on."""
        ring = self.ring
        return [*([] if ring.oldest else [0]), *(key.epoch for key in ring.own)]

    def exported(self) -> list[tuple[int, bytes]]:
        """This node's epochs with their keys, as they go into a file for another machine."""
        ring = self.ring
        first = [] if ring.oldest else [(0, _core.derive_key(DERIVED, self._seed()))]
        return first + [(key.epoch, key.key) for key in ring.own]

    # -- for the holder of the home's lock -------------------------------------------------

    def advance(self, *, forget: bool) -> int:
        """Make the key of the next epoch; it is durable on return, and its epoch is given."""
        with self._lock:
            ring = self.ring
            epoch = ring.epoch + 1
            made = OwnKey(epoch, random_bytes(_KEY_BYTES))
            self._write(ring, own=(*ring.own, made), forget=epoch if forget else ring.forget)
            return epoch

    def want_forget(self) -> None:
        """Note that all epochs but the newest are to be forgotten."""
        with self._lock:
            ring = self.ring
            if ring.forget < ring.epoch:
                self._write(ring, forget=ring.epoch)

    def forget(self) -> None:
        """Destroy the keys of the epochs that are to be forgotten. Nothing may be wrapped under
        them any more."""
        with self._lock:
            ring = self.ring
            if ring.oldest < ring.forget:
                kept = tuple(key for key in ring.own if key.epoch >= ring.forget)
                self._write(ring, own=kept, oldest=ring.forget)

    def add(self, node: str, keys: Iterable[tuple[int, bytes]]) -> int:
        """Take another node's keys, durably; how many are new.

        Raises VerificationError when one of them has another key for an epoch that is known.
        """
        with self._lock:
            ring = self.ring
            known = {key.epoch: key.key for key in ring.imported if key.node == node}
            fresh = [ForeignKey(node, epoch, key) for epoch, key in _unknown(node, known, keys)]
            if fresh:
                self._write(ring, imported=(*ring.imported, *fresh))
            return len(fresh)

    def bring_back(
        self, node: str, keys: Iterable[tuple[int, bytes]], *, generation: int = 0
    ) -> int:
        """Take keys that this node itself, `node`, made and has not any more; how many are new.

        The file counts as of `generation` at least from then on: what it had besides, keys of other
        nodes among it, is given up. Those that were forgotten stay so. Raises VerificationError as
        `add`.
        """
        with self._lock:
            ring = self.ring
            known = {key.epoch: key.key for key in ring.own}
            known[0] = _core.derive_key(DERIVED, self._seed())
            brought = sorted(keys)
            if not ring.own and brought and brought[0][0]:
                # Made by one that had forgotten the epochs before.
                ring = msgspec.structs.replace(ring, oldest=brought[0][0], forget=brought[0][0])
            lacking = [key for key in brought if key[0] >= ring.oldest]
            fresh = [OwnKey(epoch, key) for epoch, key in _unknown(node, known, lacking)]
            if fresh or ring.generation < generation:
                own = sorted((*ring.own, *fresh), key=lambda key: key.epoch)
                lifted = max(ring.generation, generation - 1)
                self._write(msgspec.structs.replace(ring, generation=lifted), own=tuple(own))
            return len(fresh)

    # -- the file --------------------------------------------------------------------------

    def _load(self) -> Ring:
        try:
            data = read_private(self.path, FILE_BYTES_MAX)
        except FileNotFoundError:
            return Ring()
        except PermissionError as error:
            raise SigningKeyError(f"the subnet keys cannot be used: {error}") from error
        except ValueError as error:
            raise CorruptError(str(error)) from None
        try:
            return _parse(self._sealing().unseal_bytes(data[len(_MAGIC) :], bound=_bound(data)))
        except (VerificationError, ValueError, TypeError) as error:
            raise CorruptError(
                f"{self.path} is damaged, or of another node's key: {error}"
            ) from None

    def _write(self, ring: Ring, **changed: Any) -> None:
        new = msgspec.structs.replace(ring, generation=ring.generation + 1, **changed)
        if max(len(new.own), len(new.imported)) > KEYS_MAX:
            raise UnavailableError(f"{self.path} holds at most {KEYS_MAX} keys")
        text = _core.encode(msgspec.to_builtins(new, builtin_types=(bytes,)))
        self._ring = None  # After an error, what the disk has is read again.
        replace_whole(self.path, _MAGIC + self._sealing().seal_bytes(text, bound=_MAGIC))
        self._take(new, _identity(self.path))

    def _sealing(self) -> _core.SealingKey:
        return _core.SealingKey(0, _core.derive_key(_FILE_KEY, self._seed()))

    def _take(self, ring: Ring, seen: tuple[int, int] | None) -> None:
        own = {key.epoch: _core.WrappingKey.of(key.key) for key in ring.own}
        if not ring.oldest:
            own[0] = _core.WrappingKey(self._seed())
        imported = [_core.WrappingKey.of(key.key) for key in ring.imported]
        self._ring, self._seen, self._own = ring, seen, own
        self._newest = ring.generation
        self._known = {key.commitment: key for key in (*imported, *own.values())}


def _unknown(
    node: str, known: dict[int, bytes], keys: Iterable[tuple[int, bytes]]
) -> Iterator[tuple[int, bytes]]:
    for epoch, key in keys:
        found = known.get(epoch)
        if found is None:
            yield epoch, key
        elif found != key:
            raise VerificationError(f"another key of epoch {epoch} of {node} is known already")


def _bound(data: bytes) -> bytes:
    if data[: len(_MAGIC)] != _MAGIC:
        raise ValueError("not a file of subnet keys of a version that is known")
    return _MAGIC


def _parse(text: bytes) -> Ring:
    ring = msgspec.convert(_core.decode(text), Ring)
    epochs = [key.epoch for key in ring.own]
    whole = (
        ring.v == 1
        and epochs == sorted(set(epochs))
        and {len(key.key) for key in ring.own} <= {_KEY_BYTES}
        and {len(key.key) for key in ring.imported} <= {_KEY_BYTES}
        and all(epoch >= 1 for epoch in epochs)
        and 0 <= ring.oldest <= ring.forget <= ring.epoch
    )
    if not whole:
        raise ValueError("not what this version writes")
    return ring


def _identity(path: Path | str) -> tuple[int, int] | None:
    """Which file stands at a path: another one has another identity."""
    try:
        found = os.stat(path)  # noqa: PTH116 - it is asked for with every key
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns
