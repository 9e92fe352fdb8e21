"""Asking witnesses: those that fail are reported, and hold up neither the others nor the log."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise
from pathlib import Path

import anyio
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from qflow import _core
from qflow.api import HttpLimits, Listener
from qflow.api._public import public_app
from qflow.audit import Log, Witness, Witnessing
from qflow.audit._witness import SIZE_TYPE
from qflow.audit._witnessing import BACKOFF_S_MAX
from qflow.testing import ManualClock
from qflow.trust import NodeKey, load_or_create_key
from tests.nodes import until

pytestmark = [pytest.mark.anyio, pytest.mark.holds("H16")]

EVERY_S = 3.0
TIMEOUT_S = 1.0
LIMITS = HttpLimits(grace_s=1.0)
Behaviour = Callable[[Request], Awaitable[Response]]


class Key:
    """Of the witness of this number."""

    def __init__(self, number: int) -> None:
        self.origin, self.seed = f"witness.example/{number}", bytes([number, *range(100, 131)])

    @property
    def vkey(self) -> str:
        return _core.generate_witness_vkey(self.origin, self.seed)


@asynccontextmanager
async def honest(path: Path, number: int, *logs: str) -> AsyncIterator[str]:
    """A real witness behind a real listener; its URL."""
    witness = Witness(path / f"{number}.db", Key(number), ManualClock(), logs)
    async with Listener(public_app(witness=witness), "127.0.0.1", 0, LIMITS) as listener:
        yield f"{listener.url}/witness"
    witness.close()


@asynccontextmanager
async def behaving(behaviour: Behaviour) -> AsyncIterator[str]:
    app = Starlette(routes=[Route("/add-checkpoint", behaviour, methods=["POST"])])
    async with Listener(app, "127.0.0.1", 0, LIMITS) as listener:
        yield listener.url


def policy_of(urls: Sequence[str], quorum: str = "any") -> _core.Policy:
    """Witnesses 1, 2, ... at these URLs."""
    names = [f"w{number}" for number in range(1, len(urls) + 1)]
    lines = [
        f"witness {name} {Key(number).vkey} {url}"
        for number, (name, url) in enumerate(zip(names, urls, strict=True), 1)
    ]
    return _core.Policy("\n".join([*lines, f"group g {quorum} {' '.join(names)}", "quorum g\n"]))


@asynccontextmanager
async def asking(
    home: Path, policy: _core.Policy, clock: ManualClock, log: Log
) -> AsyncIterator[Witnessing]:
    asked = Witnessing(log, policy, clock, every_s=EVERY_S, timeout_s=TIMEOUT_S)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(asked.run)
        yield asked
        tasks.cancel_scope.cancel()


@pytest.fixture
def key(tmp_path: Path) -> NodeKey:
    return load_or_create_key(tmp_path)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def log(tmp_path: Path, key: NodeKey) -> AsyncIterator[Log]:
    async with Log(str(tmp_path / "log"), key, segment_bytes=1 << 20) as log:
        await log.append([b"the first record"])
        yield log


async def grown(asked: Witnessing, clock: ManualClock, log: Log) -> None:
    """One more record, and its round is over."""
    await log.append([b"a record"])
    await round_over(asked, clock, log.size)


async def round_over(asked: Witnessing, clock: ManualClock, size: int) -> None:
    with anyio.fail_after(20):
        while asked.status().size < size:
            await clock.advance(3000)
            await anyio.wait_all_tasks_blocked()


def witnessed(log: Log) -> bytes:
    return (log.path / "witnessed").read_bytes()


async def test_each_head_gets_the_cosignatures_of_all(
    tmp_path: Path, key: NodeKey, clock: ManualClock, log: Log
) -> None:
    async with AsyncExitStack() as stack:
        urls = [
            await stack.enter_async_context(honest(tmp_path, number, key.vkey))
            for number in (1, 2, 3)
        ]
        policy = policy_of(urls, "all")
        async with asking(tmp_path, policy, clock, log) as asked:
            await until(lambda: asked.status().met)
            for _ in range(3):
                await grown(asked, clock, log)
                assert asked.status().met
                assert policy.cosignatures(witnessed(log)).keys() == {"w1", "w2", "w3"}
                assert _core.parse_checkpoint(witnessed(log), key.vkey) == (log.size, log.root)
    assert [one.problem for one in asked.status().witnesses] == [None] * 3


async def hang(_: Request) -> Response:
    await anyio.Event().wait()
    return Response()


async def break_down(_: Request) -> Response:
    return Response(b"out of order", 500)


async def babble(_: Request) -> Response:
    return Response(b"\xff\x00 not a signature \n\n" * 50_000)


async def lie(request: Request) -> Response:
    """A line of the right name and key, over another head."""
    _, _, note = _core.parse_add_checkpoint(await request.body())
    line = _core.cosign(note, SELF[0], Key(2).origin, Key(2).seed, 1)
    return Response(line.replace("A", "B"))


async def sign_for_another(request: Request) -> Response:
    _, _, note = _core.parse_add_checkpoint(await request.body())
    return Response(_core.cosign(note, SELF[0], "stranger.example", bytes(range(32)), 1))


async def want_more(_: Request) -> Response:
    return Response(b"1000000\n", 409, headers={"content-type": SIZE_TYPE})


async def contradict(_: Request) -> Response:
    return Response(b"the proof does not hold\n", 422)


async def send_elsewhere(_: Request) -> Response:
    return Response(b"", 307, headers={"location": "http://127.0.0.1:1/"})


async def waver(request: Request) -> Response:
    old, _, _ = _core.parse_add_checkpoint(await request.body())
    return Response(b"%d\n" % (1 - old), 409, headers={"content-type": SIZE_TYPE})


SELF = [""]
"""The verifier key of the log under test, for the witnesses that lie about it."""


@pytest.mark.parametrize(
    ("behaviour", "says", "is_fork"),
    [
        (hang, "no answer within", False),
        (break_down, "answered 500", False),
        (babble, "", False),
        (lie, "cosignature is bad", False),
        (sign_for_another, "no cosignature of its key", False),
        (want_more, "knows 1000000 records of this log, which has 1", True),
        (contradict, "another history", True),
        (send_elsewhere, "answered 307", False),
        (waver, "changes its mind", False),
    ],
)
async def test_a_witness_that_fails_is_reported_and_holds_up_nobody(
    tmp_path: Path,
    key: NodeKey,
    clock: ManualClock,
    log: Log,
    behaviour: Behaviour,
    says: str,
    is_fork: bool,
) -> None:
    SELF[0] = key.vkey
    async with (
        honest(tmp_path, 1, key.vkey) as good,
        behaving(behaviour) as bad,
        asking(tmp_path, policy_of([good, bad]), clock, log) as asked,
    ):
        await until(lambda: asked.status().met and asked.status().witnesses[1].problem)
        status = asked.status()
        assert says in (status.witnesses[1].problem or "")
        assert status.witnesses[1].is_fork == is_fork
        assert (status.cosignatures, status.witnesses[0].size) == (1, 1)
        assert _core.cosigned_at(witnessed(log), Key(1).vkey) is not None
        await log.append([b"the log goes on"])


async def test_one_that_cannot_be_reached_is_reported(
    tmp_path: Path, key: NodeKey, clock: ManualClock, log: Log
) -> None:
    async with asking(tmp_path, policy_of(["http://127.0.0.1:1"]), clock, log) as asked:
        await until(lambda: asked.status().unmet_since_ms)
        (one,) = asked.status().witnesses
        assert one.problem
        assert not asked.status().met
    assert not (log.path / "witnessed").exists()


async def test_too_few_cosignatures_are_said_with_the_time_since_when(
    tmp_path: Path, key: NodeKey, clock: ManualClock, log: Log
) -> None:
    async with honest(tmp_path, 1, key.vkey) as good, behaving(break_down) as bad:
        policy = policy_of([good, bad], "all")
        began = clock.now_ms()
        async with asking(tmp_path, policy, clock, log) as asked:
            await until(lambda: asked.status().unmet_since_ms)
            await grown(asked, clock, log)
            status = asked.status()
            assert (status.met, status.cosignatures, status.unmet_since_ms) == (False, 1, began)
            assert not policy.is_met(witnessed(log))


async def test_a_head_that_cannot_be_kept_is_not_said_to_be_witnessed(
    tmp_path: Path, key: NodeKey, clock: ManualClock, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full: nothing stops, nothing is claimed, and it is asked for again later."""

    async def full(_: str) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    async with (
        honest(tmp_path, 1, key.vkey) as url,
        asking(tmp_path, policy_of([url]), clock, log) as asked,
    ):
        with monkeypatch.context() as patch:
            patch.setattr(log, "save_witnessed", full)
            await until(lambda: asked.status().witnesses[0].problem)
            status = asked.status()
            assert "not kept" in str(status.witnesses[0].problem)
            assert (status.met, status.witnesses[0].size) == (False, 0)
            assert not (log.path / "witnessed").exists()
        with anyio.fail_after(20):
            while not asked.status().met:
                await clock.advance(3000)
                await anyio.wait_all_tasks_blocked()
        assert _core.parse_checkpoint(witnessed(log), key.vkey) == (log.size, log.root)


