"""Keys: what there is, the next epoch, export and import, and the passphrase of the node's key."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from qflow import diagnostics
from qflow.cli._exit import NOT_FOUND, OK, USAGE, Refusal
from qflow.cli._output import plural
from qflow.cli._retain import confirmed
from qflow.cli._target import check_folder, check_own
from qflow.errors import SigningKeyError

if TYPE_CHECKING:
    from qflow.api._client import Client
    from qflow.api._keys import Imported, KeyClient
    from qflow.cli._session import Session
    from qflow.config import Config
    from qflow.node._key_care import KeyCare
    from qflow.trust import NodeKey, Rotation

_Result = TypeVar("_Result")


def show(session: Session) -> None:
    """Print what there is of keys."""
    from qflow.api import to_plain
    from qflow.node._key_care import keys_of
    from qflow.trust import Keyring, is_protected

    key = _node_key(session)
    ring = Keyring(session.home, lambda: key.seed)
    try:
        found = keys_of(ring, key.did, session.config.subnet)
    finally:
        ring.close()
    protected = is_protected(session.home)
    if session.out.json:
        session.out.document({**to_plain(found), "protected": protected})
        return
    fields = [
        ("node", found.node),
        ("subnet", found.subnet),
        ("node key", "under a passphrase" if protected else "in a file of this user alone"),
        ("epoch", str(found.epoch)),
        ("forgotten", f"epochs below {found.oldest}" if found.oldest else "none"),
        ("data keys", f"{found.own:,} of this home, {found.adopted:,} adopted"),
    ]
    for foreign in found.imported:
        epochs = ", ".join(map(str, foreign.epochs))
        fields.append(("imported", f"{foreign.node}  epoch {epochs}"))
    session.out.fields(fields)


def rotate(session: Session, *, forget: bool, yes: bool) -> int:
    """Begin the next epoch."""
    _node_key(session)
    question = "destroy the subnet keys of all earlier epochs, for good?"
    if forget and not yes and not confirmed(session, question):
        return OK

    async def change(keys: KeyClient | _Files) -> Rotation:
        return await keys.rotate(forget=forget)

    done = _ask(session, change)
    if session.out.json:
        session.out.document(done)
        return OK
    session.out.line(f"epoch {done.epoch}  {plural(done.keys, 'data key')} wrapped under it")
    if done.oldest:
        session.out.note(f"the subnet keys of epochs below {done.oldest} are destroyed")
    session.out.note("note: machines that have an export need a new one: qflow keys export FILE")
    return OK


def export(session: Session, file: Path, *, passphrase: bool, passphrase_file: Path | None) -> None:
    """Write the subnet keys into a private file."""
    from qflow.trust import SubnetKeys, write_key_file

    key = _node_key(session)
    check_own(session, file)
    if file.exists() or file.is_symlink():
        raise Refusal(f"{file} is there already, and is not overwritten", USAGE)
    check_folder(file)
    secret = _new_passphrase(passphrase_file, str(file)) if passphrase or passphrase_file else None

    async def note(keys: KeyClient | _Files) -> None:
        await keys.note_export(protected=secret is not None)

    _ask(session, note)
    keys = SubnetKeys(session.home, lambda: key.seed).exported()
    write_key_file(file, keys, key, subnet=session.config.subnet, passphrase=secret)
    epochs = [epoch for epoch, _ in keys]
    if session.out.json:
        told = {"file": str(file), "node": key.did, "subnet": session.config.subnet}
        session.out.document({**told, "epochs": epochs, "protected": secret is not None})
        return
    listed = ", ".join(map(str, epochs))
    session.out.line(f"{file}  subnet {session.config.subnet}, epoch {listed}")
    needed = "this file" if secret is None else "this file and its passphrase"
    session.out.note(f"whoever has {needed} can read what this node sealed")


def import_(session: Session, file: Path, *, passphrase_file: Path | None) -> None:
    """Take another node's subnet keys."""
    from qflow.trust import read_key_file

    _check_key(session)
    if not file.exists():
        raise Refusal(f"{file} is not there", NOT_FOUND, "qflow keys export writes one")

    def secret() -> bytes:
        if passphrase_file is not None:
            return _passphrase_in(passphrase_file)
        return _asked(f"passphrase for {file}: ").encode()

    try:
        content = read_key_file(file, secret)
    except SigningKeyError as error:
        # The hint of its class is about the key of the node.
        raise Refusal(str(error), USAGE) from error

    async def change(keys: KeyClient | _Files) -> Imported:
        return await keys.bring(content)

    done = _ask(session, change, brought=content)
    if session.out.json:
        session.out.document(done)
        return
    listed = ", ".join(map(str, done.epochs))
    what = f"{done.fresh} new" if done.fresh else "nothing new"
    session.out.line(f"{done.node}  epoch {listed}: {what}")
    session.out.note("its signature on states and key envelopes is trusted")


