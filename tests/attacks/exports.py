"""Exports that say something else than the log.

Who has no key can only put files and manifests together that were made for others. The exporter
signs the manifest, and may sign one that is not true; the records still have to lead to a head of
the log. The second auditor has the log too (`--log`).
"""

from __future__ import annotations

import base64
import random
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from qflow import _core, model
from qflow.audit import Query
from qflow.audit.export import LogFolder, export, verify_export
from qflow.errors import VerificationError
from qflow.testing import ManualClock
from tests.attacks import forge
from tests.attacks.attack import NOT_FOUND, Outcome, Power, attack
from tests.attacks.honest import ORIGIN, Honest, key_of

EXPORT = "exports (the second auditor has the log as well)"
FORMATS = ("jsonl", "csv")
SUFFIX = ".manifest.json"
TYPE = "application/vnd.in-toto+json"
CLOCK = ManualClock()


@dataclass(frozen=True)
class Exporter:
    """The key of the log, which signs manifests too."""

    seed: bytes
    origin: str = ORIGIN

    @property
    def did(self) -> str:
        return "did:key:zExporter"

    @property
    def vkey(self) -> str:
        return _core.generate_vkey(self.origin, self.seed)


@dataclass
class Export:
    """A file and its manifest, and the log and key by which they were made."""

    honest: Honest
    file: Path
    seed: bytes

    @property
    def manifest(self) -> Path:
        return self.file.with_name(self.file.name + SUFFIX)

    @property
    def header(self) -> int:
        """Lines before the first row."""
        return 1 if self.file.suffix == ".csv" else 0

    def rows(self) -> list[bytes]:
        return self.file.read_bytes().splitlines(keepends=True)[self.header :]

    def write_rows(self, rows: list[bytes]) -> None:
        head = self.file.read_bytes().splitlines(keepends=True)[: self.header]
        self.file.write_bytes(b"".join([*head, *rows]))

    def statement(self) -> dict[str, Any]:
        """What the manifest says."""
        envelope = msgspec.json.decode(self.manifest.read_bytes())
        said: dict[str, Any] = msgspec.json.decode(base64.b64decode(envelope["payload"]))
        return said

    def sign(self, said: dict[str, Any]) -> None:
        """Sign a statement, in an envelope of DSSE as its page has it."""
        payload = msgspec.json.encode(said)
        message = b"DSSEv1 %d %s %d %s" % (len(TYPE), TYPE.encode(), len(payload), payload)
        signature = forge.Signer(ORIGIN, self.seed).sign(message)
        envelope = {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": TYPE,
            "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}],
        }
        self.manifest.write_bytes(msgspec.json.encode(envelope))

    def sign_again(self, change: Callable[[dict[str, Any]], None] = lambda _: None) -> None:
        """Make the manifest fit the file as it is now, and sign it."""
        said = self.statement()
        digest = sha256(self.file.read_bytes()).hexdigest()
        for subject in said["subject"]:
            if "sha256" in subject["digest"]:
                subject["digest"]["sha256"] = digest
        change(said)
        self.sign(said)

    def verdict(self, log: Path | None) -> str:
        try:
            report = verify_export(self.file, self.honest.vkey, clock=CLOCK, log=log)
        except VerificationError:
            return "INVALID"
        return NOT_FOUND if report.ok else report.verdict


Forgery = Callable[[Export, random.Random], None]


def on_export(
    name: str, *claims: str, asked: str = "all", **rest: Any
) -> Callable[[Forgery], Forgery]:
    """Enter an attack on the export of all records, of one execution, or of one actor's flow."""

    def enter(change: Forgery) -> Forgery:
        due: dict[str, Any] = {"family": EXPORT, "claims": claims} | rest

        @attack(name, **due)
        def make(honest: Honest, chance: random.Random, folder: Path) -> Outcome:
            made = exported(honest, chance, folder / f"export.{chance.choice(FORMATS)}", asked)
            assert made.verdict(None) == NOT_FOUND
            change(made, chance)
            alone, with_log = made.verdict(None), made.verdict(honest.closed)
            return Outcome(alone, with_log, alone)

        return change

    return enter


