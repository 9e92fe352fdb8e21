"""The calls about keys: what is said of them, and how the running node is asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from qflow.api._call import Call
from qflow.api._ports import NodeLike

if TYPE_CHECKING:
    from qflow.trust import Rotation


class Foreign(msgspec.Struct, frozen=True, kw_only=True):
    """A node whose keys were imported, and whose signatures are trusted."""

    node: str
    epochs: tuple[int, ...]


class Keys(msgspec.Struct, frozen=True, kw_only=True):
    """What there is of keys in a home; no key itself."""

    node: str
    """The did:key."""
    subnet: str
    epoch: int
    """Of the subnet key that new data keys are wrapped under."""
    oldest: int
    """The subnet keys of epochs below this are destroyed."""
    own: int
    """Data keys made here, with those that are not used yet and those that were destroyed."""
    adopted: int
    """Data keys that came from elsewhere, with those that were destroyed."""
    imported: tuple[Foreign, ...]


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """What a file of keys brought."""

    node: str
    """Whose signatures are trusted from now on."""
    epochs: tuple[int, ...]
    fresh: int
    """How many of them were not known."""


class KeyKeeper(Protocol):
    """The keys of a home. What changes something is durable on return."""

    async def rotate(self, *, forget: bool, actor: str) -> Rotation:
        """Begin the next epoch."""
        ...

    async def bring(self, content: bytes, *, actor: str) -> Imported:
        """Take the keys in a file, opened if it was protected."""
        ...

    async def note_export(self, *, protected: bool, actor: str) -> None:
        """Put on record that the keys are about to leave."""
        ...


class RotateKeys(Call):
    method = "rotate-keys"
    forget: bool

    async def answer(self, node: NodeLike, actor: str) -> Rotation:
        return await node.keys.rotate(forget=self.forget, actor=actor)


class ImportKeys(Call):
    method = "import-keys"
    content: bytes

    async def answer(self, node: NodeLike, actor: str) -> Imported:
        return await node.keys.bring(self.content, actor=actor)

    def __repr__(self) -> str:
        return "ImportKeys()"


class NoteExport(Call):
    method = "note-export"
    protected: bool

    async def answer(self, node: NodeLike, actor: str) -> None:
        await node.keys.note_export(protected=self.protected, actor=actor)


class KeyClient:
    """What `Node.keys` does, in the name of the user of this process."""

    def __init__(self, call: Callable[[Call], Any]) -> None:
        self._call = call

    async def rotate(self, *, forget: bool) -> Rotation:
        """Begin the next epoch. Durable on return."""
        from qflow.trust import Rotation  # Most clients never need it.

        return msgspec.convert(await self._call(RotateKeys(forget=forget)), Rotation)

    async def bring(self, content: bytes) -> Imported:
        """Take the keys in a file (`trust.read_key_file`). Durable on return."""
        return msgspec.convert(await self._call(ImportKeys(content=content)), Imported)

    async def note_export(self, *, protected: bool) -> None:
        """Put on record that the keys are about to leave."""
        await self._call(NoteExport(protected=protected))
