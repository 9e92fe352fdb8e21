"""Arrow and Parquet files by pyarrow: written batch by batch, with the manifest inside."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from qflow import _core
from qflow.audit.export._formats import Format, load_pyarrow
from qflow.audit.export._manifest import EMBEDDED
from qflow.errors import VerificationError

if TYPE_CHECKING:
    import pyarrow

Embed = Callable[[], bytes | None]

_COLUMNS: Final = (
    *("index", "chain", "seq", "prev", "type", "flow", "step", "attempt", "at"),
    *("actor", "node", "subnet", "epoch", "payload", "meta"),
)
_NUMBERS: Final = ("index", "seq", "attempt", "at", "epoch")
_NAMES: Final = ("chain", "type", "flow", "step", "actor", "node", "subnet")
_TEXTS: Final = ("payload", "meta", "content")


class DigestFile:
    """A file that is hashed as it is written, so that nobody need read it again."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._digest = file, hashlib.sha256()
        self._bytes, self.closed = 0, False

    def write(self, data: Any) -> int:
        view = memoryview(data)
        self._digest.update(view)
        self._bytes += len(view)
        while view:
            view = view[self._file.write(view) :]
        return len(data)

    def tell(self) -> int:
        return self._bytes

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True

    def seekable(self) -> bool:
        return False

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    @property
    def digest(self) -> dict[str, Any]:
        """As `_core.digest_file` gives it."""
        return {"sha256": self._digest.digest(), "bytes": self._bytes}


def write_columns(
    scan: _core.Scan,
    form: Format,
    file: BinaryIO,
    embed: Embed,
    progress: Callable[[int], object] | None,
) -> dict[str, Any]:
    """Write all rows of a scan, and with them what `embed` gives after the last row.

    `file` has no buffer. Nothing is synced. Gives the digest as `_core.digest_file` does. Raises as
    `_core.Scan.check` does.
    """
    arrow = load_pyarrow()
    sink = DigestFile(file)
    rows = arrow.RecordBatchReader.from_stream(scan)
    write = _write_parquet if form is Format.PARQUET else _write_ipc
    try:
        write(arrow, form, sink, rows, _told(rows, scan, progress), embed)
    except arrow.ArrowException:
        scan.check()
        raise
    return sink.digest


def _told(
    rows: pyarrow.RecordBatchReader,
    scan: _core.Scan,
    progress: Callable[[int], object] | None,
) -> Iterator[pyarrow.RecordBatch]:
    for batch in rows:
        yield batch
        if progress is not None:
            progress(scan.position)


def _write_parquet(
    arrow: Any,
    form: Format,
    sink: DigestFile,
    rows: pyarrow.RecordBatchReader,
    batches: Iterator[pyarrow.RecordBatch],
    embed: Embed,
) -> None:
    from pyarrow import parquet

    # Numbers go up by little: deltas are a tenth of them. Hashes do not compress. A row group is
    # one batch, whose dictionaries are then written as they are.
    texts = [name for name in _TEXTS if name in rows.schema.names]
    with parquet.ParquetWriter(
        sink,
        rows.schema,
        use_dictionary=list(_NAMES),
        column_encoding=dict.fromkeys(_NUMBERS, "DELTA_BINARY_PACKED"),
        compression=dict.fromkeys(texts, "zstd"),
        compression_level=dict.fromkeys(texts, 1),
        write_statistics=list(_NUMBERS),
    ) as writer:
        for batch in batches:
            writer.write_batch(batch)
        if (manifest := embed()) is not None:
            writer.add_key_value_metadata({EMBEDDED: manifest})


def _write_ipc(
    arrow: Any,
    form: Format,
    sink: DigestFile,
    rows: pyarrow.RecordBatchReader,
    batches: Iterator[pyarrow.RecordBatch],
    embed: Embed,
) -> None:
    options = arrow.ipc.IpcWriteOptions(emit_dictionary_deltas=form is Format.ARROW)
    opened = arrow.ipc.new_file if form is Format.ARROW else arrow.ipc.new_stream
    with opened(sink, rows.schema, options=options) as writer:
        last = None
        for batch in batches:
            writer.write_batch(batch)
            last = batch
        if (manifest := embed()) is not None:
            # The schema was written before the rows: what is known after them is with a batch that
            # has none.
            writer.write_batch(_empty(arrow, rows, last), {EMBEDDED: manifest})


