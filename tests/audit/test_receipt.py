"""Receipts stand alone: what they prove, what they do not, and what is refused."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import VerifyKey

from qflow import _core, model
from qflow.audit import Index, Verdict, check_receipt, load_policy, make_receipt
from qflow.errors import (
    ConfigError,
    ExecutionNotFoundError,
    UnavailableError,
    VerificationError,
)
from tests.audit.chains import Chain, chain_id
from tests.core.vectors import load_vectors
from tests.log.logs import ORIGIN, SEED, VKEY

WITNESSES = {f"w{number}": bytes([100 + number]) * 32 for number in range(3)}
TIME_S = 1_764_000_000


def witness_key(name: str) -> str:
    return _core.generate_witness_vkey(f"{name}.example", WITNESSES[name])


def cosign(note: bytes, *names: str, vkey: str = VKEY) -> bytes:
    lines = [_core.cosign(note, vkey, f"{name}.example", WITNESSES[name], TIME_S) for name in names]
    return note + "".join(lines).encode()


def policy_of(*names: str, needed: int, log: str = VKEY) -> _core.Policy:
    lines = [f"log {log}", *(f"witness {name} {witness_key(name)}" for name in names)]
    lines += [f"group enough {needed} {' '.join(names)}", "quorum enough", ""]
    return _core.Policy("\n".join(lines))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a log of two chains, 30 records each, and its index."""
    path = tmp_path_factory.mktemp("receipts")
    log = _core.Log(str(path / "log"), origin=ORIGIN, seed=SEED)
    chains = [Chain(chain_id(number), "shop/order/1.0.0") for number in (1, 2)]
    for chain in chains:
        log.append_durable(*chain.frame(("created", {"key": 0}, {"of": chain.id})))
    for number in range(29):
        for chain in chains:
            log.append_durable(*chain.frame(("step_completed", {"frame": number}, number)))
    index = Index(path / "index.db")
    index.catch_up(log)
    index.close()
    log.close()
    return path


@pytest.fixture
def receipt(home: Path) -> bytes:
    return make_receipt(home, index=17)


def head_of(home: Path) -> bytes:
    return (home / "log/checkpoint").read_bytes()


def with_record(receipt: bytes, record: bytes) -> bytes:
    lines = receipt.split(b"\n")
    assert lines[1].startswith(b"extra ")
    lines[1] = b"extra " + b64encode(record)
    return b"\n".join(lines)


def record_of(receipt: bytes) -> bytes:
    return b64decode(receipt.split(b"\n")[1].removeprefix(b"extra "))


def test_a_receipt_says_who_did_what_when(home: Path, receipt: bytes) -> None:
    proven = check_receipt(receipt, VKEY)
    assert proven.verdict is Verdict.UNANCHORED
    assert (proven.index, proven.size, proven.origin) == (17, 60, ORIGIN)
    assert proven.record["type"] == "q.qflow.exec.step_completed.v1"
    assert (proven.record["actor"], proven.record["seq"]) == ("ann", 8)
    assert proven.execution == model.id_text(chain_id(2))
    assert head_of(home).decode().splitlines()[2] == proven.root
    assert proven.cosignatures == {}


def test_any_record_of_any_execution_has_one(home: Path) -> None:
    for number in (1, 2):
        execution = model.id_text(chain_id(number))
        for seq in (0, 5, 29):
            data = make_receipt(home, execution=execution, seq=seq)
            proven = check_receipt(data, VKEY)
            assert (proven.execution, proven.record["seq"]) == (execution, seq)
        newest = check_receipt(make_receipt(home, execution=execution[:20]), VKEY)
        assert newest.record["seq"] == 29


def test_what_is_not_there_has_no_receipt(home: Path, tmp_path: Path) -> None:
    with pytest.raises(ExecutionNotFoundError):
        make_receipt(home, execution="zzzz")
    with pytest.raises(ValueError, match="no record 30"):
        make_receipt(home, execution=model.id_text(chain_id(1)), seq=30)
    with pytest.raises(ValueError, match="not among the 60"):
        make_receipt(home, index=60)
    with pytest.raises(ValueError, match="neither"):
        make_receipt(home)
    with pytest.raises(UnavailableError, match="no index"):
        make_receipt(home / "log", execution="0")
    with pytest.raises(ValueError, match="no checkpoint"):
        make_receipt(tmp_path, index=0)


