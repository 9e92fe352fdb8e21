"""A Kubo that lies, or holds what others put there, while a node recovers states from it."""

from __future__ import annotations

import random
from base64 import b32decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from qflow import _core
from qflow.errors import QflowError
from qflow.node._state_recovery import Recovery
from qflow.storage import Kubo
from qflow.trust import open_envelope
from tests.attacks.stored import honest
from tests.attacks.stored.attack import Use
from tests.attacks.stored.forge import Forgery
from tests.attacks.stored.judge import served
from tests.attacks.stored.versions import byte_of
from tests.kubo.daemon import Daemon
from tests.storage import bad_kubo as bad
from tests.stored import Home

pytestmark = pytest.mark.anyio
TIMEOUT_S = 0.4
PATIENCE_S = 60.0
CALLS = ("pin/ls", "block/get", "dag/export")


@pytest.fixture
def anyio_backend() -> str:
    """One is enough: that both hold is shown where each call is tested."""
    return "trio"


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> honest.Honest:
    return honest.make(7, tmp_path_factory.mktemp("honest"))


class Plain:
    """Stands for what makes answers of versions; nobody reads them here."""

    def checkpoint(self, saved: Any) -> Any:
        return saved


async def recovered(home: Home, *urls: str) -> Any:
    """What `qflow state recover` does in a home, in bounded time."""
    views: Any = Plain()
    recovery = Recovery(
        home.states,
        home.blocks,
        views,
        subnet=home.subnet,
        signers=home.signers,
        adopt=lambda data: home.keys.adopt(
            open_envelope(data, home.keys, home.signers, subnet=home.subnet)
        ),
        open_kubo=lambda url: Kubo(url, timeout_s=TIMEOUT_S),
    )
    result = None
    with anyio.fail_after(PATIENCE_S):
        async for step in recovery.run(urls, []):
            result = step.result
    return result


def put(kubo: Daemon, car: bytes) -> None:
    kubo.ipfs("dag", "import", "--pin-roots=true", stdin=car)


async def test_an_honest_kubo_gives_everything(
    homes: honest.Honest, kubo: Daemon, tmp_path: Path
) -> None:
    put(kubo, homes.car)
    with Home(homes.copy(homes.target, tmp_path)) as home:
        brought = await recovered(home, kubo.url)
        assert brought.refused == ()
        assert served(homes, home) == Use.EQUAL


@pytest.mark.holds("S11", "S14")
@pytest.mark.parametrize("name", sorted(bad.ACTORS))
async def test_whatever_it_does_nothing_false_is_taken_and_it_is_said(
    name: str, homes: honest.Honest, kubo: Daemon, tmp_path: Path, full: bool
) -> None:
    put(kubo, homes.car)
    calls = CALLS if full else [CALLS[sorted(bad.ACTORS).index(name) % len(CALLS)]]
    for call in calls:
        path = homes.copy(homes.target, tmp_path / call.replace("/", "-"))
        with (
            Home(path) as home,
            bad.bad_kubo(bad.ACTORS[name], upstream=kubo.url, on=(call,)) as server,
        ):
            try:
                brought = await recovered(home, server.url)
                silent = [one for one in brought.endpoints if one.error]
                said = bool(silent or brought.refused)
            except QflowError:
                said = True
            use = served(homes, home)
            assert use in {Use.REFUSED, Use.EQUAL}, call
            # That nothing is pinned there is an answer that may be true.
            may_be_true = (name, call) == ("no_bytes", "pin/ls")
            assert said or may_be_true or use == Use.EQUAL, call
            # Another endpoint makes good what this one did not give.
            await recovered(home, server.url, kubo.url)
            assert served(homes, home) == Use.EQUAL, call


def stranger(forgery: Forgery, chance: random.Random) -> None:
    forgery.sign(chance.randbytes(32))


def version(forgery: Forgery, chance: random.Random) -> None:
    byte_of("version")(forgery, chance)


def state_part(forgery: Forgery, chance: random.Random) -> None:
    byte_of("state part")(forgery, chance)


def payload(forgery: Forgery, chance: random.Random) -> None:
    byte_of("payload")(forgery, chance)
    forgery.sign(forgery.honest.signer)


@pytest.mark.holds("S6", "S14")
@pytest.mark.parametrize("change", [version, state_part, stranger, payload])
async def test_what_others_pinned_there_is_refused_and_hides_nothing(
    change: Callable[[Forgery, random.Random], None],
    homes: honest.Honest,
    kubo: Daemon,
    tmp_path: Path,
) -> None:
    forgery = Forgery(homes)
    change(forgery, random.Random(4))
    put(kubo, forgery.car())
    with Home(homes.copy(homes.target, tmp_path / "alone")) as home:
        brought = await recovered(home, kubo.url)
        assert brought.refused
        assert served(homes, home) == Use.REFUSED
    put(kubo, homes.car)
    with Home(homes.copy(homes.target, tmp_path / "beside")) as home:
        brought = await recovered(home, kubo.url)
        assert brought.refused
        assert served(homes, home) == Use.EQUAL


@pytest.mark.holds("S14")
async def test_a_version_of_which_something_is_missing_is_refused(
    homes: honest.Honest, kubo: Daemon, tmp_path: Path
) -> None:
    needed = [cid for cid in homes.blocks if cid not in homes.roots]
    lost = random.Random(5).choice(needed)
    put(kubo, homes.car)
    file = kubo.repository / "blocks"
    before = kubo.blocks()
    kubo.stop()
    text = str(_core.Cid(b"\x01\x55" + lost[2:]))
    assert text in before
    (gone,) = [one for one in file.rglob("*.data") if name_of(one) == text]
    gone.unlink()
    kubo.start()
    with Home(homes.copy(homes.target, tmp_path)) as home:
        brought = await recovered(home, kubo.url)
        assert brought.refused
        assert served(homes, home) == Use.REFUSED


def name_of(file: Path) -> str:
    """The CIDv1 of a block file: Kubo names it by its hash in base 32."""
    stem = file.stem
    return str(_core.Cid(b"\x01\x55" + b32decode(stem + "=" * (-len(stem) % 8))))
