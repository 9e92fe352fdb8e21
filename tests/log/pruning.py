"""Prunings for tests: the record, the cut, and the file `pruned` made from its page alone.

As a program it prunes a log; a test kills it on the way.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qflow import _core
from tests.audit.chains import Chain, Frame, chain_id
from tests.log.logs import crc32c, open_log

PRUNED = "q.qflow.history.pruned.v1"
OWN = chain_id(900)

Live = Sequence[tuple[bytes, int, bytes]]


def pruning(own: Chain, carried: Live, **says: Any) -> Frame:
    """The record of a pruning, with its blocks. `says`: segment, minimum, head, reason, kind."""
    kind = says.pop("kind", PRUNED)
    data = _core.encode([list(chain) for chain in carried])
    cid = _core.cid_of(data)
    payload = {"reason": "old", "carried": [cid], **says}
    records, blocks = own.frame((kind, {}, payload))
    return records, [*blocks, (bytes(cid), data)]


def record_pruning(log: _core.Log, own: Chain, before: int, **other: Any) -> int:
    """Append the record of a pruning before a segment; its index. `other` replaces what is true."""
    first = {number: first for number, first, _ in log.segments}
    says: dict[str, Any] = {"segment": before, "minimum": first[before], "head": log.head}
    carried = other.pop("carried", None)
    live = log.survey(before) if carried is None else carried
    return log.append_durable(*pruning(own, live, **says | other))


def prune(log: _core.Log, own: Chain, segment: int) -> int:
    """Prune before a segment; the index of the record."""
    record = record_pruning(log, own, segment)
    assert log.prune(record) > 0
    return record


def pruned_file(
    vkey: str, segment: int, minimum: int, record: int, address: int, partials: bytes
) -> bytes:
    """Of docs/formats/log.md, from the page."""
    log_id = hashlib.sha256(vkey.encode()).digest()[:8]
    numbers = (segment, minimum, record, address)
    rest = (1).to_bytes(4, "little") + log_id
    rest += b"".join(number.to_bytes(8, "little") for number in numbers) + partials
    return b"QFLOWPRN" + crc32c(rest).to_bytes(4, "little") + rest


def main(path: Path) -> None:
    log = open_log(path)
    segment = log.segments[-2][0]
    prune(log, Chain(chain_id(901)), segment)
    log.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
