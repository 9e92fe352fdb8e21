"""Settings: from code, the environment, qflow.toml and defaults, and where each one came from."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from qflow.errors import ConfigError

FILE_BYTES_MAX: Final = 1 << 20
"""Of qflow.toml; a larger one is refused."""

_PREFIX: Final = "QFLOW_"
_NO_SETTINGS: Final = frozenset(
    {"QFLOW_CONFIG", "QFLOW_SHARED_DATA", "QFLOW_FAULTS", "QFLOW_CACHE", "QFLOW_DEBUG"}
)
"""Names of the environment that are no settings: the file's place, and what the tools use."""
_NO_SETTINGS_BEGIN: Final = ("QFLOW_SECRET_", "QFLOW_TEST_")

_TYPES: Final = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
    "path": "a path",
    "null": "nothing",
}

_Key = tuple[str, ...]
"""(name,) or (section, name)."""


_PATHS: Final = frozenset({("home",), ("witness", "policy"), ("witness", "logs_file")})


class _Section:
    """Settings that belong together. It remembers which of them it was given."""

    _given: frozenset[str]

    def __new__(cls, **values: Any) -> Self:
        section = super().__new__(cls)
        object.__setattr__(section, "_given", frozenset(values))
        return section

    def __post_init__(self) -> None:
        model: type = type(self)
        found: dict[_Key, Any] = {key: getattr(self, key[0]) for key in _keys(model)}
        for (name, *_), value in _checked(model, found, {}).items():
            object.__setattr__(self, name, value)

    def given(self) -> dict[str, Any]:
        """What it was made with; the rest is left to other sources."""
        return {name: getattr(self, name) for name in self._given}


@dataclass(frozen=True, kw_only=True)
class LogSettings(_Section):
    """The node's log of records."""

    segment_bytes: Annotated[int, Meta(ge=16 << 20, le=1 << 31)] = 64 << 20
    """Of one journal file, laid out ahead."""
    queue_bytes_max: Annotated[int, Meta(ge=16 << 20)] = 64 << 20
    """Taken and not yet durable; beyond it an append is refused as busy."""


@dataclass(frozen=True, kw_only=True)
class EngineSettings(_Section):
    """What executions may use."""

    attempts_in_flight_max: Annotated[int, Meta(ge=1)] = 256
    """Attempts that run at once; those beyond it wait their turn."""
    executions_resident_max: Annotated[int, Meta(ge=1)] = 1000
    """Executions in memory; those that only wait are put away first, and come back by replay."""
    snapshot_every_facts: Annotated[int, Meta(ge=10)] = 500
    """After so many facts an execution is written down whole, which bounds its replay."""


@dataclass(frozen=True, kw_only=True)
class HttpSettings(_Section):
    """Calls that flows make."""

    connections_max: Annotated[int, Meta(ge=1)] = 100
    """Open connections of all calls together."""
    connect_timeout_s: Annotated[float, Meta(gt=0)] = 10.0
    """For TCP and TLS."""
    call_timeout_s: Annotated[float, Meta(gt=0)] = 300.0
    """For a whole call of a task that names no timeout."""
    response_bytes_max: Annotated[int, Meta(ge=1024)] = 10 << 20
    """Of an answer's content, decompressed."""
    routes: dict[str, str] = field(default_factory=dict)
    """Host (`name` or `name:port`) to the base URL that is called in its stead."""
    proxy: str | None = None
    """The URL of an HTTP proxy for all calls."""


@dataclass(frozen=True, kw_only=True)
class EventSettings(_Section):
    """The bus inside the node."""

    subscriber_events_max: Annotated[int, Meta(ge=1)] = 1000
    """Kept for one slow subscriber; then it loses the oldest, and is told how many."""


@dataclass(frozen=True, kw_only=True)
class ServerSettings(_Section):
    """What others can reach of the node over HTTP."""

    listen: str | None = None
    """`host:port`; port 0 takes a free one. Nothing listens when it is not set."""
    serve_log: bool = False
    """Whether the log itself is served there: anyone who can reach the address can read it."""
    connections_max: Annotated[int, Meta(ge=1)] = 128
    """Open at once; one more is refused."""


