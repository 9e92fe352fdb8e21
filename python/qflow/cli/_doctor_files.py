"""The doctor's checks of a node's files."""

from __future__ import annotations

import fcntl
import os
import stat
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from qflow.cli._finding import FAIL, GOOD, WARN, Finding, NodeFinding
from qflow.cli._output import plural, size
from qflow.errors import CorruptError, QflowError, SigningKeyError, UnavailableError

if TYPE_CHECKING:
    from qflow.audit import History
    from qflow.cli._session import Session
    from qflow.trust import Keyring

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
SCAN_BYTES: Final = 4 << 20
LOOKED_AT_MAX: Final = 1000
"""Unfinished executions, and newest ones, whose keys are looked for."""
KEYS_FIX: Final = (
    "stop the node; bring back keys, adopted.keys and subnet.keys of this home, all of one copy:"
    " docs/guides/keys.md"
)


def home(session: Session, _: list[Path]) -> Finding:
    """The folder is there, is ours, and is closed to others."""
    path = session.home
    if not path.is_dir():
        return Finding("home", FAIL, f"{path} is not there", "qflow init makes it")
    found = path.stat()
    if found.st_uid != os.geteuid():
        fix = "run as its owner, or name another home"
        return Finding("home", FAIL, f"{path} belongs to user {found.st_uid}", fix)
    if not os.access(path, os.W_OK | os.X_OK):
        return Finding("home", FAIL, f"{path} cannot be written", f"chmod 700 {path}")
    mode = stat.S_IMODE(found.st_mode)
    if mode & _OTHERS:
        return Finding("home", WARN, f"{path} is open to others ({mode:04o})", f"chmod 700 {path}")
    return Finding("home", GOOD, f"{path} ({mode:04o})")


def key(session: Session, _: list[Path]) -> Finding:
    """The key can be used, and its public half belongs to it."""
    from qflow.trust import load_or_create_key

    missing = [name for name in ("node.key", "node.pub") if not (session.home / name).exists()]
    if missing:
        fix = "qflow init makes it; if there is a log, restore the key from a copy instead"
        return Finding("key", FAIL if _log(session).is_dir() else WARN, f"no {missing[0]}", fix)
    return Finding("key", GOOD, load_or_create_key(session.home).did)


def keys(session: Session, _: list[Path]) -> Finding:
    """The keys of executions can be read, by this user alone."""
    from qflow.trust import Keyring, load_seed

    keyring = Keyring(session.home, lambda: load_seed(session.home))
    try:
        keyring.check()
        if (lacking := _lacking(session, keyring)) is not None:
            return lacking
        if not keyring.exists:
            return Finding("keys", GOOD, "none yet")
        own, adopted = plural(keyring.count(), "key"), keyring.count_adopted()
        more = f", {adopted:,} adopted" if adopted else ""
        return Finding("keys", GOOD, f"{own} of executions{more}, epoch {keyring.subnet.epoch}")
    except (CorruptError, SigningKeyError, UnavailableError) as error:
        return Finding("keys", FAIL, str(error), KEYS_FIX)
    finally:
        keyring.close()


def _lacking(session: Session, keyring: Keyring) -> Finding | None:
    """Executions whose key should be in `keys` and is not: the file is cut off, or another one.
    Nothing without an index, which a node makes when it starts."""
    from qflow.audit import History, Index
    from qflow.cli._reader import open_reader

    path = session.home / "index.db"
    if not path.exists() or not _log(session).is_dir():
        return None
    with suppress(QflowError), closing(Index(path, read_only=True)) as found:
        history = History(found, open_reader(_log(session)))
        for views, status, kind in (
            (found.unfinished()[:LOOKED_AT_MAX], FAIL, "unfinished execution"),
            (found.executions(limit=LOOKED_AT_MAX), WARN, "execution"),
        ):
            lost = [view.id for view in views if _is_lost(view.id, history, keyring)]
            if lost:
                which = f"{plural(len(lost), kind)}, {lost[0]} for one"
                what = f"{session.home / 'keys'} has no key of {which}"
                return Finding("keys", status, what, KEYS_FIX)
    return None


