"""The control socket: its place in the file system, and streams over it.

anyio's own Unix streams let a cancelled wait be answered once more on asyncio ("invalid state" in
the loop's log when a client leaves while the node stops); these wait by `anyio.wait_readable`.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import anyio
from anyio.abc import ByteStream
from anyio.lowlevel import checkpoint

from qflow.errors import LockedError, UnavailableError

SOCKET_NAME: Final = "node.sock"
SUN_PATH_BYTES_MAX: Final = 107
"""The kernel's `sun_path` has 108 bytes, one of them the NUL."""
BACKLOG: Final = 128
"""Callers beyond it wait in `connect`."""
_CREDENTIALS: Final = struct.Struct("3i")


def socket_path(home: str | os.PathLike[str]) -> Path:
    """Where the node whose files are in `home` listens."""
    return Path(home) / SOCKET_NAME


@contextmanager
def addressable(path: Path) -> Iterator[str]:
    """A name for `path` that fits a socket address, valid inside the context.

    A path that is too long is named through a descriptor of its folder (`/proc/self/fd`), so that
    no home is too deep. Raises `UnavailableError` where that is not possible.
    """
    name = os.fspath(path)
    if len(os.fsencode(name)) <= SUN_PATH_BYTES_MAX:
        yield name
        return
    if not Path("/proc/self/fd").is_dir():
        raise UnavailableError(
            f"{name} is longer than the {SUN_PATH_BYTES_MAX} bytes of a socket address:"
            " choose a shorter home"
        )
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


class Stream(ByteStream):
    """Bytes over a connected socket. Owns the socket."""

    def __init__(self, raw: socket.socket) -> None:
        raw.setblocking(False)
        self._raw = raw

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Some bytes, as soon as there are any."""
        await checkpoint()
        while True:
            try:
                data = self._raw.recv(max_bytes)
            except BlockingIOError:
                await anyio.wait_readable(self._raw)
            except OSError as error:
                raise self._lost() from error
            else:
                if not data:
                    raise anyio.EndOfStream
                return data

    async def send(self, item: bytes) -> None:
        """Hand all bytes to the kernel."""
        await checkpoint()
        left = memoryview(item)
        while left:
            try:
                left = left[self._raw.send(left) :]
            except BlockingIOError:
                await anyio.wait_writable(self._raw)
            except OSError as error:
                raise self._lost() from error

    async def send_eof(self) -> None:
        """Tell the other side that no more comes."""
        self._raw.shutdown(socket.SHUT_WR)

    async def aclose(self) -> None:
        """Close at once; what was sent still arrives."""
        if self._raw.fileno() != -1:
            anyio.notify_closing(self._raw)
            self._raw.close()
        await checkpoint()

    @property
    def peer_uid(self) -> int:
        """The user of the process at the other end when it connected, as the kernel says."""
        option = self._raw.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        return int(_CREDENTIALS.unpack(option)[1])

    def _lost(self) -> anyio.BrokenResourceError | anyio.ClosedResourceError:
        if self._raw.fileno() == -1:
            return anyio.ClosedResourceError()
        return anyio.BrokenResourceError()


class Listener:
    """A socket in the file system that takes connections, mode 0600. Owns its name.

    A socket that nobody listens on is a dead node's, and is replaced: whoever makes a listener
    holds the lock of the node's log. Raises `LockedError` when somebody does listen,
    `UnavailableError` when something else has the name or the folder refuses.
    """

    def __init__(self, place: Path) -> None:
        self._place = place
        self._raw = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            with addressable(place) as name:
                _clear(place, name)
                self._raw.bind(name)
                # Nobody can connect before `listen`, so the mode is right from the beginning.
                place.chmod(0o600)
                self._identity = _identity(place)
                self._raw.listen(BACKLOG)
        except OSError as error:
            self._raw.close()
            raise UnavailableError(f"cannot listen on {place}: {error.strerror}") from error
        except BaseException:
            self._raw.close()
            raise

    async def accept(self) -> Stream:
        """The next connection."""
        await checkpoint()
        while True:
            try:
                return Stream(self._raw.accept()[0])
            except BlockingIOError:
                await anyio.wait_readable(self._raw)
            except OSError as error:
                # Out of descriptors or gone before it was taken: the next may do better.
                if error.errno not in _PASSING:
                    raise
                await anyio.sleep(ACCEPT_RETRY_S)

    def close(self) -> None:
        """Take no more, and remove the name unless somebody else has it by now."""
        anyio.notify_closing(self._raw)
        self._raw.close()
        if self._identity is not None and _identity(self._place) == self._identity:
            self._place.unlink(missing_ok=True)


ACCEPT_RETRY_S: Final = 0.1
_PASSING: Final = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.ECONNABORTED}
)


def connect(path: Path) -> Stream:
    """A connection to whoever listens at `path`. Raises `UnavailableError`."""
    raw = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with addressable(path) as name:
            # On a Unix socket this waits only while the listener's backlog is full.
            raw.connect(name)
        return Stream(raw)
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
        raw.close()
        raise UnavailableError(f"no node runs at {path.parent}") from None
    except OSError as error:
        raw.close()
        raise UnavailableError(f"cannot reach the node at {path}: {error.strerror}") from error


def _clear(place: Path, name: str) -> None:
    """Remove a dead node's socket; refuse anything else that is there."""
    try:
        mode = place.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise UnavailableError(f"{place} is in the way: it is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        if probe.connect_ex(name) not in (errno.ECONNREFUSED, errno.ENOENT):
            raise LockedError(f"another process listens on {place}")
    place.unlink(missing_ok=True)


def _identity(place: Path) -> tuple[int, int] | None:
    try:
        found = place.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
