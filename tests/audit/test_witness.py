"""A witness: each answer that the protocol has, and never a cosignature for two histories."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qflow import _core
from qflow.audit import Witness, doubts_about, read_vkeys
from qflow.audit._witness import EMPTY, SIZE_TYPE, Answer, Head
from qflow.errors import ConfigError, CorruptError, UnavailableError
from qflow.testing import ManualClock
from tests.audit.heads import SigningLog, body, consistency, leaves, root_of
from tests.conftest import ROOT

LOG = SigningLog()
OTHER = SigningLog("log.example/b", 2)


class Key:
    """The key of a witness."""

    origin = "witness.example/w"
    seed = bytes(range(100, 132))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "witness.db"


@pytest.fixture
def witness(path: Path) -> Iterator[Witness]:
    witness = open_witness(path)
    yield witness
    witness.close()


def open_witness(path: Path, *logs: str) -> Witness:
    return Witness(path, Key(), ManualClock(), logs or (LOG.vkey,))


def size_of(witness: Witness) -> int:
    (log,) = witness.logs()
    return log.size


def cosigned(witness: Witness, answer: Answer, note: bytes) -> bool:
    return (
        answer.status == 200
        and _core.cosigned_at(note + answer.body, witness.vkey) == ManualClock().now_ms() // 1000
    )


def test_the_first_head_of_a_log_is_cosigned_and_then_each_that_extends_it(
    witness: Witness,
) -> None:
    old = 0
    for size in (1, 2, 3, 7, 8, 100, 256, 300):
        request = LOG.request(leaves(size), old)
        answer = witness.add_checkpoint(request)
        assert cosigned(witness, answer, LOG.head(leaves(size))), size
        assert answer.media == "text/plain; charset=utf-8"
        assert size_of(witness) == size
        old = size


def test_the_same_head_again_is_cosigned_again(witness: Witness) -> None:
    witness.add_checkpoint(LOG.request(leaves(5), 0))
    again = witness.add_checkpoint(LOG.request(leaves(5), 5))
    assert cosigned(witness, again, LOG.head(leaves(5)))


def test_the_head_of_an_empty_log_is_cosigned(witness: Witness) -> None:
    assert witness.add_checkpoint(LOG.request([], 0)).status == 200
    assert size_of(witness) == 0


def test_404_for_a_log_that_the_witness_does_not_know(witness: Witness) -> None:
    assert witness.add_checkpoint(OTHER.request(leaves(3), 0)).status == 404


@pytest.mark.parametrize(
    "note",
    [
        SigningLog(LOG.origin, 9).head(leaves(3)),
        LOG.head(leaves(3)).replace(b"\n3\n", b"\n4\n"),
        LOG.signed(f"{LOG.origin}\n3\nAAAA\n").replace(b"AAAA", b"A" * 43 + b"="),
    ],
    ids=["another key", "another size", "another root"],
)
def test_403_without_a_good_signature_of_the_log(witness: Witness, note: bytes) -> None:
    assert witness.add_checkpoint(body(0, [], note)).status == 403
    assert size_of(witness) == 0


@pytest.mark.holds("H18")
@pytest.mark.parametrize(
    "request_body",
    [
        b"",
        b"old 0\n\n",
        b"old 00\n\n" + LOG.head(leaves(3)),
        b"old -1\n\n" + LOG.head(leaves(3)),
        b"old 0\r\n\r\n" + LOG.head(leaves(3)),
        b"old 0\n" + LOG.head(leaves(3)),
        b"old  0\n\n" + LOG.head(leaves(3)),
        b"size 0\n\n" + LOG.head(leaves(3)),
        body(1, [b"x" * 31], LOG.head(leaves(3))),
        body(1, [b"x" * 32] * 64, LOG.head(leaves(3))),
        body(0, [], LOG.signed(f"{LOG.origin}\n03\n{'A' * 43}=\n")),
        body(0, [], LOG.signed(f"{LOG.origin}\n{10**18}\n{'A' * 43}=\n")),
        body(0, [], b"x" * (64 << 10)),
    ],
)
def test_400_for_what_is_no_request(witness: Witness, request_body: bytes) -> None:
    assert witness.add_checkpoint(request_body).status == 400


def test_400_for_an_old_size_beyond_that_of_the_checkpoint(witness: Witness) -> None:
    witness.add_checkpoint(LOG.request(leaves(5), 0))
    assert witness.add_checkpoint(body(5, [], LOG.head(leaves(3)))).status == 400


def test_409_tells_the_size_that_is_known(witness: Witness) -> None:
    witness.add_checkpoint(LOG.request(leaves(5), 0))
    for old in (0, 4):
        answer = witness.add_checkpoint(LOG.request(leaves(9), old))
        assert answer == Answer(409, b"5\n", SIZE_TYPE)
    assert cosigned(witness, witness.add_checkpoint(LOG.request(leaves(9), 5)), LOG.head(leaves(9)))


def test_422_for_a_proof_that_does_not_hold(witness: Witness) -> None:
    witness.add_checkpoint(LOG.request(leaves(5), 0))
    good = consistency(leaves(9), 5)
    for proof in ([], good[:-1], [*good, good[0]], [*good[:-1], b"x" * 32]):
        assert witness.add_checkpoint(body(5, proof, LOG.head(leaves(9)))).status == 422
    assert size_of(witness) == 5


def test_422_for_a_proof_where_there_is_nothing_to_prove(witness: Witness) -> None:
    assert witness.add_checkpoint(body(0, [b"x" * 32], LOG.head(leaves(3)))).status == 422
    witness.add_checkpoint(LOG.request(leaves(3), 0))
    assert witness.add_checkpoint(body(3, [b"x" * 32], LOG.head(leaves(3)))).status == 422


@pytest.mark.holds("H16")
def test_a_rollback_to_an_older_genuine_head_is_refused(witness: Witness) -> None:
    for size, old in ((5, 0), (9, 5)):
        witness.add_checkpoint(LOG.request(leaves(size), old))
    for old in (0, 5):
        assert witness.add_checkpoint(LOG.request(leaves(5), old)).status == 409
    assert size_of(witness) == 9


@pytest.mark.holds("H16")
def test_a_rewritten_history_is_refused_at_every_size(witness: Witness) -> None:
    """As its key's holder may write it, and as a restored backup that goes on does."""
    witness.add_checkpoint(LOG.request(leaves(5), 0))
    backup = [*leaves(3), *leaves(9, "fork")[3:]]
    for history in (leaves(9, "fork"), backup):
        for size in range(10):
            for old in range(size + 1):
                assert witness.add_checkpoint(LOG.request(history[:size], old)).status in (409, 422)
    assert size_of(witness) == 5


