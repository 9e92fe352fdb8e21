"""Keys that wrap data keys, and the hash that the construction is made of."""

from __future__ import annotations

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from qflow import _core
from qflow.errors import VerificationError

KEY, OTHER, DATA = bytes(range(32)), bytes(range(1, 33)), bytes(range(100, 132))
keys = st.binary(min_size=32, max_size=32)


def mark(key: _core.SealingKey) -> bytes:
    return key.seal_bytes(b"", bound=b"")[:32]


@given(key=keys, parts=st.lists(st.binary(max_size=100), max_size=4), context=st.text(max_size=30))
def test_the_hash_is_blake3(key: bytes, parts: list[bytes], context: str) -> None:
    assert _core.keyed_hash(key, parts) == blake3(b"".join(parts), key=key).digest()
    assert _core.derive_key(context, key) == blake3(key, derive_key_context=context).digest()


def test_a_derived_and_a_given_key_are_told_apart() -> None:
    derived = _core.derive_key("qflow v1 keyring: wrapping key", KEY)
    assert _core.WrappingKey(KEY).commitment == _core.WrappingKey.of(derived).commitment
    assert _core.WrappingKey(KEY).commitment != _core.WrappingKey.of(KEY).commitment
    assert repr(_core.WrappingKey.of(KEY)) == "WrappingKey()"
    for wrong in (b"", KEY[:-1], KEY + b"\0"):
        for make in (
            _core.WrappingKey,
            _core.WrappingKey.of,
            lambda key: _core.keyed_hash(key, []),
        ):
            with pytest.raises(ValueError, match="32 bytes"):
                make(wrong)


def test_what_is_wrapped_begins_with_the_commitment() -> None:
    wrapping = _core.WrappingKey.of(KEY)
    wrapped = wrapping.wrap(5, 2, DATA)
    assert len(wrapped) == _core.WRAPPED_BYTES
    assert wrapped[:32] == wrapping.commitment
    assert mark(wrapping.unwrap(5, 2, wrapped)) == mark(_core.SealingKey(0, DATA))
    slot = b"QFKY\x01" + (5).to_bytes(8, "big") + (2).to_bytes(8, "big")
    assert mark(wrapping.unwrap_bound(9, wrapped, slot)) == mark(_core.SealingKey(0, DATA))
    assert wrapping.unwrap_bound(9, wrapped, slot).number == 9


def test_a_key_goes_from_one_wrapping_to_the_next() -> None:
    old, new = _core.WrappingKey.of(KEY), _core.WrappingKey.of(OTHER)
    slot = b"QFKY\x01" + (5).to_bytes(8, "big") + (2).to_bytes(8, "big")
    wrapped = old.wrap(5, 2, DATA)
    again = old.rewrap(5, wrapped, slot, to=new, to_bound=b"elsewhere")
    assert again == old.rewrap(5, wrapped, slot, to=new, to_bound=b"elsewhere") != wrapped
    assert mark(new.unwrap_bound(5, again, b"elsewhere")) == mark(_core.SealingKey(0, DATA))
    for key, sealed, bound in (
        (new, again, b"elsewhere."),
        (new, again, slot),
        (old, again, b"elsewhere"),
        (old, wrapped, b"elsewhere"),
        (new, wrapped, slot),
        (new, again[:-1], b"elsewhere"),
    ):
        with pytest.raises(VerificationError, match="data key 5"):
            key.rewrap(5, sealed, bound, to=old, to_bound=b"")
    with pytest.raises(VerificationError):
        new.unwrap_bound(5, _core.SealingKey(0, OTHER).seal_bytes(DATA[:31], bound=b""), b"")


def test_a_public_key_is_a_point_that_is_worth_something() -> None:
    assert _core.is_public_key(
        bytes.fromhex("03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8")
    )
    for wrong in (b"", bytes(31), bytes(32), b"\1" + bytes(31), b"\xff" * 32, b"\2" + bytes(31)):
        assert not _core.is_public_key(wrong)
