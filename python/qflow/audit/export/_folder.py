"""The files of a log as a source of rows."""

from __future__ import annotations

import os
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from qflow import _core
from qflow.audit._query import Query
from qflow.audit._read import Unsealer
from qflow.audit.export._contents import opener
from qflow.audit.export._formats import load_pyarrow
from qflow.audit.export._manifest import chosen
from qflow.errors import CorruptError, UnavailableError

if TYPE_CHECKING:
    import pyarrow

HEAD_BYTES_MAX: Final = 128 << 10


class Choice:
    """Which records of a log are asked for: a question, between two places."""

    def __init__(self, query: Query, first: int, end: int) -> None:
        self.query, self.first, self.end = query, first, end
        self.filter, self.completeness = chosen(query)


class LogFolder:
    """A log's files, as one published head proves them. Takes no lock and writes nothing.

    A node may be writing the log: what it published up to now is what is read.
    """

    def __init__(self, source: str | PathLike[str], *, witnessed: bool = False) -> None:
        """`source` is a node's home or a log's folder. `witnessed`: read only as far as the newest
        head that witnesses cosigned.

        Raises UnavailableError when nothing was published there, CorruptError.
        """
        path = Path(source).expanduser()
        self.path = path / "log" if (path / "log").is_dir() else path
        name = "witnessed" if witnessed else "checkpoint"
        note = _read_note(self.path / name)
        if note is None:
            why = "no witness has cosigned it" if witnessed else "is it a log's folder?"
            raise UnavailableError(f"{self.path} has no {name} file, nothing to go by: {why}")
        self.head = note
        self.size = _size_of(note, self.path / name)
        """Records under the head."""
        reader = _core.LogReader(os.fspath(self.path))
        self.first = reader.first
        """The first record that the log keeps: those before it were pruned."""
        if reader.size < self.size:
            raise CorruptError(
                f"{self.path}: the head proves {self.size} records, {reader.size} can be read"
            )

    def choose(
        self, query: Query | None = None, *, first: int | None = None, end: int | None = None
    ) -> Choice:
        """The records from `first` to before `end` that a question takes.

        Raises ValueError for places that are not in the log, and for a question with a cursor or
        backwards: rows are in the order of the log.
        """
        query = query or Query()
        if query.after is not None or query.reverse:
            raise ValueError("rows are in the order of the log: no cursor, and not backwards")
        first = self.first if first is None else first
        end = self.size if end is None else end
        if not self.first <= first <= end <= self.size:
            kept = f"records {self.first} to {self.size - 1}" if self.size > self.first else "none"
            raise ValueError(
                f"from record {first} to before {end}: under its head the log has {kept}"
            )
        return Choice(query, first, end)

    def head_for(self, end: int) -> tuple[bytes, int]:
        """The head that proves the records before `end`: one with cosignatures where there is."""
        note = _read_note(self.path / "witnessed")
        if note is not None:
            size = _size_of(note, self.path / "witnessed")
            if end <= size <= self.size:
                return note, size
        return self.head, self.size

    def tree_before(self) -> list[bytes]:
        """The roots of the complete subtrees of what was pruned, the smallest first."""
        if self.first == 0:
            return []
        # The path to the record behind a tree is made of that tree's complete subtrees.
        return _core.inclusion_proof(os.fspath(self.path), self.first, self.first + 1)

    def rows(
        self, choice: Choice, *, unsealer: Unsealer | None = None, **options: Any
    ) -> _core.Scan:
        """The rows, not read yet."""
        unseal = None if unsealer is None else opener(unsealer)
        return _core.Scan(
            os.fspath(self.path),
            first=choice.first,
            end=choice.end,
            filter=choice.filter,
            limit=choice.query.limit,
            unseal=unseal,
            **options,
        )

    def scan(
        self,
        query: Query | None = None,
        *,
        first: int | None = None,
        end: int | None = None,
        unsealer: Unsealer | None = None,
    ) -> pyarrow.RecordBatchReader:
        """The records that a question takes, as a stream of Arrow batches.

        Nothing is read before it is asked for, and one batch is held at a time. With an `unsealer`
        there is a column `content`. Raises UnavailableError without pyarrow, and as `choose`.
        """
        arrow = load_pyarrow()
        choice = self.choose(query, first=first, end=end)
        return arrow.RecordBatchReader.from_stream(self.rows(choice, unsealer=unsealer))


def _read_note(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            return file.read(HEAD_BYTES_MAX)
    except FileNotFoundError:
        return None


def _size_of(note: bytes, path: Path) -> int:
    try:
        return _core.peek_checkpoint(note)[1]
    except ValueError as error:
        raise CorruptError(f"{path}: {error}") from None
