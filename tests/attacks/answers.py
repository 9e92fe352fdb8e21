"""Answers from an index that lies: it only says where to look, so that nothing may be missing."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from qflow import _core, model
from qflow.audit import History, Index, Query
from qflow.errors import CorruptError, ExecutionNotFoundError, UnavailableError
from tests.attacks import forge
from tests.attacks.attack import NOT_FOUND, Outcome, attack
from tests.attacks.honest import Honest

ANSWER = "answers from an index that lies"
COMPLETE, REFUSED = "COMPLETE", "REFUSED"
Lie = Callable[[Honest, random.Random, Path], None]


def on_index(
    name: str,
    *,
    alone: str = f"{COMPLETE}|{REFUSED}",
    note: str = "every answer is compared with the log, and the index made again",
) -> Callable[[Lie], Lie]:
    """Enter an attack: `lie` changes a closed index; then somebody asks."""

    def enter(lie: Lie) -> Lie:
        @attack(name, family=ANSWER, claims=["H15", "H20"], alone=alone, note=note)
        def make(honest: Honest, chance: random.Random, folder: Path) -> Outcome:
            file = indexed(honest.closed, folder / "index.db")
            lie(honest, chance, file)
            said = answer(honest, chance, file)
            return Outcome(said, said, said)

        return lie

    return enter


def indexed(log: Path, file: Path) -> Path:
    index = Index(file)
    index.catch_up(_core.LogReader(str(log)))
    index.close()
    return file


def answer(honest: Honest, chance: random.Random, file: Path) -> str:
    """Ask by execution, by type and by time, and count against the log itself."""
    source = _core.LogReader(str(honest.closed))
    records = forge.read_journal(honest.closed).records
    fields = [_core.decode_record(one) for one in records]
    try:
        index = Index(file)
        try:
            index.catch_up(source)
            history = History(index, source)
            for query, due in questions(chance, fields):
                if sorted(entry.index for entry in history.search(query)) != due:
                    return NOT_FOUND
        finally:
            index.close()
    except (CorruptError, UnavailableError):
        return REFUSED
    except ExecutionNotFoundError:
        return NOT_FOUND
    return COMPLETE


def questions(chance: random.Random, fields: list[dict[str, Any]]) -> list[tuple[Query, list[int]]]:
    one = chance.choice(fields)
    until = one["at"] + 1

    def where(holds: Callable[[dict[str, Any]], bool]) -> list[int]:
        return [index for index, record in enumerate(fields) if holds(record)]

    return [
        (
            Query(execution=model.id_text(one["chain"])),
            where(lambda record: bool(record["chain"] == one["chain"])),
        ),
        (Query(type=one["type"]), where(lambda record: bool(record["type"] == one["type"]))),
        (Query(until=until), where(lambda record: bool(record["at"] < until))),
    ]


@on_index("rows deleted from one of its tables")
def delete_rows(honest: Honest, chance: random.Random, file: Path) -> None:
    name = chance.choice(["executions", "runs", "blocks", "chunks", "spans", "names"])
    with closing(sqlite3.connect(file)) as db:
        (key, *_) = (column for _, column, *_ in db.execute(f"PRAGMA table_info({name})"))
        keys = db.execute(f"SELECT {key} FROM {name} ORDER BY {key}").fetchall()
        for one in chance.sample(keys, min(chance.randint(1, 9), len(keys))):
            db.execute(f"DELETE FROM {name} WHERE {key} = ?", one)
        db.commit()


@on_index(
    "an execution taken out of all of them",
    alone=NOT_FOUND,
    note="an export, and an index that is made again, read the log itself and have it",
)
def take_out(honest: Honest, chance: random.Random, file: Path) -> None:
    with closing(sqlite3.connect(file)) as db:
        db.execute("DELETE FROM executions")
        db.execute("DELETE FROM runs")
        db.commit()


@on_index("bytes changed in it")
def change_bytes(honest: Honest, chance: random.Random, file: Path) -> None:
    data = bytearray(file.read_bytes())
    for _ in range(chance.randint(1, 40)):
        data[chance.randrange(len(data))] = chance.randrange(256)
    file.write_bytes(data)


@on_index("that of another log in its place")
def of_another(honest: Honest, chance: random.Random, file: Path) -> None:
    file.unlink()
    indexed(honest.other, file)


@on_index("that of an earlier state of the log")
def of_before(honest: Honest, chance: random.Random, file: Path) -> None:
    file.unlink()
    indexed(chance.choice(honest.stages), file)
