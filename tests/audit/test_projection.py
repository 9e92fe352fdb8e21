"""The index is the fold of the log, however the log was cut, whenever it was asked."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from qflow import model
from qflow.audit import Index
from tests.audit.chains import Chain, MemorySource, chain_id

PROGRESS = ["step_completed", "step_failed", "step_skipped", "timer_fired", "recovered"]
ENDS = ["completed", "faulted", "aborted"]
CHECKPOINT = "q.qflow.checkpoint.created.v1"

metas = st.fixed_dictionaries(
    {},
    optional={
        "wake_at": st.integers(0, 2**40),
        "listen": st.lists(st.sampled_from(["a.b", "c", "*"]), max_size=3, unique=True),
    },
)
facts: st.SearchStrategy[tuple[Any, ...]] = st.one_of(
    st.sampled_from([*PROGRESS, "paused", "resumed", "continued"]).map(lambda kind: (kind, {})),
    metas.map(lambda meta: ("suspended", meta)),
    st.just((CHECKPOINT, {}, {"state": 1})),
)
lives = st.tuples(
    st.sampled_from(["test/greet/1.0.0", "test/greet/2.0.0", "other/greet/1.0.0"]),
    st.lists(facts, max_size=12),
    st.sampled_from([None, *ENDS]),
)


def expected(flow: str, life: list[tuple[Any, ...]]) -> dict[str, Any]:
    """The contract, read off the whole list of facts and not step by step."""
    kinds = [fact[0] for fact in life]
    told = [fact for fact in life if fact[0] != CHECKPOINT]
    pauses = [i for i, fact in enumerate(told) if fact[0] == "paused"]
    resumes = [i for i, fact in enumerate(told) if fact[0] == "resumed"]
    held = bool(pauses) and (not resumes or resumes[-1] < pauses[-1])
    free = told
    if held:
        # What it waited for is what it waited for when it was first held.
        first = min(i for i in pauses if not resumes or i > resumes[-1])
        free = told[:first]
    waits = free[-1][1] if free and free[-1][0] == "suspended" else {}
    if told and told[-1][0] in ENDS:
        status, waits = told[-1][0], {}
    elif held:
        status = "paused"
    else:
        status = "waiting" if free and free[-1][0] == "suspended" else "running"
    return {
        "flow": flow,
        "status": status,
        "seq": len(life),
        "wake_at": waits.get("wake_at"),
        "listens": tuple(waits.get("listen", ())),
        "snapshot": max((i + 1 for i, k in enumerate(kinds) if k == CHECKPOINT), default=None),
    }


def seen(index: Index, shown: model.Execution) -> dict[str, Any]:
    return {
        "flow": shown.flow,
        "status": shown.status,
        "seq": shown.seq,
        "wake_at": shown.wake_at,
        "listens": shown.listens,
        "snapshot": index.snapshot_seq(model.id_bytes(shown.id)),
    }


def answers(index: Index) -> dict[str, dict[str, Any]]:
    return {shown.id: seen(index, shown) for shown in index.executions(limit=1000)}


@given(st.lists(lives, min_size=1, max_size=4), st.data())
def test_answers_equal_the_fold_of_the_facts(
    drawn: list[tuple[str, list[tuple[Any, ...]], str | None]], data: st.DataObject
) -> None:
    source, chains, left, want = MemorySource(), [], [], {}
    for number, (flow, life, end) in enumerate(drawn, 1):
        whole = [*life, (end, {})] if end else life
        chains.append(Chain(chain_id(number), flow))
        left.append([("created", {"definition": ""}), *whole])
        want[model.id_text(chain_id(number))] = expected(flow, whole)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index.db"
        index = Index(path)
        while any(left):
            # Any chain goes on, by any number of facts in one commit; anything may happen between.
            which = data.draw(st.sampled_from([i for i, facts in enumerate(left) if facts]))
            count = data.draw(st.integers(1, len(left[which])))
            source.append(*chains[which].frame(*left[which][:count]))
            del left[which][:count]
            between = data.draw(st.sampled_from(["nothing", "catch up", "restart", "delete"]))
            if between == "catch up":
                index.catch_up(source)
            elif between != "nothing":
                index.close()
                if between == "delete":
                    path.unlink()
                index = Index(path)
        index.catch_up(source)
        assert answers(index) == want
        index.rebuild(source)
        assert answers(index) == want
        index.close()
