"""A running node, reached from other processes of this machine through its control socket."""

from qflow.api._client import Client
from qflow.api._control import Control, actor_of, serve
from qflow.api._follow import FINAL_TYPES, follow
from qflow.api._http import HttpLimits, Listener, parse_address
from qflow.api._ports import Executions, NodeLike, Triggers
from qflow.api._record import record_document
from qflow.api._socket import socket_path
from qflow.api._wire import parse_json, to_json, to_plain

__all__ = [
    "FINAL_TYPES",
    "Client",
    "Control",
    "Executions",
    "HttpLimits",
    "Listener",
    "NodeLike",
    "Triggers",
    "actor_of",
    "follow",
    "parse_address",
    "parse_json",
    "record_document",
    "serve",
    "socket_path",
    "to_json",
    "to_plain",
]
