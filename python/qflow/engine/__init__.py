"""Flow document -> decisions (pure) -> execution (durable)."""

from qflow.engine._engine import Engine
from qflow.engine._flow import Flow
from qflow.engine._functions import functions_called
from qflow.engine._limits import Limits
from qflow.engine._live import Identity, Live
from qflow.engine._load import load_flow
from qflow.engine._replay import Entry, type_of
from qflow.engine._schedules import Schedules
from qflow.engine._sealed import Checkpoint
from qflow.engine._state import Fact, Status

__all__ = [
    "Checkpoint",
    "Engine",
    "Entry",
    "Fact",
    "Flow",
    "Identity",
    "Limits",
    "Live",
    "Schedules",
    "Status",
    "functions_called",
    "load_flow",
    "type_of",
]
