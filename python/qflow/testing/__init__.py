"""What tests of flows and of Qflow itself need: time by hand."""

from qflow.testing._clock import ManualClock

__all__ = ["ManualClock"]
