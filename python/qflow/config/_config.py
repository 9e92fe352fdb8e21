"""All settings of a node."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta

from qflow.config._section import Key, check, dotted, is_section, keys_of, kinds_of
from qflow.config._sections import (
    CheckpointSettings,
    DocumentSettings,
    EngineSettings,
    EventSettings,
    HttpSettings,
    KeySettings,
    LogSettings,
    RetentionSettings,
    ServerSettings,
    StorageSettings,
    WitnessSettings,
)
from qflow.config._sources import default_home, merge


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
    checkpoint: CheckpointSettings
    storage: StorageSettings
    documents: DocumentSettings
    keys: KeySettings
    http: HttpSettings
    events: EventSettings
    retention: RetentionSettings
    server: ServerSettings
    witness: WitnessSettings

    _origins: dict[Key, str] = field(repr=False, compare=False)

    def __init__(self, **values: Any) -> None:
        merged, origins = merge(values, keys_of(Config))
        merged.setdefault(("home",), default_home())
        checked = check(Config, merged, origins)
        for name, kind in kinds_of(Config).items():
            if is_section(kind):
                given = {key[1]: checked[key] for key in checked if key[0] == name and key[1:]}
                object.__setattr__(self, name, kind(**given))
            elif (name,) in checked:
                object.__setattr__(self, name, checked[name,])
        object.__setattr__(self, "home", self.home.expanduser().absolute())
        object.__setattr__(self, "_origins", origins)

    def flat(self) -> dict[str, Any]:
        """Every setting by its dotted key, in a fixed order."""
        found = {}
        for key in keys_of(Config):
            value: Any = self
            for part in key:
                value = getattr(value, part)
            found[dotted(key)] = value
        return found

    def origins(self) -> dict[str, str]:
        """Where the value of each key of `flat` comes from: `default`, `code`,
        `environment NAME` or `PATH:LINE`."""
        return {dotted(key): self._origins.get(key, "default") for key in keys_of(Config)}


def load_config(**values: Any) -> Config:
    """The settings of this process, `values` before every other source. Raises ConfigError."""
    return Config(**values)
