"""New data keys, by chance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from qflow import _core
from qflow.clock import random_bytes
from qflow.trust import _slots
from qflow.trust._slots import KEY, Slot

_KEY_BYTES: Final = 32


def make_keys(
    numbers: Sequence[int], epoch: int, wrapping: _core.WrappingKey
) -> tuple[bytes, list[_core.SealingKey]]:
    """A key for each number: their slots after one another, wrapped, and the keys themselves."""
    chance = random_bytes(_KEY_BYTES * len(numbers))
    keys, slots = [], bytearray()
    for at, number in enumerate(numbers):
        key = chance[at * _KEY_BYTES : (at + 1) * _KEY_BYTES]
        slots += _slots.encode_slot(Slot(number, KEY, epoch, wrapping.wrap(number, epoch, key)))
        keys.append(_core.SealingKey(number, key))
    return bytes(slots), keys
