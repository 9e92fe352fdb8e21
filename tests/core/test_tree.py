"""The tree over records at hand is that of RFC 6962, however they come."""

from __future__ import annotations

import hashlib

import pytest

from qflow._core import Tree


def root_of(leaves: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, as it stands there."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    split = 1 << (len(leaves) - 1).bit_length() - 1
    left, right = root_of(leaves[:split]), root_of(leaves[split:])
    return hashlib.sha256(b"\1" + left + right).digest()


@pytest.mark.parametrize("size", [*range(40), 255, 256, 257, 1000])
def test_root_is_the_same_however_the_records_come(size: int) -> None:
    leaves = [b"record %d" % number * (number % 3) for number in range(size)]
    for part in (1, 7, 256, 10_000):
        tree = Tree()
        for start in range(0, size, part):
            tree.extend(leaves[start : start + part])
        assert (tree.size, tree.root) == (size, root_of(leaves))
