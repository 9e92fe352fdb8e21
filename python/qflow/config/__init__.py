"""Settings: from code, the environment, qflow.toml and defaults, and where each one came from."""

from qflow.config._config import Config, load_config
from qflow.config._sections import (
    CheckpointSettings,
    DocumentSettings,
    EngineSettings,
    EventSettings,
    HttpSettings,
    KeySettings,
    LogSettings,
    RetentionRule,
    RetentionSettings,
    ServerSettings,
    StorageSettings,
    WitnessSettings,
    can_name_flows,
)

__all__ = [
    "CheckpointSettings",
    "Config",
    "DocumentSettings",
    "EngineSettings",
    "EventSettings",
    "HttpSettings",
    "KeySettings",
    "LogSettings",
    "RetentionRule",
    "RetentionSettings",
    "ServerSettings",
    "StorageSettings",
    "WitnessSettings",
    "can_name_flows",
    "load_config",
]
