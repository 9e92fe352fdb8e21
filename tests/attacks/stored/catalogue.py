"""All attacks on stored states, in the order of the table."""

from __future__ import annotations

from tests.attacks.stored import attack, cars, disk, files, made, versions

FAMILIES = (
    *(cars.CAR, versions.FORGED, versions.SPLICED, made.MADE, disk.BLOCKS, disk.INDEX),
    *(files.DATABASE, files.WAL, files.KEYS),
)
ATTACKS = sorted(attack.ATTACKS, key=lambda one: FAMILIES.index(one.family))
