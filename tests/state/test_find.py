"""Versions are found by flow, execution, time, label and CID; the index may go at any time."""

from __future__ import annotations

from typing import Any

import pytest

from qflow import _core, model
from qflow.errors import BlockNotFoundError
from qflow.state import Saved
from qflow.state._search import cid_range, id_range
from tests.state.executions import NOW, Execution, Home, Keys, node

FLOWS = ("examples/orders/1.0.0", "examples/orders/2.0.0", "billing/orders/1.0.0", "a/b/1.0.0")


@pytest.fixture
def saved(home: Home, keys: Keys) -> list[Saved]:
    """Two versions of each of eight executions, in the order of their times."""
    made = []
    for number in range(1, 9):
        execution = Execution(number << 64 | number, node(), keys, flow=FLOWS[number % 4])
        execution.at = NOW + number * 1000
        for turn in range(2):
            label = f"label-{number}" if turn else None
            said: dict[str, Any] = {"label": label} if label else {}
            since = home.states.next_seq(execution.chain)
            draft = execution.checkpoint(b"%d %d" % (number, turn), since=since, **said)
            made.append(home.states.commit(draft))
    return made


def ids(versions: list[Saved]) -> list[tuple[int, int]]:
    return [(int.from_bytes(one.chain[:8], "big"), one.number) for one in versions]


QUESTIONS: list[tuple[dict[str, Any], list[int]]] = [
    ({}, [1, 2, 3, 4, 5, 6, 7, 8]),
    ({"flow": "orders"}, [1, 2, 4, 5, 6, 8]),
    ({"flow": "*"}, [1, 2, 3, 4, 5, 6, 7, 8]),
    ({"flow": "examples/orders"}, [1, 4, 5, 8]),
    ({"flow": "examples/orders/2.0.0"}, [1, 5]),
    ({"flow": "*/orders/1.*"}, [2, 4, 6, 8]),
    ({"flow": "nobody"}, []),
    ({"since": NOW + 5000, "until": NOW + 7000}, [5, 6]),
    ({"label": "label-3"}, [3]),
    ({"label": "label-*"}, [1, 2, 3, 4, 5, 6, 7, 8]),
    ({"label": "x"}, []),
    ({"execution": model.id_text((3 << 64 | 3).to_bytes(16, "big"))[:14]}, [3]),
    ({"execution": model.id_text((3 << 64 | 3).to_bytes(16, "big")).upper()}, [3]),
    ({"execution": "0"}, [1, 2, 3, 4, 5, 6, 7, 8]),
    ({"execution": "7"}, []),
    ({"flow": "orders", "since": NOW + 4000, "label": "*4"}, [4]),
]


@pytest.mark.holds("S9")
@pytest.mark.parametrize(("asked", "found"), QUESTIONS, ids=str)
def test_a_list_has_all_that_is_asked_for_the_latest_first(
    home: Home, saved: list[Saved], asked: dict[str, Any], found: list[int]
) -> None:
    page = home.states.list(**asked, newest=True)
    assert ids(page.versions) == [(number, 1) for number in reversed(found)]
    assert page.next is None
    if "label" not in asked:
        both = [(number, turn) for number in reversed(found) for turn in (1, 0)]
        assert ids(home.states.list(**asked).versions) == both


def test_pages_have_each_version_once(home: Home, saved: list[Saved]) -> None:
    seen: list[Saved] = []
    after, pages = None, 0
    while True:
        page = home.states.list(limit=3, after=after)
        seen, after, pages = seen + page.versions, page.next, pages + 1
        if after is None:
            break
    assert seen == saved[::-1]
    assert pages == 6


@pytest.mark.parametrize(
    "asked",
    [
        {"limit": 0},
        {"limit": 1001},
        {"after": "x"},
        {"after": "1.x"},
        {"after": "-1.bafy"},
        {"after": "9" * 30 + ".bafyreib6tnsyq4nnzjvjydpmmqkcrwxajjucwrowzjkm6lpbcwmcc6wm3e"},
        {"since": 1 << 63},
        {"since": -(1 << 63) - 1},
        {"until": 1 << 70},
        {"execution": "u"},
        {"execution": "8"},
        {"execution": ""},
        {"execution": "0" * 27},
        {"cid": "Qm"},
        {"cid": "b" + "1"},
    ],
    ids=str,
)
def test_a_question_that_has_no_answer_is_refused(home: Home, asked: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(asked))):
        home.states.list(**asked)


