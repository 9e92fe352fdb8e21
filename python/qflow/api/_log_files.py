"""The published files of a log for monitors, as C2SP tlog-tiles has them.

https://c2sp.org/tlog-tiles
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route

if TYPE_CHECKING:
    from starlette.requests import Request

HASH_BYTES: Final = 32
TILE_WIDTH: Final = 256
FILE_BYTES_MAX: Final = 4 << 20
"""A full bundle of 256 records of 8,000 bytes has half of it."""
NOTE_BYTES_MAX: Final = 64 << 10

_TILE: Final = re.compile(
    r"(?P<level>entries|[0-9]|[1-5][0-9]|6[0-3])/(?P<index>(?:x[0-9]{3}/)*[0-9]{3})"
    r"(?:\.p/(?P<width>[1-9][0-9]{0,2}))?"
)
_FOR_EVER: Final = {"cache-control": "public, max-age=31536000, immutable"}
_NOW: Final = {"cache-control": "no-cache"}


class LogFiles:
    """Reads what a log has published. Only names of the format lead to a file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def head(self) -> bytes | None:
        """The newest signed head, with its cosignatures when witnesses have given some for it."""
        newest, witnessed = self._note("checkpoint"), self._note("witnessed")
        if newest is None or witnessed is None:
            return newest
        return witnessed if _text(witnessed) == _text(newest) else newest

    def witnessed(self) -> bytes | None:
        """The newest head that carries cosignatures; it may be older than `head`."""
        return self._note("witnessed")

    def tile(self, name: str) -> bytes | None:
        """A tile or entry bundle by its path behind `tile/`; None for what is not there."""
        found = _TILE.fullmatch(name)
        if found is None:
            return None
        if found["width"] is None:
            return self._read(f"{found['level']}/{found['index']}")
        width = int(found["width"])
        if width >= TILE_WIDTH:
            return None
        data = self._read(name)
        return self._cut(f"{found['level']}/{found['index']}", width) if data is None else data

    def _cut(self, whole: str, width: int) -> bytes | None:
        """A partial tile of an older head, which is how a wider one begins."""
        folder = self._folder / "tile" / f"{whole}.p"
        widths = sorted(
            int(path.name) for path in folder.glob("*") if re.fullmatch(r"[1-9]\d{0,2}", path.name)
        )
        wider = [f"{whole}.p/{found}" for found in widths if found > width]
        for name in (whole, *wider):
            if (data := self._read(name)) is not None:
                return _beginning(data, width, is_bundle=whole.startswith("entries"))
        return None

    def _note(self, name: str) -> bytes | None:
        return _content(self._folder / name, NOTE_BYTES_MAX)

    def _read(self, name: str) -> bytes | None:
        return _content(self._folder / "tile" / name, FILE_BYTES_MAX)


def _content(path: Path, bytes_max: int) -> bytes | None:
    try:
        with path.open("rb") as file:
            return file.read(bytes_max)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None


def _text(note: bytes) -> bytes:
    return note.partition(b"\n\n")[0]


def _beginning(data: bytes, width: int, *, is_bundle: bool) -> bytes | None:
    """The first `width` hashes of a tile, or records of a bundle (each behind its length)."""
    end = width * HASH_BYTES
    if is_bundle:
        end = 0
        for _ in range(width):
            end += 2 + int.from_bytes(data[end : end + 2], "big")
    return data[:end] if end <= len(data) else None


def log_routes(folder: Path) -> list[Route]:
    """`/checkpoint`, `/witnessed` and `/tile/...` of the log in a folder."""
    files = LogFiles(folder)

    async def head(_: Request) -> Response:
        return _note_response(await anyio.to_thread.run_sync(files.head))

    async def witnessed(_: Request) -> Response:
        return _note_response(await anyio.to_thread.run_sync(files.witnessed))

    async def tile(request: Request) -> Response:
        data = await anyio.to_thread.run_sync(files.tile, request.path_params["name"])
        if data is None:
            raise HTTPException(404)
        return Response(data, media_type="application/octet-stream", headers=_FOR_EVER)

    return [
        Route("/checkpoint", head),
        Route("/witnessed", witnessed),
        Route("/tile/{name:path}", tile),
    ]


def _note_response(note: bytes | None) -> Response:
    if note is None:
        raise HTTPException(404)
    return Response(note, media_type="text/plain; charset=utf-8", headers=_NOW)