async def test_a_head_with_its_quorum_is_not_given_up_for_a_newer_one_without(
    tmp_path: Path, key: NodeKey, clock: ManualClock, log: Log
) -> None:
    policies = []
    async with honest(tmp_path, 1, key.vkey) as one:
        async with honest(tmp_path, 2, key.vkey) as two:
            policies.append(policy_of([one, two], "all"))
            async with asking(tmp_path, policies[0], clock, log) as asked:
                await until(lambda: asked.status().met)
                before = witnessed(log)
        # The second is gone: the log goes on, and what was witnessed stays.
        async with asking(tmp_path, policies[0], clock, log) as asked:
            await grown(asked, clock, log)
            assert not asked.status().met
            assert asked.status().cosignatures == 1
    assert witnessed(log) == before


async def test_a_witness_that_comes_back_is_asked_again_after_a_growing_while(
    tmp_path: Path, key: NodeKey, clock: ManualClock, log: Log
) -> None:
    times: list[int] = []

    async def count(_: Request) -> Response:
        times.append(clock.now_ms())
        return Response(b"", 503)

    async with behaving(count) as url, asking(tmp_path, policy_of([url]), clock, log) as asked:
        with anyio.fail_after(20):
            while len(times) < 12:
                # Time stands still while the question is under way.
                await until(lambda: clock._sleepers)
                await clock.advance(1000)
        assert asked.status().witnesses[0].problem == "it answered 503"
    waits = [(after - before) / 1000 for before, after in pairwise(times)]
    for number, wait_s in enumerate(waits, 1):
        longest_s = min(BACKOFF_S_MAX, 2.0**number)
        assert longest_s / 2 - 1 <= wait_s <= max(longest_s, EVERY_S) + EVERY_S + 1, waits


