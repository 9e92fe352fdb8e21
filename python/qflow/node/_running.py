"""The runner of a node's attempts, and the bounds of its engine, as the settings have them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qflow import engine
from qflow.clock import Clock
from qflow.steps import Functions, Limits, Runner
from qflow.trust import Secrets

if TYPE_CHECKING:
    from qflow.config import Config
    from qflow.node._documents import SharedDocuments


def make_runner(
    config: Config, functions: Functions, clock: Clock, documents: SharedDocuments
) -> Runner:
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
        documents=documents,
    )


def engine_limits(config: Config) -> engine.Limits:
    """The bounds of the engine, as the settings have them."""
    return engine.Limits(
        attempts_in_flight_max=config.engine.attempts_in_flight_max,
        executions_resident_max=config.engine.executions_resident_max,
        checkpoint_every_facts=config.checkpoint.every_facts,
        checkpoint_every_s=config.checkpoint.every_s,
    )


def load_functions(functions: Functions, config: Config) -> None:
    """Add what installed packages offer and the files of the settings declare. Blocks."""
    functions.load_entry_points()
    for path in config.functions:
        functions.load_file(path)
