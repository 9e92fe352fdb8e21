"""What a check of the doctor says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from qflow.cli._session import Session

GOOD: Final = "OK"
WARN: Final = "WARN"
FAIL: Final = "FAIL"


class Finding(msgspec.Struct, frozen=True):
    """One line: what was checked, how it stands, what was found, and the fix."""

    check: str
    status: str
    found: str
    fix: str | None = None


class NodeFinding(Finding, frozen=True):
    """What was found of the node: with the number of its process, when one runs."""

    pid: int | None = None


Check = Callable[["Session", list[Path]], Finding]
"""Takes the session and the files of `--functions`."""
