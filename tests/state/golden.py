"""The golden bytes of versions and segments. `python tests/state/golden.py` prints them."""

from __future__ import annotations

import json
from typing import Any, Final

from qflow import _core
from qflow.state._segment import make_segments
from qflow.state._version import Summary, make_version
from qflow.trust import public_half
from qflow.trust._signers import did_of_public

SEED: Final = bytes(range(1, 33))
KEY: Final = bytes(range(100, 132))
KEY_NUMBER: Final = 5
CHAIN: Final = bytes.fromhex("018f0000000000000000000000000001")
RECORDS: Final = [(b"record one", None), (b"record two", b"payload of two"), (b"three", None)]


def cid(text: bytes, codec: str = "dag-cbor") -> bytes:
    """Some CID."""
    return bytes(_core.cid_of(text, codec))


def segments() -> list[dict[str, Any]]:
    """A first segment, and one that follows it."""
    key, first = _core.SealingKey(KEY_NUMBER, KEY), 0
    made: list[dict[str, Any]] = []
    previous: bytes | None = None
    for records in (RECORDS[:2], RECORDS[2:]):
        named = [(data, None if text is None else cid(text, "raw")) for data, text in records]
        ((name, block),) = make_segments(CHAIN, first, previous, named, key)
        made.append(
            {
                "first": first,
                "previous": previous and previous.hex(),
                "records": [data.hex() for data, _ in records],
                "payloads": [payload.hex() for _, payload in named if payload],
                "cid": str(_core.Cid(name)),
                "block": block.hex(),
            }
        )
        first, previous = first + len(records), name
    return made


def versions() -> list[dict[str, Any]]:
    """A first version, and one that follows it and has all that may be absent."""
    key = _core.SealingKey(KEY_NUMBER, KEY)
    made: list[dict[str, Any]] = []
    previous: bytes | None = None
    did = did_of_public(public_half(SEED))
    for number, words in enumerate(({}, {"label": "before billing", "description": "Täglich"})):
        summary: dict[str, Any] = {
            "flow": "examples/orders/1.0.0",
            "why": "facts",
            "size": 100 + number,
            "frames": 3,
            "status": "running",
            **words,
        }
        fields = {
            "subnet": "default",
            "chain": CHAIN,
            "epoch": number,
            "number": number,
            "previous": previous,
            "at": 1_700_000_000_000 + number,
            "node": did,
            "key": KEY_NUMBER,
            "seq": 10 * number + 9,
            "head": bytes([number]) * 32,
            "state": cid(b"state"),
            "history": cid(b"history"),
            "flow": cid(b"flow"),
        }
        block = make_version(fields, Summary(**summary), key, SEED)
        shown = {k: v.hex() if isinstance(v, bytes) else v for k, v in fields.items()}
        previous = cid(block)
        made.append({"fields": shown, "summary": summary, "cid": str(_core.Cid(previous)),
                     "block": block.hex()})  # fmt: skip
    return made


def golden() -> dict[str, Any]:
    """All of it."""
    return {
        "seed": SEED.hex(),
        "key": KEY.hex(),
        "key_number": KEY_NUMBER,
        "chain": CHAIN.hex(),
        "segments": segments(),
        "versions": versions(),
    }


if __name__ == "__main__":
    print(json.dumps(golden(), indent=2, ensure_ascii=False))  # noqa: T201  (this writes the file)
