"""Waiting until as many stores have a pin as a quorum asks for."""

from __future__ import annotations

from pathlib import Path

import pytest

from qflow.errors import UnavailableError
from tests.kubo.daemon import Daemon
from tests.storage.outboxes import home, node, raw, text

pytestmark = pytest.mark.anyio

LEAF = raw(b"a part")
ONE, TWO = node(LEAF, text="one"), node(LEAF, text="two")


async def test_a_quorum_waits_for_as_many_as_it_needs(
    tmp_path: Path, kubos: tuple[Daemon, Daemon]
) -> None:
    first, second = kubos
    with home(tmp_path, first.url, second.url) as here:
        second.stop()
        here.keep(ONE, parts=[LEAF])
        await here.outbox.settle([ONE[0]], 0)
        await here.outbox.settle([ONE[0]], 1)
        assert first.pins().keys() == {text(ONE)}
        with pytest.raises(UnavailableError, match="1 of 2"):
            await here.outbox.settle([ONE[0]], 2)
        second.start()
        await here.outbox.settle([ONE[0]], 2)
    assert second.pins().keys() == {text(ONE)}


@pytest.mark.holds("S2")
async def test_what_was_released_while_its_quorum_was_waited_for_is_not_confirmed(
    tmp_path: Path, kubo: Daemon
) -> None:
    with home(tmp_path, kubo.url) as here:
        here.keep(ONE, TWO, parts=[LEAF])
        here.drop(ONE)
        with pytest.raises(UnavailableError, match=r"0 of 1 .* released"):
            await here.outbox.settle([ONE[0], TWO[0]], 1)
        assert here.owed == [0]
        await here.outbox.settle([TWO[0]], 1)
    assert kubo.pins().keys() == {text(TWO)}
