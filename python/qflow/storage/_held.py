"""What an endpoint has already, as far as that is cheap to know."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

HELD_MAX: Final = 1 << 16
"""CIDs, some 12 MB of memory for an endpoint; those told longest ago are forgotten."""


class Held:
    """CIDs beneath pins that the endpoint set since the process started.

    It may be wrong: somebody may have removed them there. Then a pin fails, and whoever relied on
    it clears this and sends everything.
    """

    def __init__(self) -> None:
        self._cids: OrderedDict[bytes, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._cids)

    def __contains__(self, cid: object) -> bool:
        return cid in self._cids

    def add(self, cids: Iterable[bytes]) -> None:
        """The endpoint has these, and all beneath them."""
        for cid in cids:
            self._cids[cid] = None
            self._cids.move_to_end(cid)
        while len(self._cids) > HELD_MAX:
            self._cids.popitem(last=False)

    def clear(self) -> None:
        """Nothing is known."""
        self._cids.clear()