@pytest.mark.holds("H16")
@pytest.mark.parametrize("old", [0, 5, 9])
def test_two_heads_of_one_size_are_kept_as_proof(path: Path, witness: Witness, old: int) -> None:
    for size, before in ((5, 0), (9, 5)):
        witness.add_checkpoint(LOG.request(leaves(size), before))
    forked = leaves(max(old, 5), "fork")
    witness.add_checkpoint(LOG.request(forked, min(old, len(forked))))
    (proof,) = witness.equivocations()
    assert (proof.origin, proof.size) == (LOG.origin, len(forked))
    for note, root in (
        (proof.first, root_of(leaves(len(forked)))),
        (proof.second, root_of(forked)),
    ):
        assert _core.parse_checkpoint(note.encode(), LOG.vkey) == (len(forked), root)
    witness.close()
    reopened = open_witness(path)
    assert reopened.equivocations() == [proof]
    reopened.close()


def test_what_is_kept_of_one_log_is_bounded(
    witness: Witness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qflow.audit._witness_store.HEADS_MAX", 3)
    monkeypatch.setattr("qflow.audit._witness_store.EQUIVOCATIONS_MAX", 2)
    for size in range(1, 11):
        witness.add_checkpoint(LOG.request(leaves(size), size - 1))
    sizes = witness._db.execute("SELECT size FROM head ORDER BY size").fetchall()
    assert sizes == [(8,), (9,), (10,)]
    for fork in "abcd":
        assert witness.add_checkpoint(LOG.request(leaves(10, fork), 10)).status == 409
    assert len(witness.equivocations()) == 2
    assert witness.add_checkpoint(LOG.request(leaves(11), 10)).status == 200


def test_an_unsigned_head_of_the_same_size_accuses_nobody(witness: Witness) -> None:
    witness.add_checkpoint(LOG.request(leaves(5), 0))
    forged = SigningLog(LOG.origin, 9).request(leaves(5, "fork"), 5)
    assert witness.add_checkpoint(forged).status == 403
    assert witness.equivocations() == []


@pytest.mark.holds("H16")
def test_concurrent_requests_never_get_two_heads_of_one_size_cosigned(path: Path) -> None:
    """Two witnesses on one file, as two processes of one home would be."""
    pair = [open_witness(path), open_witness(path)]
    forks = [leaves(40), leaves(40, "a"), leaves(40, "b")]
    requests = [LOG.request(fork[:size], 0) for fork in forks for size in (10, 10, 20, 30)]
    barrier = Barrier(len(requests))

    def add(number: int) -> int:
        barrier.wait()
        return pair[number % 2].add_checkpoint(requests[number]).status

    with ThreadPoolExecutor(len(requests)) as pool:
        statuses = list(pool.map(add, range(len(requests))))
    assert statuses.count(200) == 1
    assert set(statuses) == {200, 409}
    for witness in pair:
        witness.close()


@pytest.mark.holds("H16")
def test_a_head_is_stored_only_behind_the_one_that_it_was_compared_with(witness: Witness) -> None:
    """Whatever became of the transaction: the statement compares and sets in one."""
    witness.add_checkpoint(LOG.request(leaves(5), 0))
    head = Head(9, root_of(leaves(9)), LOG.head(leaves(9)))
    with pytest.raises(sqlite3.IntegrityError):
        witness._advance(witness._db, LOG.origin, EMPTY, head)
    assert size_of(witness) == 5


@given(st.lists(st.tuples(st.sampled_from(["", "a", "b"]), st.integers(0, 12), st.integers(0, 12))))
@pytest.mark.holds("H16")
def test_no_sequence_of_requests_gets_two_inconsistent_heads_cosigned(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int]]
) -> None:
    """The log has three histories with a common beginning, and offers heads of all of them."""
    witness = open_witness(tmp_path_factory.mktemp("witness") / "witness.db")
    histories = {fork: [*leaves(4), *leaves(12, fork)[4:]] for fork in ("", "a", "b")}
    seen: list[bytes] = []
    for fork, size, old in steps:
        history = histories[fork][:size]
        answer = witness.add_checkpoint(LOG.request(history, min(old, size)))
        if answer.status == 200:
            assert history[: len(seen)] == seen, "not an extension of what was cosigned"
            seen = history
        assert witness.logs()[0].size == len(seen)
    witness.close()


