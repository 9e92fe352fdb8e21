"""Making a node's home, and saying what is set there."""

from __future__ import annotations

from importlib import metadata, resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from qflow.cli._exit import USAGE, Refusal

if TYPE_CHECKING:
    from qflow.cli._session import Session

DISTRIBUTION: Final = "anarq-qflow"
SETTINGS_FILE: Final = "qflow.toml"
SETTINGS_MODE: Final = 0o644


def init(session: Session) -> int | None:
    """Make what is missing, leave what is there, and say which is which."""
    from qflow.trust import load_or_create_key

    home = session.home
    made = [("home", home, _folder(home, 0o700)), ("secrets", *_made(home / "secrets"))]
    settings = home / SETTINGS_FILE
    made.append(("settings", settings, _write_new(settings, _template())))
    had_key = (home / "node.key").exists()
    key = load_or_create_key(home)
    made += [
        ("key", home / "node.key", not had_key),
        ("public key", home / "node.pub", not had_key),
    ]
    if session.out.json:
        session.out.document(
            {
                "home": str(home),
                "node": key.did,
                "vkey": key.vkey,
                "made": [str(path) for _, path, new in made if new],
                "existing": [str(path) for _, path, new in made if not new],
            }
        )
        return None
    for name, path, new in made:
        session.out.line(f"{'made' if new else 'exists':<8}{name:<12}{path}")
    session.out.line(f"{'node':<20}{key.did}")
    session.out.note("next: qflow run FILE, or qflow serve")
    return None


def _made(path: Path) -> tuple[Path, bool]:
    return path, _folder(path, 0o700)


def _folder(path: Path, mode: int) -> bool:
    try:
        path.mkdir(mode=mode, parents=True)
    except FileExistsError:
        if not path.is_dir():
            raise Refusal(f"{path} is in the way: it is not a folder", USAGE) from None
        return False
    return True


def _write_new(path: Path, text: str) -> bool:
    """Whole or not at all, also on a disk that is full."""
    from qflow.trust._files import create_whole

    if path.exists():
        return False
    try:
        return create_whole(path, text.encode(), SETTINGS_MODE)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def _template() -> str:
    return (resources.files("qflow.cli") / "settings.toml").read_text()


def config_show(session: Session) -> int | None:
    """Print every setting with its origin."""
    from qflow.api import to_plain

    values, origins = session.config.flat(), session.config.origins()
    if session.option_home is not None:
        origins["home"] = "option --home"
    rows = [(key, to_plain(_plain(value)), origins[key]) for key, value in values.items()]
    if session.out.json:
        session.out.document(
            {key: {"value": value, "origin": origin} for key, value, origin in rows}
        )
    else:
        session.out.table(("SETTING", "VALUE", "FROM"), [(k, _text(v), o) for k, v, o in rows])
    return None


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value


def _text(value: Any) -> str:
    import json

    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def version(session: Session) -> int | None:
    """Print the version of the installed distribution."""
    found = installed(DISTRIBUTION)
    if session.out.json:
        session.out.document({"version": found})
    else:
        session.out.line(f"qflow {found}")
    return None


def installed(name: str) -> str:
    """The version of an installed distribution, `not installed` where there is none."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"
