"""Every document of a home checked; what is found is gathered: none hides another."""

from __future__ import annotations

from typing import Final

from qflow.clock import random_bytes
from qflow.errors import ErasedError, QflowError
from qflow.state import _document_rows as rows
from qflow.state._document_form import Owner
from qflow.state._document_load import Identity, load
from qflow.state._document_store import Store
from qflow.state._document_words import ALIVE
from qflow.state._ports import Keys
from qflow.state._saved import Finding
from qflow.storage import SqliteBlocks
from qflow.storage._blocks import text_of

MENDING: Final = "an export of it from another node, imported here, or a backup puts it right"


def check_documents(store: Store, keys: Keys) -> list[Finding]:
    """What is wrong with the documents of a home; blocks. Memory: one document at a time."""
    me = Identity(bytes(32), None, random_bytes(16))
    findings = []
    for row in store.database.read(rows.rows):
        if row.state != ALIVE:
            continue
        where = text_of(row.head)
        try:
            key = keys.key_of(row.id, row.key)
            load(store, row, Owner(store.subnet, row.id, key), me)
        except ErasedError as error:
            findings.append(Finding(where, f"document {row.name}: {error}", row.id))
        except (QflowError, OSError) as error:
            findings.append(Finding(where, f"{error}; {MENDING}", row.id))
        else:
            findings += _pinned(store, row)
    return findings


def check_home(blocks: SqliteBlocks, subnet: str, keys: Keys) -> list[Finding]:
    """As `check_documents`, of a home that may never have had one."""
    query = "SELECT 1 FROM sqlite_schema WHERE name = 'document'"
    if blocks.database.read(lambda db: db.execute(query).fetchone()) is None:
        return []
    return check_documents(Store(blocks, subnet), keys)


def _pinned(store: Store, row: rows.Row) -> list[Finding]:
    query = "SELECT 1 FROM pin WHERE cid = ?"
    if store.database.read(lambda db: db.execute(query, (row.head,)).fetchone()) is not None:
        return []
    return [
        Finding(text_of(row.head), f"document {row.name}: its last block is not pinned", row.id)
    ]
