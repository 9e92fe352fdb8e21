"""The logs that bench_audit.py measures beside Qflow's, each behind the same five methods.

What each of them promises differs, and the bench prints it above its figures: a figure without
its promise would compare a signature with the lack of one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

NAMES = ("qflow", "witness-log", "pymerkle", "sqlite")
WITNESSED = "qflow, witnessed"
"""Beside those, when there are witnesses."""


class Rival(Protocol):
    """A log that is being written."""

    promises: str
    """What it does and does not do, in the words of the table."""

    def append(self, records: list[bytes]) -> None:
        """Append as one group. Durable (fsync) on return."""

    def publish(self) -> None:
        """Make what an outsider reads."""

    def prove(self, index: int) -> Any:
        """Make what shows somebody else that record `index` is in the log, the record included."""

    def check(self, proof: Any) -> int:
        """Check such a proof with what an outsider has, and give its bytes. Raises."""

    def close(self) -> None:
        """Let go of the files."""


def create(name: str, folder: Path) -> Rival:
    """Make an empty log. Imports only what that log needs, for memory is measured too."""
    if name == "qflow":
        from benches.rivals.ours import Ours

        return Ours(folder)
    if name == WITNESSED:
        from benches.rivals.witnessed import Witnessed

        return Witnessed(folder)
    if name == "witness-log":
        from benches.rivals.witness import WitnessLog

        return WitnessLog(folder)
    if name == "pymerkle":
        from benches.rivals.merkle import Pymerkle

        return Pymerkle(folder)
    from benches.rivals.sqlite import HashChain

    return HashChain(folder)


def verify(name: str, folder: Path) -> int:
    """Verify what `publish` left, as an outsider; gives the records. Raises when it is not good."""
    if name in {"qflow", WITNESSED}:
        from benches.rivals import ours

        return ours.verify(folder)
    if name == "witness-log":
        from benches.rivals import witness

        return witness.verify(folder)
    if name == "pymerkle":
        from benches.rivals import merkle

        return merkle.verify(folder)
    from benches.rivals import sqlite

    return sqlite.verify(folder)
