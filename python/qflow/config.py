"""Settings: from code, the environment, qflow.toml and defaults, and where each one came from.

Importing this costs about 0.1 s for pydantic-settings; import it where settings are first needed.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from qflow.errors import ConfigError

FILE_BYTES_MAX: Final = 1 << 20
"""Of qflow.toml; a larger one is refused."""

_PREFIX: Final = "QFLOW_"
_NO_SETTINGS: Final = frozenset(
    {"QFLOW_CONFIG", "QFLOW_SHARED_DATA", "QFLOW_FAULTS", "QFLOW_CACHE", "QFLOW_DEBUG"}
)
"""Names of the environment that are no settings: the file's place, and what the tools use."""
_NO_SETTINGS_BEGIN: Final = ("QFLOW_SECRET_", "QFLOW_TEST_")


def _default_home() -> Path:
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "qflow"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LogSettings(_Section):
    """The node's log of records."""

    segment_bytes: int = Field(default=64 << 20, ge=16 << 20, le=1 << 31)
    """Of one journal file, laid out ahead."""
    queue_bytes_max: int = Field(default=64 << 20, ge=1 << 20)
    """Taken and not yet durable; beyond it an append is refused as busy."""


class EngineSettings(_Section):
    """What executions may use."""

    attempts_in_flight_max: int = Field(default=256, ge=1)
    """Attempts that run at once; those beyond it wait their turn."""
    executions_resident_max: int = Field(default=1000, ge=1)
    """Executions in memory; those that only wait are put away first, and come back by replay."""
    snapshot_every_facts: int = Field(default=500, ge=10)
    """After so many facts an execution is written down whole, which bounds its replay."""


class HttpSettings(_Section):
    """Calls that flows make."""

    connections_max: int = Field(default=100, ge=1)
    """Open connections of all calls together."""
    connect_timeout_s: float = Field(default=10.0, gt=0)
    """For TCP and TLS."""
    call_timeout_s: float = Field(default=300.0, gt=0)
    """For a whole call of a task that names no timeout."""
    response_bytes_max: int = Field(default=10 << 20, ge=1024)
    """Of an answer's content, decompressed."""
    routes: dict[str, str] = Field(default_factory=dict)
    """Host (`name` or `name:port`) to the base URL that is called in its stead."""
    proxy: str | None = None
    """The URL of an HTTP proxy for all calls."""


class EventSettings(_Section):
    """The bus inside the node."""

    subscriber_events_max: int = Field(default=1000, ge=1)
    """Kept for one slow subscriber; then it loses the oldest, and is told how many."""


