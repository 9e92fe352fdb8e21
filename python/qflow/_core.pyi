"""The Rust half of Qflow: bytes, hashes, signatures, expressions and the durable log."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

__all__ = [
    "Cid",
    "Expression",
    "Log",
    "LogReader",
    "__version__",
    "cid_of",
    "decode",
    "decode_record",
    "encode",
    "encode_records",
    "generate_vkey",
    "record_hash",
    "verify_log",
    "verify_signature",
]

__version__: str

# Canonical bytes, as docs/formats/canonical.md has them.

@final
class Cid:
    """A content identifier (CIDv1): immutable, hashable, ordered by its bytes."""

    def __new__(cls, source: str | bytes) -> Cid:
        """Read the bytes of a CID, or its text in base 32. Raises ValueError for anything else."""

    def __bytes__(self) -> bytes: ...
    def __hash__(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __lt__(self, other: Cid, /) -> bool: ...
    def __le__(self, other: Cid, /) -> bool: ...
    def __gt__(self, other: Cid, /) -> bool: ...
    def __ge__(self, other: Cid, /) -> bool: ...
    @property
    def codec(self) -> str:
        """`dag-cbor`, `raw` or `dag-pb`; the code in hexadecimal for any other."""

    @property
    def digest(self) -> bytes:
        """The hash of the block, without the name of its function."""

def encode(value: Any) -> bytes:
    """Give the canonical DAG-CBOR of a value.

    Takes None, bool, int from -2**64 to 2**64 - 1, finite float, str, bytes, list, tuple, Cid, and
    mappings with str keys, nested at most 128 levels. Raises TypeError for other types and
    ValueError for other values.
    """

def decode(data: bytes) -> Any:
    """Read canonical DAG-CBOR, and nothing else: each value has one spelling.

    Raises ValueError, which names the byte, when a number is not in its shortest form, keys are out
    of order or twice, a float is short or not finite, a length is indefinite, text is not UTF-8,
    bytes follow the value, or it is nested more than 128 levels.
    """

def cid_of(data: bytes, codec: str = "dag-cbor") -> Cid:
    """Give the CID of a block by sha2-256. `codec` is `dag-cbor` or `raw`."""

# Records, as docs/formats/record.md has them.

def encode_records(
    chain: bytes,
    seq: int,
    prev: bytes,
    flow: str,
    at: int,
    actor: str,
    node: str,
    subnet: str,
    epoch: int,
    facts: Sequence[tuple[str, str | None, int | None, tuple[Any] | None, Mapping[str, Any]]],
) -> tuple[list[bytes], list[tuple[bytes, bytes]], bytes]:
    """Write facts as the next records of a chain.

    `chain` has 16 bytes, `prev` the 32 of the hash of the record before (zeros for the first),
    `seq` is the number of the first record, `at` UTC milliseconds. A fact is (type, step, attempt,
    payload in a 1-tuple or None, meta). Gives the records, the blocks of their payloads as (CID,
    data), and the hash of the last record. Nothing is stored. Raises ValueError when a record would
    have more than 8,000 bytes or a payload more than 1 MiB, and as `encode` does.
    """

def decode_record(data: bytes) -> dict[str, Any]:
    """Read one record and check all of it. Raises ValueError.

    The keys are those of the format; `step` and `attempt` are absent where the record has none.
    `chain` and `prev` are bytes, `payload` is a Cid or None.
    """

def record_hash(data: bytes) -> bytes:
    """Give the 32 bytes by which the next record of the chain names this one (RFC 6962 leaf)."""

# Signatures

def verify_signature(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Answer whether an Ed25519 signature is good, by the strict rules of libsodium.

    False, and no error, for keys and signatures of the wrong length, keys of small order, and
    encodings that are not canonical.
    """

# Expressions, as docs/decisions/0002-expressions-by-jaq-with-fuel.md has them.

@final
class Expression:
    """A compiled runtime expression (jq). Immutable; may be used by several threads."""

    def __new__(cls, source: str, variables: Sequence[str]) -> Expression:
        """Compile. `variables` are the names in scope, without `$`.

        Raises ExpressionError, which says where and why, when it does not compile, names what is
        not there, or calls what would not give the same answer in a replay (`now`, `env`, ...).
        """

    @property
    def variables(self) -> tuple[str, ...]:
        """Those names in scope that the source refers to; `evaluate` reads no others."""

    def evaluate(self, value: Any, variables: Mapping[str, Any]) -> Any:
        """Give the first output for an input, or None when there is none.

        Steps, memory and nesting are bounded by count, not by time, so that the answer, or the
        refusal, is the same on every machine. Objects have their keys in order. What comes out may
        share parts with what went in; neither may be changed after. Raises ExpressionError.
        """

# The durable log: docs/formats/log.md

def generate_vkey(origin: str, seed: bytes) -> str:
    """Give the verifier key of a log (C2SP signed-note): its name, a short hash, its public key.

    `seed` are the 32 bytes of an Ed25519 key. Raises ValueError for a name that is empty, longer
    than 255 bytes, or has spaces or plus signs.
    """

