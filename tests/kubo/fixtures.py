"""Kubo for tests. The daemons live as long as the test run; each test finds them running and empty.

A test may stop, kill or pause what it gets.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.kubo.daemon import Daemon


def session_daemon(paths: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemon(paths.mktemp("kubo")) as daemon:
        yield daemon


@pytest.fixture(scope="session")
def _first_kubo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    yield from session_daemon(tmp_path_factory)


@pytest.fixture(scope="session")
def _second_kubo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    yield from session_daemon(tmp_path_factory)


def ready(daemon: Daemon) -> Daemon:
    if daemon.runs:
        daemon.resume()
    daemon.start()
    daemon.clear()
    return daemon


@pytest.fixture
def kubo(_first_kubo: Daemon) -> Daemon:
    """A running Kubo without pins and blocks."""
    return ready(_first_kubo)


@pytest.fixture
def kubos(_first_kubo: Daemon, _second_kubo: Daemon) -> tuple[Daemon, Daemon]:
    """Two of them, that know nothing of each other."""
    return ready(_first_kubo), ready(_second_kubo)
