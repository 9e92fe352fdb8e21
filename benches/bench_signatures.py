"""Verifying signatures and codes: batches of the core beside PyNaCl and hmac, one by one.

python -m benches.bench_signatures [--count N] [--rounds N]
"""

from __future__ import annotations

import argparse
import hmac
import time
from collections.abc import Callable, Sequence

from nacl.signing import SigningKey, VerifyKey

from benches import measure
from qflow._core import verify_hmacs, verify_signature, verify_signatures

Columns = tuple[list[bytes], list[bytes], list[bytes]]
MESSAGE_BYTES = 200


def signed(count: int, keys: int) -> Columns:
    """Signatures of as many keys as asked for, those of one key together."""
    pairs = [SigningKey((number + 1).to_bytes(32, "big")) for number in range(keys)]
    messages = [number.to_bytes(8, "big") * (MESSAGE_BYTES // 8) for number in range(count)]
    owners = [pairs[number * keys // count] for number in range(count)]
    signatures = [pair.sign(m).signature for pair, m in zip(owners, messages, strict=True)]
    return [bytes(pair.verify_key) for pair in owners], messages, signatures


def coded(count: int) -> Columns:
    keys = [b"k" * 32] * count
    messages = [number.to_bytes(8, "big") * (MESSAGE_BYTES // 8) for number in range(count)]
    tags = [hmac.digest(key, m, "sha256") for key, m in zip(keys, messages, strict=True)]
    return keys, messages, tags


def by_pynacl(keys: Sequence[bytes], messages: Sequence[bytes], sigs: Sequence[bytes]) -> bool:
    known = {key: VerifyKey(key) for key in dict.fromkeys(keys)}
    for key, message, signature in zip(keys, messages, sigs, strict=True):
        known[key].verify(message, signature)
    return True


def by_python(keys: Sequence[bytes], messages: Sequence[bytes], tags: Sequence[bytes]) -> bool:
    rows = zip(keys, messages, tags, strict=True)
    return all(hmac.compare_digest(hmac.digest(k, m, "sha256"), t) for k, m, t in rows)


def per_second(work: Callable[[], bool], count: int) -> float:
    begun = time.perf_counter()
    if not work():
        raise SystemExit("a good signature was refused")
    return count / (time.perf_counter() - begun)


def bench(title: str, works: dict[str, Callable[[], bool]], count: int, rounds: int) -> float:
    """The first over the last, by their medians; in turn, so that all meet the same machine."""
    rows: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            rows[name].append(per_second(work, count))
    measure.table(title, rows, digits=0)
    first, *_, last = (measure.median(figures) for figures in rows.values())
    return first / last


def bench_keys(keys: int, count: int, rounds: int) -> float:
    rows = signed(count, keys)
    return bench(
        f"Ed25519 signatures per second, {MESSAGE_BYTES} bytes, {keys} keys",
        {
            "core, batch": lambda: all(verify_signatures(*rows)),
            "core, one by one": lambda: all(map(verify_signature, *rows)),
            "PyNaCl, one by one": lambda: by_pynacl(*rows),
        },
        count,
        rounds,
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    for keys in (1, options.count):
        factor = bench_keys(keys, options.count, options.rounds)
        measure.judge("a batch is faster than PyNaCl", factor > 1, f"{factor:.1f} times")
    codes = coded(options.count)
    factor = bench(
        f"HMAC-SHA-256 codes per second, {MESSAGE_BYTES} bytes",
        {
            "core, batch": lambda: all(verify_hmacs(*codes)),
            "hmac of Python, one by one": lambda: by_python(*codes),
        },
        options.count,
        options.rounds,
    )
    measure.judge("a batch is faster than Python's hmac", factor > 1, f"{factor:.1f} times")


if __name__ == "__main__":
    main()
