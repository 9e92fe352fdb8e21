"""State that survives: sealed, signed versions of executions, found again and verified."""

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
    "Block",
    "Checked",
    "Draft",
    "Finding",
    "Garbage",
    "Good",
    "Page",
    "Refused",
    "Removed",
    "Saved",
    "States",
    "Taken",
    "Version",
]
