"""Blocks by their content, on this machine's disk and on IPFS."""

from qflow.storage._blocks import BLOCK_BYTES_MAX, Block, Blockstore
from qflow.storage._car import CarParser, read_car, write_car
from qflow.storage._database import Database
from qflow.storage._kubo import Kubo
from qflow.storage._outbox import Outbox, Pin, check_quorum, endpoint_statuses
from qflow.storage._replicated import Replicated
from qflow.storage._sqlite import SqliteBlocks
from qflow.storage._url import is_private
from qflow.storage._wanted import EndpointStatus

__all__ = [
    "BLOCK_BYTES_MAX",
    "Block",
    "Blockstore",
    "CarParser",
    "Database",
    "EndpointStatus",
    "Kubo",
    "Outbox",
    "Pin",
    "Replicated",
    "SqliteBlocks",
    "check_quorum",
    "endpoint_statuses",
    "is_private",
    "read_car",
    "write_car",
]
