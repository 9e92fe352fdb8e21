"""The Rust half of Qflow: bytes, hashes, signatures, expressions and the durable log."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, final

__all__ = [
    "STATE_BYTES_MAX",
    "WRAPPED_BYTES",
    "Applied",
    "Batch",
    "CheckedChanges",
    "Cid",
    "ClockTable",
    "CrdtDocument",
    "CrdtTransaction",
    "Expression",
    "Filter",
    "Fold",
    "Log",
    "LogReader",
    "Policy",
    "Scan",
    "SealingKey",
    "Tree",
    "VectorClock",
    "WrappingKey",
    "__version__",
    "block_links",
    "check_blocks",
    "check_changes",
    "check_receipt",
    "check_rows",
    "cid_of",
    "compare_clocks",
    "consistency_proof",
    "cosign",
    "cosigned_at",
    "decode",
    "decode_record",
    "derive_key",
    "digest_file",
    "encode",
    "encode_records",
    "extend_span",
    "format_add_checkpoint",
    "generate_vkey",
    "generate_witness_vkey",
    "inclusion_proof",
    "is_public_key",
    "keyed_hash",
    "make_receipt",
    "merge_clocks",
    "pack_run",
    "parse_add_checkpoint",
    "parse_checkpoint",
    "peek_checkpoint",
    "record_hash",
    "sealed_with",
    "select_chunks",
    "sign",
    "spread",
    "spread_names",
    "state_parts",
    "unpack_addresses",
    "unpack_execution",
    "unpack_run",
    "verify_consistency",
    "verify_hmacs",
    "verify_inclusion",
    "verify_log",
    "verify_signature",
    "verify_signatures",
]

__version__: str

# Canonical bytes, as docs/formats/canonical.md has them.

@final
class Cid:
    """A content identifier: immutable, hashable, ordered by its bytes."""

    def __new__(cls, source: str | bytes) -> Cid:
        """Read the bytes of a CID, or its text: base 32, or base 58 for a CIDv0 (`Qm...`).

        Raises ValueError for anything else.
        """

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

# Sealing, as docs/formats/sealed-payload.md has it.

WRAPPED_BYTES: int
"""Of a wrapped data key."""

@final
class SealingKey:
    """A data key: what it seals, it alone unseals. `repr` shows its number, never the key."""

    def __new__(cls, number: int, key: bytes) -> SealingKey:
        """Take 32 bytes as key `number`. Raises ValueError for another length."""

    @property
    def number(self) -> int:
        """The number of the key in the keyring that it is from."""

    def seal(
        self, text: bytes, *, subnet: str, chain: bytes, seq: int, epoch: int, prev: bytes
    ) -> bytes:
        """Seal the payload of the record at this place. Equal things give equal bytes."""

    def unseal(
        self, block: bytes, *, subnet: str, chain: bytes, seq: int, epoch: int, prev: bytes
    ) -> bytes:
        """Give what was sealed. Raises VerificationError: another key or place, or changed."""

    def seal_bytes(self, text: bytes, *, bound: bytes) -> bytes:
        """Seal bytes of any other format. Equal things give equal bytes.

        `bound` is authenticated and not encrypted: what says where they belong, beginning with the
        magic of their format.
        """

    def unseal_bytes(self, sealed: bytes, *, bound: bytes) -> bytes:
        """Give what `seal_bytes` sealed. Raises VerificationError: another key or `bound`, or
        changed."""

    def seal_state(
        self, text: bytes, *, subnet: str, chain: bytes
    ) -> tuple[bytes, list[tuple[bytes, bytes]]]:
        """Seal a state of an execution, as docs/formats/state.md has it.

        Gives the CID of the root and the blocks as (CID, data): the parts, equal ones once, and the
        root, which is the last. Equal states give equal blocks, and an unchanged part of a state is
        the same block. Large ones are sealed on all cores, with the GIL released. Nothing is
        stored. Raises ValueError for more than STATE_BYTES_MAX bytes.
        """

    def unseal_state(
        self, root: bytes, blocks: Mapping[bytes, bytes], *, subnet: str, chain: bytes
    ) -> bytes:
        """Give the state that the CID `root` names, from its blocks by CID. Each is hashed again.

        Raises VerificationError: a block is missing or does not hash to its CID, another key,
        subnet or chain, or changed.
        """

@final
class WrappingKey:
    """A key that data keys are wrapped under. `repr` never shows it."""

    def __new__(cls, seed: bytes) -> WrappingKey:
        """Derive it from the 32 bytes of an Ed25519 private key. Raises ValueError."""

    @staticmethod
    def of(key: bytes) -> WrappingKey:
        """Take 32 bytes as the key itself. Raises ValueError for another length."""

    @property
    def commitment(self) -> bytes:
        """32 bytes that everything wrapped under this key begins with; they show nothing of it."""

    def wrap(self, number: int, epoch: int, key: bytes) -> bytes:
        """Wrap the 32 bytes of data key `number`: WRAPPED_BYTES bytes, always the same."""

    def unwrap(self, number: int, epoch: int, wrapped: bytes) -> SealingKey:
        """Give data key `number`. Raises VerificationError: of another node, or changed."""

    def unwrap_bound(self, number: int, wrapped: bytes, bound: bytes) -> SealingKey:
        """Give data key `number`, which is bound to other bytes than those of a slot."""

    def rewrap(
        self, number: int, wrapped: bytes, bound: bytes, *, to: WrappingKey, to_bound: bytes
    ) -> bytes:
        """Wrap under another key what is wrapped under this one. Raises VerificationError."""

def derive_key(context: str, key: bytes) -> bytes:
    """Give 32 bytes that are derived from a key for one use (BLAKE3's key derivation)."""

def keyed_hash(key: bytes, parts: Sequence[bytes]) -> bytes:
    """Give the keyed BLAKE3 of these bytes after one another: 32 bytes. Raises ValueError."""

def is_public_key(key: bytes) -> bool:
    """Whether 32 bytes are an Ed25519 public key: a canonical point, not of small order."""

def sealed_with(block: bytes) -> int:
    """Give the number of the key that a block is sealed with.

    Raises VerificationError for anything that is not a sealed payload.
    """

STATE_BYTES_MAX: int
"""Of a state that can be sealed."""

def state_parts(block: bytes) -> tuple[int, list[bytes]]:
    """Read the root of a sealed state: its size in bytes, and the CIDs of its parts, in order.

    Raises ValueError for every other form than the one that `seal_state` writes.
    """

# Blocks

def check_blocks(blocks: Sequence[tuple[bytes, bytes]]) -> list[bool]:
    """Answer for each (CID, data), in order, whether the CID names the data.

    It does when the data hashes to it, by sha2-256 or blake3, and is canonical if its codec is
    `dag-cbor`. A CID that cannot be read, or by another hash, is False. On all cores, with the GIL
    released. At most 2**20 at once; raises ValueError for more.
    """

def block_links(cid: bytes, data: bytes) -> list[bytes]:
    """Give the CIDs that a block of codec `dag-cbor` names, in order; of codec `raw`, none.

    The block is not hashed. Raises ValueError for other codecs, and as `decode` does.
    """

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
    sealing: SealingKey | None = None,
) -> tuple[list[bytes], list[tuple[bytes, bytes]], bytes]:
    """Write facts as the next records of a chain.

    `chain` has 16 bytes, `prev` the 32 of the hash of the record before (zeros for the first),
    `seq` is the number of the first record, `at` UTC milliseconds. A fact is (type, step, attempt,
    payload in a 1-tuple or None, meta). With a `sealing` key payloads are sealed blocks. Gives the
    records, the blocks of their payloads as (CID, data), and the hash of the last record. Nothing
    is stored. Raises ValueError when a record would have more than 8,000 bytes or a payload more
    than 1 MiB, and as `encode` does.
    """

