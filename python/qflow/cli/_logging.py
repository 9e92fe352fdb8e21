"""Where the program's own log lines go: stderr, so that stdout holds results alone."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    from qflow.config import Config


def configure(config: Config, redact: Sequence[Any] = ()) -> None:
    """Log at the level and in the format that are set; `redact` sees every line last."""
    renderer: Any
    if config.log_format == "json" or (config.log_format == "auto" and not sys.stderr.isatty()):
        renderer = structlog.processors.JSONRenderer()
    else:
        coloured = config.log_format == "auto"
        renderer = structlog.dev.ConsoleRenderer(colors=coloured)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            *redact,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            getattr(logging, config.log_level.upper())
        ),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
    )