def test_a_receipt_is_a_file_and_its_key_too(home: Path, receipt: bytes, tmp_path: Path) -> None:
    (tmp_path / "one.tlog-proof").write_bytes(receipt)
    (tmp_path / "node.pub").write_text(VKEY + "\n")
    (tmp_path / "head").write_bytes(head_of(home))
    proven = check_receipt(
        tmp_path / "one.tlog-proof", str(tmp_path / "node.pub"), known_head=tmp_path / "head"
    )
    assert proven.known is True
    with pytest.raises(VerificationError, match="cannot be read"):
        check_receipt(tmp_path / "two.tlog-proof", VKEY)
    (tmp_path / "one.tlog-proof").write_bytes(receipt * 1000)
    with pytest.raises(VerificationError, match="longer"):
        check_receipt(tmp_path / "one.tlog-proof", VKEY)


def test_small_records_make_small_receipts(home: Path, receipt: bytes) -> None:
    assert len(record_of(receipt)) < 300
    assert len(receipt) < 2048
    head = cosign(head_of(home), *WITNESSES)
    assert len(make_receipt(home, index=17, head=head)) < 2048


@pytest.mark.holds("H16")
@pytest.mark.parametrize("cosigned", [(), ("w0",), ("w0", "w1"), ("w0", "w1", "w2")])
def test_fewer_cosignatures_than_asked_is_a_verdict(home: Path, cosigned: tuple[str, ...]) -> None:
    data = make_receipt(home, index=17, head=cosign(head_of(home), *cosigned))
    for needed in (1, 2, 3):
        proven = check_receipt(data, VKEY, policy_of(*WITNESSES, needed=needed))
        enough = len(cosigned) >= needed
        assert proven.verdict is (Verdict.WITNESSED if enough else Verdict.UNANCHORED)
        assert proven.cosignatures == dict.fromkeys(cosigned, TIME_S)
    assert check_receipt(data, VKEY).verdict is Verdict.UNANCHORED


@pytest.mark.holds("H16")
def test_a_known_head_shows_another_history(home: Path, receipt: bytes, tmp_path: Path) -> None:
    other = _core.Log(str(tmp_path / "log"), origin=ORIGIN, seed=SEED)
    other.append_durable([b"another %d" % number for number in range(59)])
    shorter = other.head.encode()
    other.append_durable([b"another"])
    forged = other.head.encode()
    other.close()
    assert check_receipt(receipt, VKEY, known_head=head_of(home)).known is True
    # A head of another size cannot be compared with a receipt alone.
    proven = check_receipt(receipt, VKEY, known_head=shorter)
    assert (proven.known, proven.verdict) == (None, Verdict.UNANCHORED)
    policy = policy_of("w0", needed=1)
    witnessed = make_receipt(home, index=17, head=cosign(head_of(home), "w0"))
    for data in (receipt, witnessed):
        proven = check_receipt(data, VKEY, policy, known_head=forged)
        assert (proven.known, proven.verdict) == (False, Verdict.DIVERGED)
    with pytest.raises(VerificationError, match="known head"):
        check_receipt(receipt, VKEY, known_head=forged.replace(b"another", b"x") + b"x")


def test_a_cosignature_of_another_head_is_forged(home: Path, tmp_path: Path) -> None:
    other = _core.Log(str(tmp_path / "log"), origin=ORIGIN, seed=SEED)
    other.append_durable([b"another"])
    line = cosign(other.head.encode(), "w0").split(b"\n")[-2] + b"\n"
    other.close()
    data = make_receipt(home, index=17, head=head_of(home) + line)
    assert check_receipt(data, VKEY).verdict is Verdict.UNANCHORED
    with pytest.raises(VerificationError, match="w0"):
        check_receipt(data, VKEY, policy_of("w0", needed=1))
    assert check_receipt(data, VKEY, policy_of("w1", needed=1)).cosignatures == {}


def test_a_policy_must_list_the_log(home: Path, receipt: bytes) -> None:
    stranger = _core.generate_vkey("other.example/log", bytes(32))
    with pytest.raises(VerificationError, match="list"):
        check_receipt(receipt, VKEY, policy_of("w0", needed=1, log=stranger))


