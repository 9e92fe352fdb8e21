from __future__ import annotations

import tomllib
from typing import Any

import pytest

from qflow import errors
from qflow.cli._exit import CODES, printable, report
from qflow.cli._home import _template
from qflow.cli._output import duration, plural, size
from qflow.config import Config

SECTIONS = {
    "log", "engine", "checkpoint", "storage", "keys", "http", "events", "retention", "server",
    "witness", "documents",
}  # fmt: skip
EXAMPLES = {
    "http.proxy", "server.listen", "witness.policy", "witness.logs_file", "keys.passphrase_file",
}  # fmt: skip
"""Settings without a default, of which the file shows what they may be."""


@pytest.mark.parametrize(
    ("length_ms", "text"),
    [
        (-5, "0ms"),
        (0, "0ms"),
        (999, "999ms"),
        (1000, "1.0s"),
        (59_949, "59.9s"),
        (60_000, "1m 00s"),
        (192_000, "3m 12s"),
        (3_600_000, "1h 00m"),
        (18_180_000, "5h 03m"),
        (187_200_000, "2d 04h"),
    ],
)
def test_durations_are_short(length_ms: int, text: str) -> None:
    assert duration(length_ms) == text


def test_sizes_and_counts_are_readable() -> None:
    assert [size(n) for n in (0, 1023, 1024, 5 << 20, 3 << 40)] == [
        "0 B", "1023 B", "1.0 KiB", "5.0 MiB", "3.0 TiB",
    ]  # fmt: skip
    assert (plural(1, "record"), plural(1200, "record")) == ("1 record", "1,200 records")


def test_control_characters_become_visible() -> None:
    assert printable("a\x1b[31mb\x9bc\x7f") == "a\\x1b[31mb\\x9bc\\x7f"
    assert printable("a\nb\tc") == "a\nb\tc"
    assert printable("a\nb", lines=False) == "a\\x0ab"
    assert printable("é漢🙂") == "é漢🙂"


def test_the_settings_file_that_init_makes_shows_every_setting_with_its_default(
    home: object,
) -> None:
    lines = []
    for line in _template().splitlines():
        text = line.removeprefix("# ")
        commented = line.startswith("# ") and " = " in text and text.split(" = ")[0].isidentifier()
        lines.append(text if commented else line)
    shown = dict(_flat(tomllib.loads("\n".join(lines))))
    expected = {key: value for key, value in Config().flat().items() if key != "home"}
    assert shown.keys() == expected.keys()
    for key, value in shown.items():
        default = list(expected[key]) if isinstance(expected[key], tuple) else expected[key]
        assert value == default or key in EXAMPLES, key
    assert tomllib.loads(_template()).keys() <= SECTIONS


def _flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found = []
    for name, value in values.items():
        if isinstance(value, dict) and prefix == "" and name in SECTIONS:
            found += _flat(value, f"{name}.")
        else:
            found.append((prefix + name, value))
    return found


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.PoisonedError("x"), 6),
        (errors.CorruptError("x"), 6),
        (errors.ReplayError("x"), 6),
        (errors.LockedError("x"), 5),
        (errors.BusyError("x"), 5),
        (errors.UnavailableError("x"), 5),
        (errors.ExecutionStateError("x"), 4),
        (errors.ExecutionNotFoundError("x"), 3),
        (errors.ConfigError("x"), 2),
        (errors.EventError("x"), 2),
        (errors.SigningKeyError("x"), 2),
        (errors.FlowError("x"), 1),
        (errors.VerificationError("x"), 1),
        (PermissionError(13, "denied", "/x"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_every_error_has_its_code_also_inside_groups(
    error: BaseException, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    grouped = BaseExceptionGroup("tasks", [BaseExceptionGroup("more", [error])])
    assert report(error, as_json=False) == report(grouped, as_json=True) == code
    assert code in CODES
    assert capsys.readouterr().out == ""


def test_a_traceback_only_when_it_is_asked_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("QFLOW_DEBUG", raising=False)
    report(KeyError("x"), as_json=False)
    assert capsys.readouterr().err == "error: KeyError: 'x'\n"
    monkeypatch.setenv("QFLOW_DEBUG", "1")
    report(ValueError("x"), as_json=False)
    assert capsys.readouterr().err == "ValueError: x\nerror: ValueError: x\n"
