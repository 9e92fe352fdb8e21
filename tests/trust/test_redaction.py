"""Secrets by name, and that nothing which is logged shows one."""

from __future__ import annotations

import base64
import html
import io
import json
import logging
import os
import re
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from qflow.errors import ConfigError
from qflow.trust import MARK, Secrets, hide_secrets
from qflow.trust._redaction import pattern_of, replace
from qflow.trust._secrets import SECRET_BYTES_MAX


def stored(home: Path, name: str, value: str, mode: int = 0o600) -> Path:
    (home / "secrets").mkdir(exist_ok=True)
    path = home / "secrets" / name
    path.write_text(value)
    path.chmod(mode)
    return path


def test_text_and_object(tmp_path: Path) -> None:
    stored(tmp_path, "token", "abc def\n")
    stored(tmp_path, "login", '{"username": "ada", "password": "love"}')
    stored(tmp_path, "brace", "{not json")
    secrets = Secrets(tmp_path, environment={})
    assert secrets.get("token") == "abc def"
    assert secrets.get("login") == {"username": "ada", "password": "love"}
    assert secrets.get("brace") == "{not json"


def test_environment_comes_first(tmp_path: Path) -> None:
    stored(tmp_path, "my-token", "from the file")
    environment = {"QFLOW_SECRET_MY_TOKEN": "from the environment"}
    assert Secrets(tmp_path, environment).get("my-token") == "from the environment"


def test_changed_file_counts_at_once_and_the_old_value_stays_hidden(tmp_path: Path) -> None:
    secrets = Secrets(tmp_path, environment={})
    stored(tmp_path, "token", "first-value")
    secrets.get("token")
    stored(tmp_path, "token", "second-value")
    assert secrets.get("token") == "second-value"
    assert secrets.redact("first-value second-value") == f"{MARK} {MARK}"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o610, 0o602, 0o666])
def test_secret_that_others_can_open_is_refused(tmp_path: Path, mode: int) -> None:
    stored(tmp_path, "token", "abcd", mode)
    with pytest.raises(ConfigError, match="open to others"):
        Secrets(tmp_path, environment={}).get("token")


@pytest.mark.parametrize("name", ["", "../node.key", "a/b", ".hidden", "a\0b", "x" * 200, "é"])
def test_names_that_are_paths_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="not the name of a secret"):
        Secrets(tmp_path, environment={}).get(name)


def test_missing_long_binary_and_odd_secrets_are_refused(tmp_path: Path) -> None:
    secrets = Secrets(tmp_path, environment={"QFLOW_SECRET_BIG": "x" * (SECRET_BYTES_MAX + 1)})
    with pytest.raises(ConfigError, match="QFLOW_SECRET_GONE"):
        secrets.get("gone")
    with pytest.raises(ConfigError, match="longer than"):
        secrets.get("big")
    stored(tmp_path, "long", "x" * (SECRET_BYTES_MAX + 1))
    with pytest.raises(ConfigError, match="longer than"):
        secrets.get("long")
    stored(tmp_path, "binary", "").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="UTF-8"):
        secrets.get("binary")
    os.mkfifo(tmp_path / "secrets" / "pipe", 0o600)
    with pytest.raises(ConfigError, match="not a regular file"):
        secrets.get("pipe")


@pytest.fixture
def secrets(tmp_path: Path) -> Secrets:
    stored(tmp_path, "token", "s3cr3t/v@lue é")
    made = Secrets(tmp_path, environment={})
    made.get("token")
    return made


@pytest.mark.holds("S18")
def test_processor_cleans_every_place_of_an_event(secrets: Secrets) -> None:
    token = "s3cr3t/v@lue é"
    event: dict[str, Any] = {
        "event": f"call {token}",
        "nested": {"list": [token, {"x": quote(token, safe="")}], token: 1},
        "tuple": (token,),
        "bytes": token.encode(),
        "object": ValueError(token),
        "number": 5,
    }
    cleaned = hide_secrets(None, "info", event)
    assert "s3cr3t" not in repr(cleaned)
    assert cleaned["number"] == 5


