"""Reads the part of Gherkin that the conformance kit is written in; anything else is refused.

The kit has features, scenarios, steps with doc strings, and comments: eighty lines. A parser of the
whole language would be one more dependency to follow, for tables and outlines that nobody uses.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_STEP = re.compile(r"(Given|When|Then|And|But)\s+(.*)")
_FENCE = re.compile(r'("""|```)\s*(\S*)$')


class Step(NamedTuple):
    """One line of a scenario, without its keyword, and the text that hangs below it."""

    text: str
    document: str | None = None


class Scenario(NamedTuple):
    file: str
    name: str
    steps: tuple[Step, ...]

    def __str__(self) -> str:
        return f"{self.file}: {self.name}"


def read_folder(folder: Path) -> list[Scenario]:
    """The scenarios of all `*.feature` files, in the order of the files and lines."""
    return [s for path in sorted(folder.glob("*.feature")) for s in read_file(path)]


def read_file(path: Path) -> list[Scenario]:
    """The scenarios of one file. Raises ValueError for what is not understood."""
    lines = enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
    found: list[tuple[str, list[Step]]] = []
    is_feature = False
    for number, line in lines:
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        if text.startswith("Feature:") and not is_feature:
            is_feature = True
        elif text.startswith("Scenario:") and is_feature:
            found.append((text.partition(":")[2].strip(), []))
        elif (step := _STEP.fullmatch(text)) and found:
            found[-1][1].append(Step(step[2]))
        elif (fence := _FENCE.fullmatch(text)) and found and found[-1][1]:
            steps = found[-1][1]
            if steps[-1].document is not None:
                raise ValueError(f"{path}:{number}: a second doc string")
            steps[-1] = Step(steps[-1].text, _document(lines, line.index(fence[1]), fence[1]))
        elif found or not is_feature:
            raise ValueError(f"{path}:{number}: not understood: {text}")
        # What is left is the description of the feature.
    return [Scenario(path.name, name, tuple(steps)) for name, steps in found]


def _document(lines: Iterator[tuple[int, str]], indent: int, fence: str) -> str:
    """The lines up to the closing fence, without the indentation of the opening one."""
    taken: list[str] = []
    for _, line in lines:
        if line.strip() == fence:
            return "\n".join(taken) + "\n"
        cut = len(line) - len(line.lstrip())
        taken.append(line[min(cut, indent) :])
    raise ValueError(f"a doc string without an end: {taken[:1]}")