@dataclass(frozen=True, kw_only=True)
class WitnessSettings(_Section):
    """The witnesses that are asked about this log, and the logs that this node is a witness of."""

    policy: Path | None = None
    """A file (C2SP tlog-policy) with the witnesses of this log, their URLs, and the quorum."""
    every_s: Annotated[float, Meta(ge=0, le=86_400)] = 3.0
    """At least so long between two heads that witnesses are asked about."""
    timeout_s: Annotated[float, Meta(gt=0, le=60)] = 5.0
    """For a witness to answer."""
    logs: tuple[str, ...] = ()
    """Verifier keys of the logs to cosign, besides those of `qflow witness add`. In the environment
    separated by blanks."""
    logs_file: Path | None = None
    """A file with such keys, one a line, or with `log` lines as a policy has them."""


def can_name_flows(pattern: str) -> bool:
    """Whether a pattern of flows has a form that some flow can fit: one to three parts."""
    parts = pattern.split("/")
    return len(parts) <= 3 and all(parts)


class RetentionRule(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """How long what executions leave is kept, counted from their end."""

    flow: str = "*"
    """`namespace/name/version`, `namespace/name` or `name`; `*` stands for any characters of a
    part."""
    status: tuple[Literal["completed", "faulted", "aborted"], ...] = ()
    """None: however they ended."""
    payloads_days: Annotated[float, Meta(ge=0)] | None = None
    """Then their payloads may be erased."""
    records_days: Annotated[float, Meta(ge=0)] | None = None
    """Then their records may be pruned."""

    def __post_init__(self) -> None:
        if self.payloads_days is None and self.records_days is None:
            raise ValueError("A rule needs payloads_days or records_days")
        if not can_name_flows(self.flow):
            raise ValueError(f"No flow can be {self.flow!r}: namespace/name/version, or less of it")


@dataclass(frozen=True, kw_only=True)
class RetentionSettings(_Section):
    """What of the history may go, and when."""

    rules: tuple[RetentionRule, ...] = ()
    """The first that fits an execution counts; what none fits is kept. In the environment JSON."""
    every_hours: Annotated[float, Meta(ge=0, le=87_600)] = 0
    """The node applies the rules by itself; 0: only when asked."""


@dataclass(frozen=True, init=False, kw_only=True)
class Config:
    """All settings of a node, checked and unchangeable.

    Code (the arguments) comes before the environment (`QFLOW_HOME`, `QFLOW_ENGINE__...`), that
    before the file (`qflow.toml` in the home, or the one that `QFLOW_CONFIG` names), that before
    the defaults. A section is a mapping or its class below; what it does not say is left to the
    other sources. Raises ConfigError for an unknown key anywhere, a value that does not fit, a file
    that cannot be read.
    """

    home: Path
    """The folder of the node's files."""
    subnet: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,62}\Z")] = "default"
    """The subnet whose records this node writes."""
    actor: Annotated[str, Meta(min_length=1, max_length=256)] = "local"
    """Who acts when nobody else is named."""
    functions: tuple[Path, ...] = ()
    """Python files whose functions flows may call. In the environment separated by `:`."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "plain", "json"] = "auto"
    """auto: coloured on a terminal, JSON otherwise."""
    log: LogSettings
    engine: EngineSettings
    http: HttpSettings
    events: EventSettings
    retention: RetentionSettings
    server: ServerSettings
    witness: WitnessSettings

    _origins: dict[_Key, str] = field(repr=False, compare=False)

    def __init__(self, **values: Any) -> None:
        merged, origins = _merged(values)
        merged.setdefault(("home",), _default_home())
        checked = _checked(Config, merged, origins)
        for name, kind in _kinds(Config).items():
            if _is_section(kind):
                given = {key[1]: checked[key] for key in checked if key[0] == name and key[1:]}
                object.__setattr__(self, name, kind(**given))
            elif (name,) in checked:
                object.__setattr__(self, name, checked[name,])
        object.__setattr__(self, "home", self.home.expanduser().absolute())
        object.__setattr__(self, "_origins", origins)

    def flat(self) -> dict[str, Any]:
        """Every setting by its dotted key, in a fixed order."""
        found = {}
        for key in _keys(Config):
            value: Any = self
            for part in key:
                value = getattr(value, part)
            found[_dotted(key)] = value
        return found

    def origins(self) -> dict[str, str]:
        """Where the value of each key of `flat` comes from: `default`, `code`,
        `environment NAME` or `PATH:LINE`."""
        return {_dotted(key): self._origins.get(key, "default") for key in _keys(Config)}


def load_config(**values: Any) -> Config:
    """The settings of this process, `values` before every other source. Raises ConfigError."""
    return Config(**values)


def _default_home() -> Path:
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "qflow"


class _Layer:
    """One source of settings: what it says, and how it names a key. Here: code."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = {
            name: value.given() if isinstance(value, _Section) else value
            for name, value in values.items()
        }

    def __iter__(self) -> Iterator[_Key]:
        known = _keys(Config)
        for name, value in self._values.items():
            if (name,) not in known and isinstance(value, Mapping):
                yield from ((name, str(inner)) for inner in value)
            else:
                yield (name,)

    def value(self, key: _Key) -> Any:
        """What it says of a key that it has. Texts may stand for lists and numbers."""
        found: Any = self._values
        for part in key:
            found = found[part]
        if key == ("functions",) and isinstance(found, str):
            return [part for part in found.split(os.pathsep) if part]
        if key == ("witness", "logs") and isinstance(found, str):
            return found.split()
        return found

    def refuse_unknown(self) -> None:
        """Raises ConfigError for the first key that is no setting."""
        known = _keys(Config)
        for key in self:
            if key in known:
                continue
            if any(other[: len(key)] == key for other in known):
                raise ConfigError(f"{self.origin(key)}: {_dotted(key)} is a section, not a value")
            raise ConfigError(
                f"{self.origin(key)}: there is no setting {_dotted(key)}"
                + _did_you_mean(_dotted(key), [_dotted(other) for other in known])
            )

    def origin(self, _key: _Key) -> str:
        """Where it says what it says of a key, for people."""
        return "code"


