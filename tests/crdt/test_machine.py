"""Replicas in every trouble, step by step beside the specification."""

from __future__ import annotations

import os
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.crdt.machine import Failure, difference, episodes
from tests.crdt.replicas import Author, Replica
from tests.crdt.specification import History
from tests.crdt.steps import WEIGHTS, Call, Step, call

STEPS = int(os.environ.get("QFLOW_TEST_CRDT_STEPS", "3000"))
NUMBERS = st.integers(0, 2**32 - 1)
PROGRAMS = st.lists(st.builds(Step, st.sampled_from(sorted(WEIGHTS)), NUMBERS, NUMBERS, NUMBERS))


@pytest.mark.holds("C1")
@pytest.mark.holds("C2")
@pytest.mark.holds("C3")
@pytest.mark.holds("C4")
@pytest.mark.holds("C5")
@pytest.mark.holds("C6")
@pytest.mark.holds("C12")
@pytest.mark.holds("C14")
def test_every_step_is_the_specifications() -> None:
    done: Counter[str] = Counter()
    try:
        for one in episodes(STEPS, seed=10_000, processes=1):
            done += one
    except Failure as failure:
        pytest.fail(str(failure), pytrace=False)
    kinds = {name for name, weight in WEIGHTS.items() if weight}
    assert kinds <= set(done), "a kind of step never ran"


@settings(max_examples=20)
@given(st.integers(2, 4), PROGRAMS)
def test_no_program_shows_a_difference(count: int, steps: list[Step]) -> None:
    assert not difference(count, steps, Counter())


def test_a_long_transaction_is_cut_into_changes_between_calls() -> None:
    history = History()
    one, two = (Replica(author.seed, author.key, history) for author in (Author(1), Author(2)))
    chance = random.Random(1)
    calls = [call(chance) for _ in range(12)]
    for at in range(0, 12, 3):
        members = {f"{number:03}": number for number in range(70 + at)}
        calls.insert(at, Call("set", ("m", f"{at}"), (members,)))
    sent = one.transact(calls)
    assert sent is not None
    assert len(sent.cids) > 1
    two.receive(sent.pack, sent.cids)
    for replica in (one, two):
        replica.check()
