"""Secrets by name, and the promise that no log line shows one."""

from __future__ import annotations

import json
import logging
import os
import re
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from weakref import WeakSet

from qflow.errors import ConfigError
from qflow.trust._files import read_private
from qflow.trust._redaction import leaves, pattern_of, replace

ENVIRONMENT_PREFIX: Final = "QFLOW_SECRET_"
SECRET_BYTES_MAX: Final = 16 * 1024
KNOWN_MAX: Final = 2048
"""Texts that are looked for. Beyond it the one that was read first is forgotten."""
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")

Secret = str | dict[str, Any]
_everyone: WeakSet[Secrets] = WeakSet()


def hide_secrets(logger: Any, method: str, event: MutableMapping[str, Any]) -> Any:
    """A structlog processor for what all `Secrets` of this process ever read.

    It belongs last before the renderer, in front of nothing that adds text. Tracebacks become text.
    """
    failure = event.pop("exc_info", None)
    if failure:
        event["exception"] = _traceback_text(failure)
    cleaned: Any = event
    for secrets in list(_everyone):
        cleaned = secrets.redact(cleaned)
    return cleaned


class Secrets:
    """The secrets of a node: `secrets/NAME` (mode 0600) in its home, or `QFLOW_SECRET_NAME`.

    A value that is a JSON object is one (`{"username": ..., "password": ...}`), else a text, less
    one newline at its end. The environment comes first; there `-` and `.` in a name are `_` and
    letters are capitals. Each value is read when it is asked for, so a changed file counts at
    once, and every value that was ever read stays redacted. Safe from any thread.
    """

    def __init__(
        self, home: str | os.PathLike[str], environment: Mapping[str, str] | None = None
    ) -> None:
        self._folder = Path(home) / "secrets"
        self._environment = os.environ if environment is None else environment
        self._known: dict[str, None] = {}
        self._pattern: re.Pattern[str] | None = None
        self._lock = threading.Lock()
        _everyone.add(self)

    def get(self, name: str) -> Secret:
        """The value of a secret. It is read from disk: not for the event loop.

        Raises ConfigError when it is missing, too long, or readable by others.
        """
        if not _NAME.fullmatch(name):
            raise ConfigError(f"{name!r} is not the name of a secret")
        text = self._read(name)
        value = _parse(text)
        self._remember([text, *leaves(value)])
        return value

    def redact(self, value: Any, also: Iterable[str] = ()) -> Any:
        """A copy of plain data with every known secret, and each text in `also`, replaced."""
        extra = pattern_of(text for item in also for text in leaves(item))
        return replace(replace(value, extra), self._pattern)

    @contextmanager
    def guard(self, *names: str) -> Iterator[None]:
        """Redact what the named loggers of the standard library say, until left."""
        loggers = [logging.getLogger(name) for name in names]
        keep = _Filter(self.redact)
        for logger in loggers:
            logger.addFilter(keep)
        try:
            yield
        finally:
            for logger in loggers:
                logger.removeFilter(keep)

    def _read(self, name: str) -> str:
        variable = ENVIRONMENT_PREFIX + re.sub(r"[-.]", "_", name).upper()
        path = self._folder / name
        try:
            content = self._environment_bytes(variable)
            if content is None:
                content = read_private(path, SECRET_BYTES_MAX)
            return content.decode().removesuffix("\n")
        except FileNotFoundError:
            raise ConfigError(
                f"the secret {name!r} is not set: write it to {path} (mode 0600) or to {variable}"
            ) from None
        except UnicodeDecodeError:
            raise ConfigError(f"the secret {name!r} is not UTF-8 text") from None
        except (OSError, ValueError) as error:
            raise ConfigError(f"the secret {name!r} is refused: {error}") from None

    def _environment_bytes(self, variable: str) -> bytes | None:
        value = self._environment.get(variable)
        if value is None:
            return None
        content = value.encode("utf-8", "surrogateescape")
        if len(content) > SECRET_BYTES_MAX:
            raise ValueError(f"{variable} is longer than {SECRET_BYTES_MAX} bytes")
        return content

    def _remember(self, texts: Iterable[str]) -> None:
        with self._lock:
            new = {text for item in texts for text in leaves(item)} - self._known.keys()
            if new:
                kept = [*self._known, *sorted(new)][-KNOWN_MAX:]
                self._known = dict.fromkeys(kept)
                self._pattern = pattern_of(kept)


def _parse(text: str) -> Secret:
    if text.lstrip().startswith("{"):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return text
        return value if isinstance(value, dict) else text
    return text


def _traceback_text(failure: Any) -> str:
    if isinstance(failure, BaseException):
        return "".join(traceback.format_exception(failure))
    if isinstance(failure, tuple):
        return "".join(traceback.format_exception(*failure))
    return traceback.format_exc()


class _Filter(logging.Filter):
    def __init__(self, redact: Callable[[Any], Any]) -> None:
        super().__init__()
        self._redact = redact

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = self._redact(record.getMessage()), ()
        if record.exc_info:
            record.exc_text = self._redact(_traceback_text(record.exc_info))
            record.exc_info = None
        if record.stack_info:
            record.stack_info = self._redact(record.stack_info)
        return True
