"""What a verification comes to: known heads, witnesses, and reading only what is new."""

from __future__ import annotations

import shutil
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import pytest
from nacl.signing import SigningKey

from qflow import _core
from qflow.audit import Verdict, verify, verify_or_raise
from qflow.errors import VerificationError
from qflow.trust import NodeKey
from tests.audit.chains import Chain, chain_id

SEED = bytes(range(32))
KEY = NodeKey(seed=SEED, public=bytes(SigningKey(SEED).verify_key))
WITNESSES = {"first": b"\1" * 32, "second": b"\2" * 32, "third": b"\3" * 32}

POLICY = "\n".join(
    [
        f"log {KEY.vkey}",
        *(
            f"witness {name} {_core.generate_witness_vkey(f'{name}.example/w', seed)}"
            for name, seed in WITNESSES.items()
        ),
        "group two 2 first second third",
        "quorum two",
        "",
    ]
)


class Writer:
    """The holder of the key, who can write any history."""

    def __init__(self, path: Path, seed: bytes = SEED) -> None:
        self.path = path
        path.mkdir(exist_ok=True)
        self.log = _core.Log(str(path), origin=KEY.origin, seed=seed, segment_bytes=1 << 20)
        self.number = 1

    def add(self, count: int, word: str = "n") -> bytes:
        """Executions of three records each, a commit each; the signed head then."""
        for _ in range(count):
            chain = Chain(chain_id(self.number))
            self.number += 1
            for kind in ("created", "step_completed", "completed"):
                self.log.append_durable(*chain.frame((kind, {}, {word: kind})))
        self.log.publish()
        return self.log.head.encode()

    def witness(self, note: bytes, *names: str) -> None:
        """Save a head with the cosignatures of these."""
        lines = [
            _core.cosign(note, KEY.vkey, f"{name}.example/w", WITNESSES[name], 1_700_000_000)
            for name in names
        ]
        self.log.save_witnessed(note.decode() + "".join(lines))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def known(tmp_path: Path) -> Path:
    return tmp_path / "known"


# -- heads that are known -----------------------------------------------------------------------


def test_without_anything_known_a_good_log_is_unanchored(path: Path) -> None:
    Writer(path).add(2)
    report = verify(path, KEY.vkey)
    assert (report.verdict, report.ok, report.known) == (Verdict.UNANCHORED, True, None)
    assert "no policy" in report.why


def test_a_head_is_remembered_and_continued(path: Path, known: Path) -> None:
    writer = Writer(path)
    first = writer.add(2)
    assert verify(path, KEY.vkey, known_head=known).known is None
    assert known.read_bytes() == first
    second = writer.add(2)
    report = verify(path, KEY.vkey, known_head=known)
    assert (report.verdict, report.known, report.size) == (Verdict.UNANCHORED, 6, 12)
    assert known.read_bytes() == second
    assert verify(path, KEY.vkey, known_head=known).known == 12


Attack = Callable[[Path, Path], None]


def roll_back(path: Path, older: Path) -> None:
    """Put an older genuine copy of the whole folder in its place."""
    shutil.rmtree(path)
    shutil.copytree(older, path)


def roll_back_and_go_on(path: Path, older: Path) -> None:
    """A restored backup on which a node went on working, past the size that was seen."""
    roll_back(path, older)
    writer = Writer(path)
    writer.number = 50
    writer.add(9, "other")


def rewrite(path: Path, _older: Path) -> None:
    """The key's holder writes another history of the same size: two heads of one size."""
    shutil.rmtree(path)
    Writer(path).add(4, "forged")


def rewrite_longer(path: Path, _older: Path) -> None:
    shutil.rmtree(path)
    Writer(path).add(9, "forged")


def two_writers(path: Path, older: Path) -> None:
    """A second machine with the same key wrote on, from the same beginning."""
    roll_back(path, older)
    writer = Writer(path)
    writer.number = 90
    writer.add(2, "elsewhere")


ATTACKS = [roll_back, roll_back_and_go_on, rewrite, rewrite_longer, two_writers]


