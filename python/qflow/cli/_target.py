"""Where a command may write a file: never over the node's own, nor over what is no file."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from qflow.cli._exit import USAGE, Refusal
from qflow.errors import VerificationError

if TYPE_CHECKING:
    from qflow.cli._session import Session

_SECRETS: Final = ("node.key", "node.pub", "keys", "adopted.keys", "subnet.keys")
_OWN: Final = (*_SECRETS, "qflow.toml", "node.sock", "log", "secrets")
_DATABASES: Final = ("state.db", "index.db")
"""SQLite puts files of longer names beside them."""
_FOLDERS: Final = ("log", "secrets")
_READ_BYTES: Final = 1 << 16


def check_target(session: Session, path: Path, *, force: bool) -> None:
    """Refuse a place for a new file: one of the home's own files, what is no regular file, or,
    without `force`, a file that is there."""
    if not path.name:
        raise Refusal(f"{str(path)!r} names no file", USAGE)
    check_own(session, path)
    found = _mode(path)
    if found is None:
        return
    if not stat.S_ISREG(found):
        raise Refusal(f"{path} is no regular file, and is not replaced", USAGE)
    if not force:
        raise Refusal(f"{path} is there already", USAGE, "--force replaces it")


def check_folder(path: Path) -> None:
    """Refuse a place in a folder that is not there."""
    if not path.parent.is_dir():
        raise Refusal(f"{path.parent} is no folder", USAGE)


def check_own(session: Session, path: Path) -> None:
    """Refuse what is, or would be, one of the files that a node keeps in its home."""
    # The name itself is not followed: a rename replaces a link, and what it points to stays.
    try:
        place = path.absolute().parent.resolve() / path.name
        inside = place.relative_to(session.home.resolve())
    except (ValueError, OSError):
        return
    name = inside.parts[0] if inside.parts else ""
    own = name in _OWN if len(inside.parts) == 1 else name in _FOLDERS
    # What is made beside a file before it takes its place begins with a dot.
    beside = any(name.startswith(f".{secret}.") for secret in _SECRETS)
    if own or beside or name.startswith(_DATABASES):
        raise Refusal(
            f"{path} is a file of the node in {session.home}", USAGE, "name another place"
        )


def check_car(path: Path) -> None:
    """Refuse to replace a file that neither begins as a CAR nor is empty."""
    from qflow.storage import CarParser

    if _mode(path) is None or not path.stat().st_size:
        return
    parser = CarParser()
    # Nobody waits for the other end of what was exchanged for a pipe meanwhile.
    with (
        os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file,
        suppress(VerificationError),
    ):
        while parser.roots is None and (data := file.read(_READ_BYTES)):
            parser.feed(data)
    if parser.roots is None:
        raise Refusal(
            f"{path} is no CAR, and is not replaced", USAGE, "name another file, or remove it"
        )


def _mode(path: Path) -> int | None:
    try:
        return path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