def exported(honest: Honest, chance: random.Random, file: Path, asked: str) -> Export:
    seed = honest.signer.seed
    export(
        LogFolder(honest.closed),
        file,
        key=Exporter(seed),
        clock=CLOCK,
        query=question(honest, chance, asked),
    )
    return Export(honest, file, seed)


def question(honest: Honest, chance: random.Random, asked: str) -> Query:
    records = forge.read_journal(honest.closed).records
    if asked == "execution":
        ended = [
            fields["chain"]
            for fields in map(_core.decode_record, records)
            if fields["type"] == "q.qflow.exec.completed.v1"
        ]
        return Query(execution=model.id_text(chance.choice(ended)))
    if asked == "flow":
        return Query(flow=_core.decode_record(chance.choice(records))["flow"])
    return Query()


def drop(made: Export, chance: random.Random, at: int | None = None) -> None:
    rows = made.rows()
    del rows[chance.randrange(len(rows)) if at is None else at]
    made.write_rows(rows)


def fewer(said: dict[str, Any]) -> None:
    said["predicate"]["rows"]["count"] -= 1


@on_export("a row left out", "H20")
def missing(made: Export, chance: random.Random) -> None:
    drop(made, chance)


@on_export("a row left out of an execution", "H20", asked="execution")
def missing_in_chain(made: Export, chance: random.Random) -> None:
    drop(made, chance)


@on_export("a cell changed", "H1", "H20")
def changed(made: Export, chance: random.Random) -> None:
    change_cell(made, chance)


def change_cell(made: Export, chance: random.Random) -> None:
    rows = made.rows()
    at = chance.randrange(len(rows))
    before, after = chance.choice([(b"ann", b"eve"), (b"shop/flow-", b"shop/flaw-")])
    rows[at] = rows[at].replace(before, after, 1)
    made.write_rows(rows)


@on_export("the manifest of another export", "H17", "H20")
def other_manifest(made: Export, chance: random.Random) -> None:
    other = made.file.with_name("other" + made.file.suffix)
    theirs = exported(made.honest, chance, other, "execution")
    made.manifest.write_bytes(theirs.manifest.read_bytes())


@on_export("another head in the manifest, not signed again", "H6", "H20")
def swapped_head(made: Export, chance: random.Random) -> None:
    said = made.statement()
    said["predicate"]["head"] = chance.choice(made.honest.heads[:-1]).decode()
    envelope = msgspec.json.decode(made.manifest.read_bytes())
    envelope["payload"] = base64.b64encode(msgspec.json.encode(said)).decode()
    made.manifest.write_bytes(msgspec.json.encode(envelope))


@on_export("all of it made by a stranger, of a log of the same name", "H5", "H17", "H20")
def strangers(made: Export, chance: random.Random) -> None:
    seed = key_of(made.honest.seed, of="other log")
    for old in (made.file, made.manifest):
        old.unlink()
    export(LogFolder(made.honest.other), made.file, key=Exporter(seed), clock=CLOCK)


@on_export("the manifest signed by a stranger", "H5", "H20")
def signed_by_stranger(made: Export, chance: random.Random) -> None:
    made.seed = key_of(made.honest.seed, of="stranger")
    drop(made, chance)
    made.sign_again(fewer)


EXPORTER: dict[str, Any] = {"power": Power.KEY}


@on_export("the exporter leaves a row out, and signs", "H20", **EXPORTER)
def signed_missing(made: Export, chance: random.Random) -> None:
    drop(made, chance)
    made.sign_again(fewer)


@on_export(
    "the exporter leaves a row out of an execution, and signs", "H20", asked="execution", **EXPORTER
)
def signed_missing_in_chain(made: Export, chance: random.Random) -> None:
    drop(made, chance, chance.randrange(len(made.rows()) - 1))
    made.sign_again(fewer)