@pytest.mark.holds("H16")
@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("incremental", [False, True])
def test_another_history_is_found_by_a_known_head(
    path: Path, known: Path, tmp_path: Path, attack: Attack, incremental: bool
) -> None:
    writer = Writer(path)
    writer.add(2)
    writer.log.close()
    older = shutil.copytree(path, tmp_path / "older")
    writer = Writer(path)
    writer.number = 3
    seen = writer.add(2)
    verify(path, KEY.vkey, known_head=known, incremental=incremental)
    writer.log.close()
    attack(path, older)
    assert verify(path, KEY.vkey).verdict is Verdict.UNANCHORED, "from inside it is whole"
    report = verify(path, KEY.vkey, known_head=known, incremental=incremental)
    assert (report.verdict, report.ok, report.findings) == (Verdict.DIVERGED, False, ())
    assert "known" in report.why
    assert known.read_bytes() == seen, "what diverges is not remembered"
    with pytest.raises(VerificationError, match="DIVERGED"):
        verify_or_raise(path, KEY.vkey, known_head=known)


@pytest.mark.holds("H16")
@pytest.mark.parametrize("attack", [roll_back, rewrite, rewrite_longer])
def test_another_history_is_found_by_a_head_that_was_witnessed(
    path: Path, tmp_path: Path, attack: Attack
) -> None:
    writer = Writer(path)
    writer.add(2)
    writer.log.close()
    older = shutil.copytree(path, tmp_path / "older")
    writer = Writer(path)
    writer.number = 3
    writer.witness(writer.add(2), "first", "second")
    writer.log.close()
    witnessed = (path / "witnessed").read_bytes()
    assert verify(path, KEY.vkey, policy=POLICY).verdict is Verdict.WITNESSED
    attack(path, older)
    (path / "witnessed").write_bytes(witnessed)
    report = verify(path, KEY.vkey, policy=POLICY)
    assert (report.verdict, report.findings) == (Verdict.DIVERGED, ())
    assert "witnessed" in report.why


def test_a_known_head_that_is_none_is_refused(path: Path, known: Path) -> None:
    Writer(path).add(1)
    for wrong in (b"", b"no head\n", b"x" * 100_000, (path / "checkpoint").read_bytes()[:-9]):
        known.write_bytes(wrong)
        with pytest.raises(VerificationError, match="known head"):
            verify(path, KEY.vkey, known_head=known)
        assert known.read_bytes() == wrong
    other = _core.generate_vkey(KEY.origin, b"\7" * 32)
    known.write_bytes((path / "checkpoint").read_bytes())
    with pytest.raises(VerificationError, match="known head"):
        verify(path, other, known_head=known)


def test_a_damaged_log_is_not_remembered(path: Path, known: Path) -> None:
    writer = Writer(path)
    first = writer.add(1)
    verify(path, KEY.vkey, known_head=known)
    writer.add(1)
    (path / "tile" / "entries" / "000.p" / "6").write_bytes(b"other")
    report = verify(path, KEY.vkey, known_head=known, incremental=True)
    assert report.verdict is Verdict.INVALID
    assert known.read_bytes() == first


# -- witnesses ----------------------------------------------------------------------------------


def test_enough_cosignatures_are_a_verdict_and_what_came_after_is_said(path: Path) -> None:
    writer = Writer(path)
    writer.witness(writer.add(2), "first", "third")
    writer.add(1)
    report = verify(path, KEY.vkey, policy=POLICY)
    assert (report.verdict, report.ok) == (Verdict.WITNESSED, True)
    assert (report.witnessed, report.size) == (6, 9)
    assert report.cosignatures == {"first": 1_700_000_000, "third": 1_700_000_000}
    assert "first 6 records" in report.why
    assert "3 records came after" in report.why


@pytest.mark.holds("H16")
@pytest.mark.parametrize("names", [(), ("first",), None])
def test_fewer_cosignatures_than_asked_are_said_and_named(
    path: Path, names: tuple[str, ...] | None
) -> None:
    writer = Writer(path)
    note = writer.add(2)
    if names is not None:
        writer.witness(note, *names)
    report = verify(path, KEY.vkey, policy=POLICY)
    assert (report.verdict, report.ok) == (Verdict.UNANCHORED, False)
    assert f"{len(names or ())} of 3" in report.why
    missing = [name for name in WITNESSES if name not in (names or ())]
    assert f"missing: {', '.join(missing)}" in report.why
    with pytest.raises(VerificationError, match="UNANCHORED"):
        verify_or_raise(path, KEY.vkey, policy=POLICY)


def test_a_policy_that_does_not_list_the_log_is_not_met(path: Path) -> None:
    writer = Writer(path)
    writer.witness(writer.add(2), *WITNESSES)
    other = _core.generate_vkey(KEY.origin, b"\7" * 32)
    report = verify(path, KEY.vkey, policy=POLICY.replace(KEY.vkey, other))
    assert report.verdict is Verdict.UNANCHORED
    assert "does not list this log" in report.why


