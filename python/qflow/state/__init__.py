"""State that survives: sealed, signed versions of executions, found again and verified."""

from qflow.state._document import Document
from qflow.state._document_evidence import Evidence
from qflow.state._document_strategies import Sibling, Strategy, prefer
from qflow.state._document_words import (
    Applied,
    Changed,
    Compacted,
    CompactionLimits,
    Conflict,
    Listed,
)
from qflow.state._documents import Documents
from qflow.state._draft import Block, Draft
from qflow.state._saved import (
    Checked,
    Finding,
    Garbage,
    Good,
    Page,
    Refused,
    Removed,
    Saved,
    Taken,
)
from qflow.state._states import States
from qflow.state._version import Version

__all__ = [
    "Applied",
    "Block",
    "Changed",
    "Checked",
    "Compacted",
    "CompactionLimits",
    "Conflict",
    "Document",
    "Documents",
    "Draft",
    "Evidence",
    "Finding",
    "Garbage",
    "Good",
    "Listed",
    "Page",
    "Refused",
    "Removed",
    "Saved",
    "Sibling",
    "States",
    "Strategy",
    "Taken",
    "Version",
    "prefer",
]
