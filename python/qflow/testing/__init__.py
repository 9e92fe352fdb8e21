"""What tests of flows and of Qflow itself need: time by hand, and promises as suites."""

from qflow.testing._blocks import MemoryBlocks
from qflow.testing._blockstore import check_blockstore
from qflow.testing._clock import ManualClock

__all__ = ["ManualClock", "MemoryBlocks", "check_blockstore"]
