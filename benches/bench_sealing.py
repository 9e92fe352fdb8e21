"""Sealing, states in parts, and hashing blocks: the core beside libsodium (PyNaCl) and hashlib.

python -m benches.bench_sealing [--rounds N]
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from blake3 import blake3
from nacl import bindings

from benches import measure
from qflow import _core

KIB, MIB = 1 << 10, 1 << 20
KEY = bytes(range(32))
SEALING = _core.SealingKey(1, KEY)
CHAIN = bytes(16)
NONCE = bytes(24)
Works = dict[str, Callable[[], object]]


def seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def interleaved(works: Works, rounds: int) -> dict[str, list[float]]:
    """The seconds of each, in turn, so that all meet the same machine. The first round warms up."""
    took: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            spent = seconds(work)
            if number:
                took[name].append(spent)
    return took


def rates(title: str, works: Works, size: int, rounds: int) -> dict[str, float]:
    """Print GB/s of each work over as many bytes, and give the medians."""
    took = interleaved(works, rounds)
    rows = {name: [size / spent / 1e9 for spent in figures] for name, figures in took.items()}
    measure.table(f"{title}, GB/s", rows)
    return {name: measure.median(figures) for name, figures in rows.items()}


def by_libsodium(texts: Iterable[bytes]) -> None:
    for text in texts:
        bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(text, b"place", NONCE, KEY)


def by_core(texts: Iterable[bytes]) -> None:
    for text in texts:
        SEALING.seal_bytes(text, bound=b"place")


def bench_cipher(rounds: int) -> None:
    for size, count in ((KIB, 4096), (64 * KIB, 256), (MIB, 32)):
        texts = [os.urandom(size)] * count
        works: Works = {
            "core, seal_bytes": partial(by_core, texts),
            "libsodium, cipher alone": partial(by_libsodium, texts),
        }
        title = f"sealing {size // KIB} KiB on one core"
        found = rates(title, works, size * count, rounds)["core, seal_bytes"]
        if size > KIB:
            measure.judge("sealing in Rust: at least 1 GB/s", found >= 1, f"{found:.2f} GB/s")


def seal(text: bytes) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    return SEALING.seal_state(text, subnet="default", chain=CHAIN)


def unseal(root: bytes, blocks: Mapping[bytes, bytes]) -> bytes:
    return SEALING.unseal_state(root, blocks, subnet="default", chain=CHAIN)


def repeat(times: int, work: Callable[..., object], *arguments: object) -> None:
    for _ in range(times):
        work(*arguments)


def each(work: Callable[[bytes], object], datas: Iterable[bytes]) -> None:
    for data in datas:
        work(data)


class OneCore:
    """A process of its own in which the core has one thread; it seals when it is told to."""

    def __init__(self, size: int) -> None:
        command = [sys.executable, "-m", "benches.bench_sealing", "--seal", str(size)]
        self._process = subprocess.Popen(
            command,
            env={**os.environ, "RAYON_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def seal(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        self._process.stdout.readline()

    def close(self) -> None:
        self._process.communicate()


def serve_seals(size: int) -> None:
    text = os.urandom(size)
    for _ in sys.stdin:
        seal(text)
        print(flush=True)


def bench_states(rounds: int) -> None:
    size = 64 * MIB
    text = os.urandom(size)
    root, blocks = seal(text)
    known = dict(blocks)
    alone = OneCore(size)
    works: Works = {
        "seal_state, all cores": partial(seal, text),
        "seal_state, one core": alone.seal,
        "unseal_state, all cores": partial(unseal, root, known),
    }
    title = f"a state of 64 MiB: cuts, {len(blocks) - 1} sealed parts, CIDs"
    found = rates(title, works, size, rounds)["seal_state, all cores"]
    alone.close()
    measure.judge("a large state: at least 1 GB/s", found >= 1, f"{found:.2f} GB/s")


def bench_moments(rounds: int) -> None:
    rows: dict[str, list[float]] = {}
    for size in (KIB, 64 * KIB, 10 * MIB):
        text = os.urandom(size)
        root, blocks = seal(text)
        known = dict(blocks)
        times = 200 if size < MIB else 1
        works: Works = {
            "seal_state": partial(repeat, times, seal, text),
            "unseal_state": partial(repeat, times, unseal, root, known),
        }
        for name, took in interleaved(works, rounds).items():
            rows[f"{name}, {size // KIB} KiB"] = [spent / times * 1e3 for spent in took]
    measure.table("one state, ms", rows, digits=3)
    small, large = (
        measure.median(rows[name]) for name in ("seal_state, 64 KiB", "unseal_state, 10240 KiB")
    )
    measure.judge("64 KiB sealed: under 0.5 ms", small < 0.5, f"{small:.3f} ms")
    measure.judge("10 MiB unsealed: under 25 ms", large < 25, f"{large:.1f} ms")


def bench_hashes(rounds: int) -> None:
    for size, count in ((KIB, 10_000), (64 * KIB, 512)):
        datas = [os.urandom(size) for _ in range(count)]
        blocks = [(bytes(_core.cid_of(data, "raw")), data) for data in datas]
        works: Works = {
            "core, check_blocks": partial(_core.check_blocks, blocks),
            "core, cid_of": partial(each, lambda data: _core.cid_of(data, "raw"), datas),
            "hashlib.sha256": partial(each, lambda data: hashlib.sha256(data).digest(), datas),
            "blake3": partial(each, lambda data: blake3(data).digest(), datas),
        }
        title = f"{count:,} blocks of {size // KIB} KiB"
        found = rates(title, works, size * count, rounds)["core, check_blocks"]
        measure.judge("CIDs: at least 1 GB/s", found >= 1, f"{found:.2f} GB/s")
        if size == KIB:
            spent = size * count / found / 1e6
            measure.judge("10,000 blocks checked in 10 ms", spent < 10, f"{spent:.1f} ms")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seal", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.seal is not None:
        serve_seals(options.seal)
        return
    bench_cipher(options.rounds)
    bench_states(options.rounds)
    bench_moments(options.rounds)
    bench_hashes(options.rounds)


if __name__ == "__main__":
    main()