MALFORMED: dict[str, Callable[[bytes], bytes]] = {
    "carriage returns": lambda note: note.replace(b"\n", b"\r\n"),
    "a leading zero": lambda note: note.replace(b"\n6\n", b"\n06\n"),
    "a size of 10^18": lambda note: note.replace(b"\n6\n", b"\n1000000000000000000\n"),
    "bytes behind it": lambda note: note + b"x",
    "no newline at the end": lambda note: note[:-1],
    "no signature": lambda note: note[: note.index(b"\n\n") + 2],
    "another size": lambda note: note.replace(b"\n6\n", b"\n5\n"),
    "nothing": lambda _: b"",
}


@pytest.mark.holds("H18")
@pytest.mark.parametrize("how", MALFORMED)
@pytest.mark.parametrize("file", ["witnessed", "checkpoint"])
def test_malformed_heads_in_the_folder_are_invalid(path: Path, file: str, how: str) -> None:
    writer = Writer(path)
    writer.witness(writer.add(2), "first", "second")
    writer.log.close()
    note = (path / file).read_bytes()
    (path / file).write_bytes(MALFORMED[how](note))
    report = verify(path, KEY.vkey, policy=POLICY)
    assert report.verdict is Verdict.INVALID
    assert any(finding.where == file for finding in report.findings)


@pytest.mark.holds("H18")
def test_a_forged_cosignature_is_invalid_and_a_stranger_s_does_not_count(path: Path) -> None:
    writer = Writer(path)
    writer.witness(writer.add(2), "first", "second")
    writer.log.close()
    file = path / "witnessed"
    good = file.read_bytes()
    signature = good.index(b"first.example/w ") + 40
    file.write_bytes(good[:signature] + b"AAAA" + good[signature + 4 :])
    report = verify(path, KEY.vkey, policy=POLICY)
    assert (report.verdict, report.findings[0].where) == (Verdict.INVALID, "witnessed")
    file.write_bytes(good.replace(b"first.example/w ", b"stranger.example/w "))
    report = verify(path, KEY.vkey, policy=POLICY)
    assert (report.verdict, list(report.cosignatures)) == (Verdict.UNANCHORED, ["second"])


@pytest.mark.holds("H18")
def test_a_forged_line_of_another_log_of_the_policy_is_a_verdict_too(path: Path) -> None:
    writer = Writer(path)
    writer.witness(writer.add(2), "first", "second")
    writer.log.close()
    other = _core.generate_vkey(KEY.origin, b"\7" * 32)
    line = b64encode(bytes.fromhex(other.split("+")[1]) + bytes(64)).decode()
    with (path / "witnessed").open("a", encoding="utf-8") as file:
        file.write(f"\u2014 {KEY.origin} {line}\n")
    report = verify(path, KEY.vkey, policy=f"log {other}\n{POLICY}")
    assert (report.verdict, report.findings[0].where) == (Verdict.INVALID, "witnessed")


# -- only what is new ---------------------------------------------------------------------------


def test_an_incremental_run_reads_what_is_new_and_says_what_it_did_not(
    path: Path, known: Path
) -> None:
    writer = Writer(path)
    writer.add(100)
    first = verify(path, KEY.vkey, known_head=known, incremental=True)
    assert (first.started, first.whole) == (0, None)
    writer.add(10)
    second = verify(path, KEY.vkey, known_head=known, incremental=True)
    assert (second.started, second.size, second.whole) == (300, 330, None)
    assert (second.chains, second.heads, second.blocks) == (110, 330, 330)
    assert "300 records were verified before, and not read" in str(second)
    full = verify(path, KEY.vkey)
    assert (full.root, full.chains, full.blocks) == (second.root, 110, 330)
    assert full.bytes - second.bytes >= 300 * 4096
    third = verify(path, KEY.vkey, known_head=known, incremental=True)
    assert (third.started, third.size, third.whole) == (330, 330, None)


