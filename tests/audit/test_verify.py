"""Verification from files and a key: anything changed is found, and where."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from qflow import _core
from qflow.audit import verify, verify_or_raise
from qflow.errors import VerificationError
from qflow.trust import NodeKey
from tests.audit.chains import Chain, chain_id

SEED = bytes(range(32))
KEY = NodeKey(seed=SEED, public=bytes(SigningKey(SEED).verify_key))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of three chains and 300 records, closed. Tests change copies of it."""
    path = tmp_path_factory.mktemp("verify") / "log"
    log = _core.Log(str(path), origin=KEY.origin, seed=KEY.seed, segment_bytes=1 << 20)
    chains = [Chain(chain_id(number)) for number in (1, 2, 3)]
    for chain in chains:
        log.append_durable(*chain.frame(("created", {}, {"of": chain.id})))
    for number in range(98):
        for chain in chains:
            log.append_durable(*chain.frame(("step_completed", {"n": number}, number)))
    for chain in chains:
        log.append_durable(*chain.frame(("completed", {}, "done")))
    log.close()
    return path


@pytest.fixture
def path(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "log"))


def test_an_untouched_log_is_verified(path: Path) -> None:
    told: list[tuple[int, int]] = []
    report = verify_or_raise(path, KEY.vkey, lambda done, of: told.append((done, of)))
    assert report.ok
    assert (report.size, report.chains) == (300, 3)
    assert str(report).startswith("verified: 300 records in 3 chains")
    assert told
    assert (path / "checkpoint").read_text().splitlines()[2] == report.root


def test_the_key_may_stand_in_a_file(path: Path, tmp_path: Path) -> None:
    file = tmp_path / "node.pub"
    file.write_text(KEY.vkey + "\n")
    assert verify(path, file).ok
    assert verify(str(path), str(file)).ok


def written(path: Path) -> list[tuple[Path, int]]:
    """The files of a log, with the bytes of each that are not the zeros laid out ahead."""
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return [(file, size) for file in files if (size := len(file.read_bytes().rstrip(b"\0")))]


@pytest.mark.holds("H1")
@given(st.data())
def test_one_changed_byte_anywhere_is_found(whole: Path, data: st.DataObject) -> None:
    file, size = data.draw(st.sampled_from(written(whole)))
    at = data.draw(st.integers(0, size - 1))
    flipped = data.draw(st.integers(1, 255))
    before = file.read_bytes()
    try:
        changed = bytearray(before)
        changed[at] ^= flipped
        file.write_bytes(changed)
        report = verify(whole, KEY.vkey)
    finally:
        file.write_bytes(before)
    assert not report.ok, f"{file.name} byte {at}"
    assert all(finding.where and finding.what for finding in report.findings)


def segments(path: Path) -> list[tuple[Path, int]]:
    """Those of the journal that hold anything: the next one is laid out ahead."""
    return written(path / "journal")


def drop_tail(path: Path) -> None:
    segment, used = segments(path)[-1]
    data = segment.read_bytes()
    segment.write_bytes(data[: used // 2] + bytes(len(data) - used // 2))


def drop_head(path: Path) -> None:
    segment, _ = segments(path)[0]
    segment.write_bytes(bytes(4096) + segment.read_bytes()[4096:])


def drop_middle(path: Path) -> None:
    segment, used = segments(path)[0]
    data, middle = segment.read_bytes(), used // 2
    segment.write_bytes(data[:middle] + data[middle + 700 :] + bytes(700))


def drop_journal(path: Path) -> None:
    segments(path)[0][0].unlink()


@pytest.mark.holds("H3")
@pytest.mark.parametrize("cut", [drop_tail, drop_head, drop_middle, drop_journal])
def test_a_part_that_is_cut_out_is_found(path: Path, cut: Callable[[Path], None]) -> None:
    cut(path)
    with pytest.raises(VerificationError):
        verify_or_raise(path, KEY.vkey)


@pytest.mark.holds("H5")
def test_another_key_verifies_nothing(path: Path) -> None:
    other = _core.generate_vkey(KEY.origin, b"\7" * 32)
    report = verify(path, other)
    assert not report.ok
    assert str(report).startswith("NOT verified")
    with pytest.raises(VerificationError, match="NOT verified"):
        verify_or_raise(path, other)


def test_what_is_no_key_is_refused(path: Path, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("nothing of the sort\n")
    with pytest.raises(VerificationError, match="holds no verifier key"):
        verify(path, file)
    for wrong in ("", "a+b+c", str(tmp_path / "missing"), "nul\0"):
        with pytest.raises(VerificationError, match="no verifier key"):
            verify(path, wrong)


def test_a_log_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VerificationError, match="no log"):
        verify(tmp_path / "nowhere", KEY.vkey)


def test_verifying_changes_no_file(path: Path) -> None:
    before = [(file, file.read_bytes()) for file, _ in written(path)]
    verify(path, KEY.vkey)
    assert before == [(file, file.read_bytes()) for file, _ in written(path)]
