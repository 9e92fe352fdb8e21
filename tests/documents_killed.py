"""A node that is killed at one moment of a write to a document: `python FILE HOME MOMENT`.

Moments: `before` the transaction, `after` it is durable and before its step is recorded, or when
the document was `read` and that is not recorded.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NoReturn

import anyio

from qflow.config import Config
from qflow.node import Node
from qflow.node._documents import SharedDocuments

FLOW = """\
document:
  dsl: '1.0.3'
  namespace: test
  name: count
  version: '1.0.0'
  metadata: {qflow: {documents: {tally: '${ "tally/" + .of }'}}}
do:
- each:
    for: {each: n, in: '[1, 2, 3]'}
    do:
    - add:
        call: document
        with:
          document: tally
          increment: {/sum: '${ $n + 0 * ($documents.tally.sum // 0) }'}
          append: {/log: ['${ $n }']}
- show: {set: {sum: '${ $documents.tally.sum }', log: '${ $documents.tally.log }'}}
"""
MOMENTS = ("before", "after", "read")


def _die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise SystemExit


def _deadly(moment: str, at: int) -> None:
    """Have the `at`th read or write be the last thing that this process does."""
    name = "read" if moment == "read" else "write"
    whole: Callable[..., Awaitable[Any]] = getattr(SharedDocuments, name)
    calls = iter(range(1000))

    async def cut(*arguments: Any, **options: Any) -> Any:
        is_last = next(calls) == at
        if is_last and moment == "before":
            _die()
        found = await whole(*arguments, **options)
        if is_last:
            _die()
        return found

    setattr(SharedDocuments, name, cut)


async def main(home: Path, moment: str, at: int) -> None:
    _deadly(moment, at)
    async with Node(Config(home=home)) as node:
        await node.run(FLOW, {"of": "killed"})


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
