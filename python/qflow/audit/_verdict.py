"""What a check of the history comes to."""

from __future__ import annotations

import enum


class Verdict(enum.StrEnum):
    """From the worst to the best."""

    INVALID = "INVALID"
    """Something is not as it was written, or not signed by the key."""
    DIVERGED = "DIVERGED"
    """Whole, but not a continuation of a head that is known: the log has two histories."""
    UNANCHORED = "UNANCHORED"
    """Whole, by the word of the log's key alone: not enough witnesses saw it, or none was asked."""
    WITNESSED = "WITNESSED"
    """Whole, and the witnesses that the policy asks for saw it."""