@pytest.mark.holds("H16")
def test_a_policy_that_asks_nobody_makes_nothing_witnessed(receipt: bytes) -> None:
    none = check_receipt(receipt, VKEY, f"log {VKEY}\nquorum none\n")
    assert none.verdict is Verdict.UNANCHORED


@pytest.mark.parametrize("line", ["SECRET", "quorum SECRET", "log SECRET", "group g 1 SECRET"])
def test_a_policy_that_is_another_file_is_not_quoted(tmp_path: Path, line: str) -> None:
    path = tmp_path / "policy"
    path.write_text(f"{line}\n")
    with pytest.raises(ConfigError, match="policy: line 1") as caught:
        load_policy(path)
    assert "SECRET" not in str(caught.value)


def test_an_index_that_no_log_can_have_is_refused(home: Path) -> None:
    for index in (-1, 1 << 63, 10**30):
        with pytest.raises(ValueError, match="is in no log"):
            make_receipt(home, index=index)


def test_a_policy_says_where_it_is_wrong(tmp_path: Path, receipt: bytes) -> None:
    path = tmp_path / "policy"
    path.write_text(f"# mine\n\nwitness a {VKEY}\nquorum a\n")
    with pytest.raises(ConfigError, match=r"policy: line 3: the key of a log"):
        load_policy(path)
    with pytest.raises(ConfigError, match="line 2"):
        check_receipt(receipt, VKEY, "quorum none\nquorum none\n")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_policy(tmp_path / "nowhere")
    path.write_bytes(b"# \xff\nquorum none\n")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_policy(path)


@pytest.mark.holds("H17")
def test_a_valid_proof_on_another_record_is_refused(home: Path, receipt: bytes) -> None:
    for index in range(60):
        moved = with_record(receipt, record_of(make_receipt(home, index=index)))
        if index == 17:
            assert moved == receipt
            continue
        with pytest.raises(VerificationError, match="another root"):
            check_receipt(moved, VKEY)


@pytest.mark.holds("H17")
def test_a_record_moved_from_another_chain_is_refused(receipt: bytes) -> None:
    record = record_of(receipt)
    fields = _core.decode_record(record)
    moved = record.replace(fields["chain"], chain_id(1))
    assert _core.decode_record(moved)["chain"] == chain_id(1)
    with pytest.raises(VerificationError, match="another root"):
        check_receipt(with_record(receipt, moved), VKEY)


@pytest.mark.holds("H17")
def test_an_old_entry_under_a_head_of_a_newer_key_is_refused(home: Path, tmp_path: Path) -> None:
    newer = _core.Log(str(tmp_path / "log"), origin=ORIGIN, seed=bytes(32))
    for index in range(60):
        newer.append_durable([record_of(make_receipt(home, index=index))])
    newer.close()
    data = make_receipt(tmp_path / "log", index=17)
    with pytest.raises(VerificationError, match="no signature"):
        check_receipt(data, VKEY)
    head = head_of(home) + head_of(tmp_path).split(b"\n")[-2] + b"\n"
    both = make_receipt(home, index=17, head=head)
    assert check_receipt(both, VKEY).verdict is Verdict.UNANCHORED
    renamed = _core.generate_vkey("node.example/newer", SEED)
    with pytest.raises(VerificationError, match="another log"):
        check_receipt(make_receipt(home, index=17), renamed)


mutations = st.lists(
    st.tuples(st.sampled_from("xid"), st.integers(0, 3000), st.integers(0, 255)), min_size=1
)


def mutate(data: bytes, changes: list[tuple[str, int, int]]) -> bytes:
    changed = bytearray(data)
    for how, at, byte in changes:
        place = at % max(1, len(changed))
        if how == "x" and changed:
            changed[place] ^= byte or 1
        elif how == "i":
            changed.insert(place, byte)
        else:
            del changed[place : place + 1 + byte]
    return bytes(changed)


@pytest.mark.holds("H17")
@given(st.integers(0, 59), mutations)
def test_a_changed_receipt_proves_nothing(
    home: Path, index: int, changes: list[tuple[str, int, int]]
) -> None:
    good = make_receipt(home, index=index)
    bad = mutate(good, changes)
    if bad != good:
        with pytest.raises(VerificationError):
            check_receipt(bad, VKEY)


