"""Erasures that are on record, carried out, and once more when something kept them from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final, Protocol

from qflow import _core, model
from qflow.audit._erasures import Erasure, erasure_of, shred
from qflow.errors import QflowError, UnavailableError
from qflow.trust import Keyring

META_BYTES_MAX: Final = 6_000
"""Of a tombstone, which is a record: it names as many envelopes, of the newest epochs."""
_CID_BYTES: Final = 64


class Remnants(Protocol):
    """What is kept of executions outside the log: versions of their states, and envelopes of
    their keys at other places. The calls come from threads, one at a time."""

    def envelopes(self, chain: bytes, number: int) -> Sequence[bytes]:
        """The CIDs of the envelopes that may be elsewhere, that of the newest epoch first."""
        ...

    def erase(self, erased: Sequence[Erasure]) -> None:
        """Remove all of it, and note what has to be removed elsewhere. Durable on return; again is
        no harm. Raises QflowError or OSError."""
        ...


class Erasing:
    """Carries erasures out. The calls block; one at a time."""

    def __init__(self, keys: Keyring, remnants: Remnants | None) -> None:
        self._keys, self._remnants = keys, remnants
        self._unfinished: dict[bytes, Erasure] = {}

    def __contains__(self, chain: bytes) -> bool:
        """Whether an erasure is on record that was not carried out to its end."""
        return chain in self._unfinished

    @property
    def is_unfinished(self) -> bool:
        """Whether there is any such."""
        return bool(self._unfinished)

    def tombstone(self, execution: str, key: int, why: Mapping[str, Any]) -> dict[str, Any]:
        """What is to go on record before the key is destroyed."""
        chain = model.id_bytes(execution)
        meta = {"execution": execution, "key": key, **why}
        if self._keys.is_adopted(chain, key):
            meta["adopted"] = True
        # Once the key is destroyed nobody can tell any more which blocks these are.
        found = () if self._remnants is None else self._remnants.envelopes(chain, key)
        room = max(1, (META_BYTES_MAX - len(_core.encode(meta))) // _CID_BYTES)
        cids = [str(_core.Cid(cid)) for cid in found[:room]]
        if cids:
            meta["envelope"] = cids[0]
        if cids[1:]:
            meta["earlier"] = cids[1:]
        return meta

    def again(self, execution: str, key: int, meta: Mapping[str, Any] | None) -> None:
        """Carry out once more what the tombstone `meta` says; None: that was pruned. As
        `carry_out`."""
        erasure = None if meta is None else erasure_of(meta)
        if erasure is None:
            chain = model.id_bytes(execution)
            erasure = Erasure(chain, key, self._keys.is_adopted(chain, key), ())
        self.carry_out([erasure])

    def carry_out(self, erased: Sequence[Erasure]) -> None:
        """Destroy keys and remove what else there is, of these and of all that are unfinished.

        Durable on return; again is no harm. Raises UnavailableError when it is not finished: then
        it is kept for `finish`.
        """
        self._unfinished |= {erasure.chain: erasure for erasure in erased}
        self.finish()

    def finish(self) -> None:
        """Carry out what was left. Raises UnavailableError when something is left still."""
        due = list(self._unfinished.values())
        if not due:
            return
        failed: Exception | None = None
        for step in (partial(shred, self._keys), self._remove):
            try:
                step(due)
            except (QflowError, OSError) as error:
                failed = failed or error
        if failed is not None:
            one, number = model.id_text(due[0].chain), len(due)
            raise UnavailableError(
                f"the erasure of {one if number == 1 else f'{number} executions'} is on record, but"
                f" not finished: {failed}; it is tried again by itself, and when it is asked again"
            ) from failed
        self._unfinished.clear()

    def _remove(self, erased: Sequence[Erasure]) -> None:
        if self._remnants is not None:
            self._remnants.erase(erased)
