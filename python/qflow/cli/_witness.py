"""Being a witness: the key, the logs, and the service without a node."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from qflow.cli._exit import FAILED, NOT_FOUND, USAGE, Refusal
from qflow.cli._output import moment, plural

if TYPE_CHECKING:
    from qflow.audit import Witness
    from qflow.cli._session import Session


@contextmanager
def opened(session: Session) -> Iterator[Witness]:
    """The witness of this home."""
    from qflow.clock import SystemClock
    from qflow.node import open_witness
    from qflow.trust import load_or_create_key

    config = session.config
    _refuse_without_home(config.home)
    witness = open_witness(config, load_or_create_key(config.home), SystemClock())
    try:
        yield witness
    finally:
        witness.close()


def _refuse_without_home(home: Path) -> None:
    """A mistyped name must not become another witness with another key."""
    if not home.is_dir():
        raise Refusal(
            f"{home} is not there", NOT_FOUND, "qflow init makes a home; --home names one"
        )


def vkey(session: Session) -> int | None:
    """Print `witness NAME VKEY URL`; without the URL when nothing listens."""
    from qflow import _core
    from qflow.trust import load_or_create_key

    _refuse_without_home(session.config.home)
    key = load_or_create_key(session.config.home)
    found = _core.generate_witness_vkey(key.origin, key.seed)
    url = _url(session.config.server.listen)
    if session.out.json:
        session.out.document({"name": key.origin, "vkey": found, "url": url})
        return None
    session.out.line(" ".join(part for part in ("witness", key.origin, found, url) if part))
    if url is None:
        session.out.note("server.listen is not set: add the URL at which others reach this witness")
    return None


def _url(listen: str | None) -> str | None:
    if listen is None or listen.endswith(":0"):
        return None
    from qflow.api._public import WITNESS_PREFIX

    return f"http://{listen}{WITNESS_PREFIX}"


def add(session: Session, key: str) -> int | None:
    """Add what `key` names."""
    named = _vkeys(key)
    with opened(session) as witness:
        new = [vkey for vkey in named if witness.add_log(vkey)]
    _report(session, "added", new)
    return None


def remove(session: Session, key: str) -> int | None:
    """Remove what `key` names; exit code 3 when nothing of it was added."""
    named = _vkeys(key)
    with opened(session) as witness:
        gone = [vkey for vkey in named if witness.remove_log(vkey)]
    _report(session, "removed", gone)
    return None if gone else NOT_FOUND


def _vkeys(key: str) -> list[str]:
    from qflow.audit import read_vkeys
    from qflow.audit._witness import origin_of
    from qflow.errors import ConfigError

    try:
        if Path(key).is_file():
            return read_vkeys(Path(key))
        origin_of(key)
    except ConfigError as error:
        raise Refusal(str(error), USAGE, "node.pub in the home of the log's node is one") from None
    return [key]


def _report(session: Session, verb: str, vkeys: list[str]) -> None:
    if session.out.json:
        session.out.document({verb: vkeys})
        return
    for vkey in vkeys:
        session.out.line(f"{verb}  {vkey}")
    if not vkeys:
        session.out.note(f"nothing was {verb}")


def list_(session: Session) -> int | None:
    """The logs with what was cosigned of them last, then the proofs of two heads of one size."""
    with opened(session) as witness:
        logs, proofs = witness.logs(), witness.equivocations()
    code = FAILED if proofs else None
    if session.out.json:
        session.out.document({"logs": logs, "equivocations": proofs})
        return code
    rows = [(moment(log.at_ms), str(log.size), log.origin) for log in logs]
    session.out.table(("COSIGNED", "RECORDS", "LOG"), rows)
    for proof in proofs:
        session.out.line(f"{proof.origin} signed two heads of {proof.size} records:", "red")
        for note in (proof.first, proof.second):
            session.out.line("\n".join(f"  {line}".rstrip() for line in note.splitlines()))
    return code


def serve(session: Session, listen: str | None) -> int | None:
    """Answer logs until interrupted."""
    from qflow.api import HttpLimits, Listener, parse_address
    from qflow.api._public import WITNESS_PREFIX, public_app
    from qflow.cli._serve import until_stopped

    settings = session.config.server
    address = listen or settings.listen
    if address is None:
        raise Refusal("there is no address to listen on", USAGE, "--listen 127.0.0.1:8731")
    host, port = parse_address(address)
    limits = HttpLimits(connections_max=settings.connections_max)

    async def main() -> None:
        with opened(session) as witness:
            async with Listener(public_app(witness=witness), host, port, limits) as listener:
                _announce(session, f"{listener.url}{WITNESS_PREFIX}", witness)
                await until_stopped(anyio.sleep_forever)

    session.run(main)
    session.out.note("stopped")
    return None


def _announce(session: Session, url: str, witness: Witness) -> None:
    """The one line that says it is ready; scripts wait for it."""
    logs = witness.logs()
    if session.out.json:
        facts = {"ready": True, "pid": os.getpid(), "url": url, "vkey": witness.vkey}
        session.out.document({**facts, "logs": logs})
    else:
        session.out.line(f"ready  {url}  cosigns {plural(len(logs), 'log')}", "green")