def _empty(
    arrow: Any, rows: pyarrow.RecordBatchReader, last: pyarrow.RecordBatch | None
) -> pyarrow.RecordBatch:
    """A batch without rows. With the dictionaries of the last one: a file takes no others."""
    if last is not None:
        return last.slice(0, 0)
    arrays = [arrow.array([], field.type) for field in rows.schema]
    return arrow.record_batch(arrays, schema=rows.schema)


class DamagedError(VerificationError):
    """The bytes of the file are not those of its format. Never leaves `audit`."""


def embedded_manifest(path: Path, form: Format) -> bytes | None:
    """The manifest inside a file. Raises DamagedError when the file is not of its format, and
    VerificationError when the system does not let it be read."""
    arrow = load_pyarrow()
    try:
        if form is Format.PARQUET:
            from pyarrow import parquet

            metadata = parquet.read_metadata(path).metadata or {}
            return metadata.get(EMBEDDED)
        with arrow.memory_map(str(path)) as file:
            return _last_metadata(arrow, file, form)
    except (OSError, ValueError, KeyError, arrow.ArrowException) as error:
        raise _unreadable(path, form, error) from None


def _unreadable(path: Path, form: Format, error: Exception) -> VerificationError:
    # Pyarrow says of both in an OSError: only that of the system has its number.
    if isinstance(error, OSError) and error.errno is not None:
        return VerificationError(f"{path} cannot be read: {error}")
    cause = (str(error).strip() or type(error).__name__).splitlines()[0]
    return DamagedError(f"is damaged or cut, and cannot be read as {form}: {cause}")


def _last_metadata(arrow: Any, file: Any, form: Format) -> bytes | None:
    if form is Format.ARROW:
        reader = arrow.ipc.open_file(file)
        count = reader.num_record_batches
        found = reader.get_batch_with_custom_metadata(count - 1) if count else None
        return found.custom_metadata.get(EMBEDDED) if found and found.custom_metadata else None
    manifest = None
    for _, metadata in arrow.ipc.open_stream(file).iter_batches_with_custom_metadata():
        manifest = metadata.get(EMBEDDED) if metadata else None
    return manifest


def read_columns(path: Path, form: Format, *, contents: bool) -> pyarrow.RecordBatchReader:
    """The rows of a file, by batches, in the columns of an export.

    Other programs that pack rows anew may give them other types of the same meaning: those are
    converted. Every batch is validated: a file from outside may point anywhere. Raises
    VerificationError when no rows can be read.
    """
    arrow = load_pyarrow()
    try:
        found, batches = _opened(arrow, path, form)
        due = _schema(arrow, found, contents)
    except (OSError, ValueError, KeyError, arrow.ArrowException) as error:
        raise _unreadable(path, form, error) from None
    return arrow.RecordBatchReader.from_batches(due, _validated(batches, due))


def _opened(
    arrow: Any, path: Path, form: Format
) -> tuple[pyarrow.Schema, Iterable[pyarrow.RecordBatch]]:
    if form is Format.PARQUET:
        from pyarrow import parquet

        file = parquet.ParquetFile(path, read_dictionary=list(_NAMES))
        return file.schema_arrow, file.iter_batches(batch_size=16_384, use_threads=False)
    source = arrow.memory_map(str(path))
    if form is Format.ARROW_STREAM:
        stream = arrow.ipc.open_stream(source)
        return stream.schema, stream
    reader = arrow.ipc.open_file(source)
    numbers = range(reader.num_record_batches)
    return reader.schema, (reader.get_batch(number) for number in numbers)


def _schema(arrow: Any, found: pyarrow.Schema, contents: bool) -> pyarrow.Schema:
    """The columns that an export has: names as they are found, in a dictionary or plain."""
    names = [*_COLUMNS, "content"] if contents else list(_COLUMNS)
    if found.names != names:
        raise ValueError("its columns are not those of an export")
    name = arrow.dictionary(arrow.int32(), arrow.string())
    types = {"prev": arrow.binary(32), "at": arrow.timestamp("ms", "UTC")}
    types |= {column: arrow.int64() for column in _NUMBERS if column not in types}
    types |= {
        column: name if found.field(column).type == name else arrow.string() for column in _NAMES
    }
    return arrow.schema([(column, types.get(column, arrow.string())) for column in names])


def _validated(
    batches: Iterable[pyarrow.RecordBatch], due: pyarrow.Schema
) -> Iterator[pyarrow.RecordBatch]:
    for batch in batches:
        batch.validate(full=True)
        yield batch.cast(due)