@final
class Log:
    """The log of this node, open for writing: the only process that may.

    Threads may share it. A fork of the process may not use it: every call raises LockedError there.
    """

    def __new__(
        cls,
        path: str,
        *,
        origin: str,
        seed: bytes,
        queue_bytes_max: int = 67108864,
        segment_bytes: int = 67108864,
    ) -> Log:
        """Create or open the log in the folder `path`, which is made where it is missing.

        Afterwards the files are as of the last whole commit: a write that a crash cut was never
        acknowledged and is gone. `segment_bytes` (64 KiB to 2 GiB) is the size of the largest
        journal file and bounds an append. Raises LockedError when another process has it,
        CorruptError, having changed nothing, when the files are not what a crash can leave or are
        another key's, ValueError and OSError.
        """

    @property
    def size(self) -> int:
        """Records that are durable."""

    @property
    def root(self) -> bytes:
        """The root of the RFC 6962 tree of the durable records, 32 bytes."""

    @property
    def head(self) -> str:
        """The signed head of the last commit (C2SP tlog-checkpoint)."""

    @property
    def vkey(self) -> str:
        """The verifier key: what an outsider needs beside the files."""

    def append(self, records: Sequence[bytes], blocks: Sequence[tuple[bytes, bytes]] = ()) -> int:
        """Queue records, and blocks as (CID, data), as one atomic append; give its ticket.

        Nothing is durable yet: `drain` says when it is, or why it never will be. Tickets count from
        1. A record has 1 to 8,000 bytes, a block at most 2 MiB. Raises ValueError for other sizes,
        BusyError when `queue_bytes_max` bytes or 2**20 undrained completions wait (nothing was
        taken, try again later), PoisonedError after a failed write, LogError when closed.
        """

    def append_durable(
        self, records: Sequence[bytes], blocks: Sequence[tuple[bytes, bytes]] = ()
    ) -> int:
        """Append as `append` does and return when it is durable: the index of the first record.

        Releases the GIL. Callers that wait at the same time share a commit. Raises as `append`
        does; after PoisonedError the append is in the log or not, and only opening it again says.
        """

    def fileno(self) -> int:
        """Give a descriptor that is readable while completions wait to be drained."""

    def drain(self, max: int = 1024) -> list[tuple[int, int, str | None]]:
        """Take completions as (ticket, index of the first record, error or None), by ticket."""

    def scan(
        self, address: int, bytes_max: int
    ) -> tuple[list[tuple[int, int, bytes]], list[tuple[bytes, int, int]], int]:
        """Read durable commits from an address on, 0 being the beginning.

        Gives records as (index, address, data), blocks as (CID, address, length of the data), and
        the address to go on from, which is the same when there is no more. Reads whole commits:
        at least one, and no more after `bytes_max` bytes. Raises CorruptError.
        """

    def read(self, address: int) -> bytes:
        """Read the record or the data of the block at an address that `scan` gave.

        Raises CorruptError, ValueError when nothing durable can be there.
        """

    def publish(self) -> None:
        """Write the tiles and the `checkpoint` file of the present head, for others to read.

        Happens by itself within a second or so of a commit. Raises CorruptError, and the log takes
        no more writes, when the checkpoint is not the one that this log wrote.
        """

    def close(self) -> None:
        """Commit what is queued, publish, and let go of the files. Again: does nothing.

        A log that is dropped without it leaves its files as a killed process does.
        """

@final
class LogReader:
    """A log as another process sees it: no lock, no key. Sees up to the last whole commit."""

    def __new__(cls, path: str) -> LogReader:
        """Open the log in the folder `path`. Raises OSError when there is none."""

    @property
    def size(self) -> int:
        """Records up to the last whole commit."""

    @property
    def head(self) -> str:
        """The head of the last whole commit; its signature was not verified. Empty when none."""

    def scan(
        self, address: int, bytes_max: int
    ) -> tuple[list[tuple[int, int, bytes]], list[tuple[bytes, int, int]], int]:
        """Read commits as `Log.scan` does. The last of them may not be durable yet."""

    def read(self, address: int) -> bytes:
        """Read a record or block as `Log.read` does."""

def verify_log(
    path: str, vkey: str, progress: Callable[[int, int], object] | None = None
) -> dict[str, Any]:
    """Verify every byte of a log from its files and its public key. Changes nothing.

    Gives `size`, `root`, `chains`, `heads` (commits), `blocks`, `absent` (payloads that are not in
    the commit of the record which names them), `published` (size of the published tree),
    `torn_bytes` (of a commit that a crash cut, never acknowledged), `bytes`, `findings` (a list of
    {"where", "what"}; empty means that all was proven; at most 1,000) and `more_findings` (how many
    beyond). `progress` is called with the bytes that are done and all of them; what it raises ends
    the run. Raises ValueError for a malformed key, OSError and CorruptError only when there is no
    log to read.
    """