def _is_lost(execution: str, history: History, keyring: Keyring) -> bool:
    from qflow import model
    from qflow.audit._result import key_number

    number, chain = key_number(history, execution), model.id_bytes(execution)
    if number is None or keyring.has_of(chain, number):
        return False
    return not keyring.is_destroyed_of(chain, number)


def secrets(session: Session, _: list[Path]) -> Finding:
    """No secret can be read by others."""
    folder = session.home / "secrets"
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    open_ones = [path for path in files if path.stat().st_mode & _OTHERS]
    if open_ones:
        names = ", ".join(path.name for path in open_ones)
        return Finding("secrets", FAIL, f"open to others: {names}", f"chmod 600 {folder}/*")
    return Finding("secrets", GOOD, plural(len(files), "secret"))


def node(session: Session, _: list[Path]) -> Finding:
    """Who holds the log, and whether it answers."""
    try:
        status = session.run(node_status, session.home)
    except UnavailableError as error:
        holder = _holder(_log(session) / "lock")
        if holder is None:
            return Finding("node", GOOD, "none runs")
        fix = "wait if it is just starting; else stop that process"
        found = f"process {holder} holds the log, but: {error}"
        return NodeFinding("node", WARN, found, fix, pid=holder or None)
    pid = _holder(_log(session) / "lock") or None
    runs = "runs" if pid is None else f"runs as process {pid}"
    found = f"{runs}, ready {status.get('ready_ms', '?')} ms after its start"
    if isinstance(shut := status.get("shut"), int) and shut:
        found += f"; {plural(shut, 'execution')} shut"
        fix = "qflow list names them, qflow show ID says why; a start tries again"
        return NodeFinding("node", WARN, found, fix, pid=pid)
    return NodeFinding("node", GOOD, found, pid=pid)


async def node_status(path: Path) -> dict[str, object]:
    """What the running node says of itself. Raises UnavailableError."""
    from qflow.api import Client

    async with Client(path) as client:
        return await client.status()


def _holder(lock: Path) -> int | None:
    """The process that holds the log's lock, 0 when it is not known, None when nobody does."""
    try:
        with lock.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return _locker_of(os.fstat(file.fileno()).st_ino)
    except FileNotFoundError:
        pass
    return None


def _locker_of(inode: int) -> int:
    """From /proc/locks (proc_locks(5)): `1: FLOCK ADVISORY WRITE 708 08:01:1234 0 EOF`."""
    for line in Path("/proc/locks").read_text().splitlines():
        fields = line.split()
        if len(fields) > 5 and fields[1] == "FLOCK" and fields[5].endswith(f":{inode}"):
            return int(fields[4])
    return 0


def log(session: Session, _: list[Path]) -> Finding:
    """The log opens, and its beginning reads as it was written."""
    from qflow.cli._reader import open_reader

    folder = _log(session)
    if not folder.is_dir():
        return Finding("log", GOOD, "none yet")
    fix = "qflow audit verify says what is damaged; restore it from a copy"
    try:
        reader = open_reader(folder)
        reader.scan(0, SCAN_BYTES)
    except QflowError as error:
        return Finding("log", FAIL, str(error), fix)
    used = sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())
    return Finding("log", GOOD, f"{plural(reader.size, 'record')}, {size(used)} on disk")


def index(session: Session, _: list[Path]) -> Finding:
    """The index opens, and is not ahead of the log."""
    from qflow import _core
    from qflow.audit import Index

    path = session.home / "index.db"
    if not path.exists():
        return Finding("index", GOOD, "none yet")
    try:
        found = Index(path, read_only=True)
    except UnavailableError as error:
        return Finding("index", WARN, str(error), "qflow index rebuild")
    try:
        indexed = found.size
        count = sum(found.counts().values())
    finally:
        found.close()
    # Read after the index: a running node only adds.
    written = _core.LogReader(str(_log(session))).size
    if indexed > written:
        what = f"it has {indexed} records, the log {written}"
        return Finding("index", FAIL, what, "qflow index rebuild")
    return Finding("index", GOOD, f"{plural(count, 'execution')}, {indexed} of {written} records")


def _log(session: Session) -> Path:
    return session.home / "log"
