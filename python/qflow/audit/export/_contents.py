"""Payloads for an export: opened where their keys are at hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from qflow import _core
from qflow.audit._read import Unsealer
from qflow.errors import CorruptError, ErasedError, UnavailableError

_SEALED: Final = b"QFSP"


def opener(unsealer: Unsealer) -> Callable[[bytes, bytes], bytes | None]:
    """What gives the DAG-CBOR in the payload block of a record; None when it cannot be read.

    It raises CorruptError for a block that is not the one which the record names.
    """

    def opened(data: bytes, block: bytes) -> bytes | None:
        record = _core.decode_record(data)
        cid = record["payload"]
        if _core.cid_of(block, cid.codec) != cid:
            raise CorruptError(f"the block is not {cid}")
        if cid.codec != "raw":
            return block if cid.codec == "dag-cbor" else None
        if not block.startswith(_SEALED):
            return None
        try:
            key = unsealer.key_of(record["chain"], _core.sealed_with(block))
        except (ErasedError, UnavailableError):
            return None
        return key.unseal(
            block,
            subnet=record["subnet"],
            chain=record["chain"],
            seq=record["seq"],
            epoch=record["epoch"],
            prev=record["prev"],
        )

    return opened