@pytest.mark.holds("S18")
def test_tracebacks_are_cleaned(secrets: Secrets) -> None:
    out = io.StringIO()
    log = structlog.wrap_logger(
        structlog.PrintLogger(out),
        processors=[hide_secrets, structlog.processors.JSONRenderer()],
    )
    try:
        raise ValueError("s3cr3t/v@lue é")
    except ValueError:
        log.exception("broke")
        log.warning("broke", exc_info=sys.exc_info())
    assert out.getvalue().count("Traceback") == 2
    assert "s3cr3t" not in out.getvalue()


@pytest.mark.holds("S18")
def test_guarded_loggers_of_the_standard_library_are_cleaned(
    secrets: Secrets, caplog: pytest.LogCaptureFixture
) -> None:
    log = logging.getLogger("tests.guarded")
    with caplog.at_level(logging.DEBUG), secrets.guard("tests.guarded"):
        try:
            raise ValueError("s3cr3t/v@lue é")
        except ValueError:
            log.exception("GET %s %d", "http://x/?q=s3cr3t%2Fv%40lue%20%C3%A9", 5)
    assert f"GET http://x/?q={MARK} 5" in caplog.text
    assert "s3cr3t" not in caplog.text
    assert log.filters == []


@pytest.mark.holds("S18")
@given(
    secret=st.text(st.characters(codec="utf-8"), min_size=8, max_size=40),
    before=st.text(st.characters(codec="utf-8"), max_size=9),
    after=st.text(st.characters(codec="utf-8"), max_size=9),
)
def test_every_spelling_is_found(secret: str, before: str, after: str) -> None:
    pattern = pattern_of([secret])
    whole = before + secret + after
    for shown in (
        secret,
        quote(secret, safe=""),
        quote(secret),
        re.sub("%..", lambda match: match[0].lower(), quote(secret, safe="")),
        json.dumps([json.dumps({"x": secret})]),
        html.escape(json.dumps(secret)),
        json.dumps(secret)[1:-1],
        repr(secret)[1:-1],
        base64.b64encode(secret.encode()).decode(),
    ):
        assert MARK in replace(f"<{shown}>", pattern)
    for encode in (base64.standard_b64encode, base64.urlsafe_b64encode):
        assert MARK in replace(encode(whole.encode()).decode(), pattern)


@pytest.mark.holds("S18")
def test_lines_of_a_private_key_are_hidden_one_by_one(tmp_path: Path) -> None:
    stored(tmp_path, "pem", "-----BEGIN-----\nMIIEvQIBADANBgkqhkiG9w0B\nAQEFAASCBKcwggSj\n")
    secrets = Secrets(tmp_path, environment={})
    secrets.get("pem")
    assert secrets.redact("bad line: MIIEvQIBADANBgkqhkiG9w0B") == f"bad line: {MARK}"


def test_hostile_text_is_searched_in_bounded_time() -> None:
    pattern = pattern_of(["\\" * 30 + "a&b %\n", "aaaaaaaab"])
    for unit in ("\\", "a", "%25", "&amp;", "%", "\\u005c"):
        replace(unit * (64 * 1024 // len(unit)), pattern)


def test_short_secrets_are_not_looked_for(tmp_path: Path) -> None:
    stored(tmp_path, "pin", "123")
    secrets = Secrets(tmp_path, environment={})
    secrets.get("pin")
    assert secrets.redact("1234") == "1234"


def test_nothing_is_shown_below_the_depth_that_is_searched(secrets: Secrets) -> None:
    value: Any = "s3cr3t/v@lue é"
    for _ in range(10_000):
        value = [value]
    cleaned = secrets.redact(value)
    for _ in range(32):
        cleaned = cleaned[0]
    assert cleaned == MARK
