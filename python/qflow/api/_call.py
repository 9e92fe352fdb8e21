"""What a call of the control socket is."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, ClassVar

import msgspec

from qflow.api._ports import NodeLike


class Call(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Parameters of a call. It answers with a result, or with items one by one."""

    method: ClassVar[str]
    lasting: ClassVar[bool] = False
    """Whether it only waits: it ends with its connection, while others are carried out."""

    async def answer(self, node: NodeLike, actor: str) -> Any:
        """The result; what it changed is durable."""
        raise NotImplementedError


class Stream(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Parameters of a call that answers with items."""

    method: ClassVar[str]
    lasting: ClassVar[bool] = False

    def items(self, node: NodeLike, actor: str) -> AsyncGenerator[Any, None]:
        """The items in order."""
        raise NotImplementedError