@pytest.mark.parametrize("count", [0, 1, 80, 86, 256])
def test_an_incremental_run_finds_what_a_full_one_finds_in_what_is_new(
    path: Path, known: Path, count: int
) -> None:
    writer = Writer(path)
    writer.add(86)
    verify(path, KEY.vkey, known_head=known, incremental=True)
    writer.add(count)
    writer.log.close()
    assert verify(path, KEY.vkey, known_head=known, incremental=True).started == 258
    for tile in ("0/001", "entries/001"):
        if (path / "tile" / tile).exists():
            before = (path / "tile" / tile).read_bytes()
            (path / "tile" / tile).write_bytes(before[:-1] + b"?")
            assert not verify(path, KEY.vkey).ok
            (path / "tile" / tile).write_bytes(before)


@pytest.mark.holds("H2")
def test_a_replaced_early_record_is_found_by_who_reads_it_and_not_reported_as_read(
    path: Path, known: Path
) -> None:
    writer = Writer(path)
    writer.add(100)
    verify(path, KEY.vkey, known_head=known, incremental=True)
    writer.add(1)
    writer.log.close()
    segment = min((path / "journal").iterdir())
    data = bytearray(segment.read_bytes())
    data[4096 + 100] ^= 1
    segment.write_bytes(data)
    assert not verify(path, KEY.vkey).ok
    report = verify(path, KEY.vkey, known_head=known, incremental=True)
    assert (report.ok, report.started) == (True, 300), "it says what it did not read"


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "flipped", "of another head"])
def test_a_state_that_is_of_no_use_means_a_full_run_which_says_why(
    path: Path, known: Path, damage: str
) -> None:
    writer = Writer(path)
    head = writer.add(5)
    verify(path, KEY.vkey, known_head=known, incremental=True)
    state = known.with_name("known.state")
    data = state.read_bytes()
    if damage == "missing":
        state.unlink()
    elif damage == "of another head":
        writer.add(1)
        verify(path, KEY.vkey, known_head=known, incremental=True)
        known.write_bytes(head)
    else:
        half = len(data) // 2
        changed = {
            "empty": b"",
            "cut": data[:half],
            "flipped": data[:half] + b"?" + data[half + 1 :],
        }
        state.write_bytes(changed[damage])
    writer.add(5)
    report = verify(path, KEY.vkey, known_head=known, incremental=True)
    assert (report.ok, report.started) == (True, 0)
    assert report.whole is not None
    assert "state" in report.whole
    assert verify(path, KEY.vkey, known_head=known, incremental=True).whole is None


def test_every_changed_byte_of_a_state_is_noticed(path: Path, known: Path) -> None:
    writer = Writer(path)
    writer.add(3)
    verify(path, KEY.vkey, known_head=known, incremental=True)
    head, state = known.read_bytes(), known.with_name("known.state")
    data = state.read_bytes()
    for at in range(0, len(data), max(len(data) // 100, 1) | 1):
        state.write_bytes(data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :])
        known.write_bytes(head)
        assert verify(path, KEY.vkey, known_head=known, incremental=True).whole is not None, at


def test_chains_go_on_across_runs_and_a_chain_that_began_before_does_not_begin_again(
    path: Path, known: Path
) -> None:
    writer = Writer(path)
    chain = Chain(chain_id(500))
    writer.log.append_durable(*chain.frame(("created", {}, 1)))
    writer.add(2)
    verify(path, KEY.vkey, known_head=known, incremental=True)
    writer.log.append_durable(*chain.frame(("completed", {}, 2)))
    report = verify(path, KEY.vkey, known_head=known, incremental=True)
    assert (report.ok, report.started) == (True, 7)
    again = Chain(chain_id(1))
    writer.log.append_durable(*again.frame(("created", {}, 1)))
    report = verify(path, KEY.vkey, known_head=known, incremental=True)
    assert [(one.where, "begins again" in one.what) for one in report.findings] == [
        ("record 8", True)
    ]


def test_a_head_that_was_witnessed_before_the_last_run_does_not_cost_a_full_one(
    path: Path, known: Path
) -> None:
    writer = Writer(path)
    older = writer.add(2)
    writer.add(2)
    writer.witness(older, "first", "second")
    verify(path, KEY.vkey, known_head=known, incremental=True, policy=POLICY)
    middle = writer.add(2)
    writer.add(2)
    verify(path, KEY.vkey, known_head=known, incremental=True, policy=POLICY)
    writer.witness(middle, "first", "second")
    report = verify(path, KEY.vkey, known_head=known, incremental=True, policy=POLICY)
    assert (report.verdict, report.witnessed) == (Verdict.WITNESSED, 18)
    assert (report.started, report.whole) == (24, None)
