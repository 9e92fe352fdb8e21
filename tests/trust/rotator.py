"""A process that adopts keys and rotates until it fails, and says what was done. See
test_faults.py."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.trust.rings import Party, chain_of

ADOPTED = 3
ROTATIONS = 2


def main(path: Path) -> None:
    us, them = Party(path / "us"), Party(path / "them", "them")
    us.ring.hold()
    blocks = [them.envelope(chain_of(n), them.begin(chain_of(n)).number) for n in range(ADOPTED)]
    os.write(1, b"ready\n")
    sys.stdin.readline()
    for number, block in enumerate(blocks):
        us.adopt(block)
        os.write(1, b"%d\n" % number)
    for turn in range(ROTATIONS):
        us.ring.rotate(forget=turn == 1)
        us.ring.note_ring()
        os.write(1, b"%d\n" % (ADOPTED + turn))
    us.ring.close()
    os.write(1, b"closed\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
