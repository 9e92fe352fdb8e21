"""What a node answers strangers over HTTP: as a witness, and about its own log."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Mount, Route

from qflow.api._log_files import log_routes

if TYPE_CHECKING:
    from starlette.requests import Request

    from qflow.audit import Witness

WITNESS_PREFIX: Final = "/witness"
LOG_PREFIX: Final = "/log"


def public_app(*, witness: Witness | None = None, log: Path | None = None) -> Starlette:
    """The app of a node: `/witness/add-checkpoint`, and `/log/...` when a folder is named.

    https://c2sp.org/tlog-witness, https://c2sp.org/tlog-tiles
    """
    routes: list[Mount] = []
    if witness is not None:
        routes.append(Mount(WITNESS_PREFIX, routes=witness_routes(witness)))
    if log is not None:
        routes.append(Mount(LOG_PREFIX, routes=log_routes(log)))
    return Starlette(routes=routes)


def witness_routes(witness: Witness) -> list[Route]:
    """`POST /add-checkpoint`, answered when the witness's state is durable."""

    async def add_checkpoint(request: Request) -> Response:
        answer = await anyio.to_thread.run_sync(witness.add_checkpoint, await request.body())
        # As it is: starlette would add a charset to `text/x.tlog.size`.
        return Response(answer.body, answer.status, headers={"content-type": answer.media})

    return [Route("/add-checkpoint", add_checkpoint, methods=["POST"])]