class _Environment(_Layer):
    def __init__(self) -> None:
        names = {_variable(key): key for key in _keys(Config)}
        for name in sorted(os.environ):
            if name not in names and _is_misnamed(name, names):
                message = f"environment: {name} is not a setting"
                raise ConfigError(message + _did_you_mean(name.upper(), sorted(names)))
        self._values = {}
        for name, key in names.items():
            if text := os.environ.get(name):
                _put(self._values, key, self._read(key, text))

    def _read(self, key: _Key, text: str) -> Any:
        if get_origin(_keys(Config)[key]) is not dict and key != ("retention", "rules"):
            return text
        try:
            return msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            raise ConfigError(f"{self.origin(key)}: {_dotted(key)}: it takes JSON") from None

    def origin(self, key: _Key) -> str:
        return f"environment {_variable(key)}"


class _File(_Layer):
    def __init__(self, path: Path, text: str) -> None:
        import tomllib

        self._path, self._text = path, text
        try:
            values = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise ConfigError(f"{path}: {error}") from None
        super().__init__(values)

    def value(self, key: _Key) -> Any:
        """Paths of a file are relative to the file, wherever the program is started."""
        value = super().value(key)
        folder = self._path.parent
        if key in _PATHS and isinstance(value, str):
            return folder / Path(value).expanduser()
        if key == ("functions",) and isinstance(value, list):
            return [folder / item if isinstance(item, str) else item for item in value]
        return value

    def origin(self, key: _Key) -> str:
        line = _line_of(self._text, key)
        return f"{self._path}:{line}" if line else str(self._path)


def _merged(values: Mapping[str, Any]) -> tuple[dict[_Key, Any], dict[_Key, str]]:
    """What all sources say, and which of them counted for each key."""
    code, environment, file = _Layer(values), _Environment(), _read_file(values)
    merged: dict[_Key, Any] = {}
    origins: dict[_Key, str] = {}
    # From the weakest to the strongest.
    for layer in (file, environment, code) if file else (environment, code):
        layer.refuse_unknown()
        for key in layer:
            merged[key], origins[key] = layer.value(key), layer.origin(key)
    return merged, origins


