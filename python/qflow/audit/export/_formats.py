"""The formats of an export: their names, the endings of their files, and what each needs."""

from __future__ import annotations

import enum
from importlib.util import find_spec
from pathlib import PurePath
from typing import Any, Final

from qflow.errors import UnavailableError


class Format(enum.StrEnum):
    """How an export is written."""

    JSONL = "jsonl"
    CSV = "csv"
    XML = "xml"
    PARQUET = "parquet"
    ARROW = "arrow"
    """An Arrow IPC file: read from any place."""
    ARROW_STREAM = "arrows"
    """An Arrow IPC stream: read from the beginning."""

    @property
    def is_text(self) -> bool:
        return self in (Format.JSONL, Format.CSV, Format.XML)


_ENDINGS: Final = {
    ".jsonl": Format.JSONL,
    ".ndjson": Format.JSONL,
    ".csv": Format.CSV,
    ".xml": Format.XML,
    ".parquet": Format.PARQUET,
    ".arrow": Format.ARROW,
    ".feather": Format.ARROW,
    ".arrows": Format.ARROW_STREAM,
}


def format_of(path: PurePath) -> Format:
    """The format that the ending of a file's name says. Raises ValueError."""
    found = _ENDINGS.get(path.suffix.lower())
    if found is None:
        endings = ", ".join(_ENDINGS)
        raise ValueError(f"{path.name!r} does not say its format: it ends in none of {endings}")
    return found


def load_pyarrow() -> Any:
    """The package `pyarrow`. Raises UnavailableError, which names the extra, without it."""
    if find_spec("pyarrow") is None:
        raise UnavailableError(
            "Arrow and Parquet need pyarrow: pip install 'anarq-qflow[arrow]'; "
            "JSON lines, CSV and XML work without it"
        )
    import pyarrow

    return pyarrow
