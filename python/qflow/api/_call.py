"""What a call of the control socket is."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import AsyncGenerator
from typing import Any, ClassVar

import msgspec

from qflow.api._ports import NodeLike


class _Meta(msgspec.StructMeta, ABCMeta):
    """Of structs that leave a method to their subclasses."""


class Method(msgspec.Struct, metaclass=_Meta, forbid_unknown_fields=True):
    """Parameters of a method that a client names."""

    method: ClassVar[str]
    lasting: ClassVar[bool] = False
    """Whether it only waits: it ends with its connection, while others are carried out."""


class Call(Method):
    """It is answered with a result."""

    @abstractmethod
    async def answer(self, node: NodeLike, actor: str) -> Any:
        """The result; what it changed is durable."""


class Stream(Method):
    """It is answered with items one by one."""

    @abstractmethod
    def items(self, node: NodeLike, actor: str) -> AsyncGenerator[Any, None]:
        """The items in order. Whoever asks closes it."""
