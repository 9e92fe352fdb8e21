"""An honest log, made through the real `Log`, with everything that an attacker may copy."""

from __future__ import annotations

import random
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from qflow import _core
from tests.attacks.cosigners import Cosigners
from tests.attacks.forge import Signer

ORIGIN = "node.example/log"
SEGMENT_BYTES = 64 << 10
GENESIS = bytes(32)
AT_MS = 1_750_000_000_000
COMMITS = 36
STAGES = (12, 20, 28, COMMITS - 4)
"""After so many commits the head is published and cosigned; after the last the node is killed."""
NOTED = 1
"""The stage whose head an auditor noted."""

Frame = tuple[list[bytes], list[tuple[bytes, bytes]]]


class Execution:
    """One chain, and what it writes next."""

    def __init__(self, number: int, subnet: str = "alpha", epoch: int = 1) -> None:
        self.id = number.to_bytes(16, "big")
        self.subnet, self.epoch = subnet, epoch
        self.flow = f"shop/flow-{number % 3}/1.0.0"
        self.seq, self.prev = 0, GENESIS

    def next(self, kind: str, payload: object = None) -> Frame:
        content = None if payload is None else (payload,)
        row = (f"q.qflow.exec.{kind}.v1", "/do/0/pay", 1, content, {"of": self.seq})
        records, blocks, self.prev = _core.encode_records(
            self.id, self.seq, self.prev, self.flow, AT_MS + self.seq, "ann", "node", self.subnet,
            self.epoch, [row],
        )  # fmt: skip
        self.seq += 1
        return records, blocks


@dataclass
class Honest:
    """A log at several moments of its life. Nobody changes these folders; attacks take copies."""

    seed: int
    signer: Signer
    vkey: str
    closed: Path
    """The whole log; its node stopped."""
    crashed: Path
    """After a kill: commits lie behind the published head."""
    stages: list[Path]
    """As it was when each head was published."""
    heads: list[bytes]
    """Those heads, and the last."""
    other: Path
    """A log of another node that took the same name."""
    cosigners: Cosigners
    """Its witnesses, as of the end."""
    segment_bytes: int = SEGMENT_BYTES

    @property
    def noted(self) -> bytes:
        """The head that an auditor noted: of a stage in the middle."""
        return self.heads[NOTED]

    @cached_property
    def policy(self) -> _core.Policy:
        """The auditor's: two of three witnesses."""
        return _core.Policy(self.cosigners.policy_text(2))

    @cached_property
    def size(self) -> int:
        return _core.parse_checkpoint(self.heads[-1], self.vkey)[0]

    def copy(self, source: Path, folder: Path) -> Path:
        return Path(shutil.copytree(source, folder / "log"))


def key_of(seed: int, *, of: str = "log") -> bytes:
    return random.Random(f"{of} {seed}").randbytes(32)


def commits(seed: int) -> list[Frame]:
    """What the node does: executions of two subnets and two epochs, that begin, go on and end."""
    chance = random.Random(f"commits {seed}")
    live: list[Execution] = []
    made, number = [], 0
    for _ in range(COMMITS):
        records: list[bytes] = []
        blocks: dict[bytes, bytes] = {}
        while len(live) < 6:
            subnet, epoch = chance.choice(("alpha", "beta")), chance.choice((1, 2))
            live.append(Execution(seed * 1000 + number, subnet, epoch))
            number += 1
        for turn in range(chance.randint(8, 11)):
            added, beside = _step(live, chance, turn)
            records += added
            blocks.update(beside)
        made.append((records, list(blocks.items())))
    return made


def _step(live: list[Execution], chance: random.Random, turn: int) -> Frame:
    one = chance.choice(live)
    payload = {"total": chance.getrandbits(30)} if turn % 2 == 0 else None
    if one.seq > 8 and chance.random() < 0.3:
        live.remove(one)
        return one.next("completed", payload)
    return one.next("created" if one.seq == 0 else "step_completed", payload)


def make(seed: int, folder: Path) -> Honest:
    """The same seed gives the same records and keys."""
    signer = Signer(ORIGIN, key_of(seed))
    live, heads, stages = folder / "live", list[bytes](), list[Path]()
    live.mkdir(parents=True)
    log = _core.Log(str(live), origin=ORIGIN, seed=signer.seed, segment_bytes=SEGMENT_BYTES)
    keys = [key_of(seed, of=f"witness {number}") for number in range(3)]
    cosigners = Cosigners(folder / "witnesses", log.vkey, keys)
    for count, (records, blocks) in enumerate(commits(seed), 1):
        log.append_durable(records, blocks)
        if count in STAGES:
            heads.append(cosigners.publish(log, live))
            stages.append(_copy(live, folder / f"stage-{count}"))
    crashed = _copy(live, folder / "crashed")
    cosigners.keep("crashed")
    heads.append(cosigners.publish(log, live))
    log.close()
    cosigners.close()
    other = _write_other(seed, folder / "other")
    return Honest(seed, signer, log.vkey, live, crashed, stages, heads, other, cosigners)


def _copy(live: Path, to: Path) -> Path:
    """As a kill leaves it. A segment that is being prepared may go while it is copied."""
    return Path(shutil.copytree(live, to, ignore=shutil.ignore_patterns("*.new")))


def _write_other(seed: int, folder: Path) -> Path:
    folder.mkdir()
    key = key_of(seed, of="other log")
    log = _core.Log(str(folder), origin=ORIGIN, seed=key, segment_bytes=SEGMENT_BYTES)
    for records, blocks in commits(seed + 500_000):
        log.append_durable(records, blocks)
    log.close()
    return folder
