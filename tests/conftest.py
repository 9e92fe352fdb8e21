"""What every test may ask for: both async backends, and the data from outside."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from qflow import diagnostics

pytest_plugins = ["tests.kubo.fixtures"]

ROOT = Path(__file__).resolve().parent.parent

# `make fuzz N=...` asks for more. A deadline would measure a busy machine, not the code.
hypothesis.settings.register_profile(
    "qflow",
    max_examples=int(os.environ.get("QFLOW_TEST_EXAMPLES", "50")),
    deadline=None,
    print_blob=True,
)
hypothesis.settings.load_profile("qflow")


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Every test marked `anyio` runs on both."""
    return str(request.param)


@pytest.fixture(scope="session")
def full() -> bool:
    """Whether the long form of a test is wanted (`make fault-test`), or a small part of it."""
    return os.environ.get("QFLOW_TEST_FULL") == "1"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of test data from outside: `../shared/data`, or `QFLOW_SHARED_DATA`.

    It is not part of the project, so a checkout alone may skip what needs it; CI may not.
    """
    folder = Path(os.environ.get("QFLOW_SHARED_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        missing = f"no test data at {folder}; QFLOW_SHARED_DATA names another place"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return folder


@pytest.fixture(autouse=True)
def _own_log_lines() -> Iterator[None]:
    """A command that ran in this process leaves its stderr, closed by now, as their place."""
    yield
    diagnostics.prepare(None)
    if "structlog" in sys.modules:
        sys.modules["structlog"].reset_defaults()


@pytest.fixture(scope="session")
def strace() -> str:
    """The program that fails system calls. A checkout alone may skip what needs it; CI may not."""
    found = shutil.which("strace")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("strace is missing")
        pytest.skip("strace is missing")
    return found
