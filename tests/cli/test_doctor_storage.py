"""What the doctor says of Kubo endpoints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
import structlog
from typer.testing import Result

from qflow.clock import SystemClock
from qflow.storage import Database
from tests.cli.test_witness import check
from tests.kubo.daemon import Daemon
from tests.storage.outboxes import Home, node, raw

Run = Callable[..., Result]
LEAF = raw(b"a leaf")


def stored(home: Path, url: str) -> Home:
    return Home(home / "state.db", [url], SystemClock())


def finding(qflow: Run) -> Any:
    return check(qflow("doctor", "--json"), "storage")


@pytest.fixture
def named(home: Path, kubo: Daemon) -> Daemon:
    """A Kubo that the settings name."""
    (home / "qflow.toml").write_text(f'[storage]\nkubo = ["{kubo.url}"]\ntimeout_s = 1.0\n')
    return kubo


def test_without_endpoints_nothing_is_wrong(qflow: Run, home: Path) -> None:
    found = finding(qflow)
    assert (found["status"], found["found"]) == ("OK", "states are kept in this home alone")
    assert not (home / "state.db").exists()


def test_an_endpoint_that_answers(qflow: Run, home: Path, named: Daemon) -> None:
    assert "Kubo 0.43.0" in finding(qflow)["found"]
    with stored(home, named.url).database:
        found = finding(qflow)
        assert found["status"] == "OK"
        assert found["found"] == f"{named.url}: owed nothing, Kubo 0.43.0"


def test_what_it_is_owed_and_since_when_it_is_lost(qflow: Run, home: Path, named: Daemon) -> None:
    here = stored(home, named.url)
    with here.database:
        here.keep(node(LEAF), parts=[LEAF])
        found = finding(qflow)
        assert (found["status"], "owed 1 pin since 20" in found["found"]) == ("WARN", True)
        assert "qflow state sync" in found["fix"]
        named.stop()
        # The command's stderr, where lines go since, is closed by now.
        structlog.reset_defaults()
        anyio.run(here.outbox.catch_up)
        found = finding(qflow)
        assert found["status"] == "WARN"
        assert "not since 20" in found["found"]
        assert found["fix"] == f"start what should answer at {named.url}"


def test_an_endpoint_that_lied(qflow: Run, home: Path, named: Daemon) -> None:
    with stored(home, named.url).database as database:
        _mark(database)
        found = finding(qflow)
    assert (found["status"], "it gave other bytes" in found["found"]) == ("WARN", True)


def _mark(database: Database) -> None:
    until_ms = SystemClock().now_ms() + 60_000
    query = "UPDATE outbox_endpoint SET bad_until_ms = ?, lies = 1"
    database.write(lambda db: db.execute(query, (until_ms,)))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ('kubo = ["127.0.0.1:5001"]', "an endpoint is a URL"),
        ("quorum = 2", "storage.quorum is 2, but there are 1 stores"),
    ],
)
def test_settings_that_cannot_be_right(qflow: Run, home: Path, settings: str, words: str) -> None:
    (home / "qflow.toml").write_text(f"[storage]\n{settings}\n")
    found = check(qflow("doctor", "--json"), "storage")
    assert (found["status"], words in found["found"]) == ("FAIL", True)
