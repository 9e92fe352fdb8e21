"""A node: the only place that knows every part."""

from qflow.node._node import Node
from qflow.node._public import WITNESS_FILE, open_witness

__all__ = ["WITNESS_FILE", "Node", "open_witness"]
