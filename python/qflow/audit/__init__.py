"""The record of what happened: append, look up, read back, verify."""

from qflow.audit._answer import Entry, Page
from qflow.audit._follow import follow
from qflow.audit._index import Index
from qflow.audit._log import Log, Ticket
from qflow.audit._policy import load_policy
from qflow.audit._prune import Cut, Pruning, find_cut, prune
from qflow.audit._queries import Place, Waiting
from qflow.audit._query import Query
from qflow.audit._read import History
from qflow.audit._receipt import (
    RECEIPT_SUFFIX,
    Receipt,
    check_receipt,
    make_receipt,
)
from qflow.audit._source import Source
from qflow.audit._verdict import Verdict
from qflow.audit._verify import Finding, Report, load_vkey, verify, verify_or_raise
from qflow.audit._witness import doubts_about, read_vkeys
from qflow.audit._witness_store import Equivocation, Witness, WitnessedLog
from qflow.audit._witnessing import Standing, Witnessing, WitnessStatus

__all__ = [
    "RECEIPT_SUFFIX",
    "Cut",
    "Entry",
    "Equivocation",
    "Finding",
    "History",
    "Index",
    "Log",
    "Page",
    "Place",
    "Pruning",
    "Query",
    "Receipt",
    "Report",
    "Source",
    "Standing",
    "Ticket",
    "Verdict",
    "Waiting",
    "Witness",
    "WitnessStatus",
    "WitnessedLog",
    "Witnessing",
    "check_receipt",
    "doubts_about",
    "find_cut",
    "follow",
    "load_policy",
    "load_vkey",
    "make_receipt",
    "prune",
    "read_vkeys",
    "verify",
    "verify_or_raise",
]
