"""The Rust half of Qflow: bytes, hashes, signatures, expressions and the durable log."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

__version__: str

# Canonical bytes: docs/formats/canonical.md

@final
class Cid:
    """A content identifier (CIDv1): immutable, hashable, ordered by its bytes."""

    def __new__(cls, source: str | bytes) -> Cid:
        """Read the bytes of a CID, or its text in base 32. Raises ValueError for anything else."""

    def __bytes__(self) -> bytes: ...
    def __hash__(self) -> int: ...
    def __eq__(self, other: object) -> bool: ...
    def __lt__(self, other: Cid) -> bool: ...
    def __le__(self, other: Cid) -> bool: ...
    def __gt__(self, other: Cid) -> bool: ...
    def __ge__(self, other: Cid) -> bool: ...
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

# Records: docs/formats/record.md

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

    `chain` has 16 bytes, `prev` the 32 of the hash of the record before (zeros for the first), `seq`
    is the number of the first record, `at` UTC milliseconds. A fact is (type, step, attempt, payload
    in a 1-tuple or None, meta). Gives the records, the blocks of their payloads as (CID, data), and
    the hash of the last record. Nothing is stored. Raises ValueError when a record would have more
    than 8,000 bytes or a payload more than 1 MiB, and as `encode` does.
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

# Expressions: docs/decisions/0002-expressions-by-jaq-with-fuel.md

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
