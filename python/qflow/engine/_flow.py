"""A flow that was loaded: data, and ways into it that the hot path takes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from qflow import _core


class Flow:
    """A validated flow. Immutable by convention; equal and hashed by its canonical bytes.

    `document` is plain data as validated; nothing in it may be changed. `base` is the folder of
    the flow's file, for relative `file:` resources; None when it was not a file.
    """

    __slots__ = ("_at", "_digest", "base", "document", "documents")

    def __init__(self, document: Mapping[str, Any], base: str | None = None) -> None:
        """Wrap a document that `load_flow` has validated, now or before it was stored."""
        self.document: dict[str, Any] = dict(document)
        self.base = base
        self.documents = documents_of(self.document)
        """The documents that its executions share: names by local name; a name that is an
        expression is one over the input of the execution."""
        self._at: dict[str, Any] = {"": self.document}
        self._digest: str | None = None

    def __repr__(self) -> str:
        return f"<Flow {self.key}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Flow) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    @property
    def namespace(self) -> str:
        return str(self.document["document"]["namespace"])

    @property
    def name(self) -> str:
        return str(self.document["document"]["name"])

    @property
    def version(self) -> str:
        return str(self.document["document"]["version"])

    @property
    def title(self) -> str:
        """What people call the flow: its title, or its name."""
        return str(self.document["document"].get("title") or self.name)

    @property
    def key(self) -> str:
        """`namespace/name/version`."""
        return f"{self.namespace}/{self.name}/{self.version}"

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical DAG-CBOR of the document, in hex."""
        if self._digest is None:
            self._digest = hashlib.sha256(_core.encode(self.document)).hexdigest()
        return self._digest

    def at(self, pointer: str) -> Any:
        """The value of a JSON pointer (RFC 6901) into the document. Raises KeyError."""
        try:
            return self._at[pointer]
        except KeyError:
            found = self._at[pointer] = self._walk(pointer)
            return found

    def _walk(self, pointer: str) -> Any:
        value: Any = self.document
        for token in pointer.split("/")[1:]:
            try:
                if isinstance(value, list):
                    value = value[int(token)]
                else:
                    value = value[token.replace("~1", "/").replace("~0", "~")]
            except (IndexError, ValueError, TypeError, KeyError):
                raise KeyError(pointer) from None
        return value

    def timeout(self, value: Any) -> dict[str, Any] | None:
        """A timeout as defined in place or by name in `use.timeouts`; None for None."""
        return self._used("timeouts", value)

    def retry(self, value: Any) -> dict[str, Any] | None:
        """A retry policy as defined in place or by name in `use.retries`; None for None."""
        return self._used("retries", value)

    def error(self, value: Any) -> dict[str, Any]:
        """An error as defined in place or by name in `use.errors`."""
        return self._used("errors", value) or {}

    def _used(self, section: str, value: Any) -> dict[str, Any] | None:
        if isinstance(value, str):
            value = self.document["use"][section][value]
        found: dict[str, Any] | None = value
        return found


def documents_of(document: Mapping[str, Any]) -> Mapping[str, str]:
    """`metadata.qflow.documents` of a flow's document."""
    metadata = (document.get("document") or {}).get("metadata") or {}
    found: Mapping[str, str] = (metadata.get("qflow") or {}).get("documents") or {}
    return found
