"""The doctor's check of the documents that executions share."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

from qflow.cli._finding import GOOD, WARN, Finding
from qflow.cli._output import plural, size

if TYPE_CHECKING:
    from qflow.cli._session import Session
    from qflow.config import Config
    from qflow.state._document_words import Listed

OVERDUE: Final = 2
"""So many times what a log may have before it is compacted, and something keeps it from that."""


def documents(session: Session, _: list[Path]) -> Finding:
    """What documents there are, and whether compaction waits."""
    from qflow.node._stored import FILE

    listed = _listed(session) if (session.home / FILE).exists() else []
    if not listed:
        return Finding("documents", GOOD, "none yet")
    alive = [item for item in listed if item.state == "alive"]
    operations = sum(item.operations for item in alive)
    sealed = size(sum(item.size_bytes for item in alive))
    found = plural(len(alive), "document")
    found += f", {plural(operations, 'operation')} and {sealed} behind the snapshots"
    if unfinished := sum(item.state == "erasing" for item in listed):
        found += f", {plural(unfinished, 'erasure')} to be finished"
    due = [item for item in alive if _share(item, session.config) >= 1]
    if due:
        names = ", ".join(item.name for item in due[:3]) + (", ..." if len(due) > 3 else "")
        found += f"; compaction waits for {names}"
    worst = max(due, key=lambda item: _share(item, session.config), default=None)
    if worst is not None and _share(worst, session.config) >= OVERDUE:
        fix = f"qflow doc compact {worst.name} says what it waits for"
        return Finding("documents", WARN, found, fix)
    return Finding("documents", GOOD, found)


def _listed(session: Session) -> list[Listed]:
    from qflow.node._stored import open_stored
    from qflow.state import _document_rows as rows
    from qflow.state._document_store import Store
    from qflow.trust import Keyring, load_or_create_key

    config = session.config
    key = load_or_create_key(session.home, passphrase=config.keys.passphrase_file)
    with (
        closing(Keyring(session.home, lambda: key.seed)) as keys,
        closing(open_stored(config, key, keys)) as stored,
    ):
        return Store(stored.blocks, config.subnet).database.read(rows.listed)


def _share(item: Listed, config: Config) -> float:
    """Of what a log may have before it is compacted."""
    bounds = config.documents
    return max(item.operations / bounds.compact_operations, item.size_bytes / bounds.compact_bytes)
