"""Where settings come from: code, the environment, qflow.toml; and what each of them says."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, get_origin

import msgspec

from qflow.config._section import Key, Section, dotted
from qflow.errors import ConfigError

FILE_BYTES_MAX: Final = 1 << 20
"""Of qflow.toml; a larger one is refused."""
Known = Mapping[Key, Any]
"""Every setting there is, with its type."""

_PREFIX: Final = "QFLOW_"
_NO_SETTINGS: Final = frozenset(
    {"QFLOW_CONFIG", "QFLOW_SHARED_DATA", "QFLOW_FAULTS", "QFLOW_CACHE", "QFLOW_DEBUG"}
)
"""Names of the environment that are no settings: the file's place, and what the tools use."""
_NO_SETTINGS_BEGIN: Final = ("QFLOW_SECRET_", "QFLOW_TEST_")
_PATH: Final = (Path, Path | None)
_PATHS: Final = tuple[Path, ...]
"""In the environment separated as those of programs are."""
_TEXTS: Final = tuple[str, ...]
"""In the environment separated by blanks."""


def merge(values: Mapping[str, Any], known: Known) -> tuple[dict[Key, Any], dict[Key, str]]:
    """What all sources say, and which of them counted for each key."""
    code, environment, file = _Layer(values, known), _Environment(known), _read_file(values, known)
    merged: dict[Key, Any] = {}
    origins: dict[Key, str] = {}
    # From the weakest to the strongest.
    for layer in (file, environment, code) if file else (environment, code):
        layer.refuse_unknown()
        for key in layer:
            merged[key], origins[key] = layer.value(key), layer.origin(key)
    return merged, origins


def _read_file(values: Mapping[str, Any], known: Known) -> _File | None:
    named = os.environ.get("QFLOW_CONFIG")
    home = values.get("home") or os.environ.get("QFLOW_HOME") or default_home()
    if not isinstance(home, str | Path):
        return None  # It is refused when it is checked.
    path = Path(named).expanduser() if named else Path(home).expanduser() / "qflow.toml"
    path = path.absolute()
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
        if len(data) > FILE_BYTES_MAX:
            raise ConfigError(f"{path}: more than {FILE_BYTES_MAX} bytes")
        found = _File(path, data.decode(), known)
    except FileNotFoundError:
        if named:
            raise ConfigError(f"QFLOW_CONFIG names {path}, which is not there") from None
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from None
    if not named and ("home",) in found:
        raise ConfigError(f"{found.origin(('home',))}: home is where this file was found")
    return found


def default_home() -> Path:
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "qflow"


class _Layer:
    """One source of settings: what it says, and how it names a key. Here: code."""

    def __init__(self, values: Mapping[str, Any], known: Known) -> None:
        self._known = known
        self._values = {
            name: value.given() if isinstance(value, Section) else value
            for name, value in values.items()
        }

    def __iter__(self) -> Iterator[Key]:
        known = self._known
        for name, value in self._values.items():
            if (name,) not in known and isinstance(value, Mapping):
                yield from ((name, str(inner)) for inner in value)
            else:
                yield (name,)

    def value(self, key: Key) -> Any:
        """What it says of a key that it has. Texts may stand for lists and numbers."""
        found: Any = self._values
        for part in key:
            found = found[part]
        kind = self._known[key]
        if kind == _PATHS and isinstance(found, str):
            return [part for part in found.split(os.pathsep) if part]
        if kind == _TEXTS and isinstance(found, str):
            return found.split()
        return found

    def refuse_unknown(self) -> None:
        """Raises ConfigError for the first key that is no setting."""
        known = self._known
        for key in self:
            if key in known:
                continue
            if any(other[: len(key)] == key for other in known):
                raise ConfigError(f"{self.origin(key)}: {dotted(key)} is a section, not a value")
            raise ConfigError(
                f"{self.origin(key)}: there is no setting {dotted(key)}"
                + _did_you_mean(dotted(key), [dotted(other) for other in known])
            )

    def origin(self, _key: Key) -> str:
        """Where it says what it says of a key, for people."""
        return "code"


class _Environment(_Layer):
    def __init__(self, known: Known) -> None:
        names = {_variable(key): key for key in known}
        for name in sorted(os.environ):
            if name not in names and _is_misnamed(name, names):
                message = f"environment: {name} is not a setting"
                raise ConfigError(message + _did_you_mean(name.upper(), sorted(names)))
        super().__init__({}, known)
        self._values = {}
        for name, key in names.items():
            if text := os.environ.get(name):
                _put(self._values, key, self._read(key, text))

    def _read(self, key: Key, text: str) -> Any:
        kind: type = self._known[key]
        if get_origin(kind) is not dict and key != ("retention", "rules"):
            return text
        try:
            return msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            raise ConfigError(f"{self.origin(key)}: {dotted(key)}: it takes JSON") from None

    def origin(self, key: Key) -> str:
        return f"environment {_variable(key)}"


class _File(_Layer):
    def __init__(self, path: Path, text: str, known: Known) -> None:
        import tomllib

        self._path, self._text = path, text
        try:
            values = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise ConfigError(f"{path}: {error}") from None
        super().__init__(values, known)

    def value(self, key: Key) -> Any:
        """Paths of a file are relative to the file, wherever the program is started."""
        value, kind = super().value(key), self._known[key]
        folder = self._path.parent
        if kind in _PATH and isinstance(value, str):
            return folder / Path(value).expanduser()
        if kind == _PATHS and isinstance(value, list):
            return [folder / item if isinstance(item, str) else item for item in value]
        return value

    def origin(self, key: Key) -> str:
        line = _line_of(self._text, key)
        return f"{self._path}:{line}" if line else str(self._path)


def _variable(key: Key) -> str:
    return _PREFIX + "__".join(key).upper()


def _is_misnamed(name: str, names: Mapping[str, Key]) -> bool:
    if name in _NO_SETTINGS or name.startswith(_NO_SETTINGS_BEGIN):
        return False
    return name.startswith(_PREFIX) or name.upper() in names


def _did_you_mean(word: str, known: Sequence[str]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(word, known, n=1, cutoff=0.6)
    # A right name in the wrong section is far away as text.
    close = close or [item for item in known if item.split(".")[-1] == word.split(".")[-1]]
    return f"; did you mean {close[0]}?" if close else ""


def _put(target: dict[str, Any], key: Key, value: Any) -> None:
    for part in key[:-1]:
        target = target.setdefault(part, {})
    target[key[-1]] = value


def _line_of(text: str, key: Key) -> int | None:
    """The line of a TOML file that sets a key, for messages: good enough for usual spellings."""
    section: Key = ()
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[([^\[\]]+)\]", line):
            section = _parts(header[1])
            if section == key:
                return number
        elif assigned := re.match(r"\s*([\w.\"'-]+)\s*=", line):
            path = section + _parts(assigned[1])
            if path[: len(key)] == key or path == key[: len(path)]:
                return number
    return None


def _parts(text: str) -> Key:
    return tuple(part.strip(" \t\"'") for part in text.split("."))
