"""What comes of a changed file: a home is opened and read, or a CAR is imported, as a node does."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from qflow.errors import QflowError
from qflow.node._state_files import importing
from qflow.trust import open_envelope
from tests.attacks.stored.attack import TRIES, Check, Outcome, Tries, Use, attack
from tests.attacks.stored.honest import Honest
from tests.stored import SUBNET, Home

WORST = [Use.EQUAL, Use.OFFERED, Use.REFUSED, Use.OLDER, Use.WRONG]
Change = Callable[[Honest, random.Random, Path], None]
Forge = Callable[[Honest, random.Random], bytes]


def on_home(
    name: str, *, source: str = "home", tries: int = TRIES, **rest: Any
) -> Callable[[Change], Change]:
    """Enter an attack on the files of a home: it changes a copy, and somebody asks for states."""

    def enter(change: Change) -> Change:
        @attack(name, **rest)
        def make(honest: Honest, chance: random.Random, folder: Path) -> Tries:
            for number in range(tries):
                path = honest.copy(getattr(honest, source), folder / str(number))
                change(honest, chance, path)
                yield read_home(honest, path)

        return change

    return enter


def on_car(name: str, *, tries: int = TRIES, **rest: Any) -> Callable[[Forge], Forge]:
    """Enter an attack on a CAR file: the third node imports it, and asks for states."""

    def enter(forge: Forge) -> Forge:
        @attack(name, **rest)
        def make(honest: Honest, chance: random.Random, folder: Path) -> Tries:
            with Imports(honest, folder) as imports:
                for _ in range(tries):
                    yield imports(forge(honest, chance))

        return forge

    return enter


def read_home(honest: Honest, path: Path, *, subnet: str = SUBNET) -> Outcome:
    """Open a home, ask for the newest state of every execution, and have all verified."""
    try:
        with Home(path, subnet=subnet) as home:
            use = served(honest, home)
            try:
                found = bool(home.states.verify().findings)
            except QflowError:
                found = True
            return Outcome(use, Check.FOUND if found else Check.CLEAN)
    except QflowError as error:
        return Outcome(Use.REFUSED, Check.FOUND, str(error))


def served(honest: Honest, home: Home) -> Use:
    """The worst that is said of any execution."""
    return max((_served(honest, home, chain) for chain in honest.chains), key=WORST.index)


def _served(honest: Honest, home: Home, chain: bytes) -> Use:
    try:
        good = home.states.newest_good(chain, whole=True)
    except QflowError:
        return Use.REFUSED
    number = good.version.number
    pieces = home.states.records(good.version.cid)
    records = [record for piece, _ in pieces for record in piece]
    if good.text != honest.states.get((chain, number)):
        return Use.WRONG
    if records != honest.records[chain][: len(records)]:
        return Use.WRONG
    newest = max(of for which, of in honest.states if which == chain)
    if number == newest:
        return Use.EQUAL
    return Use.OFFERED if good.refused else Use.OLDER


class _Plain:
    """Stands for what makes answers of versions; nobody reads them here."""

    def checkpoint(self, saved: Any) -> Any:
        return saved


class Imports:
    """The third node's home, as it was before each import."""

    def __init__(self, honest: Honest, folder: Path, source: str = "target") -> None:
        self._honest, self._folder = honest, folder
        self._source: Path = getattr(honest, source)
        self._home: Home | None = None

    def __enter__(self) -> Imports:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def __call__(self, data: bytes, then: bytes | None = None) -> Outcome:
        """Import a file, and perhaps another. What is refused as a whole leaves the home as it
        was."""
        home = self._opened()
        try:
            refused = [self._take(one) for one in (data, then) if one is not None]
        except QflowError as error:
            assert home.states.list().versions == [], "refused, and something was taken"
            assert home.states.garbage().blocks == 0, "refused, and something was stored"
            return Outcome(Use.REFUSED, Check.FOUND, str(error))
        use = served(self._honest, home)
        self._close()
        if use == Use.OLDER and any(refused):
            use = Use.OFFERED
        return Outcome(use, Check.FOUND if any(refused) else Check.CLEAN, str(refused))

    def change(self, what: Callable[[Home], None]) -> None:
        """Do something to the home before the next import."""
        what(self._opened())

    def _opened(self) -> Home:
        if self._home is None:
            path = Path(mkdtemp(dir=self._folder))
            self._home = Home(self._honest.copy(self._source, path)).__enter__()
        return self._home

    def _take(self, data: bytes) -> Any:
        file = self._folder / "import.car"
        file.write_bytes(data)
        return _run(_importing(self._opened(), file)).refused

    def _close(self) -> None:
        if self._home is not None:
            self._home.__exit__()
            self._home = None


def _importing(home: Home, file: Path) -> Iterator[Any]:
    def adopt(data: bytes) -> bool:
        return home.keys.adopt(open_envelope(data, home.keys, home.signers, subnet=home.subnet))

    views: Any = _Plain()
    return importing(home.states, home.blocks, views, file, adopt=adopt)


def _run(steps: Iterator[Any]) -> Any:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value
