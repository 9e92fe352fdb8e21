"""Which executions wait for which types of events."""

from __future__ import annotations


class Listening:
    """Types of events and who wants them; `*` is every type."""

    def __init__(self) -> None:
        self._by_type: dict[str, dict[str, None]] = {}
        self._heard: dict[str, tuple[str, ...]] = {}

    def note(self, execution: str, types: tuple[str, ...]) -> None:
        """An execution waits for these now."""
        before = self._heard.get(execution, ())
        if types == before:
            return
        for kind in before:
            known = self._by_type[kind]
            known.pop(execution, None)
            if not known:
                del self._by_type[kind]
        for kind in types:
            self._by_type.setdefault(kind, {})[execution] = None
        if types:
            self._heard[execution] = types
        else:
            del self._heard[execution]

    def takers(self, kind: str) -> list[str]:
        """The executions that may want an event of this type."""
        return list(self._by_type.get(kind, {}) | self._by_type.get("*", {}))
