"""PyPI witness-log: a Merkle log in JSON lines, in Rust behind PyO3."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import witness_log

SEED = bytes(range(32))


class WitnessLog:
    promises = (
        "append writes without fsync, sync() after each group makes it durable; a head is signed "
        "when asked, not for each group; leaves are salted hashes, records beside them are "
        "checked one by one (disclosure); proof: record, salt, path, not the head's signature"
    )

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = str(folder / "journal")
        # Without the store of payloads it would keep hashes only, and no record.
        self.log = witness_log.open(path, identity_seed=SEED, store_payloads=True)

    def append(self, records: list[bytes]) -> None:
        for record in records:
            self.log.append_memory(record)
        self.log.sync()

    def publish(self) -> None:
        (self.folder / "dossier").write_text(self.log.to_dossier_json(), encoding="utf-8")
        (self.folder / "identity").write_text(self.log.identity_pubkey_hex(), encoding="ascii")

    def prove(self, index: int) -> tuple[Any, ...]:
        shown = self.log.disclose(index)
        size, root, path = self.log.inclusion_proof(index)
        leaf = self.log.leaf_hash_hex(index)
        return json.dumps(shown["leaf"]), shown["payload"], shown["salt"], leaf, size, path, root

    def check(self, proof: tuple[Any, ...]) -> int:
        shown, payload, salt, leaf, size, path, root = proof
        assert witness_log.verify_disclosure(shown, payload, salt)
        index = json.loads(shown)["index"]
        assert witness_log.verify_inclusion(leaf, index, size, path, root)
        return len(shown) + len(payload) + len(salt) + len(root) + sum(map(len, path))

    def close(self) -> None:
        self.log.close()


def verify(folder: Path) -> int:
    dossier = (folder / "dossier").read_text(encoding="utf-8")
    key = (folder / "identity").read_text(encoding="ascii")
    report = json.loads(witness_log.verify_dossier_json(dossier, 0.66, key))
    assert report["verdict"] == "unanchored", report
    return int(report["leaf_count"])
