"""Keys and secrets of this node, in their local form: files that nobody else can read."""

from qflow.trust._key import (
    NodeKey,
    is_protected,
    load_or_create_key,
    load_seed,
    protect_key,
    public_half,
)
from qflow.trust._key_envelope import (
    ENVELOPE_BYTES_MAX,
    KeyEnvelope,
    make_envelope,
    open_envelope,
    parse_envelope,
)
from qflow.trust._key_file import KeyFile, parse_key_file, read_key_file, write_key_file
from qflow.trust._keyring import Keyring
from qflow.trust._passphrase import passphrase_for, read_passphrase
from qflow.trust._qlock import LocalQlock, Qlock
from qflow.trust._redaction import MARK
from qflow.trust._rotation import Rotation
from qflow.trust._secrets import Secrets, hide_secrets
from qflow.trust._signatures import RemoteVerifier, verify_signature
from qflow.trust._signers import Signers, did_of_public, public_of_did
from qflow.trust._subnet_keys import SubnetKeys

__all__ = [
    "ENVELOPE_BYTES_MAX",
    "MARK",
    "KeyEnvelope",
    "KeyFile",
    "Keyring",
    "LocalQlock",
    "NodeKey",
    "Qlock",
    "RemoteVerifier",
    "Rotation",
    "Secrets",
    "Signers",
    "SubnetKeys",
    "did_of_public",
    "hide_secrets",
    "is_protected",
    "load_or_create_key",
    "load_seed",
    "make_envelope",
    "open_envelope",
    "parse_envelope",
    "parse_key_file",
    "passphrase_for",
    "protect_key",
    "public_half",
    "public_of_did",
    "read_key_file",
    "read_passphrase",
    "verify_signature",
    "write_key_file",
]
