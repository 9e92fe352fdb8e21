"""The versions of every execution's state that this home keeps."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Container, Iterator, Sequence
from functools import partial
from itertools import groupby
from typing import Any, Final

from qflow import model
from qflow.errors import (
    BlockNotFoundError,
    ErasedError,
    QflowError,
    StaleError,
    UnavailableError,
    VerificationError,
)
from qflow.state import _chain, _commit, _index, _ingest, _rebuild, _removal, _search, _told
from qflow.state._cache import Cache
from qflow.state._check import Check, Tally
from qflow.state._commit import Prepared
from qflow.state._document_check import check_home
from qflow.state._draft import Block, Draft
from qflow.state._ingest import Candidate
from qflow.state._ports import Erasures, Keys, Pins, Progress, Signer, Signers, Tell
from qflow.state._reader import Reader, name_of
from qflow.state._saved import Checked, Garbage, Good, Page, Refused, Removed, Saved, Taken
from qflow.state._search import Asked
from qflow.state._version import Version
from qflow.storage import SqliteBlocks

CACHE_BYTES_MAX: Final = 64 << 20
ROUNDS_MAX: Final = 3
"""So often a version is made anew when another process moved the head of its chain meanwhile."""

_ABOUT_A_DRAFT: Final = (QflowError, ValueError, TypeError)

Outcomes = list[Saved | Exception]
Versions = list[Saved]


class _IncompleteError(Exception):
    """One of a group cannot be written."""

    def __init__(self, at: int, why: Exception) -> None:
        super().__init__(at)
        self.at, self.why = at, why


class States:
    """Sealed, signed versions of states in `state.db`. All calls block; from any thread.

    What is written is durable on return. What cannot be sealed, signed or verified is refused and
    changes nothing: without `signer` nothing is committed, without `signers` nothing is believed
    (UnavailableError). All of it raises as the database does: PoisonedError after a failed write,
    CorruptError, LockedError, UnavailableError.
    """

    def __init__(
        self,
        blocks: SqliteBlocks,
        *,
        subnet: str,
        keys: Keys,
        signer: Signer | None,
        signers: Signers | None,
        pins: Pins | None = None,
        is_erased: Erasures = lambda chain: False,
        tell: Tell | None = None,
        cache_bytes_max: int = CACHE_BYTES_MAX,
    ) -> None:
        self._blocks, self._db, self._pins = blocks, blocks.database, pins
        self._subnet, self._signer, self._tell, self._keys = subnet, signer, tell, keys
        # Asked once: a did:key is spelled anew each time.
        self._did = "" if signer is None else signer.did
        self._is_erased = is_erased
        self._cache = Cache(cache_bytes_max)
        self._reader = Reader(
            blocks, self._cache, subnet=subnet, keys=keys, signers=signers, is_erased=is_erased
        )
        if not self._db.read(_index.is_whole):
            self.rebuild()
        self._unlisted = self._db.read(_rebuild.unlisted)

    # -- keeping ---------------------------------------------------------------------------

    def next_seq(self, chain: bytes) -> int:
        """The number of the first record that the next draft of a chain has to bring."""
        head = self._db.read(lambda db: _index.head_of(db, chain))
        return 0 if head is None else head.seq + 1

    def commit(self, draft: Draft) -> Saved:
        """Keep a checkpoint as the newest version of its chain; durable on return.

        Raises StaleError when the chain's newest version has a later epoch, or records that this
        draft does not follow, ErasedError when its execution was erased: nothing was changed.
        Raises VerificationError or ValueError when the draft contradicts itself, UnavailableError
        when it cannot be signed.
        """
        (outcome,) = self.commit_many([draft])
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def commit_many(self, drafts: Sequence[Draft]) -> Outcomes:
        """Keep many in one transaction, each by itself: its version, or why it was refused.

        Several of one chain follow each other in the order given. What fails the whole transaction
        is raised.
        """
        outcomes: dict[int, Saved | Exception] = {}
        due = list(range(len(drafts)))
        for _ in range(ROUNDS_MAX):
            made = self._prepare([(at, drafts[at]) for at in due], outcomes)
            outcomes.update(self._write(made))
            due = [at for at in made if isinstance(outcomes[at], StaleError)]
            if not due:
                break
        if self._tell is not None:
            for outcome in outcomes.values():
                if isinstance(outcome, Saved):
                    self._tell(_told.SAVED, _told.of_saved(outcome))
        return [outcomes[at] for at in range(len(drafts))]

    def _prepare(
        self, drafts: list[tuple[int, Draft]], outcomes: dict[int, Saved | Exception]
    ) -> dict[int, Prepared]:
        """Versions for the heads as they are now; who cannot have one gets an outcome."""
        signer = self._signer
        if signer is None:
            raise UnavailableError("nobody is there to sign: no state is kept")
        subnet, did = self._subnet, self._did
        lasts: dict[int, dict[str, Any]] = {}
        for at, draft in drafts:
            try:
                lasts[at] = _commit.checkpoint(draft, subnet=subnet, did=did)
            except _ABOUT_A_DRAFT as error:
                outcomes[at] = error
        chains = {last["chain"] for last in lasts.values()}
        heads = self._db.read(lambda db: _index.heads_of(db, chains))
        made: dict[int, Prepared] = {}
        for at, draft in drafts:
            if (last := lasts.get(at)) is None:
                continue
            head = heads.get(last["chain"])
            try:
                if self._is_erased(last["chain"]):
                    raise _commit.erased(last["chain"])
                made[at] = _commit.prepare(draft, last, head, subnet=subnet, signer=signer)
            except _ABOUT_A_DRAFT as error:
                outcomes[at] = error
            else:
                heads[last["chain"]] = made[at].head
        return made

    def _write(self, made: dict[int, Prepared]) -> dict[int, Saved | Exception]:
        """All in one transaction, each by itself: when one turns out to be incomplete, what was
        written is undone, and the others are written again. A savepoint for each would cost a copy
        of every page that it touches, and this hardly ever happens."""
        outcomes: dict[int, Saved | Exception] = {}
        due = dict(made)
        while True:
            try:
                return outcomes | self._db.write(partial(self._insert, made=due))
            except _IncompleteError as refused:
                outcomes[refused.at] = refused.why
                del due[refused.at]

    def _insert(
        self, db: sqlite3.Connection, made: dict[int, Prepared]
    ) -> dict[int, Saved | Exception]:
        outcomes: dict[int, Saved | Exception] = {}
        for at, prepared in made.items():
            try:
                outcomes[at] = _commit.insert(db, self._blocks, self._pins, prepared)
            except (StaleError, ErasedError) as error:  # seen before anything of it was written
                outcomes[at] = error
            except (QflowError, ValueError) as error:
                raise _IncompleteError(at, error) from error
        return outcomes

    # -- finding ---------------------------------------------------------------------------

    def newest(self, chain: bytes) -> Saved | None:
        """The newest version of a chain by the index; nothing was verified."""
        return self._db.read(lambda db: _index.newest_of(db, chain))

    def find(self, text: str) -> Saved:
        """The version that a text means: the beginning of a CID (at least 12 characters of its
        text), a label, or the beginning of an execution's id (at least 4; then its newest version).

        Raises BlockNotFoundError when there is none, and when there are several.
        """
        return self._db.read(lambda db: _search.find(db, text))

    def list(
        self,
        *,
        flow: str | None = None,
        execution: str | None = None,
        label: str | None = None,
        cid: str | None = None,
        since: int | None = None,
        until: int | None = None,
        newest: bool = False,
        limit: int = 100,
        after: str | None = None,
    ) -> Page:
        """Versions that have all that is given, the latest first.

        `flow` is `namespace/name/version`, `namespace/name` or `name`, with `*` for any characters;
        so is `label`. `execution` and `cid` are beginnings. `since` is inclusive, `until` exclusive
        (UTC ms). `newest`: only the newest of each chain. At most LIST_MAX on a page. Raises
        ValueError for a limit or a cursor that is none.
        """
        asked = Asked(
            flow=flow,
            execution=execution,
            label=label,
            cid=cid,
            since=since,
            until=until,
            newest=newest,
            limit=limit,
            after=after,
        )
        return self._db.read(lambda db: _search.page(db, asked))

    def history(self, chain: bytes) -> Versions:
        """All versions of a chain that are kept, the newest first."""
        return self._db.read(lambda db: _index.versions_of(db, chain))

    # -- reading ---------------------------------------------------------------------------

    def version(self, cid: bytes) -> Version:
        """The version of a block: form, hash, signature, signer and subnet are verified.

        Raises BlockNotFoundError, VerificationError, UnavailableError.
        """
        return self._reader.version(cid)

    def load(self, cid: bytes) -> bytes:
        """The state of a version: canonical DAG-CBOR, equal to what was saved, byte for byte.

        Verified: all of `version`, every block, the seal. Raises VerificationError, which names the
        block, BlockNotFoundError, ErasedError, UnavailableError.
        """
        return self._reader.state(self._reader.open(cid))

    def document(self, cid: bytes) -> bytes:
        """The flow's document of a version, verified like `load`."""
        return self._reader.document(self._reader.open(cid))

    def records(self, cid: bytes) -> Iterator[tuple[Sequence[bytes], Sequence[Block]]]:
        """The records of a version's chain from number 0 to its checkpoint, piece by piece, each
        piece with the payload blocks that its records name.

        The whole chain of hashes was verified up to the version's `head`, and that the last record
        names this state, when this returns; the payload blocks of a piece when it is given.
        Memory: one segment and 32 payloads. Raises as `load`.
        """
        return _chain.records(self._reader, self._reader.open(cid))

    def check(self, cid: bytes) -> Saved:
        """Verify all of a version: `load`, `document`, `records` with every payload block."""
        return self._open(cid, whole=True)[0]

    def newest_good(self, chain: bytes, *, whole: bool = False) -> Good:
        """The newest version of a chain whose state opens, and what was refused before it.

        `whole`: all of `check` has to hold, as for a version that comes from elsewhere. Raises
        BlockNotFoundError when the chain has no version, VerificationError when none is good: its
        text has each CID with the reason.
        """
        versions = self.history(chain)
        if not versions and chain not in self._unlisted:
            raise BlockNotFoundError(f"{model.id_text(chain)} has no version")
        refused: list[Refused] = []
        for listed in versions:
            try:
                saved, text = self._open(listed.cid, whole=whole)
                if saved.chain != chain:
                    raise VerificationError("it is of another execution than the index says")
            except (BlockNotFoundError, VerificationError) as error:
                refused.append(Refused(listed.cid, str(error), chain, listed.seq))
                self._tell_refused(refused[-1])
            else:
                return Good(saved, text, [*self._unlisted_of(chain, saved.number), *refused])
        refused = [*self._unlisted_of(chain, -1), *refused]
        why = "; ".join(f"{name_of(one.cid)}: {one.why}" for one in refused)
        raise VerificationError(f"no version of {model.id_text(chain)} is good: {why}")

    def _unlisted_of(self, chain: bytes, newer_than: int) -> Sequence[Refused]:
        if not (ones := self._unlisted.get(chain)):
            return []
        found = self._db.read(lambda db: _rebuild.still_unlisted(db, chain, ones, newer_than))
        for one in found:
            self._tell_refused(one)
        return found

    def _open(self, cid: bytes, *, whole: bool) -> tuple[Saved, bytes]:
        opened = self._reader.open(cid)
        text = self._reader.state(opened)
        if whole:
            self._reader.document(opened)
            for _ in _chain.records(self._reader, opened):
                pass
        return opened.saved, text

    def _tell_refused(self, refused: Refused) -> None:
        if self._tell is not None and self._did:
            self._tell(_told.REFUSED, _told.of_refused(refused, self._did))

    def go_on_from(self, cid: bytes) -> None:
        """An execution is continued from this version, although a newer one may be kept: the next
        one follows this, and one that is brought in of the same epoch does not take its place.
        Durable on return. Verified like `version`. The newer ones stay listed, and stay the newest
        for `history`, until a version of a later epoch is kept."""
        opened = self._reader.open(cid)
        head = _commit.head_of(cid, opened.version.fields())._replace(chosen=True)
        self._db.write(lambda db: _index.put_head(db, head, opened.saved.flow))

    # -- care ------------------------------------------------------------------------------

    def verify(self, chain: bytes | None = None, progress: Progress | None = None) -> Checked:
        """Check every version of a chain, or of all: signature, signer, links, blocks, seal,
        records. Findings are gathered, not raised; of all, also what is pinned and not listed, and
        what SQLite finds wrong with the file."""
        tally = Tally()
        total, _ = self._db.read(_index.count)
        for one in self._db.read(_index.chains) if chain is None else [chain]:
            versions = self.history(one)
            head = self._db.read(partial(_index.head_of, chain=one))
            before = tally.found
            Check(self._reader, tally, one).run(versions, head)
            if self._tell is not None and versions:
                found = tally.found - before
                self._tell(_told.VERIFIED, _told.of_checked(versions[0], len(versions), found))
            if progress is not None:
                progress(tally.versions, len(versions) if chain is not None else total)
        if chain is None:
            tally.take(self.verify_file().findings)
        return tally.result()

    def verify_file(self) -> Checked:
        """The part of `verify` that is of no chain: the file, its pins, and every document."""
        tally = Tally()
        self._check_file(tally)
        tally.take(check_home(self._blocks, self._subnet, self._keys))
        return tally.result()

    def _check_file(self, tally: Tally) -> None:
        for line in self._db.check():
            tally.find(self._db.path.name, line)
        pinned, listed = self._db.read(lambda db: (_rebuild.pinned(db), _index.cids(db)))
        for cid in pinned:
            if cid in listed or (known := _rebuild.is_pinned_version(self._blocks, cid)) is False:
                continue
            what = "the index does not list it" if known else "its block is missing or damaged"
            tally.find(name_of(cid), f"it is pinned, but {what}")
        for cid in listed.difference(pinned):
            tally.find(name_of(cid), "the index lists it, but it is not pinned")

    def delete(self, *, chain: bytes | None = None, cid: bytes | None = None) -> Removed:
        """Forget a chain's versions, or one version: its pin is released here and wanted released
        at every endpoint, its row and blocks go. Again is no harm."""
        if (chain is None) == (cid is None):
            raise TypeError("either a chain or a version")

        def doomed(db: sqlite3.Connection) -> Versions:
            if chain is not None:
                _rebuild.release(db, self._blocks, self._pins, self._unlisted.get(chain, ()))
                return _index.versions_of(db, chain)
            found = _index.version_of(db, cid or b"")
            return [] if found is None else [found]

        return self._remove(doomed)

    def prune(self, chain: bytes, keep: int, *, labelled: bool = False) -> Removed:
        """Delete all but the newest `keep` versions (at least 1) of a chain: of those that the next
        one follows, and only then of those that an older one was restored in front of.

        Those with a label stay, and are not counted; with `labelled` they are as the others.
        """
        return self.prune_many([chain], keep, labelled=labelled)

    def prune_many(
        self,
        chains: Sequence[bytes],
        keep: int,
        *,
        labelled: bool = False,
        spare: Container[bytes] = (),
    ) -> Removed:
        """As `prune` of each, but those to `spare` by CID, in one transaction; none when there is
        nothing to delete."""
        if keep < 1:
            raise ValueError(f"keep: {keep} is not at least 1")

        def doomed(db: sqlite3.Connection) -> Versions:
            lines = (_index.line_of(db, chain) for chain in chains)
            surplus = partial(_removal.surplus, keep=keep, labelled=labelled)
            return [one for line in lines for one in surplus(line) if one.cid not in spare]

        return self._remove(doomed) if self._db.read(doomed) else Removed(0, 0, 0)

    def _remove(self, doomed: Callable[[sqlite3.Connection], Versions]) -> Removed:
        def job(db: sqlite3.Connection) -> tuple[Removed, Sequence[bytes], Versions]:
            versions = doomed(db)
            removed, cids = _removal.remove(db, self._blocks, self._pins, versions)
            return removed, cids, versions

        removed, cids, versions = self._db.write(job)
        self._cache.drop(cids)
        if self._tell is not None:
            for saved in versions:
                self._tell(_told.DELETED, _told.of_version(saved))
        return removed

    def ingest(self, cids: Sequence[bytes], progress: Progress | None = None) -> Taken:
        """Take in versions whose blocks came from elsewhere and lie in the store, in any order.

        Each is verified, pinned and listed; the newest of a chain only moves forward. Refused: of
        untrusted signers, of another subnet, of an erased execution, without their key, incomplete,
        or not good.
        """
        made = Taken([], 0, [], [])
        candidates: list[Candidate] = []
        for done, cid in enumerate(dict.fromkeys(cids), 1):
            found = _ingest.candidate(self._reader, cid)
            if isinstance(found, Refused):
                made.refused.append(found)
            else:
                candidates.append(found)
            if progress is not None:
                progress(done, len(cids))
        candidates.sort(key=lambda one: one.saved.chain)
        for chain, group in groupby(candidates, key=lambda one: one.saved.chain):
            made = self._ingest_chain(chain, list(group), made)
        for refused in (*made.refused, *made.diverged):
            self._tell_refused(refused)
        return made

    def _ingest_chain(self, chain: bytes, group: Sequence[Candidate], made: Taken) -> Taken:
        for _ in range(ROUNDS_MAX - 1):
            try:
                return self._ingest_once(chain, group, made)
            except StaleError:  # another process moved the head meanwhile
                continue
        return self._ingest_once(chain, group, made)

    def _ingest_once(self, chain: bytes, group: Sequence[Candidate], made: Taken) -> Taken:
        head = self._db.read(partial(_index.head_of, chain=chain))
        known = {saved.cid for saved in self.history(chain)}
        new = [one for one in group if one.saved.cid not in known]
        plan = _ingest.plan(self._reader, head, new)
        taken, refused = self._db.write(
            lambda db: _ingest.write(db, self._blocks, self._pins, chain, plan)
        )
        return Taken(
            made.taken + taken,
            made.known + len(group) - len(new),
            made.refused + plan.refused + refused,
            made.diverged + plan.diverged,
        )

    def garbage(self) -> Garbage:
        """What the store holds that nothing names."""
        found = self._db.read(self._blocks.garbage)
        return Garbage(len(found), sum(size for _, size in found))

    def collect(self) -> Garbage:
        """Delete it; gives what went. Not while an import runs: its blocks are named last."""
        try:
            return Garbage(*self._blocks.collect())
        finally:
            self._cache.clear()

    def rebuild(self) -> int:
        """Make the index anew from the version blocks; gives how many there are."""
        count = _rebuild.rebuild(self._reader, self._blocks)
        self._unlisted = self._db.read(_rebuild.unlisted)
        return count

    def stats(self) -> dict[str, int]:
        """`versions`, `chains`, and of the cache: `cached_blocks`, `cached_bytes`, `hits`,
        `misses`."""
        versions, chains = self._db.read(_index.count)
        cache = self._cache
        return {
            "versions": versions,
            "chains": chains,
            "cached_blocks": len(cache),
            "cached_bytes": cache.size_bytes,
            "hits": cache.hits,
            "misses": cache.misses,
        }
