"""Reads a file of rules. What is unknown or malformed is refused, with its line and the fix."""

from __future__ import annotations

import difflib
import hashlib
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Final

import msgspec

from qflow.audit._patterns import is_like
from qflow.audit._query import full_type
from qflow.audit.compliance._rules import KINDS, AnyRule, Rule
from qflow.config import can_name_flows
from qflow.errors import ConfigError
from qflow.events import catalogue

VERSION: Final = 1
FILE_BYTES_MAX: Final = 256 << 10
RULES_MAX: Final = 256
DEFAULT: Final = "default"

_HEADER: Final = re.compile(r"\s*\[\[\s*[\"']?rule[\"']?\s*\]\]")
_KEY: Final = re.compile(r"\s*[\"']?([A-Za-z0-9_-]+)[\"']?\s*=")
_STRINGS: Final = re.compile(
    r'"""(?:[^\\]|\\.)*?"""|\'\'\'.*?\'\'\'|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'|#[^\n]*', re.DOTALL
)
_NAMED: Final = re.compile(r"`\$\.(\w+)|unknown field `([^`]*)`|missing required field `([^`]*)`")


class Rules(msgspec.Struct, frozen=True):
    """A set of rules, and what says that it was this one."""

    source: str
    """The name of the file, or `default`."""
    sha256: str
    """Of the file's bytes, in hexadecimal digits."""
    rules: tuple[AnyRule, ...]


def load_rules(path: Path | None = None) -> Rules:
    """The rules in a file; without one, those that come with Qflow. Raises ConfigError."""
    if path is None:
        data = resources.files("qflow.audit.compliance").joinpath("default.toml").read_bytes()
        return parse_rules(data, DEFAULT)
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError(f"the rules cannot be read: {path}: {error.strerror}") from error
    return parse_rules(data, path.name)


def parse_rules(data: bytes, source: str) -> Rules:
    """The rules in TOML 1.0 text. Raises ConfigError with the line and what to do."""
    if len(data) > FILE_BYTES_MAX:
        raise ConfigError(f"{source} is longer than {FILE_BYTES_MAX} bytes; split the rules")
    try:
        text = data.decode()
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{source} is not TOML: {error}") from None
    lines = _Lines(text, source)
    rules = tuple(_rules(document, lines))
    return Rules(source, hashlib.sha256(data).hexdigest(), rules)


class _Lines:
    """Where things stand in a file that was read as TOML, which keeps no lines."""

    def __init__(self, text: str, source: str) -> None:
        self._source = source
        # Strings and comments may hold anything; what is left of them is their line ends.
        bare = _STRINGS.sub(lambda found: '""' + "\n" * found[0].count("\n"), text)
        self._lines = bare.split("\n")
        self._headers = [n for n, line in enumerate(self._lines) if _HEADER.match(line)]

    def wrong(self, what: str, rule: int | None = None, key: str | None = None) -> ConfigError:
        """The error for a key of rule number `rule`, or of the top."""
        return ConfigError(f"{self._source}:{self._line(rule, key)}: {what}")

    def _line(self, rule: int | None, key: str | None) -> int:
        first, end = 0, len(self._lines)
        if rule is not None and rule < len(self._headers):
            first = self._headers[rule]
            end = next((n for n in self._headers if n > first), end)
        for number in range(first, end):
            found = _KEY.match(self._lines[number])
            if key is not None and found is not None and found[1] == key:
                return number + 1
        return first + 1


def _rules(document: Mapping[str, Any], lines: _Lines) -> Iterable[AnyRule]:
    for name in document:
        if name not in ("version", "rule"):
            raise lines.wrong(f"unknown {name!r}{_near(name, ('version', 'rule'))}", key=name)
    if document.get("version") != VERSION or isinstance(document["version"], bool):
        raise lines.wrong(f"the file must say `version = {VERSION}`", key="version")
    found = document.get("rule")
    if not isinstance(found, list) or not found:
        raise lines.wrong("there is no rule; each begins with [[rule]]", key="rule")
    if len(found) > RULES_MAX:
        raise lines.wrong(f"{len(found)} rules; {RULES_MAX} are allowed", RULES_MAX)
    known: set[str] = set()
    for number, table in enumerate(found):
        rule = _rule(number, table, lines)
        if rule.id in known:
            raise lines.wrong(f"there are two rules {rule.id!r}; rename one", number, "id")
        known.add(rule.id)
        yield rule


def _rule(number: int, table: Any, lines: _Lines) -> AnyRule:
    if not isinstance(table, dict):
        raise lines.wrong("a rule is a table: [[rule]]", number)
    kind = table.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        said = f"unknown kind {kind!r}{_near(str(kind), KINDS)}" if "kind" in table else "no kind"
        raise lines.wrong(f"{said}; the kinds are: {', '.join(KINDS)}", number, "kind")
    try:
        rule: AnyRule = msgspec.convert(table, KINDS[kind])  # type: ignore[assignment]
    except msgspec.ValidationError as error:
        key, fix = _explain(str(error), KINDS[kind], table)
        raise lines.wrong(f"rule {table.get('id', number)!r:.70}: {fix}", number, key) from None
    for key, what in _idle(rule):
        raise lines.wrong(f"rule {rule.id!r}: {what}", number, key)
    return rule


def _idle(rule: Rule) -> Iterator[tuple[str, str]]:
    """The fields that no record can fit, of a rule that would find nothing whatever happened."""
    if not can_name_flows(rule.flow):
        yield "flow", f"no flow can be {rule.flow!r}: namespace/name/version, or less of it"
    for key in ("first", "second", "types"):
        for named in getattr(rule, key, ()):
            if not any(is_like(full_type(named), known) for known in catalogue()):
                near = _near(full_type(named), catalogue())
                yield key, f"{key!r}: there is no type {named!r}{near}"


def _explain(error: str, kind: type[Rule], table: Mapping[str, Any]) -> tuple[str | None, str]:
    """The key that is at fault, and what to do about it."""
    named = _NAMED.search(error)
    if named is None:
        return None, error
    wrong, unknown, missing = named.groups()
    fields = kind.__struct_fields__
    if unknown is not None:
        return unknown, f"unknown field {unknown!r}{_near(unknown, fields)}; it has: " + ", ".join(
            ("kind", *fields)
        )
    if missing is not None:
        return None, f"{missing!r} is missing"
    return wrong, f"{wrong!r} is {table.get(wrong)!r:.60}: {error.split(' - at ')[0].lower()}"


def _near(word: str, words: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(words), n=1)
    return f", did you mean {near[0]!r}?" if near else ""
