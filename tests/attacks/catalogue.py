"""All attacks, in the order of the table. Importing a family enters its attacks."""

from __future__ import annotations

from tests.attacks import (
    answers,
    attack,
    changes,
    exports,
    holders,
    malformed,
    orders,
    prunings,
    receipts,
    sealed,
)

FAMILIES = (
    *(changes.CHANGE, changes.CUT, orders.REORDER, orders.SPLICE, orders.SIGN, orders.REPLAY),
    *(holders.FORK, holders.CHAIN, malformed.NOTE, malformed.TILE, malformed.FRAME),
    *(prunings.PRUNED, receipts.RECEIPT, receipts.COSIGNED),
    *(sealed.SEALED, answers.ANSWER, exports.EXPORT),
)
ATTACKS = sorted(attack.ATTACKS, key=lambda one: FAMILIES.index(one.family))
