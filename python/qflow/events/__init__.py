"""CloudEvents, the catalogue of Qflow's own, and the bus between the parts of a node."""

from qflow.events._bus import Bus
from qflow.events._catalogue import catalogue, validate
from qflow.events._envelope import CloudEvent
from qflow.events._record import record_event

__all__ = ["Bus", "CloudEvent", "catalogue", "record_event", "validate"]
