"""Versions read back: nothing is given that was not hashed, verified and unsealed here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from qflow import _core, model
from qflow.errors import BlockNotFoundError, ErasedError, UnavailableError, VerificationError
from qflow.state._cache import Cache
from qflow.state._commit import saved_of
from qflow.state._ports import Erasures, Keys, Signers
from qflow.state._saved import Saved
from qflow.state._version import Version
from qflow.storage import SqliteBlocks


class Opened(NamedTuple):
    """A version whose block, signature and summary are good; its state was not looked at."""

    saved: Saved
    version: Version
    key: _core.SealingKey


class Reader:
    """Reads versions out of a store, through a cache. Safe to call from several threads."""

    def __init__(
        self,
        store: SqliteBlocks,
        cache: Cache,
        *,
        subnet: str,
        keys: Keys,
        signers: Signers | None,
        is_erased: Erasures,
    ) -> None:
        self._store, self.cache, self._subnet = store, cache, subnet
        self._keys, self._signers, self._is_erased = keys, signers, is_erased

    # -- blocks ----------------------------------------------------------------------------

    def blocks(self, cids: Sequence[bytes]) -> list[bytes]:
        """Blocks by CID, each hashed when it was read from the store.

        Raises BlockNotFoundError or VerificationError, which name the block."""
        found = {cid: data for cid in cids if (data := self.cache.get(cid)) is not None}
        missing = [cid for cid in dict.fromkeys(cids) if cid not in found]
        if missing:
            read = list(zip(missing, self._store.load(missing), strict=True))
            self.cache.put(read)
            found.update(read)
        return [found[cid] for cid in cids]

    def load(self, cids: Sequence[bytes]) -> list[bytes]:
        """Blocks that are read once: hashed, and not kept in the cache."""
        return self._store.load(cids)

    # -- one version -----------------------------------------------------------------------

    def version(self, cid: bytes) -> Version:
        """A version whose form, hash, signature, signer and subnet are good."""
        if self._signers is None:
            raise UnavailableError("nobody is there to say whose signatures count: nothing is read")
        (data,) = self.blocks([cid])
        try:
            version = Version.parse(data)
        except ValueError as error:
            raise VerificationError(f"block {name_of(cid)}: {error}") from None
        where = f"version {name_of(cid)}"
        if version.subnet != self._subnet:
            raise VerificationError(f"{where} is of subnet {version.subnet!r:.80}")
        try:
            version.verify(self._signers)
        except VerificationError as error:
            raise VerificationError(f"{where}: {error}") from None
        return version

    def key(self, version: Version) -> _core.SealingKey:
        """What it is sealed with. Raises ErasedError, UnavailableError."""
        if self._is_erased(version.chain):
            raise ErasedError(f"execution {model.id_text(version.chain)} was erased")
        return self._keys.key_of(version.chain, version.key)

    def open(self, cid: bytes) -> Opened:
        """A version with its summary. Raises as `version` and `key`."""
        version = self.version(cid)
        key = self.key(version)
        try:
            summary = version.summary(key)
        except VerificationError as error:
            raise VerificationError(f"version {name_of(cid)}: {error}") from None
        return Opened(saved_of(cid, version.fields(), summary), version, key)

    def state(self, opened: Opened) -> bytes:
        """Its state, of the length that its summary says."""
        text = self._sealed(opened.version.state, opened)
        if len(text) != opened.saved.size:
            raise VerificationError(
                f"version {name_of(opened.saved.cid)}: a state of {len(text)} bytes, said to have"
                f" {opened.saved.size}"
            )
        return text

    def document(self, opened: Opened) -> bytes:
        """Its flow's document."""
        return self._sealed(opened.version.flow, opened)

    def _sealed(self, root: bytes, opened: Opened) -> bytes:
        """What `SealingKey.seal_state` sealed. Its blocks are hashed once, by `unseal_state`."""
        version, key = opened.version, opened.key
        (data,) = self.blocks([root])
        try:
            _, parts = _core.state_parts(data)
        except ValueError as error:
            raise VerificationError(f"block {name_of(root)}: {error}") from None
        found = self._unhashed(parts)
        try:
            text = key.unseal_state(
                root, {**found, root: data}, subnet=version.subnet, chain=version.chain
            )
        except VerificationError as error:
            self._store.load(parts)  # raises for a block that is not what it was, with its name
            raise VerificationError(f"block {name_of(root)} and its parts: {error}") from None
        self.cache.put(found.items())
        return text

    def _unhashed(self, cids: Sequence[bytes]) -> dict[bytes, bytes]:
        """What the cache or the store has as these blocks. Raises BlockNotFoundError."""
        found = {cid: self.cache.get(cid) for cid in cids}
        missing = [cid for cid, data in found.items() if data is None]
        if missing:
            read = self._store.database.read(lambda db: self._store.load_blocks(db, missing))
            found.update(zip(missing, read, strict=True))
        gone = next((cid for cid, data in found.items() if data is None), None)
        if gone is not None:
            raise BlockNotFoundError(f"block {name_of(gone)} is not here")
        return {cid: data for cid, data in found.items() if data is not None}


def name_of(cid: bytes) -> str:
    """A CID for people; in hexadecimal when it is none."""
    try:
        return str(_core.Cid(cid))
    except ValueError:
        return cid.hex()
