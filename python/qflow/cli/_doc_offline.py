"""Documents in the files of a home, while no node runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from qflow.cli._state_offline import check_home

if TYPE_CHECKING:
    from qflow.config import Config
    from qflow.node._document_care import DocumentCare


@asynccontextmanager
async def documents_of_files(config: Config) -> AsyncIterator[DocumentCare]:
    """Under the lock of the log. Raises LockedError when a node runs after all."""
    from qflow.node._documents_open import open_documents

    check_home(config)
    async with open_documents(config) as care:
        yield care


@asynccontextmanager
async def view_of_files(config: Config) -> AsyncIterator[DocumentCare]:
    """For reading only, beside whoever else does."""
    from qflow.node._documents_open import open_document_view

    check_home(config)
    async with open_document_view(config) as care:
        yield care
