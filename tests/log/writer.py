"""A process that appends until it fails, and says what was acknowledged. See test_faults.py."""

from __future__ import annotations

import os
import select
import sys
from pathlib import Path

from tests.log.logs import open_log

APPENDS = 8


def append_of(number: int) -> list[bytes]:
    """Three records that say whose they are; two appends fill a segment."""
    return [b"%d.%d " % (number, part) + b"x" * 7000 for part in range(3)]


def main(path: Path) -> None:
    os.write(1, b"ready\n")
    sys.stdin.readline()
    log = open_log(path)
    for number in range(log.size // 3, APPENDS):
        if number % 2:
            log.append(append_of(number))
            select.select([log.fileno()], [], [])
            [(_, first, error)] = log.drain()
            if error:
                raise OSError(error)
        else:
            first = log.append_durable(append_of(number))
        os.write(1, b"%d\n" % first)
        if number == APPENDS // 2:
            log.publish()
    log.close()
    os.write(1, b"closed\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
