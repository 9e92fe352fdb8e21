"""A PostgreSQL server of its own for one run: Debian's binaries and their defaults, fsync on."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BINARIES = "/usr/lib/postgresql"


def newest() -> Path | None:
    """The folder with `initdb`, or None when PostgreSQL is not installed."""
    found = sorted(Path(BINARIES).glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


@contextmanager
def cluster(parent: Path | None = None) -> Iterator[str | None]:
    """The URL of an empty database; None when there are no binaries."""
    binaries = newest()
    if binaries is None:
        yield None
        return
    folder = Path(tempfile.mkdtemp(prefix="qflow-bench-pg-", dir=parent))
    who = _owner(folder)
    server = [str(binaries / "pg_ctl"), "-D", str(folder / "data"), "-w", "-s"]
    try:
        _call(
            [str(binaries / "initdb"), "-D", str(folder / "data"), "-A", "trust", "-U", "bench"],
            folder,
            who,
        )
        # Reached through a socket in a folder that only its owner opens.
        options = f"-k {folder} -c listen_addresses="
        _call([*server, "-l", str(folder / "log"), "-o", options, "start"], folder, who)
        try:
            _call(
                [str(binaries / "createdb"), "-h", str(folder), "-U", "bench", "bench"],
                folder,
                who,
            )
            yield f"postgresql+psycopg://bench@/bench?host={folder}"
        finally:
            _call([*server, "-m", "fast", "stop"], folder, who)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _owner(folder: Path) -> dict[str, Any]:
    """Whom the server runs as: it refuses root."""
    if os.geteuid() != 0:
        return {}
    names = {entry.pw_name for entry in pwd.getpwall()}
    entry = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
    os.chown(folder, entry.pw_uid, entry.pw_gid)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _call(command: list[str], folder: Path, who: dict[str, Any]) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    # A file, not a pipe: the server keeps what it inherits, and a pipe would never end.
    with (folder / "commands").open("ab") as said:
        done = subprocess.run(
            command, cwd=folder, env=kept, stdout=said, stderr=said, check=False, **who
        )
    if done.returncode:
        raise SystemExit(f"{command[0]} failed:\n{(folder / 'commands').read_text()}")
