"""The record of what happened: append, look up, read back, verify."""

from qflow.audit._follow import follow
from qflow.audit._index import Index
from qflow.audit._log import Log, Ticket
from qflow.audit._queries import Place, Waiting
from qflow.audit._read import Entry, History
from qflow.audit._source import Source
from qflow.audit._verify import Finding, Report, verify, verify_or_raise

__all__ = [
    "Entry",
    "Finding",
    "History",
    "Index",
    "Log",
    "Place",
    "Report",
    "Source",
    "Ticket",
    "Waiting",
    "follow",
    "verify",
    "verify_or_raise",
]
