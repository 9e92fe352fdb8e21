"""Keys and secrets of this node, in their local form: files that nobody else can read."""

from qflow.trust._key import NodeKey, load_or_create_key
from qflow.trust._redaction import MARK
from qflow.trust._secrets import Secrets, hide_secrets

__all__ = ["MARK", "NodeKey", "Secrets", "hide_secrets", "load_or_create_key"]