def _read_file(values: Mapping[str, Any]) -> _File | None:
    named = os.environ.get("QFLOW_CONFIG")
    home = values.get("home") or os.environ.get("QFLOW_HOME") or _default_home()
    if not isinstance(home, str | Path):
        return None  # It is refused when it is checked.
    path = Path(named).expanduser() if named else Path(home).expanduser() / "qflow.toml"
    path = path.absolute()
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
        if len(data) > FILE_BYTES_MAX:
            raise ConfigError(f"{path}: more than {FILE_BYTES_MAX} bytes")
        found = _File(path, data.decode())
    except FileNotFoundError:
        if named:
            raise ConfigError(f"QFLOW_CONFIG names {path}, which is not there") from None
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from None
    if not named and ("home",) in found:
        raise ConfigError(f"{found.origin(('home',))}: home is where this file was found")
    return found


def _checked(
    model: type, values: Mapping[_Key, Any], origins: Mapping[_Key, str]
) -> dict[_Key, Any]:
    """The values as the types of their settings; all that do not fit are named in one error."""
    checked, findings = {}, []
    for key, value in values.items():
        kind = _keys(model)[key]
        try:
            checked[key] = msgspec.convert(value, kind, strict=False, dec_hook=_as_path)
        except msgspec.ValidationError as error:
            origin = origins.get(key, "code")
            findings.append(f"{origin}: {_dotted(key)}{_explained(error, kind)}")
    if findings:
        raise ConfigError("\n".join(findings))
    return checked


def _as_path(_kind: type, value: Any) -> Path:
    """Of all types of settings, the one that msgspec does not know."""
    if isinstance(value, str | Path):
        return Path(value)
    raise ValueError("Expected `path`")


def _explained(error: msgspec.ValidationError, kind: Any) -> str:
    """The place inside the value, and what belongs there. Never the value: it may be secret."""
    message, _, place = str(error).partition(" - at `")
    if get_origin(kind) is Literal:
        message = f"expected one of {', '.join(get_args(kind))}"
    elif message.startswith("Expected "):
        message = "e" + re.sub(r"`([^`]+)`", lambda name: _words(name[1]), message[1:])
    elif not message.startswith(("Object ", "A rule ")):
        message = "out of range"
    return f"{place.rpartition('$')[2].rstrip('`')}: {message}"


def _words(name: str) -> str:
    """What people call the types that msgspec names."""
    return " or ".join(_TYPES.get(part, part) for part in name.split(" | "))


@cache
def _kinds(model: type) -> dict[str, Any]:
    """The fields of settings or of one section, with their types."""
    kinds = get_type_hints(model, include_extras=True)
    names = (item.name for item in fields(model))
    return {name: kinds[name] for name in names if not name.startswith("_")}


@cache
def _keys(model: type) -> dict[_Key, Any]:
    """Every setting in a fixed order, with its type."""
    found: dict[_Key, Any] = {}
    for name, kind in _kinds(model).items():
        if _is_section(kind):
            found |= {(name, *inner): of for inner, of in _keys(kind).items()}
        else:
            found[name,] = kind
    return found


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, _Section)


def _dotted(key: _Key) -> str:
    return ".".join(key)


def _variable(key: _Key) -> str:
    return _PREFIX + "__".join(key).upper()


def _is_misnamed(name: str, names: Mapping[str, _Key]) -> bool:
    if name in _NO_SETTINGS or name.startswith(_NO_SETTINGS_BEGIN):
        return False
    return name.startswith(_PREFIX) or name.upper() in names


def _did_you_mean(word: str, known: Sequence[str]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(word, known, n=1, cutoff=0.6)
    # A right name in the wrong section is far away as text.
    close = close or [item for item in known if item.split(".")[-1] == word.split(".")[-1]]
    return f"; did you mean {close[0]}?" if close else ""


def _put(target: dict[str, Any], key: _Key, value: Any) -> None:
    for part in key[:-1]:
        target = target.setdefault(part, {})
    target[key[-1]] = value


def _line_of(text: str, key: _Key) -> int | None:
    """The line of a TOML file that sets a key, for messages: good enough for usual spellings."""
    section: _Key = ()
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


def _parts(text: str) -> _Key:
    return tuple(part.strip(" \t\"'") for part in text.split("."))
