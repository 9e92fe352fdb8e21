"""The attacker's tools: blocks changed, and everything that names them made to fit."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

from qflow import _core
from qflow.state._version import is_version
from tests.attacks.stored.honest import Honest

KINDS = ("version", "state root", "state part", "flow root", "flow part", "segment", "payload")
SIGNED = b"qflow state version v1\n"

Fields = dict[str, Any]


def codec_of(cid: bytes) -> str:
    return _core.Cid(cid).codec


def of_kind(honest: Honest, kind: str) -> list[bytes]:
    """The CIDs of all blocks of a kind beneath the newest versions."""
    found: dict[bytes, None] = {}
    for root in honest.roots:
        version = _core.decode(honest.blocks[root])
        if kind == "version":
            found[root] = None
        elif kind in {"state root", "flow root"}:
            found[bytes(version[kind.split()[0]])] = None
        elif kind in {"state part", "flow part"}:
            of = bytes(version[kind.split()[0]])
            found |= dict.fromkeys(_core.state_parts(honest.blocks[of])[1])
        else:
            segments = list(segments_of(honest, version))
            payloads = [cid for one in segments for cid in payloads_of(honest, one)]
            found |= dict.fromkeys(segments if kind == "segment" else payloads)
    return list(found)


def segments_of(honest: Honest, version: Fields) -> Iterator[bytes]:
    link = version["history"]
    while link is not None:
        yield bytes(link)
        link = _core.decode(honest.blocks[bytes(link)])["previous"]


def payloads_of(honest: Honest, segment: bytes) -> list[bytes]:
    return [bytes(link) for link in _core.decode(honest.blocks[segment])["payloads"]]


def flipped(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    changed[chance.randrange(len(data))] ^= chance.randint(1, 255)
    return bytes(changed)


def flipped_value(data: bytes, chance: random.Random) -> bytes:
    """DAG-CBOR with one byte changed in one of its byte strings, so that it is still canonical."""
    fields = _core.decode(data)
    name = chance.choice([key for key, value in fields.items() if isinstance(value, bytes)])
    return _core.encode({**fields, name: flipped(fields[name], chance)})


class Forgery:
    """A copy of the blocks; what names a changed one is changed too, up to the versions."""

    def __init__(self, honest: Honest) -> None:
        self.honest = honest
        self.blocks = dict(honest.blocks)
        self.roots = list(honest.roots)
        self._renamed: dict[bytes, bytes] = {}

    def replace(self, cid: bytes, data: bytes) -> None:
        new = bytes(_core.cid_of(data, codec_of(cid)))
        self._rename(cid, new, data)

    def _rename(self, old: bytes, new: bytes, data: bytes) -> None:
        del self.blocks[old]
        self.blocks[new] = data
        self.roots = [new if root == old else root for root in self.roots]
        for parent in [one for one, block in self.blocks.items() if old in links(one, block)]:
            fields = relinked(_core.decode(self.blocks[parent]), old, new)
            self.replace(parent, _core.encode(fields))

    def edit(self, at: int, change: Callable[[Fields], Fields]) -> None:
        """Change the fields of the newest version of an execution."""
        root = self.roots[at]
        self.replace(root, _core.encode(change(_core.decode(self.blocks[root]))))

    def sign(self, seed: bytes, *, did: str | None = None) -> None:
        """Sign both versions with a key, in its own name or in another's."""
        for at in range(len(self.roots)):
            self.edit(at, lambda fields: signed(fields, seed, did))

    def car(self) -> bytes:
        from tests.attacks.stored.honest import car

        keys = self.honest.envelopes
        return car([*self.roots, *(cid for cid, _ in keys)], [*keys, *self.blocks.items()])


def signed(fields: Fields, seed: bytes, did: str | None = None) -> Fields:
    unsigned = {name: value for name, value in fields.items() if name != "sig"}
    if did is not None:
        unsigned["node"] = did
    return {**unsigned, "sig": _core.sign(seed, SIGNED + _core.encode(unsigned))}


def links(cid: bytes, data: bytes) -> list[bytes]:
    return _core.block_links(cid, data)


def relinked(value: Any, old: bytes, new: bytes) -> Any:
    """The same with another link."""
    if isinstance(value, _core.Cid):
        return _core.Cid(new) if bytes(value) == old else value
    if isinstance(value, list):
        return [relinked(one, old, new) for one in value]
    if isinstance(value, dict):
        return {key: relinked(one, old, new) for key, one in value.items()}
    return value


__all__ = ["KINDS", "Fields", "Forgery", "flipped", "flipped_value", "is_version", "of_kind"]
