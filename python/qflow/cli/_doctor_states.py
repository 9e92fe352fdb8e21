"""The doctor's check of the store of states."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from qflow.cli._finding import GOOD, WARN, Finding
from qflow.cli._output import plural, size

if TYPE_CHECKING:
    from qflow.cli._session import Session

GARBAGE_BYTES_MAX = 64 << 20
"""More, and it is worth collecting."""


def states(session: Session, _: list[Path]) -> Finding:
    """The store of states opens; how much it holds, and what endpoints are still owed."""
    from qflow.node._stored import FILE, open_stored
    from qflow.trust import Keyring, load_or_create_key

    path = session.home / FILE
    if not path.exists():
        return Finding("states", GOOD, "none yet")
    config = session.config
    key = load_or_create_key(session.home, passphrase=config.keys.passphrase_file)
    with (
        closing(Keyring(session.home, lambda: key.seed)) as keys,
        closing(open_stored(config, key, keys)) as stored,
    ):
        held, garbage = stored.states.stats(), stored.states.garbage()
        owed = sum(item.pins + item.releases for item in stored.elsewhere.outbox.status())
    found = f"{plural(held['versions'], 'version')} of {plural(held['chains'], 'execution')}"
    found += f", {size(path.stat().st_size)} on disk"
    if garbage.blocks:
        found += f", {size(garbage.size_bytes)} of it garbage"
    if owed:
        found += f", {plural(owed, 'pin')} owed"
    if garbage.size_bytes > GARBAGE_BYTES_MAX:
        return Finding("states", WARN, found, "qflow state garbage --collect")
    return Finding("states", GOOD, found)
