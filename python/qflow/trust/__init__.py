"""Keys and secrets of this node, in their local form: files that nobody else can read."""

from qflow.trust._key import NodeKey, load_or_create_key, load_seed, public_half
from qflow.trust._keyring import Keyring
from qflow.trust._redaction import MARK
from qflow.trust._secrets import Secrets, hide_secrets
from qflow.trust._signatures import RemoteVerifier, verify_signature

__all__ = [
    "MARK",
    "Keyring",
    "NodeKey",
    "RemoteVerifier",
    "Secrets",
    "hide_secrets",
    "load_or_create_key",
    "load_seed",
    "public_half",
    "verify_signature",
]
