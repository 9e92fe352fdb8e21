"""What of this home's states is kept at other places: pins of versions, envelopes of their keys."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from qflow import model
from qflow.errors import BlockNotFoundError, QflowError, UnavailableError
from qflow.state import _index
from qflow.trust import make_envelope

if TYPE_CHECKING:
    from qflow.audit._erasures import Erasure
    from qflow.state import States
    from qflow.storage import Block, Database, Outbox
    from qflow.trust import Keyring, NodeKey


class Elsewhere:
    """Fills the ports of `States` (its pins), `Outbox` (its envelopes) and `Care` (what an erasure
    has to reach).

    An envelope goes where versions go: it is wanted with the first version of a chain, and
    released with the last. A document has one envelope, too; its id is its chain.
    """

    def __init__(self, database: Database, keys: Keyring, key: NodeKey, subnet: str) -> None:
        self._database, self._keys, self._key, self._subnet = database, keys, key, subnet
        self.key_of_document: Callable[[bytes], int | None] = lambda doc: None
        """The number of a document's key, by its id; None for what is no document."""

    def bind(self, states: States, outbox: Outbox) -> None:
        """Both need this one when they are made, and this one needs them."""
        self._states, self.outbox = states, outbox

    # -- for `States`, within its transactions ---------------------------------------------

    def want_pin(self, db: sqlite3.Connection, cid: bytes, name: str) -> None:
        """See `state.Pins`. The chain is in the pin's name: `qflow.state/<execution>/<number>`,
        `qflow.document/<id>`."""
        chain = model.id_bytes(name.split("/")[1])
        if not self.outbox.is_key_wanted(db, chain):
            self.outbox.want_key(db, chain)
        self.outbox.want_pin(db, cid, name)

    def want_unpin(self, db: sqlite3.Connection, cid: bytes) -> None:
        """See `state.Pins`."""
        self.outbox.want_unpin(db, cid)
        saved = _index.version_of(db, cid)
        if saved is not None and len(_index.versions_of(db, saved.chain)) == 1:
            self.outbox.release_key(db, saved.chain)

    def is_erased(self, db: sqlite3.Connection, chain: bytes) -> bool:
        """See `state.Pins`."""
        return self.outbox.is_key_given_up(db, chain)

    # -- for `Outbox` ----------------------------------------------------------------------

    def envelope_of(self, chain: bytes) -> Block | None:
        """The envelope of the key of a chain that has versions here; None for another, or when its
        key is not here. Blocks. Raises ErasedError."""
        newest = self._states.newest(chain)
        try:
            if newest is not None:
                number: int | None = self._states.version(newest.cid).key
            else:
                number = self.key_of_document(chain)
            return None if number is None else self.make(chain, number)
        except (BlockNotFoundError, UnavailableError):
            return None

    def make(self, chain: bytes, number: int, epoch: int | None = None) -> Block:
        """The envelope of a key, of the newest epoch or an earlier one. Raises ErasedError,
        UnavailableError, SigningKeyError."""
        return make_envelope(
            self._keys, self._key, subnet=self._subnet, chain=chain, number=number, epoch=epoch
        )

    def rotated(self) -> None:
        """The keys are wrapped otherwise: every envelope that is elsewhere is to be sent anew."""
        self._database.write(self.outbox.renew_keys)

    # -- for `Documents` -------------------------------------------------------------------

    def forget(self, doc: bytes, key: int) -> None:
        """A document is erased: no endpoint is to have its key any more."""
        envelopes = self.envelopes(doc, key)
        self._database.write(lambda db: self.outbox.want_no_key(db, doc, envelopes))

    # -- for `Care` ------------------------------------------------------------------------

    def envelopes(self, chain: bytes, number: int) -> list[bytes]:
        """See `Remnants`. Also of a chain that this `state.db` knows nothing of: it may be newer
        than what endpoints have."""
        found = []
        for epoch in reversed(self._keys.subnet.epochs):
            # A damaged key is in no envelope that could be made again.
            with suppress(QflowError):
                found.append(self.make(chain, number, epoch)[0])
        return found

    def erase(self, erased: Sequence[Erasure]) -> None:
        """See `Remnants`."""

        def job(db: sqlite3.Connection) -> None:
            for erasure in erased:
                self.outbox.want_no_key(db, erasure.chain, erasure.envelopes)

        # First: what is committed from now on is refused, and what was before is deleted.
        self._database.write(job)
        for erasure in erased:
            self._states.delete(chain=erasure.chain)
