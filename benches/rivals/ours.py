"""Qflow's log."""

from __future__ import annotations

from pathlib import Path

from qflow import _core

ORIGIN, SEED = "bench.example/log", bytes(32)
VKEY = _core.generate_vkey(ORIGIN, SEED)


class Ours:
    promises = (
        "fsync and a signed head for each group, before append returns; records kept whole, "
        "chains checked; receipt: record, path and signed head, checked with the public key"
    )

    def __init__(self, folder: Path) -> None:
        self.path = str(folder)
        self.log = _core.Log(self.path, origin=ORIGIN, seed=SEED)

    def append(self, records: list[bytes]) -> None:
        self.log.append_durable(records)

    def publish(self) -> None:
        self.log.publish()

    def prove(self, index: int) -> bytes:
        return _core.make_receipt(self.path, index)

    def check(self, proof: bytes) -> int:
        _core.check_receipt(proof, VKEY, None)
        return len(proof)

    def close(self) -> None:
        self.log.close()


def verify(folder: Path) -> int:
    found = _core.verify_log(str(folder), VKEY)
    assert not found["findings"], found["findings"]
    return int(found["size"])
