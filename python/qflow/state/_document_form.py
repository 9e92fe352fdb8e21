"""The blocks of a document at rest: a base, and behind it the sealed changes, each block naming the
one before, so that a pin of the last one holds them all."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec

from qflow import _core
from qflow.errors import VerificationError
from qflow.state._draft import Block
from qflow.state._form import (
    FORMAT,
    ID_BYTES,
    check_bytes,
    check_int,
    check_keys,
    check_kind,
    check_link,
    check_text,
    link,
)

BASE: Final = "qflow.document.base"
CHANGES: Final = "qflow.document.changes"
NAME_CHARS_MAX: Final = 200
INLINE_BYTES_MAX: Final = 512 << 10
"""Of a pack in its block; a larger one is cut into parts, like a state."""
BLOCK_BYTES_MAX: Final = 1 << 20
LINKS_MAX: Final = 1024
PART_BYTES_MAX: Final = 32 << 20
"""Of a snapshot that is sealed as one; a larger one becomes several."""

_ID: Final = "qflow v1 crdt document id"
_OPERATION: Final = "qflow v1 crdt operation id"
_SEALED: Final = {BASE: b"QFDB\x01", CHANGES: b"QFDC\x01"}
_KEYS: Final = {
    BASE: frozenset({"v", "kind", "subnet", "doc", "key", "number", "snapshot", "sealed"}),
    CHANGES: frozenset({"v", "kind", "subnet", "doc", "key", "number", "previous", "large"})
    | {"sealed"},
}
_ABOUT: Final = frozenset({"name", "created", "cut", "cid", "operations"})


class Owner(NamedTuple):
    """Whose block it is, and what seals it."""

    subnet: str
    doc: bytes
    key: _core.SealingKey


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What a base says sealed."""

    name: str
    created: int
    """UTC ms."""
    cut: bytes | None = None
    """The clock at which the snapshot was made; None: there is no snapshot."""
    cid: bytes | None = None
    """CID of the snapshot in plain."""
    operations: int = 0
    """Of which the snapshot was made."""


class Parsed(NamedTuple):
    """A block whose form is good; nothing was unsealed."""

    kind: str
    number: int
    previous: bytes | None
    """The block before; None for a base."""
    roots: tuple[bytes, ...]
    """Of what is sealed in parts: the snapshot of a base, large packs of changes."""
    plain: dict[str, Any]
    sealed: bytes


def document_id(subnet: str, name: str) -> bytes:
    """16 bytes that are a document's everywhere in a subnet. Raises ValueError for a bad name."""
    check_document_name(name)
    return _core.derive_key(_ID, _core.encode([subnet, name]))[:ID_BYTES]


def operation_digest(doc: bytes, operation: bytes) -> bytes:
    """16 bytes that stand for an operation id of a document on the disk."""
    return _core.derive_key(_OPERATION, doc + operation)[:ID_BYTES]


def check_document_name(name: str) -> None:
    """Raise ValueError unless it is 1 to 200 characters in parts like "shop/cart"."""
    parts = name.split("/")
    fits = (
        0 < len(name) <= NAME_CHARS_MAX
        and all(part not in ("", ".", "..") and not part.startswith("$") for part in parts)
        and name.isprintable()
        and unicodedata.is_normalized("NFC", name)
    )
    if not fits:
        raise ValueError(
            f"{name!r:.100} names no document: 1 to {NAME_CHARS_MAX} printable characters in NFC,"
            " parts between `/` that are not empty, `.` or `..`, and do not begin with `$`"
        )


def make_base(
    owner: Owner, number: int, about: About, snapshot: Sequence[bytes]
) -> tuple[Block, list[Block]]:
    """The block of a base, and the blocks of the parts of its snapshot, given in pieces."""
    roots, parts = _seal_parts(owner, snapshot)
    plain = _plain(BASE, owner, number) | {"snapshot": [_core.Cid(root) for root in roots]}
    return _sealed(owner, plain, _core.encode(msgspec.structs.asdict(about))), parts


def make_changes(
    owner: Owner, number: int, previous: bytes, packs: Sequence[bytes]
) -> tuple[Block, list[Block]]:
    """The block of some packs behind another block, and the blocks of the parts of large ones."""
    small = [pack for pack in packs if len(pack) <= INLINE_BYTES_MAX]
    large = [pack for pack in packs if len(pack) > INLINE_BYTES_MAX]
    roots, parts = _seal_parts(owner, large)
    plain = _plain(CHANGES, owner, number)
    plain |= {"previous": link(previous), "large": [_core.Cid(root) for root in roots]}
    return _sealed(owner, plain, _core.encode(small)), parts


