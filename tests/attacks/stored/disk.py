"""What lies in `state.db`: blocks and index changed by somebody who knows SQLite, but no key."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from qflow import _core
from tests.attacks.stored.attack import ANY_BUT_LIES
from tests.attacks.stored.forge import KINDS, flipped, of_kind
from tests.attacks.stored.honest import Honest
from tests.attacks.stored.judge import on_home

BLOCKS, INDEX = "a block in state.db", "the index in state.db"
Edit = Callable[[sqlite3.Connection, Honest, random.Random], None]
_SET = "UPDATE block_data SET data = ? WHERE place = (SELECT place FROM block WHERE cid = ?)"


def on_database(name: str, family: str, edit: Edit, **rest: Any) -> None:
    @on_home(name, family=family, **rest)
    def change(honest: Honest, chance: random.Random, path: Path) -> None:
        with closing(sqlite3.connect(path / "state.db")) as db:
            edit(db, honest, chance)
            db.commit()


def set_block(db: sqlite3.Connection, cid: bytes, data: bytes) -> None:
    assert db.execute(_SET, (data, cid)).rowcount == 1


def byte_of(kind: str) -> Edit:
    def edit(db: sqlite3.Connection, honest: Honest, chance: random.Random) -> None:
        cid = chance.choice(of_kind(honest, kind))
        set_block(db, cid, flipped(honest.blocks[cid], chance))

    return edit


def cut_of(kind: str) -> Edit:
    def edit(db: sqlite3.Connection, honest: Honest, chance: random.Random) -> None:
        cid = chance.choice(of_kind(honest, kind))
        data = honest.blocks[cid]
        set_block(db, cid, data[: chance.randrange(len(data))])

    return edit


def other_of(kind: str) -> Edit:
    """Another block of the same kind in its place: of another execution, or another version."""

    def edit(db: sqlite3.Connection, honest: Honest, chance: random.Random) -> None:
        cid, other = chance.sample(of_kind(honest, kind), 2)
        set_block(db, cid, honest.blocks[other])

    return edit


def gone(kind: str) -> Edit:
    def edit(db: sqlite3.Connection, honest: Honest, chance: random.Random) -> None:
        cid = chance.choice(of_kind(honest, kind))
        db.execute(f"DELETE FROM {chance.choice(['block', 'block_data'])} WHERE "
                   "place = (SELECT place FROM block WHERE cid = ?)", (cid,))  # fmt: skip

    return edit


for kind in KINDS:
    on_database(f"a byte of a {kind}", BLOCKS, byte_of(kind), claims=["S14", "S8", "S11"])
    on_database(f"a {kind} cut", BLOCKS, cut_of(kind), claims=["S14", "S8"])
    # Both executions have the same flow, sealed with different keys.
    on_database(f"another {kind} in its place", BLOCKS, other_of(kind))
    on_database(f"a {kind} taken away", BLOCKS, gone(kind))


def every_version(db: sqlite3.Connection, honest: Honest, chance: random.Random) -> None:
    """Nothing is left to offer."""
    for cid, data in honest.pairs:
        set_block(db, cid, flipped(data, chance))


on_database("a byte of every version", BLOCKS, every_version, use="refused", claims=["S14", "S8"])


def sql(*statements: str) -> Edit:
    def edit(db: sqlite3.Connection, honest: Honest, chance: random.Random) -> None:
        for statement in statements:
            db.execute(statement)

    return edit


NEWEST = "cid IN (SELECT cid FROM state_head)"
HEADS = (
    "UPDATE state_head SET (cid, number, epoch, seq, head) = (SELECT cid, number, epoch, seq, head"
    " FROM state_version v WHERE v.chain = state_head.chain AND v.number = 0)"
)
on_database("the newest versions taken out of the list", INDEX,
            sql(f"DELETE FROM state_version WHERE {NEWEST}"), use="equal", tries=1,
            note="a head without its version: the list is made again")  # fmt: skip
on_database("all but the first versions taken out, and the heads set back to them", INDEX,
            sql("DELETE FROM state_version WHERE number > 0", HEADS), use="the one before", tries=1,
            note="their pins are still there: a restore and a check name them")  # fmt: skip
on_database("the head set back to the first version", INDEX, sql(HEADS), use="equal", tries=1)
on_database("no heads", INDEX, sql("DELETE FROM state_head"), use="equal", tries=1)
on_database("no list", INDEX, sql("DELETE FROM state_version"), use="equal", tries=1)
on_database("no tables: they are made again from the pinned versions", INDEX,
            sql("DROP TABLE state_index", "DROP TABLE state_version"), use="equal", tries=1,
            check="nothing")  # fmt: skip
on_database("no pins", INDEX, sql("DELETE FROM pin"), use="equal", tries=1)


def exchanged(db: sqlite3.Connection, honest: Honest, chance: random.Random) -> None:
    """Each execution is said to have the other's versions."""
    a, b = honest.chains
    for table in ("state_version", "state_head"):
        db.execute(f"UPDATE {table} SET chain = ? WHERE chain = ?", (b"x", a))
        db.execute(f"UPDATE {table} SET chain = ? WHERE chain = ?", (a, b))
        db.execute(f"UPDATE {table} SET chain = ? WHERE chain = ?", (b, b"x"))


on_database("the executions' versions exchanged", INDEX, exchanged, use="refused", tries=1)


def other_words(db: sqlite3.Connection, honest: Honest, chance: random.Random) -> None:
    column, value = chance.choice(
        [("number", 7), ("epoch", 9), ("seq", 900), ("size", 1), ("status", "completed"),
         ("flow", "shop/other/1.0.0"), ("label", "another"), ("at", 5), ("head", bytes(32))]
    )  # fmt: skip
    cid = chance.choice(honest.roots)
    db.execute(f"UPDATE state_version SET {column} = ? WHERE cid = ?", (value, cid))


on_database("other words of a version", INDEX, other_words, use=ANY_BUT_LIES, tries=12,
            note="the version itself is what is used")  # fmt: skip


def points_to(db: sqlite3.Connection, honest: Honest, chance: random.Random) -> None:
    """The newest is said to be a block that is no version."""
    cid = chance.choice([one for one in honest.blocks if one not in honest.roots])
    newest = chance.choice(honest.roots)
    for table in ("state_version", "state_head"):
        db.execute(f"UPDATE {table} SET cid = ? WHERE cid = ?", (cid, newest))


on_database("a block that is no version listed as one", INDEX, points_to)


def forged_root(db: sqlite3.Connection, honest: Honest, chance: random.Random) -> None:
    """A version of one's own, put in with everything that SQLite wants of it."""
    cid = chance.choice(honest.roots)
    fields = _core.decode(honest.blocks[cid])
    data = _core.encode({**fields, "number": fields["number"] + 1, "previous": cid})
    new = bytes(_core.cid_of(data))
    place = db.execute("INSERT INTO block_data (data) VALUES (?)", (data,)).lastrowid
    db.execute("INSERT INTO block VALUES (?, 1, ?, ?)", (new, len(data), place))
    db.execute("INSERT INTO pin VALUES (?, 'forged')", (new,))
    db.execute(
        "INSERT INTO state_version SELECT ?, chain, flow, number + 1, epoch, at, seq + 1, head,"
        " state, size, frames, status, why, node, cid, label, description FROM state_version"
        " WHERE cid = ?",
        (new, cid),
    )


on_database("a version that nobody signed, added", INDEX, forged_root, use="the one before|equal",
            claims=["S5", "S14"])  # fmt: skip
