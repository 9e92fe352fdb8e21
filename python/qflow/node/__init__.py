"""A node: the only place that knows every part."""

from qflow.node._node import Node

__all__ = ["Node"]