@pytest.mark.holds("H16")
@given(mutations)
def test_a_changed_receipt_is_not_witnessed(
    home: Path, changes: list[tuple[str, int, int]]
) -> None:
    good = make_receipt(home, index=17, head=cosign(head_of(home), "w0"))
    policy = policy_of("w0", needed=1)
    assert check_receipt(good, VKEY, policy).verdict is Verdict.WITNESSED
    bad = mutate(good, changes)
    try:
        verdict = check_receipt(bad, VKEY, policy).verdict
    except VerificationError:
        return
    assert bad == good or verdict is Verdict.UNANCHORED


@pytest.mark.holds("H18")
@given(st.binary(max_size=300), st.text(max_size=300))
def test_bytes_of_strangers_are_refused(data: bytes, text: str) -> None:
    with pytest.raises(VerificationError):
        check_receipt(data, VKEY)
    with pytest.raises(ValueError, match=r"."):
        _core.parse_checkpoint(data, VKEY)
    with pytest.raises(ValueError, match=r"."):
        _core.parse_add_checkpoint(data)
    with pytest.raises(VerificationError):
        policy_of("w0", needed=1).is_met(data)
    try:
        _core.Policy(text)
    except ValueError:
        return
    assert "quorum" in text


VECTORS: dict[str, Any] = load_vectors("receipt.json")


def by_hand(receipt: str) -> bytes:
    """The root that a receipt leads to, by RFC 9162, section 2.1.3.2."""
    text, _, note = receipt.partition("\n\n")
    _, extra, index, *proof = text.split("\n")
    hash_ = sha256(b"\0" + b64decode(extra.split(" ")[1])).digest()
    place, last = int(index.split(" ")[1]), int(note.split("\n")[1]) - 1
    for line in proof:
        if place & 1 or place == last:
            hash_ = sha256(b"\1" + b64decode(line) + hash_).digest()
            while place and not place & 1:
                place, last = place >> 1, last >> 1
        else:
            hash_ = sha256(b"\1" + hash_ + b64decode(line)).digest()
        place, last = place >> 1, last >> 1
    assert last == 0
    return hash_


def test_what_leaves_is_byte_for_byte_what_it_was() -> None:
    log, name = VECTORS["log_vkey"], VECTORS["witness"]
    seed = b64decode(VECTORS["witness_seed"])
    assert _core.generate_witness_vkey(name, seed) == VECTORS["witness_vkey"]
    note = VECTORS["checkpoint"].encode()
    line = _core.cosign(note, log, name, seed, VECTORS["time_s"])
    assert line == VECTORS["cosignature"]
    assert _core.cosigned_at(note + line.encode(), VECTORS["witness_vkey"]) == VECTORS["time_s"]
    assert _core.cosigned_at(note, VECTORS["witness_vkey"]) is None
    old, proof, head = _core.parse_add_checkpoint(VECTORS["add_checkpoint"].encode())
    assert (old, head) == (100, note)
    assert _core.format_add_checkpoint(old, proof, head).decode() == VECTORS["add_checkpoint"]
    proven = check_receipt(VECTORS["receipt"].encode(), log, VECTORS["policy"])
    assert proven.verdict is Verdict.WITNESSED
    assert (proven.index, proven.cosignatures) == (137, {"w1": VECTORS["time_s"]})


def test_another_hand_comes_to_the_same() -> None:
    note = VECTORS["receipt"].partition("\n\n")[2]
    text, _, lines = note.partition("\n\n")
    assert b64encode(by_hand(VECTORS["receipt"])).decode() == text.split("\n")[2]
    log_line, witness_line = lines.splitlines()
    for line, key, timed in (
        (log_line, VECTORS["log_vkey"], False),
        (witness_line, VECTORS["witness_vkey"], True),
    ):
        name, id_, public = key.split("+", 2)
        kind, *_ = raw = b64decode(public)
        assert kind == (4 if timed else 1)
        assert sha256(name.encode() + b"\n" + raw).hexdigest()[:8] == id_
        signature = b64decode(line.removeprefix(f"— {name} "))
        assert signature[:4].hex() == id_
        message = f"{text}\n".encode()
        if timed:
            seconds = int.from_bytes(signature[4:12], "big")
            message = b"cosignature/v1\ntime %d\n" % seconds + message
        VerifyKey(raw[1:]).verify(message, signature[-64:])


def test_vectors_are_json_that_others_read() -> None:
    assert json.loads(json.dumps(VECTORS)) == VECTORS