class Config(BaseSettings):
    """All settings of a node, checked and unchangeable.

    Code (the arguments) comes before the environment (`QFLOW_HOME`, `QFLOW_ENGINE__...`), that
    before the file (`qflow.toml` in the home, or the one that `QFLOW_CONFIG` names), that before
    the defaults. Raises ConfigError for an unknown key anywhere, a value that does not fit, a file
    that cannot be read.
    """

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        env_nested_delimiter="__",
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
    )

    home: Path = Field(default_factory=_default_home)
    """The folder of the node's files."""
    subnet: str = Field(default="default", pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    """The subnet whose records this node writes."""
    actor: str = Field(default="local", min_length=1, max_length=256)
    """Who acts when nobody else is named."""
    functions: Annotated[tuple[Path, ...], NoDecode] = ()
    """Python files whose functions flows may call. In the environment separated by `:`."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "plain", "json"] = "auto"
    """auto: coloured on a terminal, JSON otherwise."""
    log: LogSettings = LogSettings()
    engine: EngineSettings = EngineSettings()
    http: HttpSettings = HttpSettings()
    events: EventSettings = EventSettings()

    _origins: dict[str, str] = PrivateAttr(default_factory=dict)

    def __init__(self, **values: Any) -> None:
        layers = _layers(type(self), values)
        merged: dict[str, Any] = {}
        origins: dict[str, str] = {}
        for layer in layers:
            layer.refuse_unknown()
            for key in layer:
                _put(merged, key, layer.value(key))
                origins[_dotted(key)] = layer.origin(key)
        try:
            super().__init__(**merged)
        except ValidationError as error:
            raise ConfigError(_explained(error, origins)) from None
        self._origins = origins

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The layers are merged before, so that each value's origin is known."""
        return (init_settings,)

    @field_validator("home", mode="after")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @field_validator("functions", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return value.split(os.pathsep) if isinstance(value, str) else value

    def flat(self) -> dict[str, Any]:
        """Every setting by its dotted key, in a fixed order."""
        found = {}
        for key in _keys(type(self)):
            value: Any = self
            for part in key:
                value = getattr(value, part)
            found[_dotted(key)] = value
        return found

    def origins(self) -> dict[str, str]:
        """Where the value of each key of `flat` comes from: `default`, `code`,
        `environment NAME` or `PATH:LINE`."""
        return {key: self._origins.get(key, "default") for key in self.flat()}


def load_config(**values: Any) -> Config:
    """The settings of this process, `values` before every other source. Raises ConfigError."""
    return Config(**values)


# -- layers ------------------------------------------------------------------------------------

_Key = tuple[str, ...]


class _Layer:
    """One source of settings: what it says, and how it names a key."""

    what = "code"

    def __init__(self, model: type[Config], values: Mapping[str, Any]) -> None:
        self._known = set(_keys(model))
        self._values = {
            name: value.model_dump(exclude_unset=True) if isinstance(value, BaseModel) else value
            for name, value in values.items()
        }

    def __iter__(self) -> Iterator[_Key]:
        for name, value in self._values.items():
            if (name,) not in self._known and isinstance(value, Mapping):
                yield from ((name, inner) for inner in value)
            else:
                yield (name,)

    def value(self, key: _Key) -> Any:
        found: Any = self._values
        for part in key:
            found = found[part]
        return found

    def refuse_unknown(self) -> None:
        for key in self:
            if key in self._known:
                continue
            if any(known[: len(key)] == key for known in self._known):
                raise ConfigError(f"{self.origin(key)}: {_dotted(key)} is a section, not a value")
            raise ConfigError(
                f"{self.origin(key)}: there is no setting {_dotted(key)}"
                + _did_you_mean(_dotted(key), [_dotted(known) for known in self._known])
            )

    def origin(self, _key: _Key) -> str:
        return self.what


class _Environment(_Layer):
    def __init__(self, model: type[Config]) -> None:
        names = {_variable(key) for key in _keys(model)}
        for name in sorted(os.environ):
            if name not in names and _is_misnamed(name, names):
                message = f"environment: {name} is not a setting"
                raise ConfigError(message + _did_you_mean(name.upper(), sorted(names)))
        try:
            super().__init__(model, EnvSettingsSource(model)())
        except SettingsError as error:
            raise ConfigError(f"environment: {error}; it takes JSON") from None

    def origin(self, key: _Key) -> str:
        return f"environment {_variable(key)}"


class _File(_Layer):
    def __init__(self, model: type[Config], path: Path, text: str) -> None:
        self._path, self._text = path, text
        try:
            values = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{path}: {error}") from None
        super().__init__(model, values)

    def value(self, key: _Key) -> Any:
        """Paths of a file are relative to the file, wherever the program is started."""
        value = super().value(key)
        folder = self._path.parent
        if key == ("home",) and isinstance(value, str):
            return folder / Path(value).expanduser()
        if key == ("functions",) and isinstance(value, list):
            return [folder / item if isinstance(item, str) else item for item in value]
        return value

    def origin(self, key: _Key) -> str:
        line = _line_of(self._text, key)
        return f"{self._path}:{line}" if line else str(self._path)


def _layers(model: type[Config], values: Mapping[str, Any]) -> Sequence[_Layer]:
    """From the weakest to the strongest."""
    code, environment = _Layer(model, values), _Environment(model)
    file = _read_file(model, values)
    return (file, environment, code) if file else (environment, code)


def _read_file(model: type[Config], values: Mapping[str, Any]) -> _File | None:
    named = os.environ.get("QFLOW_CONFIG")
    home = values.get("home") or os.environ.get("QFLOW_HOME") or _default_home()
    path = Path(named).expanduser() if named else Path(home).expanduser() / "qflow.toml"
    path = path.absolute()
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
        if len(data) > FILE_BYTES_MAX:
            raise ConfigError(f"{path}: more than {FILE_BYTES_MAX} bytes")
        found = _File(model, path, data.decode())
    except FileNotFoundError:
        if named:
            raise ConfigError(f"QFLOW_CONFIG names {path}, which is not there") from None
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from None
    if not named and ("home",) in found:
        raise ConfigError(f"{found.origin(('home',))}: home is where this file was found")
    return found


# -- names -------------------------------------------------------------------------------------


def _keys(model: type[BaseModel]) -> Iterator[_Key]:
    """Every setting: (name,) or (section, name)."""
    for name, field in model.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            yield from ((name, *inner) for inner in _keys(section))
        else:
            yield (name,)


def _dotted(key: _Key) -> str:
    return ".".join(key)


def _variable(key: _Key) -> str:
    return _PREFIX + "__".join(key).upper()


def _is_misnamed(name: str, names: set[str]) -> bool:
    if name in _NO_SETTINGS or name.startswith(_NO_SETTINGS_BEGIN):
        return False
    return name.startswith(_PREFIX) or name.upper() in names


def _did_you_mean(word: str, known: Sequence[str]) -> str:
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


def _explained(error: ValidationError, origins: Mapping[str, str]) -> str:
    lines = []
    for item in error.errors(include_url=False, include_input=False):
        parts = [str(part) for part in item["loc"]]
        keys = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
        origin = next((origins[key] for key in keys if key in origins), "code")
        lines.append(f"{origin}: {'.'.join(parts)}: {item['msg']}")
    return "\n".join(lines)