def decode_record(data: bytes) -> dict[str, Any]:
    """Read one record and check all of it. Raises ValueError.

    The keys are those of the format; `step` and `attempt` are absent where the record has none.
    `chain` and `prev` are bytes, `payload` is a Cid or None.
    """

def record_hash(data: bytes) -> bytes:
    """Give the 32 bytes by which the next record of the chain names this one (RFC 6962 leaf)."""

# Signatures

def sign(seed: bytes, message: bytes) -> bytes:
    """Give the Ed25519 signature (RFC 8032), 64 bytes, by the private key of a 32-byte seed.

    Raises ValueError for a seed of another length.
    """

def verify_signature(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Answer whether an Ed25519 signature is good, by the strict rules of libsodium.

    False, and no error, for keys and signatures of the wrong length, keys of small order, and
    encodings that are not canonical.
    """

def verify_signatures(
    keys: Sequence[bytes], messages: Sequence[bytes], signatures: Sequence[bytes]
) -> list[bool]:
    """Answer for each signature, in order, what `verify_signature` answers: never more.

    On all cores, with the GIL released. No batch equation is used: it would accept what the strict
    rules refuse, and each signature would have to be verified once more. Fastest when signatures
    of one key stand together. At most 2**20 at once; raises ValueError for more, and for
    sequences that are not of one length.
    """

def verify_hmacs(
    keys: Sequence[bytes],
    messages: Sequence[bytes],
    tags: Sequence[bytes],
    *,
    tag_bytes: int = 32,
) -> list[bool]:
    """Answer for each tag, in order, whether it is the HMAC-SHA-256 (RFC 2104) of its message.

    Compared in constant time, on all cores, with the GIL released. A key of less than 16 bytes
    proves nothing: False. `tag_bytes` (16 to 32) is the length that the receiver asks for; a tag of
    another length is False. Bounds and errors as `verify_signatures`.
    """

# The tree over records that are at hand

@final
class Tree:
    """The RFC 6962 tree of records as they are read, in memory that does not grow."""

    def __new__(cls) -> Tree:
        """Make the tree of no records."""

    @property
    def size(self) -> int:
        """How many records it has."""

    @property
    def root(self) -> bytes:
        """The root over them, 32 bytes."""

    def extend(self, records: Sequence[bytes]) -> None:
        """Add the bytes of the next records. Releases the GIL."""

# CRDT documents, as docs/formats/crdt.md has their changes. A path is a JSON Pointer (RFC 6901) or
# a sequence of its parts; "" is the root. Paths and values that do not fit raise ValueError, other
# types TypeError.

@final
class CheckedChanges:
    """Changes whose signatures were verified, or that were signed here. Immutable."""

    @property
    def refused(self) -> list[tuple[bytes, str]]:
        """CIDs of the changes that were not good, each with the reason; those are not in here."""

    @property
    def cids(self) -> list[bytes]:
        """CIDs of the changes, in order."""

    @property
    def bodies(self) -> list[tuple[bytes, bytes]]:
        """Body and signature of each change, in order."""

    @property
    def operations(self) -> int:
        """Of all changes together."""

    def only(self, cids: Sequence[bytes]) -> CheckedChanges:
        """Those of them with these CIDs, in their order."""

    def pack(self) -> bytes:
        """All of them as one pack."""

    def __len__(self) -> int: ...

def check_changes(pack: bytes, *, doc: bytes, members: Sequence[bytes] | None) -> CheckedChanges:
    """Unpack changes of a document and verify each signature strictly, on all cores.

    `doc` is the document's id (16 bytes); `members` are the replicas (public keys) whose changes
    are taken, None takes all. A change that is not good is refused by itself. Raises ValueError for
    bytes that are no pack, are not canonical, or are of another document. Memory is bounded.
    """

@final
class Applied:
    """What became of changes that a document was given."""

    @property
    def applied(self) -> int:
        """Changes that are new in the document, those that had waited for them too."""

    @property
    def operations(self) -> int:
        """Of the applied ones."""

    @property
    def known(self) -> int:
        """Changes that were there."""

    @property
    def waiting(self) -> int:
        """Changes that wait for changes they name."""

    @property
    def forked(self) -> bool:
        """A replica has equivocated: see `CrdtDocument.evidence`."""

    @property
    def refused(self) -> list[tuple[bytes, str]]:
        """CIDs of changes that were not taken, with the reason. `busy` in front: send it again."""

    @property
    def touched(self) -> list[str]:
        """Pointers, at most 1,024: at or beneath these something has changed."""

@final
class CrdtDocument:
    """A replica of a document in memory. May be used by several threads.

    Reads are pure and see all of a change or nothing. Nothing is stored.
    """

    def __new__(cls, doc: bytes, *, replica: bytes, hash_key: bytes) -> CrdtDocument:
        """An empty one: `doc` is its id (16 bytes), `replica` the public key (Ed25519) that writes
        here, `hash_key` a secret of this process, at least 16 bytes."""

    @staticmethod
    def load(snapshot: bytes, *, replica: bytes, hash_key: bytes) -> CrdtDocument:
        """As a snapshot has it, which has to be trusted: what it tells of is not signed in it.

        Raises ValueError for bytes that `snapshot` does not make."""

    @property
    def id(self) -> bytes:
        """16 bytes."""

    @property
    def replica(self) -> bytes:
        """The public key that writes here."""

    def begin(self) -> CrdtTransaction:
        """Open a transaction. Nothing of it is in the document before what it became is applied."""

    def abandon(self) -> None:
        """Forget what was closed and not applied: the next transaction takes its place. Only when
        it is certain that it was not saved; two changes in one place are an equivocation."""

    def apply(self, changes: CheckedChanges) -> Applied:
        """Take changes in, each wholly or not at all, whatever order they come in. Again is no
        harm."""

    def get(self, path: str | Sequence[str] = "", default: Any = None) -> Any:
        """What is at a path; `default` when nothing is."""

    def encode(self, path: str | Sequence[str] = "") -> bytes | None:
        """The same as canonical DAG-CBOR; a sum beyond 64 bits as 16 bytes, big-endian."""

    def siblings(self, path: str | Sequence[str]) -> list[dict[str, Any]]:
        """The values that were set at a path and not covered by who saw them, the greatest stamp
        first: `value`, `replica`, `lamport`, `operation` (CID)."""

    def conflicts(self, limit: int = 10_000) -> list[dict[str, Any]]:
        """At most `limit` conflicts: `path`, `kind`, `operations` (CIDs, sorted), `id`."""

    def clock(self) -> bytes:
        """The heads, as docs/formats/crdt.md has them: what the document consists of."""

    def delta(self, since: bytes | None = None) -> bytes:
        """A pack of the changes that one with this clock lacks; None: of all behind the snapshot.

        Raises StaleError when some of them were compacted, ValueError for what is no clock."""

    def pack_of(self, cids: Sequence[bytes]) -> bytes:
        """A pack of the changes with these CIDs that are here, in a causal order."""

    def ranges(self) -> bytes:
        """The first message of a reconciliation, where heads differ and clocks do not tell."""

    def reconcile(self, message: bytes) -> tuple[list[bytes], bytes | None]:
        """Take such a message: CIDs of changes that the other lacks, and the answer, if any.

        Raises ValueError for a message that is none."""

    def history(self, path: str | Sequence[str] = "", limit: int = 100) -> list[dict[str, Any]]:
        """The operations at a path and beneath it, the greatest stamp first, as far as their
        changes are here: `path`, `kind`, `value`, `replica`, `seq`, `lamport`, `operation` and
        `change` (CIDs)."""

    def at(self, clock: bytes) -> CrdtDocument:
        """The document as it was at a clock, to be read only.

        Raises StaleError when that is below the snapshot, ValueError when it names changes that
        are not here."""

    def stable(self, members: Sequence[bytes]) -> bytes:
        """The clock of what all these replicas have shown to have seen."""

    def snapshot(self) -> bytes:
        """All that is live here: the same bytes from every replica with the same operations."""

    def compact(self, cut: bytes) -> bytes:
        """Put a snapshot at a clock in the place of the changes before it, and give it.

        Nothing that is read becomes another. Raises ValueError when the clock is not of here."""

    def evidence(self) -> list[bytes]:
        """Of each place where a replica equivocated a pack of the changes that show it."""

    def knows_operation(self, op: bytes) -> bool:
        """Whether a change that is here carries this operation id."""

    def knows_change(self, cid: bytes) -> bool:
        """Whether a change is part of the document, or of what its snapshot still tells of."""

    def stats(self) -> dict[str, int]:
        """`operations`, `changes` and `bytes` behind the snapshot, `lines`, `waiting` (changes),
        `nodes` and `tree_bytes` of the tree."""

    def state_bytes(self) -> bytes:
        """Heads, view and conflicts as canonical bytes: equal where the operations are."""

@final
class CrdtTransaction:
    """What a replica writes, checked against what it sees, its own writes too.

    Raises TypeMismatchError when something of another type is there; nothing is written then.
    """

    def set(self, path: str | Sequence[str], value: Any) -> None:
        """Have a value at a path in place of all that is there and beneath. A mapping becomes
        entries beneath the path; it must fit into one change (256 operations, 63 KiB)."""

    def delete(self, path: str | Sequence[str]) -> None:
        """Have nothing there and beneath. Where nothing is, nothing is written."""

    def increment(self, path: str | Sequence[str], by: int = 1) -> None:
        """Add to a counter, or to an integer that was set."""

    def append(self, path: str | Sequence[str], *values: Any) -> None:
        """Put values, at least one, at the end of a list, next to each other."""

    def merge(self, path: str | Sequence[str], mapping: Mapping[str, Any]) -> None:
        """Set each leaf of a mapping beneath a path; bounds as for `set`."""

    def get(self, path: str | Sequence[str] = "", default: Any = None) -> Any:
        """What is at a path, with what this transaction wrote."""

    def close(self, seed: bytes, op: bytes | None = None) -> CheckedChanges:
        """Sign what was written with the replica's private key (32 bytes). It is over then.

        Nothing in the document changes: save the pack, then `apply`; or `abandon`. `op` is an
        operation id of 1 to 64 bytes, kept even when nothing was written."""

    def __len__(self) -> int:
        """How many operations were written."""

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

    @property
    def reads(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """What of the variables is read: a name and the keys below it that the source spells out;
        no keys are the variable as a whole. Nothing else of a variable changes the answer."""

    def evaluate(self, value: Any, variables: Mapping[str, Any]) -> Any:
        """Give the first output for an input, or None when there is none.

        Steps, memory and nesting are bounded by count, not by time, so that the answer, or the
        refusal, is the same on every machine. Objects have their keys in order. What comes out may
        share parts with what went in; neither may be changed after. Raises ExpressionError.
        """

# Queries

@final
class Filter:
    """What a query asks for, compared with records. Immutable; may be used by several threads.

    In names `*` stands for any characters or none, `[*]` for a star. A flow is named by
    `namespace/name/version`, `namespace/name` or `name`, and there `*` stays within its part.
    `since` is inclusive, `until` exclusive (UTC ms). All words of `text` must stand in the flow,
    type, step, actor, node or the texts of `meta`.
    """

    def __new__(
        cls,
        *,
        chain: bytes | None = None,
        flow: str | None = None,
        type: str | None = None,
        actor: str | None = None,
        node: str | None = None,
        subnet: str | None = None,
        since: int | None = None,
        until: int | None = None,
        text: str | None = None,
    ) -> Filter:
        """What is None asks for nothing. Raises ValueError for a text of no or of 33 words."""

    def matches(self, data: bytes) -> bool:
        """Answer whether a record is asked for. Raises ValueError when it is no record."""

    def select(self, records: Sequence[bytes]) -> list[int]:
        """Give the places of the records that are asked for. Raises ValueError, which says which
        is no record."""

    @property
    def words(self) -> list[str]:
        """What the index has of the words of `text`."""

    def asks(self, field: str) -> bool:
        """Answer whether a field (`f`, `t`, `a`, `n`, `s`: as in `Batch.names`) is asked for."""

    def exact(self, field: str) -> str | None:
        """Give the one value that a field may have; None when it is a pattern or not asked for."""

    def terms(self, field: str, names: Sequence[str]) -> list[str]:
        """Give the terms of those values of a field that are asked for."""

# The index: docs/decisions/0013-the-record-index.md. Rows are bytes under a checksum of their key
# and content; what cannot be unpacked raises ValueError.

@final
class Fold:
    """The fold of a log: frames in, in order, and the rows that they change out."""

    def __new__(cls) -> Fold: ...
    def prime(self, records: Sequence[tuple[int, int, bytes]]) -> None:
        """Take the records of the chunk that is not full, which the index has already."""

    def fold(
        self,
        records: Sequence[tuple[int, int, bytes]],
        blocks: Sequence[tuple[bytes, int, int]],
    ) -> Batch:
        """Take the next frames, as `Log.scan` gives them. Releases the GIL.

        Raises CorruptError, which names the record, when the log contradicts itself; the fold is
        of no use then.
        """

@final
class Batch:
    """What some frames change. Chains that begin with an execution here are begun, the others
    continued."""

    @property
    def first(self) -> int | None:
        """The index of the first record."""

    @property
    def records(self) -> int:
        """How many there are."""

    @property
    def last(self) -> tuple[int, bytes] | None:
        """The address and the hash of the last record."""

    @property
    def tail(self) -> bytes:
        """The addresses of the records of the chunk that is not full, packed."""

    @property
    def elsewhere(self) -> list[bytes]:
        """The CIDs of payloads that are not in these frames."""

    def place(self, payloads: Sequence[int | None]) -> None:
        """Say where those are. To be called before `runs` and `facts`."""

    @property
    def continued(self) -> list[bytes]:
        """The chains that go on, in the order of `changed` and `facts`."""

    def begun(self) -> list[tuple[bytes, str, str, bytes]]:
        """New executions: (id, flow, status, packed row)."""

    def changed(
        self, known: Sequence[tuple[str, str, bytes] | None]
    ) -> list[tuple[bytes, str, str, bytes] | None]:
        """The executions that go on, from how they stood: (flow, status, packed row).

        None where the chain is no execution. Raises CorruptError when the records do not follow,
        ValueError when a row is damaged.
        """

    def facts(self) -> list[tuple[bytes, int, int, int, list[tuple[int, int, int | None]]]]:
        """Of each chain that goes on: (chain, number of its first record here, that one's place
        in the log, number of the last, records about schedules as (index, address, address of the
        payload))."""

    def runs(self) -> list[tuple[bytes, int, bytes]]:
        """The places of each chain's records: (chain, number of the first, packed)."""

    @property
    def blocks(self) -> list[tuple[bytes, int, int]]:
        """Blocks that are to be found by their CID: (CID, address, length)."""

    @property
    def chunks(self) -> list[tuple[int, bytes, str, tuple[int, int]]]:
        """Chunks of 256 records that became full: (number, packed addresses, terms with spaces
        between, (least and greatest `at` of them))."""

    @property
    def tallies(self) -> list[tuple[str, int, int]]:
        """Of each term of those chunks: in how many it is, and the `spread` of their numbers."""

    @property
    def names(self) -> list[tuple[str, str, int]]:
        """The values of fields in those chunks: (field, value, a number whose exclusive or over
        all values says which there are). Fields: flow, type, actor, node, subnet by a letter."""

def pack_run(chain: bytes, first_seq: int, places: Sequence[tuple[int, int, int | None]]) -> bytes:
    """Pack places of consecutive records of a chain: (index, address, address of the payload)."""

def unpack_run(chain: bytes, first_seq: int, row: bytes) -> list[tuple[int, int, int, int | None]]:
    """Give (seq, index, address, address of the payload) of each. Raises ValueError."""

def unpack_addresses(number: int, row: bytes) -> tuple[int, list[int]]:
    """Give the first index and the addresses of a chunk's records. Raises ValueError."""

def extend_span(
    number: int, row: bytes | None, chunk: int, times: Sequence[tuple[int, int]]
) -> bytes:
    """Add the times of chunks, from `chunk` on, to a span of 256. Raises ValueError."""

def select_chunks(
    rows: Sequence[tuple[int, bytes]],
    first: int,
    end: int,
    since: int | None = None,
    until: int | None = None,
) -> list[int]:
    """Give the chunks from `first` to before `end` that may hold records of a time.

    `rows` are all spans, in order. Raises ValueError when one is damaged or a chunk is missing.
    """

def spread(numbers: Sequence[int]) -> int:
    """Give the exclusive or of the numbers, each spread over 63 bits."""

def spread_names(field: str, names: Sequence[str]) -> int:
    """Give the exclusive or of the numbers of values of a field, as `Batch.names` has them."""

def unpack_execution(
    id: bytes, flow: str, status: str, row: bytes
) -> tuple[str | None, str, int, int, int, int | None, int | None, list[str]]:
    """Give parent, definition, started_at, updated_at, seq, snapshot_seq, wake_at, listens.

    Raises ValueError unless the row is of this id, flow and status.
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

        Of a pruned log the beginning is the first record that is kept: index `first`. An address
        before it raises ValueError, as `read` does there.

        Gives records as (index, address, data), blocks as (CID, address, length of the data), and
        the address to go on from, which is the same when there is no more. Reads whole commits:
        at least one, and no more after `bytes_max` bytes. Raises CorruptError.
        """

    def read(self, address: int) -> bytes:
        """Read the record or the data of the block at an address that `scan` gave.

        Raises CorruptError, ValueError when nothing durable can be there.
        """

    def read_many(self, addresses: Sequence[int]) -> list[bytes]:
        """Read records at addresses that ascend, as `read` does each; faster for neighbours."""

    def publish(self) -> None:
        """Write the tiles and the `checkpoint` file of the present head, for others to read.

        Happens by itself within a second or so of a commit. Raises CorruptError, and the log takes
        no more writes, when the checkpoint is not the one that this log wrote.
        """

    def save_witnessed(self, note: str) -> None:
        """Keep a signed head with its cosignatures as the `witnessed` file, for receipts.

        Its tiles are published before. Durable on return; a crash leaves the one before or this
        one, whole. The cosignatures are not looked at. Raises VerificationError, and changes
        nothing, when the head is malformed, not signed by this log, of more records than are
        durable, of another history than this log's, or smaller than the one that was saved.
        """

    @property
    def first(self) -> int:
        """Index of the first record that is kept: 0 unless the log was pruned.

        `scan(0)` begins there; what an index knows of places before is of no use any more. Indices,
        the tree and its proofs are as before: all hash tiles stay.
        """

    @property
    def carried(self) -> list[tuple[bytes, int, bytes]]:
        """The chains that go on from before `first`, by id: (chain, number due, hash before it).

        A chain of the log begins with number 0, or is one of these and goes on with that number
        and that `prev`. Raises CorruptError when the record of the pruning cannot be read.
        """

    @property
    def segments(self) -> list[tuple[int, int, int]]:
        """The journal files in use: (number, index of the first record, bytes of the file)."""

    def survey(self, segment: int) -> list[tuple[bytes, int, bytes]]:
        """Give the chains that go on across the beginning of a segment, as `carried` does.

        What the record of a pruning has to name. Reads all that is before, a few million records a
        second, publishes, and makes the hash tiles below good. Raises ValueError for the first
        segment and others that are not in use, CorruptError.
        """

    def prune(self, record: int) -> int:
        """Delete the journal and the entry bundles before the cut that a durable record names.

        `record` is the index of a record of type `q.qflow.history.pruned.v1` as docs/formats/log.md
        has it: its segment and minimum index, a head of this log from its time, and exactly the
        chains that `survey` finds. Otherwise raises ValueError, and nothing was changed. On return
        the log begins there, durably; a crash before leaves the whole log or the one that begins
        there, and the next opening deletes what is left. Gives the bytes of the journal that went.
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

    @property
    def first(self) -> int:
        """Index of the first record that is kept, as `Log.first`."""

    @property
    def carried(self) -> list[tuple[bytes, int, bytes]]:
        """The chains that go on from before `first`, as `Log.carried`."""

    def scan(
        self, address: int, bytes_max: int
    ) -> tuple[list[tuple[int, int, bytes]], list[tuple[bytes, int, int]], int]:
        """Read commits as `Log.scan` does. The last of them may not be durable yet."""

    def read(self, address: int) -> bytes:
        """Read a record or block as `Log.read` does."""

    def read_many(self, addresses: Sequence[int]) -> list[bytes]:
        """Read records as `Log.read_many` does."""

def verify_log(
    path: str,
    vkey: str,
    progress: Callable[[int, int], object] | None = None,
    *,
    known: Sequence[int] = (),
    state: tuple[bytes, bytes] | None = None,
    keep: bool = False,
) -> dict[str, Any]:
    """Verify every byte of a log from its files and its public key, on all cores. Changes nothing.

    Memory is that of the pieces that are looked at and of the chains that have not ended, whatever
    the size. `known` are sizes at which the root is wanted. `state` is what an earlier run left,
    and the signed head at which it ended: what that run verified is not read again; where the state
    is of no use all is read, and `whole` says why. `keep` asks for a state.

    Gives `size`, `root`, `first` (index of the first record that is kept), `started` (records that
    were verified before and not read), `whole`, `chains`, `heads` (commits), `blocks`, `absent`
    (payloads that are not in the commit of the record which names them), `published` (size of the
    published tree), `torn_bytes` (of a commit that a crash cut, never acknowledged), `bytes` (that
    were read), `head` (of the last commit; empty when there is none), `roots` (by size, as far as
    the log reaches), `witnessed` (the cosigned head that lies there, or None), `state` (None when
    not asked for, and with findings), `findings` (a list of {"where", "what"}; empty means that all
    was proven; at most 1,000) and `more_findings` (how many beyond). `progress` is called with the
    bytes that are done and all of them; what it raises ends the run. Raises ValueError for a
    malformed key, OSError and CorruptError only when there is no log to read.
    """

# Proofs of RFC 6962, as docs/formats/receipt.md has them. Hashes are 32 bytes each.

def verify_inclusion(
    index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes
) -> None:
    """Check that a leaf is at `index` of the tree of `size` leaves with this root.

    Raises VerificationError when it is not proven, also for a proof of more than 63 hashes or a
    hash of another length.
    """

def verify_consistency(
    first: int, second: int, proof: Sequence[bytes], first_root: bytes, second_root: bytes
) -> None:
    """Check that the tree of `second` leaves begins with the tree of `first`, at least one.

    Raises VerificationError as `verify_inclusion` does.
    """

def inclusion_proof(path: str, index: int, size: int) -> list[bytes]:
    """Prove, from the tiles in a log's folder, that record `index` is in the tree of `size`.

    Reads a few files of 8 KiB, beside a running node too. Checked against the root of the published
    head before it is given. Raises ValueError when `size` is more than is published or `index` not
    below it, CorruptError, which names the tile, when one is damaged or missing, and OSError.
    """

def consistency_proof(path: str, first: int, second: int) -> list[bytes]:
    """Prove that the tree of `second` records begins with that of `first`; empty when that is 0.

    Otherwise as `inclusion_proof`.
    """

def make_receipt(path: str, index: int, *, head: bytes | None = None) -> bytes:
    """Give record `index` of the log in a folder with all that proves it (C2SP tlog-proof).

    `head` is a signed head of the log; without one the `witnessed` file serves when it covers the
    record, and else the published `checkpoint`. The proof was checked against the head's root, the
    head's signature was not: there is no key here. Raises as `inclusion_proof` does, and
    VerificationError when `head` is not of this log's history.
    """

def check_receipt(data: bytes, vkey: str, policy: Policy | None = None) -> dict[str, Any]:
    """Check a receipt with nothing but the log's verifier key and, for witnesses, a policy.

    Gives `verdict` (WITNESSED when a policy is given and met, else UNANCHORED), `origin`, `index`,
    `size` and `root` of the head, `record` (its bytes), and `cosignatures`: when, in seconds since
    1970, by the policy's names of the witnesses that count. Raises VerificationError, which says
    what does not hold: form, signature of the log, a forged cosignature, a log that the policy does
    not list, the record, or its place. Raises ValueError for a malformed key.
    """

# What witnesses say, as docs/formats/witness.md has it.

@final
class Policy:
    """Which logs are believed, and which witnesses must have cosigned a head (C2SP tlog-policy)."""

    def __new__(cls, text: str) -> Policy:
        """Read a policy of at most 1 MiB. Raises ValueError, which names the line."""

    @property
    def logs(self) -> list[tuple[str, str, str | None]]:
        """Its logs as (name, verifier key, URL). None listed: the reader knows the log."""

    @property
    def witnesses(self) -> list[tuple[str, str, str | None]]:
        """Its witnesses as (name in the policy, verifier key, URL)."""

    @property
    def quorum(self) -> str:
        """The name of the witness or group that must have seen a head; `none` when nobody must."""

    def cosignatures(self, note: bytes) -> dict[str, int]:
        """Give the witnesses that cosigned a head, each with its time in seconds since 1970.

        A witness that has the key of the head's own log is left out. Raises VerificationError for a
        malformed note, and when a line of a witness of the policy is not good or is there twice.
        """

    def is_met(self, note: bytes) -> bool:
        """Answer whether a head is signed by a listed log, if any is, and cosigned by enough.

        Raises VerificationError as `cosignatures` does, and for a bad signature of a listed log.
        """

def generate_witness_vkey(name: str, seed: bytes) -> str:
    """Give the verifier key of a witness: its name, a short hash, type 4 and its public key.

    `seed` may be that of a log. Raises ValueError as `generate_vkey` does.
    """

def cosign(checkpoint: bytes, log_vkey: str, name: str, seed: bytes, time_s: int) -> str:
    """Cosign a head as the witness `name`: the signature line with its newline (cosignature/v1).

    Whether the head extends what the witness saw is for the caller to know. Raises
    VerificationError when the head is malformed or not signed by the log, ValueError for a
    malformed key, name or seed.
    """

def cosigned_at(note: bytes, witness_vkey: str) -> int | None:
    """Answer when a witness cosigned a note, in seconds since 1970; None when it did not.

    Raises VerificationError for a malformed note, a line of this witness that is not good, and two
    lines of it; ValueError for a malformed key.
    """

def parse_checkpoint(note: bytes, vkey: str) -> tuple[int, bytes]:
    """Read a head that the log of this key signed: its size and root. Strict; raises ValueError."""

def peek_checkpoint(note: bytes) -> tuple[str, int, bytes]:
    """Read the head of any log, strictly: origin, size, root. No signature was verified.

    Raises ValueError.
    """

def parse_add_checkpoint(body: bytes) -> tuple[int, list[bytes], bytes]:
    """Read what a log sends to a witness (C2SP tlog-witness): old size, proof, signed head.

    The head is one by its form; nothing else was checked. Raises ValueError, also for more than 63
    hashes and for bodies beyond the bounds of a note.
    """

def format_add_checkpoint(old: int, proof: Sequence[bytes], checkpoint: bytes) -> bytes:
    """Write what a log sends to a witness. Raises ValueError for what `parse` would refuse."""

# Exports, as docs/formats/export.md has them.

@final
class Scan:
    """A pass over a log's records as rows, in the order of the log. Read once.

    Holds one batch at a time, and no lock: a node may write the log meanwhile.
    """

    def __new__(
        cls,
        path: str,
        *,
        end: int,
        first: int = 0,
        filter: Filter | None = None,
        limit: int | None = None,
        hashed: bool = False,
        for_file: bool = False,
        batch_rows: int = 32768,
        unseal: Callable[[bytes, bytes], bytes | None] | None = None,
    ) -> Scan:
        """Of the log in the folder `path`: records `first` to before `end` that `filter` takes.

        `limit` is the most rows that are given. `hashed`: make `root`. `for_file`: dictionaries
        only grow, as a file of Arrow must have it. A batch has at least `batch_rows` rows, to the
        end of a commit, unless it is the last or its texts have 32 MiB. With `unseal` there is a
        column `content`: it is called with a record and the block of its payload and gives the
        payload's DAG-CBOR, or None. Raises ValueError when the log has fewer records than `end`,
        OSError.
        """

    def __arrow_c_stream__(self, requested_schema: object = None) -> Any:
        """Give the batches by the Arrow C stream interface; the GIL is not held to make them."""

    def write(
        self, format: str, path: str | None, progress: Callable[[int], object] | None = None
    ) -> dict[str, Any]:
        """Write all rows to a new file, or with None to the standard output.

        `format` is `jsonl`, `csv`, `csv-spreadsheet` or `xml`. Nothing is synced. `progress` is
        called with the index that was reached; what it raises ends the work. Gives `sha256` and
        `bytes` of what was written. Raises CorruptError, which names the record, and OSError.
        """

    def check(self) -> None:
        """Raise what ended the batches early, once: the C stream interface carries only its text.

        CorruptError, which names the record, ValueError, OSError.
        """

    @property
    def position(self) -> int:
        """The index that was reached: all records below it were looked at."""

    @property
    def rows(self) -> int:
        """How many rows were given."""

    @property
    def first(self) -> int | None:
        """The index of the first row."""

    @property
    def last(self) -> int | None:
        """The index of the last row."""

    @property
    def root(self) -> bytes:
        """The RFC 6962 root over the rows' records alone; only when `hashed`."""

def digest_file(path: str, progress: Callable[[int], object] | None = None) -> dict[str, Any]:
    """Read a file and give its `sha256` and its `bytes`. `progress` as in `Scan.write`."""

def check_rows(
    source: Any,
    format: str,
    *,
    first: int,
    end: int,
    complete: str,
    filter: Filter | None = None,
    contents: bool = False,
    before: Sequence[bytes] | None = None,
    log: str | None = None,
    size: int = 0,
    kept_from: int = 0,
    kept_after: Sequence[bytes] = (),
    progress: Callable[[int], object] | None = None,
) -> dict[str, Any]:
    """Read exported rows back and check each: form, chain, place, and that it was asked for.

    `source` is a file for the formats of `Scan.write`, and for `arrow` whatever has
    `__arrow_c_stream__`. `complete` says what the rows are said to be: `range` (all records from
    `first` to `end`, after a tree with the subtree roots `before`), `chain` (all of one chain) or
    `claimed`. With `log` they are compared with that log as it was at `size` records; of a pruned
    log, `kept_from` is its first record and `kept_after` the subtree roots of the tree before.

    Gives `rows`, `first` and `last` index, `root` over the rows, `end_root` of the log at the end
    of a range, `last_hash` and `ended` of the last row, `links` (pairs that were proven to follow
    each other), `log_root` (None of a log that was pruned beyond `size`), `pruned` (rows that the
    log no longer keeps), `findings` ({"where", "what"}, at most 1,000), `more_findings`, and
    `sha256` of a text file. Memory is bounded. `progress` is told bytes of a text, rows of batches.
    Raises ValueError for columns that are not an export's, OSError, CorruptError about `log`.
    """

# Vector clocks (Fidge and Mattern, 1988), as docs/formats/crdt.md has them.

@final
class ClockTable:
    """Numbers of replicas, which the clocks made with it share; at most 65,536.

    Clocks of one table are compared and merged as rows of numbers. Those of two tables are too, but
    each replica is looked up. A number is never given back: a table is kept as long as its clocks.
    """

    def __new__(cls) -> ClockTable: ...
    def __len__(self) -> int: ...

@final
class VectorClock:
    """How many operations of each replica were seen. Changes in place; `copy` is another.

    `<=` is "saw no more than"; neither `<=` nor `>=` holds of concurrent clocks. It is a claim of
    whoever made it and proves nothing: what was seen is in the hash graph.
    """

    def __new__(
        cls, entries: dict[bytes, int] | None = None, *, table: ClockTable | None = None
    ) -> VectorClock:
        """A clock of these counts by replica (public key, 32 bytes); without a table, of the one
        that all clocks without one share.

        Raises ValueError beyond 65,536 replicas, OverflowError beyond 2**32 - 1 operations.
        """

    @staticmethod
    def from_bytes(data: bytes, *, table: ClockTable | None = None) -> VectorClock:
        """Read what `to_bytes` wrote, or the clock of a document, whose heads are left out.

        Raises ValueError for anything else, before it costs memory.
        """

    def to_bytes(self) -> bytes:
        """Canonical DAG-CBOR `[[replica, seen], ...]`, sorted by replica."""

    def increment(self, replica: bytes, by: int = 1) -> int:
        """See `by` more operations of a replica; how many that makes.

        Raises ValueError beyond 2**32 - 1 operations.
        """

    def get(self, replica: bytes) -> int:
        """How many operations of a replica were seen."""

    def merge(self, other: VectorClock) -> None:
        """See what `other` saw: of each replica the greater count."""

    def compare(self, other: VectorClock) -> Literal["before", "after", "equal", "concurrent"]:
        """How this clock stands to another."""

    def dominates(self, other: VectorClock) -> bool:
        """Whether everything that `other` saw was seen; an equal clock dominates."""

    def entries(self) -> dict[bytes, int]:
        """The replicas of which something was seen, sorted, and how much."""

    def copy(self) -> VectorClock: ...
    def __len__(self) -> int:
        """Replicas of which something was seen."""

    def __lt__(self, other: VectorClock, /) -> bool: ...
    def __le__(self, other: VectorClock, /) -> bool: ...
    def __gt__(self, other: VectorClock, /) -> bool: ...
    def __ge__(self, other: VectorClock, /) -> bool: ...
    def __eq__(self, other: object, /) -> bool: ...
    __hash__: None  # type: ignore[assignment]

def compare_clocks(
    clock: VectorClock, others: Sequence[VectorClock]
) -> list[Literal["before", "after", "equal", "concurrent"]]:
    """How a clock stands to each of many, in their order."""

def merge_clocks(clocks: Sequence[VectorClock], *, table: ClockTable | None = None) -> VectorClock:
    """A new clock that saw what any of them saw; without a table, of that of the first."""
