"""Logs to export, who signs, and a dishonest exporter."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from qflow import _core, model
from qflow.audit import Query
from qflow.audit.export import (
    Exported,
    ExportReport,
    Format,
    LogFolder,
    export,
    verify_export,
)
from qflow.audit.export._manifest import (
    SUFFIX,
    Manifest,
    build_manifest,
    open_manifest,
    question_of,
    sign_manifest,
)
from qflow.testing import ManualClock
from qflow.trust import NodeKey
from tests.audit.chains import Chain, chain_id

AT = 1_700_000_000_000
KEY = NodeKey(
    seed=bytes(range(32)),
    public=b64decode(_core.generate_vkey("k", bytes(range(32))).split("+", 2)[2])[1:],
)
FORMATS = tuple(Format)
TEXTS = (Format.JSONL, Format.CSV, Format.XML)

Fact = tuple[str, str | None, int | None, tuple[Any] | None, Mapping[str, Any]]


def clock(at: int = AT) -> ManualClock:
    return ManualClock(at)


class Writer:
    """A log that is written record by record."""

    def __init__(self, path: Path) -> None:
        self.path = path / "log"
        self.log = _core.Log(str(self.path), origin=KEY.origin, seed=KEY.seed)

    def add(
        self,
        facts: Sequence[Fact],
        *,
        chain: bytes = chain_id(1),
        flow: str = "shop/order/1.0.0",
        actor: str = "ann",
        node: str = "node",
        subnet: str = "default",
        at: int = AT,
    ) -> None:
        """The only records of a chain."""
        records, blocks, _ = _core.encode_records(
            chain, 0, bytes(32), flow, at, actor, node, subnet, 1, facts
        )
        self.log.append_durable(records, blocks)

    def close(self) -> LogFolder:
        self.log.close()
        return LogFolder(self.path)


def write_log(path: Path, chains: int = 3, steps: int = 40) -> LogFolder:
    """Executions side by side; all but the last have ended."""
    writer = Writer(path)
    made = [Chain(chain_id(number), f"shop/flow-{number % 2}/1.0.0") for number in range(chains)]
    for chain in made:
        writer.log.append_durable(*chain.frame(("created", {"key": 0}, {"of": chain.id})))
    for step in range(steps):
        for chain in made:
            kind = "step_failed" if step % 7 == 3 else "step_completed"
            writer.log.append_durable(*chain.frame((kind, {"frame": step})))
    for chain in made[:-1]:
        writer.log.append_durable(*chain.frame(("completed", {}, {"total": 1})))
    return writer.close()


def write(folder: LogFolder, path: Path, **options: Any) -> Exported:
    defaults: dict[str, Any] = {"key": KEY, "clock": clock()}
    return export(folder, path, **(defaults | options))


def check(path: Path, **options: Any) -> ExportReport:
    defaults: dict[str, Any] = {"clock": clock()}
    return verify_export(path, KEY.vkey, **(defaults | options))


def manifest_of(path: Path) -> Manifest:
    data = path.with_name(path.name + SUFFIX).read_bytes()
    return open_manifest(data, KEY.public, AT)


def sign(path: Path, manifest: Manifest) -> None:
    path.with_name(path.name + SUFFIX).write_bytes(sign_manifest(manifest, KEY))


def sign_again(path: Path) -> None:
    """What an exporter can do who leaves records out: sign what is left, with all that follows."""
    manifest = manifest_of(path)
    said = manifest.predicate
    query = question_of(manifest)
    seen = _core.check_rows(
        str(path),
        said.format.name,
        first=0,
        end=1 << 40,
        complete="claimed",
        filter=query.filter() if said.query else None,
    )
    rows = msgspec.structs.replace(
        said.rows, count=seen["rows"], first=seen["first"], last=seen["last"]
    )
    said = msgspec.structs.replace(said, rows=rows)
    subject = manifest.file
    assert subject is not None
    digest = msgspec.structs.replace(subject.digest, sha256=sha256(path.read_bytes()).hexdigest())
    subject = msgspec.structs.replace(subject, digest=digest)
    root = manifest.root if said.completeness == "range" else seen["root"]
    assert root is not None
    sign(path, build_manifest(said, root, subject))


def drop_lines(path: Path, *numbers: int) -> list[int]:
    """Take rows out of a file of JSON lines; their indices."""
    lines = path.read_bytes().splitlines(keepends=True)
    gone = [json.loads(lines[number])["index"] for number in numbers]
    kept = [line for number, line in enumerate(lines) if number not in numbers]
    path.write_bytes(b"".join(kept))
    return gone


def of_chain(number: int) -> Query:
    return Query(execution=model.id_text(chain_id(number)))
