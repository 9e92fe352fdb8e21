"""Names with `*` in them: any characters or none; `[*]` is a star. As the index has it in Rust."""

from __future__ import annotations

from functools import cache
from typing import Final

ANY: Final = "*"
_STAR: Final = "[*]"


def is_flow(pattern: str, flow: str) -> bool:
    """Whether a flow's key fits `namespace/name/version`, `namespace/name` or `name`."""
    if pattern == ANY:
        return True
    parts, has = pattern.split("/"), flow.split("/")
    if len(parts) == 1:
        has = has[1:2]
    elif len(parts) == 2:
        has = has[:2]
    return len(parts) == len(has) and all(map(is_like, parts, has))


def is_like(pattern: str, text: str) -> bool:
    """Whether a text is what a pattern says: `*` is any characters, all else itself."""
    head, *rest = _parts(pattern)
    if not rest:
        return head == text
    *middle, tail = rest
    at, end = len(head), len(text) - len(tail)
    if at > end or not (text.startswith(head) and text.endswith(tail)):
        return False
    # The first place is as good as any later one, so the time is that of one pass.
    for part in middle:
        if (at := text.find(part, at, end)) < 0:
            return False
        at += len(part)
    return True


def is_one_of(patterns: tuple[str, ...], text: str) -> bool:
    """Whether any of the patterns fits."""
    return any(is_like(pattern, text) for pattern in patterns)


@cache
def _parts(pattern: str) -> tuple[str, ...]:
    """What stands between the stars."""
    exact = [part.split(ANY) for part in pattern.split(_STAR)]
    parts = exact[0]
    for more in exact[1:]:
        parts = [*parts[:-1], parts[-1] + ANY + more[0], *more[1:]]
    return tuple(parts)