@on_export(
    "the exporter leaves the end of an execution out, and signs",
    "H20",
    asked="execution",
    **EXPORTER,
)
def signed_without_end(made: Export, chance: random.Random) -> None:
    drop(made, chance, -1)
    made.sign_again(fewer)


@on_export("the exporter changes a cell, and signs", "H1", "H20", **EXPORTER)
def signed_changed(made: Export, chance: random.Random) -> None:
    change_cell(made, chance)
    made.sign_again()


@on_export("the exporter writes a row twice, and signs", "H20", **EXPORTER)
def signed_twice(made: Export, chance: random.Random) -> None:
    rows = made.rows()
    at = chance.randrange(len(rows))
    made.write_rows([*rows[:at], rows[at], *rows[at:]])
    made.sign_again(more)


def more(said: dict[str, Any]) -> None:
    said["predicate"]["rows"]["count"] += 1


@on_export("the exporter swaps two rows, and signs", "H20", **EXPORTER)
def signed_swapped(made: Export, chance: random.Random) -> None:
    rows = made.rows()
    at = chance.randrange(len(rows) - 1)
    rows[at], rows[at + 1] = rows[at + 1], rows[at]
    made.write_rows(rows)
    made.sign_again()


@on_export("the exporter adds a row of another flow, and signs", "H20", asked="flow", **EXPORTER)
def signed_foreign(made: Export, chance: random.Random) -> None:
    other = Export(made.honest, made.file.with_name("all" + made.file.suffix), made.seed)
    export(LogFolder(made.honest.closed), other.file, key=Exporter(made.seed), clock=CLOCK)
    mine = made.rows()
    rows = [row for row in other.rows() if row in mine or chance.random() < 0.1]
    made.write_rows(rows)

    def change(said: dict[str, Any]) -> None:
        said["predicate"]["rows"]["count"] = len(rows)

    made.sign_again(change)


@on_export("the exporter names an earlier head, and signs", "H20", **EXPORTER)
def signed_head(made: Export, chance: random.Random) -> None:
    head = chance.choice(made.honest.heads[:-1]).decode()
    made.sign_again(lambda said: said["predicate"].update(head=head))


@on_export(
    "the exporter asks for less than the query says, and signs",
    "H20",
    asked="flow",
    alone="-",
    known="INVALID",
    note="that an answer across chains is complete, the exporter says, and the check says so",
    **EXPORTER,
)
def signed_less(made: Export, chance: random.Random) -> None:
    """Made by the real exporter, for one flow in a shorter time; the manifest leaves that out."""
    said = made.statement()
    query, until = said["predicate"]["query"], chance.randrange(3, 6)
    for old in (made.file, made.manifest):
        old.unlink()
    asked = Query(flow=query["flow"], until=1_750_000_000_000 + until)
    export(
        LogFolder(made.honest.closed), made.file, key=Exporter(made.seed), clock=CLOCK, query=asked
    )
    made.sign_again(lambda said: said["predicate"].update(query=query))


@on_export(
    "the exporter ends an execution early, with a receipt of its last row, and signs",
    "H20",
    asked="execution",
    alone="-",
    known="INVALID",
    note="that nothing came after it, the exporter says, and the check says so",
    **EXPORTER,
)
def signed_early(made: Export, chance: random.Random) -> None:
    said = made.statement()["predicate"]
    chain = model.id_bytes(said["query"]["execution"])
    records = forge.read_journal(made.honest.closed).records
    *mine, _ = [n for n, one in enumerate(records) if _core.decode_record(one)["chain"] == chain]
    head = said["head"].encode()
    receipt = _core.make_receipt(str(made.honest.closed), mine[-1], head=head).decode()
    root = forge.Tree([forge.leaf_hash(records[n]) for n in mine]).root.hex()

    def change(said: dict[str, Any]) -> None:
        rows, proof = said["predicate"]["rows"], said["predicate"]["proof"]
        rows.update(count=len(mine), last=mine[-1])
        proof.update(receipt=receipt, ended=False)
        said["subject"][-1]["digest"]["rfc6962"] = root

    drop(made, chance, -1)
    made.sign_again(change)
