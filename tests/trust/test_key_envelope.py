"""Key envelopes: signed by somebody trusted, for one subnet, one chain, one number; or refused."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from qflow import _core
from qflow.errors import ErasedError, UnavailableError, VerificationError
from qflow.trust import KeyEnvelope, Signers, make_envelope, open_envelope, parse_envelope
from tests.core.vectors import load_vectors
from tests.trust.rings import SUBNET, Party, chain_of, key_named, mark, outcome

CHAIN = chain_of(7)
VECTORS = load_vectors("keys.json")


@pytest.fixture
def us(tmp_path: Path) -> Party:
    return Party(tmp_path / "us")


@pytest.fixture
def them(tmp_path: Path, us: Party) -> Party:
    """A node that has our subnet keys."""
    other = Party(tmp_path / "them", "them")
    other.trust(us)
    return other


def signed(envelope: KeyEnvelope, key: Any) -> bytes:
    made = msgspec.structs.replace(envelope, sig=_core.sign(key.seed, envelope.message))
    return _core.encode(msgspec.structs.asdict(made))


def test_golden_bytes() -> None:
    case = VECTORS["envelope"]
    block = bytes.fromhex(case["block"])
    found = parse_envelope(block)
    assert str(_core.cid_of(block)) == case["cid"]
    assert (found.subnet, found.chain.hex(), found.number, found.epoch, found.node) == (
        case["subnet"],
        case["chain"],
        case["number"],
        case["epoch"],
        case["node"],
    )
    assert found.bound.hex() == case["bound"]
    wrapping = _core.WrappingKey(bytes.fromhex(VECTORS["seed"]))
    key = wrapping.unwrap_bound(found.number, found.wrapped, found.bound)
    assert mark(key) == mark(_core.SealingKey(0, bytes.fromhex(case["key"])))
    assert signed(found, Seed(bytes.fromhex(VECTORS["seed"]))) == block


class Seed(msgspec.Struct):
    seed: bytes


def test_whoever_has_the_subnet_key_takes_the_data_key(us: Party, them: Party) -> None:
    key = us.begin(CHAIN)
    block = us.envelope(CHAIN, key.number)
    assert them.adopt(block)
    assert not them.adopt(block)
    assert mark(them.opened().ring.key_of(CHAIN, key.number)) == mark(key)
    with pytest.raises(UnavailableError):
        them.ring.key_of(chain_of(8), key.number)
    assert us.envelope(CHAIN, key.number) == block
    assert not us.adopt(block)
    assert us.ring.count_adopted() == 0


def test_it_goes_on_from_hand_to_hand(tmp_path: Path, us: Party, them: Party) -> None:
    key = us.begin(CHAIN)
    them.adopt(us.envelope(CHAIN, key.number))
    third = Party(tmp_path / "third", "third")
    third.trust(them)
    assert third.adopt(them.envelope(CHAIN, key.number))
    assert mark(third.ring.key_of(CHAIN, key.number)) == mark(key)


@pytest.mark.holds("S6")
def test_a_stranger_and_one_without_the_subnet_key_are_refused(
    tmp_path: Path, us: Party, them: Party
) -> None:
    key = us.begin(CHAIN)
    block = us.envelope(CHAIN, key.number)
    third = Party(tmp_path / "third", "third")
    with pytest.raises(VerificationError, match="does not trust"):
        third.adopt(block)
    trusting = Signers(third.key.did, lambda: [us.key.did])
    with pytest.raises(UnavailableError, match="import its key"):
        open_envelope(block, third.ring, trusting, subnet=SUBNET)
    with pytest.raises(VerificationError, match="of subnet 'default'"):
        open_envelope(block, them.ring, them.signers, subnet="other")
    found = parse_envelope(block)
    stranger = key_named("stranger")
    for forged in (
        signed(found, stranger),
        signed(msgspec.structs.replace(found, node=stranger.did), stranger),
    ):
        with pytest.raises(VerificationError):
            them.adopt(forged)


@pytest.mark.holds("S14")
def test_a_changed_a_cut_and_a_spliced_envelope_are_refused(us: Party, them: Party) -> None:
    first, second = us.begin(CHAIN), us.begin(chain_of(8))
    block, other = us.envelope(CHAIN, first.number), us.envelope(chain_of(8), second.number)
    met: Counter[str] = Counter()
    for at in range(len(block)):
        for bit in (1, 0x80):
            changed = block[:at] + bytes([block[at] ^ bit]) + block[at + 1 :]
            met[outcome(partial(them.adopt, changed))] += 1
        met[outcome(partial(them.adopt, block[:at]))] += 1
    met[outcome(partial(them.adopt, block + b"\0"))] += 1
    assert set(met) == {"VerificationError"}
    assert met.total() == 3 * len(block) + 1
    # One who may sign puts the key of one execution into the envelope of another.
    mine, theirs = parse_envelope(block), parse_envelope(other)
    for field in ("wrapped", "chain", "number", "epoch", "subnet"):
        spliced = {field: getattr(theirs, field)} if field != "epoch" else {"epoch": 1}
        if field == "subnet":
            spliced = {"subnet": "other"}
        made = signed(msgspec.structs.replace(mine, **spliced), us.key)
        with pytest.raises(VerificationError):
            them.adopt(made)
    assert them.ring.count_adopted() == 0


@pytest.mark.parametrize(
    "changed",
    [
        {"v": 2},
        {"kind": "qflow.keys"},
        {"chain": bytes(15)},
        {"number": -1},
        {"number": 1 << 63},
        {"epoch": 1 << 32},
        {"wrapped": bytes(103)},
        {"sig": bytes(63)},
        {"subnet": ""},
        {"subnet": "x" * 300},
        {"more": 1},
        {"v": True},
        {"node": None},
    ],
)
def test_only_what_this_version_writes_is_an_envelope(us: Party, changed: dict[str, Any]) -> None:
    block = us.envelope(CHAIN, us.begin(CHAIN).number)
    fields = _core.decode(block)
    assert _core.encode(fields) == block
    with pytest.raises(VerificationError):
        parse_envelope(_core.encode({**fields, **changed}))
    for other in (_core.encode([1]), _core.encode({}), b"", b"\xff", bytes(2000)):
        with pytest.raises(VerificationError):
            parse_envelope(other)


def test_two_keys_of_one_name_are_kept_apart_by_their_chains(
    tmp_path: Path, us: Party, them: Party
) -> None:
    """Numbers of two keyrings meet: each chain has its own key all the same."""
    third = Party(tmp_path / "third", "third")
    third.ring._tag = us.ring._tag
    third.trust(us)
    ours, theirs = us.begin(CHAIN), third.begin(chain_of(8))
    assert ours.number == theirs.number
    assert third.adopt(us.envelope(CHAIN, ours.number))
    assert mark(third.ring.key_of(CHAIN, ours.number)) == mark(ours)
    assert mark(third.ring.key_of(chain_of(8), theirs.number)) == mark(theirs)
    # The same chain under another key is an attack or an accident; the first stays.
    fourth = Party(tmp_path / "fourth", "fourth")
    fourth.ring._tag = us.ring._tag
    forged = fourth.begin(CHAIN)
    assert forged.number == ours.number
    them.trust(fourth)
    them.adopt(us.envelope(CHAIN, ours.number))
    with pytest.raises(VerificationError, match="here already"):
        them.adopt(fourth.envelope(CHAIN, forged.number))
    assert mark(them.ring.key_of(CHAIN, ours.number)) == mark(ours) != mark(forged)


@pytest.mark.holds("S16")
def test_an_erased_key_is_not_taken_again(us: Party, them: Party) -> None:
    key = us.begin(CHAIN)
    block = us.envelope(CHAIN, key.number)
    them.adopt(block)
    before = (them.home / "adopted.keys").read_bytes()
    them.ring.shred_adopted([(CHAIN, key.number), (chain_of(9), 1)])
    assert them.ring.is_destroyed_of(CHAIN, key.number)
    us.ring.shred([key.number])
    for party in (us, them, us.opened(), them.opened()):
        with pytest.raises(ErasedError):
            party.adopt(block)
        with pytest.raises(ErasedError):
            party.ring.key_of(CHAIN, key.number)
        with pytest.raises(ErasedError):
            party.envelope(CHAIN, key.number)
    # A copy of the file, or none at all: the chain still says what is erased.
    for content in (before, None):
        path = them.home / "adopted.keys"
        path.unlink() if content is None else path.write_bytes(content)
        again = them.opened()
        again.ring.is_erased = lambda chain: chain == CHAIN
        with pytest.raises(ErasedError):
            again.adopt(block)


@pytest.mark.holds("S14", "S17")
def test_no_other_key_takes_the_place_of_our_own(tmp_path: Path, us: Party) -> None:
    """A trusted node wraps another key under the name of ours: what ours sealed still opens."""
    other = Party(tmp_path / "other", "other")
    other.ring._tag = us.ring._tag
    us.trust(other)
    ours, forged = us.begin(CHAIN), other.begin(CHAIN)
    assert ours.number == forged.number
    us.ring.is_ours = lambda chain: chain == CHAIN
    with pytest.raises(VerificationError, match="here already"):
        us.adopt(other.envelope(CHAIN, forged.number))
    assert mark(us.ring.key_of(CHAIN, ours.number)) == mark(ours)
    assert us.ring.count_adopted() == 0
    # Of a chain that began elsewhere the number means nothing here.
    assert us.adopt(other.envelope(chain_of(8), forged.number))
    assert mark(us.ring.key_of(chain_of(8), ours.number)) == mark(forged)
    other.trust(us)
    assert other.adopt(us.envelope(chain_of(9), ours.number))
    assert not us.adopt(us.envelope(CHAIN, ours.number))


def test_an_envelope_of_an_earlier_epoch_is_what_was_sent_then(us: Party) -> None:
    number = us.begin(CHAIN).number
    us.ring.hold()
    sent = [us.envelope(CHAIN, number)]
    for _ in range(3):
        us.ring.rotate()
        sent.append(us.envelope(CHAIN, number))
    made = partial(make_envelope, us.ring, us.key, subnet=SUBNET, chain=CHAIN, number=number)
    assert us.ring.subnet.epochs == [0, 1, 2, 3]
    assert [made(epoch=epoch)[1] for epoch in range(4)] == sent
    us.ring.rotate(forget=True)
    assert us.ring.subnet.epochs == [4]
    with pytest.raises(UnavailableError, match="destroyed"):
        made(epoch=0)
