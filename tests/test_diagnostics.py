"""Lines for whoever runs the node: structlog comes with the first one, set up."""

from __future__ import annotations

import subprocess
import sys

import structlog

from qflow.diagnostics import load, logger, prepare


def test_structlog_is_imported_with_the_first_line() -> None:
    program = (
        "import sys\n"
        "from qflow.diagnostics import logger, prepare\n"
        "log = logger('here')\n"
        "prepare(lambda: print('set up'))\n"
        "print('structlog' in sys.modules)\n"
        "log.warning('index is behind', why='busy')\n"
    )
    out = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert out[:2] == ["False", "set up"]
    assert "index is behind" in out[2]


def test_it_is_set_up_at_once_when_somebody_else_imported_it() -> None:
    done: list[str] = []
    prepare(lambda: done.append("set up"))
    assert done == ["set up"]
    load()
    assert done == ["set up"], "and only once"


def test_a_line_goes_where_structlog_is_configured_to_send_it() -> None:
    log = logger("here")
    with structlog.testing.capture_logs() as lines:
        log.error("the log failed", error="disk")
    assert lines == [{"event": "the log failed", "error": "disk", "log_level": "error"}]


def test_a_traceback_goes_with_an_exception() -> None:
    log = logger("here")
    with structlog.testing.capture_logs() as lines:
        try:
            raise ValueError("odd")
        except ValueError:
            log.exception("call failed")
    assert lines == [{"event": "call failed", "exc_info": True, "log_level": "error"}]
