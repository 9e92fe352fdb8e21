"""The blocks of a document at rest: one form each, opened in their place and nowhere else."""

from __future__ import annotations

import pytest

from qflow import _core
from qflow.errors import VerificationError
from qflow.state import _document_form as form
from qflow.state._document_form import About, Owner

KEY = _core.SealingKey(7, bytes(range(32)))
DOC = bytes(range(16))
OWNER = Owner("default", DOC, KEY)
ABOUT = About(name="shop/cart", created=5)


def test_base_opens_as_what_was_sealed() -> None:
    snapshot = [b"a" * 100_000, b"b" * 3]
    about = About(name="shop/cart", created=5, cut=b"\x80", cid=b"x", operations=9)
    (cid, data), parts = form.make_base(OWNER, 4, about, snapshot)
    parsed = form.parse(data)
    assert (parsed.kind, parsed.number, parsed.previous) == (form.BASE, 4, None)
    assert form.unseal_about(parsed, OWNER) == about
    blocks = dict(parts)
    found = [KEY.unseal_state(root, blocks, subnet="default", chain=DOC) for root in parsed.roots]
    assert found == snapshot
    assert _core.check_blocks([(cid, data), *parts]) == [True] * (1 + len(parts))
    assert set(_core.block_links(cid, data)) == set(parsed.roots)


def test_changes_open_as_what_was_sealed() -> None:
    (base, _), _ = form.make_base(OWNER, 0, ABOUT, [])
    packs = [b"one", b"x" * (form.INLINE_BYTES_MAX + 1), b"three"]
    (cid, data), parts = form.make_changes(OWNER, 1, base, packs)
    parsed = form.parse(data)
    assert parsed.previous == base
    assert form.unseal_packs(parsed, OWNER) == [b"one", b"three"]
    (root,) = parsed.roots
    large = KEY.unseal_state(root, dict(parts), subnet="default", chain=DOC)
    assert large == packs[1]
    assert set(_core.block_links(cid, data)) == {base, root}


def test_equal_content_in_another_place_is_another_block() -> None:
    (base, _), _ = form.make_base(OWNER, 0, ABOUT, [])
    one = form.make_changes(OWNER, 1, base, [b"pack"])[0]
    assert one == form.make_changes(OWNER, 1, base, [b"pack"])[0]
    assert one != form.make_changes(OWNER, 2, base, [b"pack"])[0]


@pytest.mark.parametrize(
    "change",
    [{"number": 2}, {"doc": bytes(16)}, {"subnet": "other"}, {"key": 8}, {"large": "more"}],
)
@pytest.mark.holds("S14")
def test_a_block_moved_to_another_place_does_not_open(change: dict[str, object]) -> None:
    (base, _), _ = form.make_base(OWNER, 0, ABOUT, [])
    (_, data), _ = form.make_changes(OWNER, 1, base, [b"pack"])
    made = _core.decode(data)
    if change == {"large": "more"}:
        change = {"large": [_core.Cid(base)]}
    parsed = form.parse(_core.encode({**made, **change}))
    with pytest.raises(VerificationError):
        form.unseal_packs(parsed, OWNER)


@pytest.mark.holds("S14")
def test_every_flipped_byte_is_refused() -> None:
    (base, _), _ = form.make_base(OWNER, 0, ABOUT, [])
    (_, data), _ = form.make_changes(OWNER, 1, base, [b"pack"])
    for at in range(len(data)):
        bad = bytearray(data)
        bad[at] ^= 1
        with pytest.raises((ValueError, VerificationError)):
            form.unseal_packs(form.parse(bytes(bad)), OWNER)


def test_other_forms_are_refused() -> None:
    (base, data), _ = form.make_base(OWNER, 0, ABOUT, [])
    good = _core.decode(data)
    bad = [
        b"",
        b"\x00",
        _core.encode([]),
        _core.encode({**good, "v": 2}),
        _core.encode({**good, "v": True}),
        _core.encode({**good, "kind": "qflow.state"}),
        _core.encode({**good, "more": 1}),
        _core.encode({name: value for name, value in good.items() if name != "key"}),
        _core.encode({**good, "number": -1}),
        _core.encode({**good, "doc": bytes(15)}),
        _core.encode({**good, "snapshot": [b"no link"]}),
        _core.encode({**good, "snapshot": [_core.Cid(base)] * 1025}),
        data + b"\x00",
    ]
    for one in bad:
        with pytest.raises(ValueError, match=r"."):
            form.parse(one)


def test_packs_share_blocks_up_to_their_bound() -> None:
    small = [b"x" * 1000] * 2000
    groups = form.group_packs(small)
    assert [pack for group in groups for pack in group] == small
    assert 4 <= len(groups) <= 5
    assert all(sum(map(len, group)) <= form.INLINE_BYTES_MAX for group in groups)
    assert form.group_packs([]) == []


@pytest.mark.holds("C8")
@pytest.mark.parametrize(
    "name",
    ["", "a" * 201, "/a", "a/", "a//b", ".", "a/..", "$x", "a/$x", "a\n", "a\x00", "e\u0301"],
)
def test_names_that_are_none_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="names no document"):
        form.document_id("default", name)


def test_id_is_of_subnet_and_name() -> None:
    one = form.document_id("default", "shop/cart")
    assert len(one) == 16
    assert one == form.document_id("default", "shop/cart")
    assert one != form.document_id("other", "shop/cart")
    assert one != form.document_id("default", "shop/carts")
