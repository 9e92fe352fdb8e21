"""Where the rivals are: in an environment of their own, which `QFLOW_TEST_RIVALS` names."""

from __future__ import annotations

import importlib.util
import os
import sys

RIVALS = ("loro", "pycrdt", "automerge")
VARIABLE = "QFLOW_TEST_RIVALS"


def missing() -> list[str]:
    """Make them importable, behind all that is here, and tell which are not."""
    folder = os.environ.get(VARIABLE)
    if folder and folder not in sys.path:
        sys.path.append(folder)
    return [name for name in RIVALS if importlib.util.find_spec(name) is None]
