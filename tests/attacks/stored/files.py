"""Whole files of a home: `state.db` and its WAL, and the files of keys."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from qflow.errors import QflowError
from tests.attacks.stored.attack import ANY_BUT_LIES, Check, Outcome, Tries, Use, attack
from tests.attacks.stored.forge import flipped
from tests.attacks.stored.honest import Honest, take_keys
from tests.attacks.stored.judge import Imports, on_home, read_home

DATABASE, WAL, KEYS = "the file state.db", "the WAL of a node that was killed", "files of keys"
PAGE = 8192
Change = Callable[[Path, Honest, random.Random], None]
LIES_OF_THE_PAST = f"{ANY_BUT_LIES}|an older one"


def change_file(file: Path, chance: random.Random) -> None:
    file.write_bytes(flipped(file.read_bytes(), chance))


def pages(file: Path) -> list[bytes]:
    data = file.read_bytes()
    return [data[at : at + PAGE] for at in range(0, len(data), PAGE)]


def on_file(family: str, file: str, name: str, **rest: Any) -> Callable[[Change], Change]:
    """Enter an attack that changes one file of a home."""
    source = "crashed" if family == WAL else "home"

    def enter(change: Change) -> Change:
        @on_home(name, family=family, **{"source": source, "use": ANY_BUT_LIES} | rest)
        def make(honest: Honest, chance: random.Random, path: Path) -> None:
            change(path / file, honest, chance)

        return change

    return enter


@on_file(DATABASE, "state.db", "one byte changed anywhere", tries=40)
def flip(file: Path, honest: Honest, chance: random.Random) -> None:
    change_file(file, chance)


@on_file(DATABASE, "state.db", "a page made zeros", tries=12)
def zero_page(file: Path, honest: Honest, chance: random.Random) -> None:
    found = pages(file)
    found[chance.randrange(len(found))] = bytes(PAGE)
    file.write_bytes(b"".join(found))


@on_file(DATABASE, "state.db", "two pages exchanged", tries=40)
def swap_pages(file: Path, honest: Honest, chance: random.Random) -> None:
    found = pages(file)
    a, b = chance.sample(range(len(found)), 2)
    found[a], found[b] = found[b], found[a]
    file.write_bytes(b"".join(found))


@on_file(DATABASE, "state.db", "a page of an older copy", tries=12, use=LIES_OF_THE_PAST)
def old_page(file: Path, honest: Honest, chance: random.Random) -> None:
    found, old = pages(file), pages(honest.older / "state.db")
    at = chance.randrange(len(old))
    found[at] = old[at]
    file.write_bytes(b"".join(found))


@on_file(DATABASE, "state.db", "cut anywhere", tries=12)
def cut(file: Path, honest: Honest, chance: random.Random) -> None:
    data = file.read_bytes()
    file.write_bytes(data[: chance.randrange(len(data))])


@on_file(DATABASE, "state.db", "cut at a page", tries=6)
def cut_page(file: Path, honest: Honest, chance: random.Random) -> None:
    found = pages(file)
    file.write_bytes(b"".join(found[: chance.randrange(len(found))]))


@on_file(DATABASE, "state.db", "that of another node of the subnet", tries=1, use="refused")
def of_another(file: Path, honest: Honest, chance: random.Random) -> None:
    shutil.copy(honest.other / "state.db", file)


@on_file(DATABASE, "state.db", "that of another subnet of the same node", tries=1, use="refused")
def of_another_subnet(file: Path, honest: Honest, chance: random.Random) -> None:
    shutil.copy(honest.subnet / "state.db", file)


@on_file(DATABASE, "state.db", "taken away", tries=1, use="refused", check="nothing",
         note="nothing is there; the log has the whole history")  # fmt: skip
def taken_away(file: Path, honest: Honest, chance: random.Random) -> None:
    file.unlink()


@on_file(DATABASE, "state.db", "rolled back to an older copy", tries=1, use="an older one",
         check="nothing",
         note="a node replays the log from there, which has the rest")  # fmt: skip
def rolled_back(file: Path, honest: Honest, chance: random.Random) -> None:
    shutil.copy(honest.older / "state.db", file)


@on_file(WAL, "state.db-wal", "one byte changed anywhere in it", tries=30, use=LIES_OF_THE_PAST,
         check="found|nothing")  # fmt: skip
def flip_wal(file: Path, honest: Honest, chance: random.Random) -> None:
    change_file(file, chance)


@on_file(WAL, "state.db-wal", "cut anywhere", tries=12, use=LIES_OF_THE_PAST, check="found|nothing",
         note="the log has the rest")  # fmt: skip
def cut_wal(file: Path, honest: Honest, chance: random.Random) -> None:
    data = file.read_bytes()
    file.write_bytes(data[: chance.randrange(len(data))])


@on_file(WAL, "state.db-wal", "taken away", tries=1, use=LIES_OF_THE_PAST, check="found|nothing")
def no_wal(file: Path, honest: Honest, chance: random.Random) -> None:
    file.unlink()


@on_file(WAL, "state.db", "the database of another copy beside it", tries=1, use=LIES_OF_THE_PAST)
def other_wal(file: Path, honest: Honest, chance: random.Random) -> None:
    shutil.copy(honest.other / "state.db", file)


def on_keys(file: str, home: str) -> None:
    """What can be done to a file of keys. All of them open nothing then, or what they opened."""

    @on_file(KEYS, file, f"one byte changed anywhere in `{file}`", source=home, tries=30)
    def flip_keys(file: Path, honest: Honest, chance: random.Random) -> None:
        change_file(file, chance)

    @on_file(KEYS, file, f"`{file}` cut anywhere", source=home, tries=12)
    def cut_keys(file: Path, honest: Honest, chance: random.Random) -> None:
        data = file.read_bytes()
        file.write_bytes(data[: chance.randrange(len(data))])

    @on_file(KEYS, file, f"`{file}` with two stretches exchanged", source=home, tries=6)
    def reorder_keys(file: Path, honest: Honest, chance: random.Random) -> None:
        data = file.read_bytes()
        length = chance.randint(1, len(data) // 3)
        a = chance.randrange(len(data) - 2 * length + 1)
        b = chance.randrange(a + length, len(data) - length + 1)
        parts = data[:a], data[b : b + length], data[a + length : b], data[a : a + length]
        file.write_bytes(b"".join([*parts, data[b + length :]]))


for name in ("keys", "node.key"):
    on_keys(name, "home")

    @on_file(KEYS, name, f"`{name}` of another node", tries=1, use="refused")
    def other_keys(file: Path, honest: Honest, chance: random.Random) -> None:
        shutil.copy(honest.other / file.name, file)


for name in ("adopted.keys", "subnet.keys"):
    on_keys(name, "taken")

    @on_file(KEYS, name, f"`{name}` taken away", source="taken", tries=1, use="refused")
    def no_adopted(file: Path, honest: Honest, chance: random.Random) -> None:
        file.unlink()


@on_file(KEYS, "keys", "`keys` taken away", tries=1, use="refused")
def no_keys(file: Path, honest: Honest, chance: random.Random) -> None:
    file.unlink()


@attack("the exported keys, one byte changed anywhere", family=KEYS, use="refused|equal")
def flip_exported(honest: Honest, chance: random.Random, folder: Path) -> Tries:
    for _ in range(20):
        yield with_keys(honest, flipped(honest.key_file.read_bytes(), chance), folder)


@attack("the exported keys cut anywhere", family=KEYS, use="refused")
def cut_exported(honest: Honest, chance: random.Random, folder: Path) -> Tries:
    data = honest.key_file.read_bytes()
    for _ in range(8):
        yield with_keys(honest, data[: chance.randrange(len(data))], folder)


def with_keys(honest: Honest, data: bytes, folder: Path) -> Outcome:
    """A node imports this file of keys, and then the honest CAR."""
    file = folder / "keys"
    file.unlink(missing_ok=True)
    file.touch(mode=0o600)
    file.write_bytes(data)
    with Imports(honest, folder, "stranger") as imports:
        try:
            imports.change(lambda home: take_keys(home, file))
        except QflowError as error:
            return Outcome(Use.REFUSED, Check.FOUND, str(error))
        return imports(honest.car)


@attack("the home of another subnet opened as this one", family=KEYS, use="refused")
def other_subnet(honest: Honest, chance: random.Random, folder: Path) -> Tries:
    yield read_home(honest, honest.copy(honest.subnet, folder))
    told = read_home(honest, honest.copy(honest.home, folder), subnet="beta")
    yield told if told.use != Use.EQUAL else Outcome(Use.WRONG, Check.CLEAN, "read as another's")
