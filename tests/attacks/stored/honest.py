"""Honest homes with stored states, through the real parts, with all that an attacker may copy."""

from __future__ import annotations

import random
import shutil
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from qflow import _core
from qflow.errors import VerificationError
from qflow.storage import write_car
from qflow.trust import make_envelope, open_envelope, parse_key_file, read_key_file, write_key_file
from tests.stored import SUBNET, Block, Execution, Home

EXECUTIONS = 2
VERSIONS = 3
SIZES = (2_000, 90_000)
"""Bytes of a state: of one part, and of some."""


@dataclass
class Honest:
    """Nobody changes these folders; attacks take copies."""

    seed: int
    folder: Path
    signer: bytes = b""
    """The seed of the node's key."""
    chains: list[bytes] = field(default_factory=list)
    states: dict[tuple[bytes, int], bytes] = field(default_factory=dict)
    """By chain and number of the version: the state in plain."""
    records: dict[bytes, list[bytes]] = field(default_factory=dict)
    roots: list[bytes] = field(default_factory=list)
    """CIDs of the newest versions, by chain."""
    blocks: dict[bytes, bytes] = field(default_factory=dict)
    """All that is beneath these."""
    envelopes: list[Block] = field(default_factory=list)
    pairs: list[tuple[bytes, bytes]] = field(default_factory=list)
    """CID and block of every version, in order."""
    older_blocks: dict[bytes, bytes] = field(default_factory=dict)
    """All that is beneath the first versions."""
    data_keys: list[_core.SealingKey] = field(default_factory=list)
    """Of the executions, in order."""
    foreign: list[bytes] = field(default_factory=list)
    """CAR files of executions of the same ids: of another node, and of another subnet."""

    @property
    def home(self) -> Path:
        """Two executions with three versions each; its node has stopped."""
        return self.folder / "home"

    @property
    def crashed(self) -> Path:
        """The same when its node was killed: much of it lies in the WAL."""
        return self.folder / "crashed"

    @property
    def older(self) -> Path:
        """The same home when each execution had one version."""
        return self.folder / "older"

    @property
    def other(self) -> Path:
        """Of another node of the subnet, which went on with executions of the same ids."""
        return self.folder / "other"

    @property
    def target(self) -> Path:
        """Of a third node, which has no states and trusts the first: it imported its keys."""
        return self.folder / "target"

    @property
    def stranger(self) -> Path:
        """Of a node that has no states and trusts nobody else."""
        return self.folder / "stranger"

    @property
    def taken(self) -> Path:
        """The third node's, after it imported the states."""
        return self.folder / "taken"

    @property
    def key_file(self) -> Path:
        """What `qflow keys export` wrote for the third node."""
        return self.folder / "exported.keys"

    @property
    def subnet(self) -> Path:
        """Of another subnet of the first node: the same key, the same ids."""
        return self.folder / "subnet"

    def copy(self, source: Path, folder: Path) -> Path:
        return Path(shutil.copytree(source, folder / source.name))

    def needed_by_older(self) -> dict[bytes, bytes]:
        """What is beneath the first versions, without these."""
        versions = {cid for cid, _ in self.pairs}
        return {cid: data for cid, data in self.older_blocks.items() if cid not in versions}

    @cached_property
    def car(self) -> bytes:
        """Both executions with their keys, as `qflow state export` writes it."""
        return car([*self.roots, *(cid for cid, _ in self.envelopes)],
                   [*self.envelopes, *self.blocks.items()])  # fmt: skip


def car(roots: list[bytes], blocks: list[Block]) -> bytes:
    return b"".join(write_car(roots, blocks))


def state(chance: random.Random, size: int) -> dict[str, object]:
    return {"n": chance.getrandbits(60), "text": chance.randbytes(size // 2).hex()}


def live(home: Home, ones: list[Execution], chance: random.Random, honest: Honest | None) -> None:
    """Every execution goes on, and is checkpointed once more."""
    for one, size in zip(ones, SIZES, strict=True):
        one.act(chance.randint(1, 4), {"card": chance.getrandbits(60)})
        content = state(chance, size)
        saved = one.kept_by(home, content, label=f"of {chance.getrandbits(20)}")
        if honest is not None:
            honest.states[one.chain, saved.number] = _core.encode(content)
            honest.pairs.append((saved.cid, home.blocks.load([saved.cid])[0]))


def begin(home: Home, seed: int) -> list[Execution]:
    return [home.begin(seed * 100 + number + 1) for number in range(EXECUTIONS)]


def make(seed: int, folder: Path) -> Honest:
    """The same seed gives the same content; keys are of chance, as they are made by the home."""
    chance = random.Random(f"stored {seed}")
    made = Honest(seed, folder)
    with Home(made.home) as home:
        ones = begin(home, seed)
        made.signer, made.chains = home.key.seed, [one.chain for one in ones]
        live(home, ones, chance, made)
        made.older_blocks.update(home.reach(*(cid for cid, _ in made.pairs)))
    shutil.copytree(made.home, made.older)
    with Home(made.home) as home:
        for _ in range(VERSIONS - 1):
            live(home, ones, chance, made)
        shutil.copytree(made.home, made.crashed, ignore=shutil.ignore_patterns("*-shm"))
        _note(made, home, ones)
        exported = home.keys.subnet.exported()
        write_key_file(made.key_file, exported, home.key, subnet=home.subnet)
    with Home(made.stranger):
        pass
    shutil.copytree(made.stranger, made.target)
    with Home(made.target) as home:
        take_keys(home, made.key_file)
    shutil.copytree(made.target, made.taken)
    with Home(made.taken) as home:
        _take(made, home)
    _others(made, seed, chance)
    return made


def take_keys(home: Home, file: Path) -> None:
    """As `qflow keys import` does. Raises VerificationError, SigningKeyError."""
    found = parse_key_file(read_key_file(file, bytes))
    if found.subnet != home.subnet:
        raise VerificationError(f"keys of subnet {found.subnet}")
    home.keys.subnet.add(found.node, [(key.epoch, key.key) for key in found.keys])
    home.keys.note_ring()


def _take(made: Honest, home: Home) -> None:
    for _, data in made.envelopes:
        home.keys.adopt(open_envelope(data, home.keys, home.signers, subnet=home.subnet))
    home.blocks.ingest(made.blocks.items())
    assert len(home.states.ingest(made.roots).taken) == len(made.roots)


def _note(made: Honest, home: Home, ones: list[Execution]) -> None:
    for one in ones:
        newest = home.states.newest(one.chain)
        assert newest is not None
        made.roots.append(newest.cid)
        made.data_keys.append(one.key)
        made.records[one.chain] = [data for data, _ in one.records]
        number = home.states.version(newest.cid).key
        made.envelopes.append(
            make_envelope(home.keys, home.key, subnet=home.subnet, chain=one.chain, number=number)
        )
    made.blocks.update(home.reach(*made.roots))


def _others(made: Honest, seed: int, chance: random.Random) -> None:
    made.subnet.mkdir()
    shutil.copy(made.home / "node.key", made.subnet)
    for path, subnet in ((made.other, SUBNET), (made.subnet, "beta")):
        with Home(path, subnet=subnet) as home:
            ones = begin(home, seed)
            for _ in range(VERSIONS):
                live(home, ones, chance, None)
            noted = Honest(seed, path)
            _note(noted, home, ones)
            made.foreign.append(noted.car)