def group_packs(packs: Sequence[bytes]) -> list[list[bytes]]:
    """Packs in as few blocks as their bounds allow, in order."""
    groups: list[list[bytes]] = []
    size = BLOCK_BYTES_MAX
    for pack in packs:
        cost = min(len(pack), INLINE_BYTES_MAX)
        if size + cost > INLINE_BYTES_MAX or len(groups[-1]) == LINKS_MAX:
            groups.append([])
            size = 0
        groups[-1].append(pack)
        size += cost
    return groups


def parse(data: bytes) -> Parsed:
    """Read a block: canonical, of one of the two kinds, exactly its keys. Raises ValueError."""
    if len(data) > BLOCK_BYTES_MAX + (64 << 10):
        raise ValueError(f"a block of {len(data)} bytes")
    made = _core.decode(data)
    kind = made.get("kind") if isinstance(made, dict) else None
    if kind not in _KEYS:
        raise ValueError("not a block of a document")
    plain = {name: value for name, value in made.items() if name != "sealed"}
    check_kind(dict(made), kind, _KEYS[kind])
    check_text("subnet", made["subnet"], 1000)
    check_bytes("doc", made["doc"], ID_BYTES)
    check_bytes("sealed", made["sealed"], None)
    check_int("key", made["key"])
    check_int("number", made["number"])
    previous = None if kind == BASE else check_link("previous", made["previous"])
    links = made["snapshot" if kind == BASE else "large"]
    if not isinstance(links, list) or len(links) > LINKS_MAX:
        raise ValueError(f"not a list of at most {LINKS_MAX} links")
    roots = tuple(check_link("a part", item) for item in links)
    return Parsed(kind, made["number"], previous, roots, plain, made["sealed"])


def unseal_about(parsed: Parsed, owner: Owner) -> About:
    """What a base says. Raises VerificationError, also for a block of another document."""
    text = _unsealed(parsed, owner, BASE)
    try:
        made = _core.decode(text)
        check_keys(made, _ABOUT)
        return msgspec.convert(made, About, builtin_types=(bytes,))
    except (ValueError, TypeError) as error:
        raise VerificationError(f"its words: {error}") from None


def unseal_packs(parsed: Parsed, owner: Owner) -> list[bytes]:
    """The packs that are in a block of changes itself. Raises VerificationError."""
    text = _unsealed(parsed, owner, CHANGES)
    try:
        packs = _core.decode(text)
    except ValueError as error:
        raise VerificationError(f"its changes: {error}") from None
    if not isinstance(packs, list) or not all(isinstance(pack, bytes) for pack in packs):
        raise VerificationError("its changes are not bytes")
    return packs


def _unsealed(parsed: Parsed, owner: Owner, kind: str) -> bytes:
    plain = parsed.plain
    if parsed.kind != kind:
        raise VerificationError(f"it is of kind {parsed.kind}, not {kind}")
    if (plain["subnet"], plain["doc"]) != (owner.subnet, owner.doc):
        raise VerificationError("it is of another document")
    return owner.key.unseal_bytes(parsed.sealed, bound=_SEALED[kind] + _core.encode(plain))


def _plain(kind: str, owner: Owner, number: int) -> dict[str, Any]:
    return {
        "v": FORMAT,
        "kind": kind,
        "subnet": owner.subnet,
        "doc": owner.doc,
        "key": owner.key.number,
        "number": number,
    }


def _sealed(owner: Owner, plain: dict[str, Any], text: bytes) -> Block:
    bound = _SEALED[plain["kind"]] + _core.encode(plain)
    data = _core.encode(plain | {"sealed": owner.key.seal_bytes(text, bound=bound)})
    return bytes(_core.cid_of(data)), data


def _seal_parts(owner: Owner, texts: Sequence[bytes]) -> tuple[list[bytes], list[Block]]:
    roots: list[bytes] = []
    parts: dict[bytes, bytes] = {}
    for text in texts:
        root, blocks = owner.key.seal_state(text, subnet=owner.subnet, chain=owner.doc)
        roots.append(root)
        parts.update(blocks)
    return roots, list(parts.items())
