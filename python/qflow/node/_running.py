"""The runner of a node's attempts, as the settings have it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qflow.clock import Clock
from qflow.steps import Functions, Limits, Runner
from qflow.trust import Secrets

if TYPE_CHECKING:
    from qflow.config import Config


def make_runner(config: Config, functions: Functions, clock: Clock) -> Runner:
    """To be entered by whoever runs attempts."""
    http = config.http
    return Runner(
        functions=functions,
        secrets=Secrets(config.home),
        clock=clock,
        limits=Limits(
            connections_max=http.connections_max,
            connect_timeout_s=http.connect_timeout_s,
            call_timeout_s=http.call_timeout_s,
            response_bytes_max=http.response_bytes_max,
        ),
        routes=http.routes,
        proxy=http.proxy,
    )