def test_a_restart_keeps_the_state(path: Path, witness: Witness) -> None:
    witness.add_checkpoint(LOG.request(leaves(5), 0))
    witness.close()
    again = open_witness(path)
    assert size_of(again) == 5
    assert again.add_checkpoint(LOG.request(leaves(4, "fork"), 0)).status == 409
    again.close()


CRASH = """
import os, signal, sys
from pathlib import Path
from qflow import _core
from tests.audit.test_witness import LOG, open_witness
from tests.audit.heads import leaves

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

setattr(_core, sys.argv[2], die)
open_witness(Path(sys.argv[1])).add_checkpoint(LOG.request(leaves(9), 5))
"""


@pytest.mark.holds("H16")
@pytest.mark.parametrize(("dies_in", "size"), [("verify_consistency", 5), ("cosign", 9)])
def test_a_kill_leaves_the_state_before_or_the_one_that_was_about_to_be_answered(
    path: Path, witness: Witness, dies_in: str, size: int
) -> None:
    """Between state and answer: the state is durable, so the answer was never needed."""
    witness.add_checkpoint(LOG.request(leaves(5), 0))
    witness.close()
    command = [sys.executable, "-c", CRASH, str(path), dies_in]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "python"), str(ROOT)])}
    done = subprocess.run(command, env=environment, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    again = open_witness(path)
    assert size_of(again) == size
    forked = [*leaves(5), *leaves(9, "fork")[5:]]
    assert again.add_checkpoint(LOG.request(forked, size)).status == (200 if size == 5 else 409)
    again.close()


class FailingDatabase:
    """A connection whose statements of one kind fail, having been carried out or not."""

    def __init__(self, db: sqlite3.Connection, word: str, *, done: bool) -> None:
        self._db, self._word, self._done = db, word, done

    def execute(self, statement: str, *parameters: Any) -> sqlite3.Cursor:
        if self._word not in statement:
            return self._db.execute(statement, *parameters)
        if self._done:
            self._db.execute(statement, *parameters)
        raise sqlite3.OperationalError("disk I/O error")

    def close(self) -> None:
        self._db.close()


@pytest.mark.parametrize("word", ["INSERT INTO head", "COMMIT"])
@pytest.mark.parametrize("done", [False, True])
def test_after_a_failed_write_nothing_is_cosigned_until_a_restart(
    path: Path, witness: Witness, word: str, done: bool
) -> None:
    witness.add_checkpoint(LOG.request(leaves(5), 0))
    witness._db = FailingDatabase(witness._db, word, done=done)  # type: ignore[assignment]
    assert witness.add_checkpoint(LOG.request(leaves(9), 5)).status == 503
    assert witness.poisoned is not None
    assert witness.add_checkpoint(LOG.request(leaves(5), 5)).status == 503
    witness.close()
    again = open_witness(path)
    kept = size_of(again)
    assert kept == (9 if done and word == "COMMIT" else 5)
    assert again.add_checkpoint(LOG.request(leaves(9), kept)).status == 200
    again.close()


def test_a_file_that_is_busy_refuses_and_forgets_nothing(
    path: Path, witness: Witness, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    witness._db.execute("PRAGMA busy_timeout = 0")
    assert witness.add_checkpoint(LOG.request(leaves(5), 0)).status == 503
    other.close()
    assert witness.poisoned is None
    assert witness.add_checkpoint(LOG.request(leaves(5), 0)).status == 200


def test_a_file_that_is_no_witness_is_refused_and_left_alone(path: Path) -> None:
    path.write_bytes(b"something else" * 100)
    with pytest.raises(CorruptError):
        open_witness(path)
    assert path.read_bytes() == b"something else" * 100


def test_a_file_of_a_later_version_is_refused(path: Path, witness: Witness) -> None:
    witness._db.execute("PRAGMA user_version = 99")
    with pytest.raises(UnavailableError, match="version 99"):
        open_witness(path)


def test_logs_are_added_and_removed_while_others_have_the_file_open(
    path: Path, witness: Witness
) -> None:
    other = open_witness(path)
    assert other.add_log(OTHER.vkey)
    assert not other.add_log(OTHER.vkey)
    assert witness.add_checkpoint(OTHER.request(leaves(5), 0)).status == 200
    assert other.remove_log(OTHER.vkey)
    assert witness.add_checkpoint(OTHER.request(leaves(9), 5)).status == 404
    assert other.add_log(OTHER.vkey)
    # What was cosigned is not forgotten, or a fork would be cosigned after a removal.
    assert witness.add_checkpoint(OTHER.request(leaves(5, "fork"), 0)).status == 409
    other.close()


def test_a_log_may_have_two_keys(path: Path) -> None:
    newer = SigningLog(LOG.origin, 7)
    witness = open_witness(path, LOG.vkey, newer.vkey)
    assert witness.add_checkpoint(LOG.request(leaves(5), 0)).status == 200
    assert witness.add_checkpoint(newer.request(leaves(9), 5)).status == 200
    (log,) = witness.logs()
    assert (log.size, log.vkeys) == (9, (LOG.vkey, newer.vkey))
    witness.close()


@pytest.mark.parametrize("vkey", ["", "x", LOG.vkey[:-4], f"{LOG.vkey} http://x", "a+b+c", "#"])
def test_what_is_no_key_of_a_log_is_refused(witness: Witness, vkey: str) -> None:
    with pytest.raises(ConfigError, match="verifier key"):
        witness.add_log(vkey)


def test_keys_are_read_from_lists_and_from_policies(tmp_path: Path, witness: Witness) -> None:
    file = tmp_path / "logs"
    file.write_text(f"# ours\n{LOG.vkey}\n\n  {OTHER.vkey}\n")
    assert read_vkeys(file) == [LOG.vkey, OTHER.vkey]
    file.write_text(f"log {LOG.vkey} http://a.example\nwitness w {witness.vkey}\nquorum w\n")
    assert read_vkeys(file) == [LOG.vkey]
    for text in ("nonsense\n", f"log {LOG.vkey}\n"):
        file.write_text(text)
        with pytest.raises(ConfigError):
            read_vkeys(file)


@pytest.mark.parametrize("content", [b"%s\nSECRET\n", b"SECRET\xff", b"quorum SECRET\n"])
def test_a_file_that_holds_no_keys_is_named_and_not_quoted(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "node.key"
    file.write_bytes(content.replace(b"%s", LOG.vkey.encode()))
    with pytest.raises(ConfigError, match=r"node\.key") as caught:
        read_vkeys(file)
    assert "SECRET" not in str(caught.value)


def test_a_policy_in_which_a_log_witnesses_itself_is_doubted(witness: Witness) -> None:
    own = _core.generate_witness_vkey(LOG.origin, LOG._seed)
    policy = f"log {LOG.vkey}\nwitness me {own} http://a/\nwitness w {witness.vkey}\nquorum me\n"
    doubts = list(doubts_about(_core.Policy(policy), LOG.vkey))
    assert ["own key" in doubts[0], "no URL" in doubts[1]] == [True, True]
    assert "not this one" in next(iter(doubts_about(_core.Policy(policy), OTHER.vkey)))