def protect(session: Session, *, passphrase_file: Path | None) -> None:
    """Put the node's key under a passphrase."""
    from qflow.trust import is_protected, protect_key

    _node_key(session)
    before = is_protected(session.home)
    new = _new_passphrase(passphrase_file, "the node's key")
    protect_key(session.home, new)
    if session.out.json:
        session.out.document({"protected": True, "changed": before})
        return
    session.out.line("protected" if not before else "protected, by another passphrase")
    session.out.note("without the passphrase the key is lost: keep it where it survives this disk")


def unprotect(session: Session) -> None:
    """Write the node's key without a passphrase."""
    from qflow.trust import protect_key

    _node_key(session)
    protect_key(session.home, None)
    if session.out.json:
        session.out.document({"protected": False})
    else:
        session.out.line("not protected: whoever can read this user's files has the key")


# -- the running node, or the files of a home ----------------------------------------------


class _Files:
    """The methods of `KeyClient` on the files of a home, in the name of this process's user."""

    def __init__(self, care: KeyCare, actor: str) -> None:
        self._care, self._actor = care, actor

    async def rotate(self, *, forget: bool) -> Rotation:
        return await self._care.rotate(forget=forget, actor=self._actor)

    async def bring(self, content: bytes) -> Imported:
        return await self._care.bring(content, actor=self._actor)

    async def note_export(self, *, protected: bool) -> None:
        await self._care.note_export(protected=protected, actor=self._actor)


@asynccontextmanager
async def _files(config: Config, brought: bytes | None = None) -> AsyncIterator[_Files]:
    from qflow.api import actor_of
    from qflow.node._key_care import open_key_care

    async with open_key_care(config, brought) as care:
        yield _Files(care, actor_of(os.getuid()))


def _ask(
    session: Session,
    question: Callable[[KeyClient | _Files], Awaitable[_Result]],
    *,
    brought: bytes | None = None,
) -> _Result:
    async def main() -> _Result:
        keeper: Client | _Files
        async with session.running_or(partial(_files, brought=brought)) as keeper:
            return await question(keeper if isinstance(keeper, _Files) else keeper.keys)

    return session.run(main)


def _node_key(session: Session) -> NodeKey:
    from qflow.trust import load_or_create_key

    _check_key(session)
    return load_or_create_key(session.home)


def _check_key(session: Session) -> None:
    if not session.home.is_dir():
        hint = "qflow init makes a home; --home names one"
        raise Refusal(f"{session.home} is not there", NOT_FOUND, hint)
    if not (session.home / "node.key").exists():
        raise Refusal(f"{session.home} has no key", NOT_FOUND, "qflow init makes one")


# -- passphrases ---------------------------------------------------------------------------


def _new_passphrase(file: Path | None, what: str) -> bytes:
    if file is not None:
        return _passphrase_in(file)
    first = _asked(f"new passphrase for {what}: ")
    if first != _asked("again: "):
        raise Refusal("these are two passphrases", USAGE)
    return first.encode()


def _passphrase_in(file: Path) -> bytes:
    from qflow.trust import read_passphrase

    if not file.exists():
        raise Refusal(f"{file} is not there", NOT_FOUND, "--passphrase-file: one line, private")
    try:
        return read_passphrase(file)
    except SigningKeyError as error:
        raise Refusal(str(error), USAGE, "--passphrase-file: one line, private") from error


def _asked(question: str) -> str:
    typed = diagnostics.ask(question)
    if typed is None:
        raise Refusal(
            "there is no terminal to ask for a passphrase on", USAGE, "--passphrase-file FILE"
        )
    return typed
