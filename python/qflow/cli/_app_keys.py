"""The commands of `qflow keys`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qflow.cli._command import command
from qflow.cli._session import Session

keys_app = typer.Typer(
    help="The keys that payloads and states are sealed with.", no_args_is_help=True
)

KeyFile = Annotated[Path, typer.Argument(metavar="FILE", help="A file of subnet keys.")]
PassphraseFile = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file", metavar="FILE", help="The passphrase, on the one line of this file."
    ),
]


@command(keys_app, "show", example="qflow keys show --json")
def keys_show(session: Session) -> int | None:
    """Print whose keys they are, how many there are, and whose were imported. No key is printed."""
    from qflow.cli import _keys

    _keys.show(session)
    return None


@command(keys_app, "rotate", example="qflow keys rotate --forget")
def keys_rotate(
    session: Session,
    forget: Annotated[
        bool,
        typer.Option("--forget", help="Destroy the subnet keys of all earlier epochs afterwards."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> int | None:
    """Make the subnet key of the next epoch, and wrap every data key under it.

    What is sealed stays as it is. Cut short, it is finished at the next start or call. After
    --forget no key envelope that was made before opens here; whoever has the earlier subnet keys
    from an export still opens it.
    """
    from qflow.cli import _keys

    return _keys.rotate(session, forget=forget, yes=yes)


@command(keys_app, "export", example="qflow keys export b.keys --passphrase")
def keys_export(
    session: Session,
    file: KeyFile,
    passphrase: Annotated[
        bool, typer.Option("--passphrase", help="Ask for a passphrase to put it under.")
    ] = False,
    passphrase_file: PassphraseFile = None,
) -> int | None:
    """Write the subnet keys into a private file, for a machine that is to take over.

    Whoever has it can read what this node sealed until now, and whatever it seals until the keys
    are rotated. It signs nothing. A file that is there is not overwritten.
    """
    from qflow.cli import _keys

    _keys.export(session, file, passphrase=passphrase, passphrase_file=passphrase_file)
    return None


@command(keys_app, "import", example="qflow keys import b.keys")
def keys_import(
    session: Session, file: KeyFile, passphrase_file: PassphraseFile = None
) -> int | None:
    """Take another node's subnet keys, and trust its signature on states and key envelopes."""
    from qflow.cli import _keys

    _keys.import_(session, file, passphrase_file=passphrase_file)
    return None


@command(keys_app, "protect", example="qflow keys protect")
def keys_protect(session: Session, passphrase_file: PassphraseFile = None) -> int | None:
    """Put the node's key under a passphrase, or under another one.

    A node then needs it to start: from keys.passphrase_file, from the credential
    qflow-passphrase of systemd, or by asking on a terminal.
    """
    from qflow.cli import _keys

    _keys.protect(session, passphrase_file=passphrase_file)
    return None


@command(keys_app, "unprotect", example="qflow keys unprotect")
def keys_unprotect(session: Session) -> int | None:
    """Write the node's key without a passphrase, into a file of this user alone."""
    from qflow.cli import _keys

    _keys.unprotect(session)
    return None
