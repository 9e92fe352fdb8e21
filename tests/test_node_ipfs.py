"""An execution that outlives its machine, as people would see it: tests/end_to_end/ipfs.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.end_to_end import ipfs
from tests.kubo.daemon import Daemon

Story = Callable[[Path, Daemon, Callable[[str], None]], None]


@pytest.mark.holds("S1", "S2", "S4", "S9")
@pytest.mark.parametrize("story", ipfs.STORIES.values(), ids=ipfs.STORIES.keys())
def test_an_execution_goes_on_without_its_machine(
    story: Story, kubo: Daemon, tmp_path: Path
) -> None:
    kubo.stop()
    story(tmp_path, kubo, print)
