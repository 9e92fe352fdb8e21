"""The executions that a stored state waits for: the subflows that its unfinished steps began."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from qflow import _core, model
from qflow.api._states import Refused
from qflow.engine._snapshot import thaw
from qflow.errors import (
    BlockNotFoundError,
    CorruptError,
    ExecutionStateError,
    QflowError,
    VerificationError,
)
from qflow.node._state_files import Chosen, refused_of
from qflow.node._state_views import cid_text

if TYPE_CHECKING:
    from qflow.state import Saved, States

Settled = Callable[[bytes, "Saved | None"], bool]
"""Whether a chain needs nothing of the store, given its newest good version, if it has one."""


class Family(msgspec.Struct):
    """What is kept of the subflows beneath one state, at any depth."""

    versions: list[Saved] = []
    """The newest good one of each. Whoever waits comes before what it waits for."""
    missing: list[str] = []
    """Executions of which no version is kept."""
    refused: list[Refused] = []
    """Versions that are not good."""

    @property
    def bad(self) -> list[Refused]:
        """Those of executions that have no good one."""
        good = {model.id_text(saved.chain) for saved in self.versions}
        return [item for item in self.refused if item.execution not in good]


def family_of(
    states: States, root: Saved, *, settled: Settled = lambda chain, saved: False
) -> Family:
    """Find the subflows of a version that was verified. Those that are settled are left out, with
    all beneath them. Raises as `States.load`, VerificationError for a name that is none."""
    family, seen, due = Family(), {root.chain}, [root]
    while due:
        for name in awaited(states, due.pop(0)):
            chain = model.id_bytes(name)
            if chain in seen:
                continue
            seen.add(chain)
            newest = states.newest(chain)
            good, refused = (None, []) if newest is None else _look(states, newest)
            if settled(chain, good):
                continue
            family.refused += refused
            if good is not None:
                family.versions.append(good)
                due.append(good)
            elif newest is None:
                family.missing.append(name)
    return family


def _look(states: States, newest: Saved) -> tuple[Saved | None, list[Refused]]:
    try:
        return newest_good(states, newest)
    except QflowError as error:
        return None, [refused_of(newest, str(error))]


def awaited(states: States, saved: Saved) -> list[str]:
    """The executions that steps under way in a version's state began. Raises as `States.load`."""
    state = thaw(_core.decode(states.load(saved.cid)))
    frames = state.frames.values()
    names = [f.data["child"]["id"] for f in frames if f.kind == "subflow" and f.running]
    try:
        for name in names:
            model.id_bytes(name)
    except ValueError as error:
        raise VerificationError(f"its state names an execution that is none: {error}") from None
    return list(dict.fromkeys(names))


def choose(states: States, asked: Sequence[Saved]) -> Chosen:
    """What is exported for these: each or the good one before it, and what it waits for."""
    versions: dict[bytes, Saved] = {}
    children: dict[bytes, Saved] = {}
    refused: dict[str, Refused] = {}
    missing: dict[str, None] = {}
    for saved in asked:
        try:
            good, bad = newest_good(states, saved)
            family = family_of(states, good)
        except QflowError as error:
            refused[cid_text(saved.cid)] = refused_of(saved, str(error))
            continue
        versions[good.cid] = good
        children |= {child.cid: child for child in family.versions}
        refused |= {item.cid: item for item in (*bad, *family.refused)}
        missing |= dict.fromkeys(family.missing)
    return Chosen(
        list((versions | children).values()),
        list(refused.values()),
        frozenset(children).difference(versions),
        tuple(missing),
    )


def check_whole(saved: Saved, family: Family, *, children_anew: bool) -> None:
    """Without what an execution waits for, restoring it would begin that anew.

    Raises ExecutionStateError, or VerificationError when something is there and none of it good.
    """
    name = model.id_text(saved.chain)
    if family.bad:
        why = "; ".join(f"{item.execution}: {item.why}" for item in family.bad)
        raise VerificationError(f"{name} waits for an execution with no good checkpoint: {why}")
    if family.missing and not children_anew:
        raise ExecutionStateError(
            f"{name} waits for {', '.join(family.missing)}, and there is no checkpoint of that"
            " here: qflow state import or recover brings it, or --children-anew begins it anew"
        )


def newest_good(states: States, named: Saved) -> tuple[Saved, list[Refused]]:
    """The first that verifies of a version and those before it, and what was refused."""
    refused: list[Refused] = []
    for saved in states.history(named.chain):
        if saved.number > named.number:
            continue
        try:
            good = states.check(saved.cid)
            if good.chain != named.chain:
                raise VerificationError("it is of another execution than the index says")
            return good, refused
        except (VerificationError, BlockNotFoundError, CorruptError) as error:
            refused.append(refused_of(saved, str(error)))
    why = "; ".join(f"{item.cid}: {item.why}" for item in refused)
    raise VerificationError(f"no checkpoint of {model.id_text(named.chain)} is good: {why}")
