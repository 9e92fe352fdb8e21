"""Settings: the order of their sources, what is refused, and where each value comes from."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from qflow.config import CheckpointSettings, Config, EngineSettings, load_config
from qflow.errors import ConfigError


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in [name for name in os.environ if name.startswith("QFLOW_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    home = tmp_path / "home"
    home.mkdir()
    return home


def write(home: Path, text: str) -> Path:
    file = home / "qflow.toml"
    file.write_text(text)
    return file


def refusal(**values: object) -> str:
    with pytest.raises(ConfigError) as caught:
        Config(**values)
    return str(caught.value)


def test_without_any_source_every_value_is_a_default(tmp_path: Path) -> None:
    config = load_config()
    assert config.home == tmp_path / "data" / "qflow"
    assert config.engine.attempts_in_flight_max == 256
    assert set(config.origins().values()) == {"default"}
    assert list(config.origins()) == list(config.flat())


def test_code_precedes_environment_precedes_file_precedes_default(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(
        home,
        "subnet = 'file'\nactor = 'file'\n\n[engine]\nattempts_in_flight_max = 1\n"
        "executions_resident_max = 2\n\n[checkpoint]\nevery_facts = 30\n",
    )
    monkeypatch.setenv("QFLOW_ACTOR", "environment")
    monkeypatch.setenv("QFLOW_ENGINE__EXECUTIONS_RESIDENT_MAX", "20")
    monkeypatch.setenv("QFLOW_CHECKPOINT__EVERY_FACTS", "31")
    config = Config(home=home, checkpoint={"every_facts": 32})
    assert (config.subnet, config.actor) == ("file", "environment")
    engine = config.engine
    assert engine.attempts_in_flight_max == 1
    assert engine.executions_resident_max == 20
    assert config.checkpoint.every_facts == 32
    origins = config.origins()
    assert origins["home"] == "code"
    assert origins["subnet"] == f"{file}:1"
    assert origins["actor"] == "environment QFLOW_ACTOR"
    assert origins["engine.attempts_in_flight_max"] == f"{file}:5"
    assert origins["engine.executions_resident_max"] == (
        "environment QFLOW_ENGINE__EXECUTIONS_RESIDENT_MAX"
    )
    assert origins["checkpoint.every_facts"] == "code"
    assert origins["http.proxy"] == "default"


def test_a_section_given_in_code_leaves_its_other_keys_to_the_file(home: Path) -> None:
    write(home, "[checkpoint]\nkeep = 7\n")
    config = Config(home=home, checkpoint=CheckpointSettings(every_facts=99))
    assert config.checkpoint.keep == 7
    assert config.checkpoint.every_facts == 99


def test_an_unknown_key_of_the_file_is_refused_with_its_line(home: Path) -> None:
    file = write(home, "[checkpoint]\nevery_fact = 3\n")
    message = refusal(home=home)
    assert f"{file}:2" in message
    assert "did you mean checkpoint.every_facts?" in message


def test_a_key_in_the_wrong_section_is_pointed_to_the_right_one(home: Path) -> None:
    write(home, "every_facts = 50\n")
    assert "did you mean checkpoint.every_facts?" in refusal(home=home)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("engine = 5\n", "engine is a section"),
        ("[checkpoint]\nevery_facts = 'many'\n", "qflow.toml:2: checkpoint.every_facts"),
        ("[engine]\nattempts_in_flight_max = 0\n", "qflow.toml:2: engine.attempts_in_flight_max"),
        ("subnet = 'Not This'\n", "qflow.toml:1: subnet"),
        ("actor = 'a'\nactor = 'b'\n", "line 2"),
        ("actor = 'a'\n[engine\n", "line 2"),
        ("home = '/elsewhere'\n", "qflow.toml:1: home is where this file was found"),
        ("[nothing.deep]\nx = 1\n", "there is no setting nothing.deep"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_with_its_line(
    home: Path, text: str, said: str
) -> None:
    write(home, text)
    assert said in refusal(home=home)


def test_an_oversized_or_undecodable_file_is_refused(home: Path) -> None:
    write(home, "#" * ((1 << 20) + 1))
    assert "more than" in refusal(home=home)
    (home / "qflow.toml").write_bytes(b"actor = '\xff'")
    assert "qflow.toml" in refusal(home=home)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("QFLOW_HOEM", "QFLOW_HOME"),
        ("QFLOW_CHECKPOINT_EVERY_FACTS", "QFLOW_CHECKPOINT__EVERY_FACTS"),
        ("qflow_home", "QFLOW_HOME"),
    ],
)
def test_an_unknown_variable_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, meant: str
) -> None:
    monkeypatch.setenv(name, "x")
    message = refusal()
    assert name in message
    assert f"did you mean {meant}?" in message


def test_a_whole_section_as_one_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QFLOW_ENGINE", "{}")
    assert "QFLOW_ENGINE is not a setting" in refusal()


@pytest.mark.parametrize(
    "name", ["QFLOW_SECRET_TOKEN", "QFLOW_SHARED_DATA", "QFLOW_FAULTS", "QFLOW_CACHE"]
)
def test_secrets_and_names_of_tools_are_no_settings(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "x")
    assert "x" not in map(str, Config().flat().values())


def test_an_unknown_argument_is_refused() -> None:
    assert "did you mean subnet?" in refusal(subnets="a")


def test_a_wrong_value_never_shows_in_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QFLOW_HTTP__CALL_TIMEOUT_S", "hunter2")
    message = refusal()
    assert "environment QFLOW_HTTP__CALL_TIMEOUT_S: http.call_timeout_s" in message
    assert "hunter2" not in message


def test_the_environment_gives_lists_and_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QFLOW_FUNCTIONS", "/a.py:/b.py")
    monkeypatch.setenv("QFLOW_HTTP__ROUTES", '{"api.example": "http://127.0.0.1:8000"}')
    config = Config()
    assert config.functions == (Path("/a.py"), Path("/b.py"))
    assert config.http.routes == {"api.example": "http://127.0.0.1:8000"}
    monkeypatch.setenv("QFLOW_HTTP__ROUTES", "{")
    assert "it takes JSON" in refusal()


def test_an_unfit_value_is_refused_with_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QFLOW_HTTP__ROUTES", '{"api.example": 1}')
    monkeypatch.setenv("QFLOW_LOG_LEVEL", "loud")
    monkeypatch.setenv("QFLOW_SUBNET", "a\n")
    assert set(refusal(home=5, engine={"attempts_in_flight_max": 0}).splitlines()) == {
        "code: home: expected a path",
        "code: engine.attempts_in_flight_max: expected a whole number >= 1",
        "environment QFLOW_HTTP__ROUTES: http.routes[...]: expected text, got a whole number",
        "environment QFLOW_LOG_LEVEL: log_level: expected one of debug, info, warning, error",
        "environment QFLOW_SUBNET: subnet: "
        r"expected text matching regex '^[a-z0-9][a-z0-9-]{0,62}\\Z'",
    }


@pytest.mark.parametrize(
    ("name", "text", "key", "value"),
    [
        ("QFLOW_ENGINE__ATTEMPTS_IN_FLIGHT_MAX", "7", "engine.attempts_in_flight_max", 7),
        ("QFLOW_HTTP__CALL_TIMEOUT_S", "1e3", "http.call_timeout_s", 1000.0),
        ("QFLOW_HTTP__PROXY", "null", "http.proxy", "null"),
        ("QFLOW_SUBNET", "9", "subnet", "9"),
    ],
)
def test_a_text_becomes_what_its_setting_is(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str, key: str, value: object
) -> None:
    monkeypatch.setenv(name, text)
    found = Config().flat()[key]
    assert (found, type(found)) == (value, type(value))


def test_a_section_of_its_own_is_checked_too() -> None:
    assert CheckpointSettings(every_facts=99).given() == {"every_facts": 99}
    with pytest.raises(ConfigError, match="attempts_in_flight_max: expected a whole number >= 1"):
        EngineSettings(attempts_in_flight_max=0)


def test_a_default_that_code_names_precedes_the_file(home: Path) -> None:
    write(home, "[checkpoint]\nevery_facts = 30\n")
    config = Config(home=home, checkpoint=CheckpointSettings(every_facts=500))
    assert config.checkpoint.every_facts == 500
    assert config.origins()["checkpoint.every_facts"] == "code"


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QFLOW_ACTOR", "")
    config = Config()
    assert config.actor == "local"
    assert config.origins()["actor"] == "default"


def test_another_file_may_name_the_home_relative_to_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "etc"
    folder.mkdir()
    file = folder / "node.toml"
    file.write_text("home = 'data'\nfunctions = ['shared.py', '/x.py']\n")
    monkeypatch.setenv("QFLOW_CONFIG", str(file))
    config = Config()
    assert config.home == folder / "data"
    assert config.functions == (folder / "shared.py", Path("/x.py"))
    assert config.origins()["home"] == f"{file}:1"


def test_a_named_file_that_is_missing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QFLOW_CONFIG", "/nowhere/qflow.toml")
    assert "QFLOW_CONFIG names /nowhere/qflow.toml" in refusal()


def test_settings_cannot_be_changed_afterwards() -> None:
    config = Config()
    with pytest.raises(AttributeError, match="cannot assign"):
        config.actor = "other"  # type: ignore[misc]
    with pytest.raises(AttributeError, match="cannot assign"):
        config.checkpoint.every_facts = 11  # type: ignore[misc]


def test_importing_the_package_does_not_import_the_settings() -> None:
    code = "import qflow, sys; sys.exit('qflow.config' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