async def test_a_restored_backup_that_goes_on_is_told_apart_by_its_witness(
    tmp_path: Path, key: NodeKey, clock: ManualClock
) -> None:
    async with honest(tmp_path, 1, key.vkey) as url:
        policy = policy_of([url])
        for name, records, problem in (
            ("log", ["a", "b", "c", "d"], None),
            ("shorter", ["a", "b"], "knows 4 records of this log, which has 2"),
            ("same size", ["a", "b", "x", "y"], "knows another head of 4 records"),
            ("longer", ["a", "b", "x", "y", "z"], "another history"),
        ):
            async with Log(str(tmp_path / name), key, segment_bytes=1 << 20) as log:
                await log.append([text.encode() for text in records])
                async with asking(tmp_path, policy, clock, log) as asked:
                    await until(lambda: asked.status().size)
                    (one,) = asked.status().witnesses
                    assert (one.problem or "None").endswith(problem or "None") or (
                        problem is not None and problem in (one.problem or "")
                    )
                    assert one.is_fork == (problem is not None)
                    assert asked.status().met == (problem is None)


async def test_after_a_restart_a_head_that_is_witnessed_already_is_not_sent_again(
    tmp_path: Path, key: NodeKey, clock: ManualClock, log: Log
) -> None:
    async with honest(tmp_path, 1, key.vkey) as url:
        policy = policy_of([url])
        async with asking(tmp_path, policy, clock, log) as asked:
            await until(lambda: asked.status().met)
    async with asking(tmp_path, policy, clock, log) as asked:
        await until(lambda: asked.status().met)
        assert asked.status().witnesses[0].problem is None


async def test_a_log_does_not_ask_itself(
    tmp_path: Path, key: NodeKey, clock: ManualClock, log: Log
) -> None:
    own = _core.generate_witness_vkey(key.origin, key.seed)
    policy = _core.Policy(f"witness me {own} http://127.0.0.1:1\nquorum me\n")
    async with asking(tmp_path, policy, clock, log) as asked:
        await until(lambda: asked.status().unmet_since_ms)
        assert asked.status().witnesses == ()
        assert not asked.status().met