def test_half_a_letter_means_nothing(home: Home, saved: list[Saved]) -> None:
    half = "\ud800 and more"
    with pytest.raises(BlockNotFoundError, match="no checkpoint or execution is known"):
        home.states.find(half)
    assert home.states.list(label=half).versions == home.states.list(flow=half).versions == []


def test_a_version_is_meant_by_cid_label_or_execution(home: Home, saved: list[Saved]) -> None:
    states = home.states
    for one in saved:
        text = str(_core.Cid(one.cid))
        assert states.find(text) == states.find(text[:20]) == states.find(text.upper()) == one
        assert states.list(cid=text[:20]).versions == [one]
    assert states.find("label-4") == saved[7]
    assert states.find(model.id_text(saved[4].chain)) == saved[5], "the newest of an execution"
    assert states.find(model.id_text(saved[4].chain)[:14]) == saved[5]
    for text in ("bafyreiaaaaaaaaaaaaa", "nobody", "", "7zzz", "bafy"):
        with pytest.raises(BlockNotFoundError, match="no checkpoint or execution"):
            states.find(text)
    with pytest.raises(BlockNotFoundError, match="several"):
        states.find("0000")


def test_prefixes_are_ranges() -> None:
    cid = _core.cid_of(b"\xf6")
    text = str(cid)
    for end in range(1, len(text) + 1):
        found = cid_range(text[:end])
        assert found is not None
        assert found[0] <= bytes(cid) <= found[1]
    assert cid_range(text) == (bytes(cid), bytes(cid))
    chain = bytes(range(16))
    for end in range(1, 27):
        found = id_range(model.id_text(chain)[:end])
        assert found is not None
        assert found[0] <= chain <= found[1]
    assert id_range(model.id_text(chain)) == (chain, chain)


# -- the index is disposable ---------------------------------------------------------------

GONE = ("state_version", "state_head", "state_index")


@pytest.mark.holds("S9")
@pytest.mark.parametrize("gone", [*[(name,) for name in GONE], GONE], ids=str)
def test_an_index_that_is_gone_is_made_again_from_the_blocks(
    home: Home, saved: list[Saved], gone: tuple[str, ...]
) -> None:
    def drop(db: Any) -> None:
        for name in gone:
            db.execute(f"DROP TABLE {name}")

    home.database.write(drop)
    states = home.reopen()
    assert states.list().versions == saved[::-1]
    assert [states.newest(one.chain) for one in saved[1::2]] == saved[1::2]
    assert states.verify().findings == []


@pytest.mark.parametrize("lost", ["state_head", "state_version"])
def test_an_index_that_lost_rows_is_made_again(home: Home, saved: list[Saved], lost: str) -> None:
    home.database.write(
        lambda db: db.execute(f"DELETE FROM {lost} WHERE chain = ?", (saved[2].chain,))
    )
    assert home.reopen().list().versions == saved[::-1]


def test_an_index_of_another_format_is_made_again(home: Home, saved: list[Saved]) -> None:
    home.database.write(lambda db: db.execute("UPDATE state_index SET format = 9"))
    assert home.reopen().list().versions == saved[::-1]


def test_a_pinned_version_of_a_stranger_gets_no_row(home: Home, saved: list[Saved]) -> None:
    home.owner = node(5)
    home.signers.own = node(5).did
    home.reopen()
    assert home.states.rebuild() == 0
    assert home.states.list().versions == []


def test_a_version_without_its_key_is_listed_and_says_so(home: Home, saved: list[Saved]) -> None:
    home.keys.known.clear()
    assert home.states.rebuild() == len(saved)
    shown = home.states.list().versions
    assert [one.cid for one in shown] == [one.cid for one in saved[::-1]]
    assert {(one.flow, one.status, one.label) for one in shown} == {("", "sealed", None)}
