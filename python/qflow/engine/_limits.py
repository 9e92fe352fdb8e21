"""Bounds of the engine that its settings may change."""

from __future__ import annotations

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of the engine, and what happens at them."""

    attempts_in_flight_max: int = 256
    """More wait in order."""
    executions_resident_max: int = 1000
    """Those that only wait leave memory; busy ones stay."""
    checkpoint_every_facts: int = 500
    """Records between two checkpoints of an execution: a replay is about as long as this."""
    checkpoint_every_s: float = 60.0
    """An execution with facts since its last checkpoint gets one after so long; 0: never so."""
