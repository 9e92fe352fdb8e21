"""Keys by commands, on the files of a home and on a node; and no key in what they say."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal
from typer.testing import Result

from qflow import diagnostics
from qflow.api import serve, socket_path
from qflow.cli import _command
from qflow.config import Config
from qflow.node import Node
from qflow.trust import Keyring, _key, load_or_create_key
from qflow.trust._passphrase import Cost
from tests.trust.rings import key_named
from tests.trust.secret import Secrets

Run = Callable[..., Result]
FLOW = {
    "document": {"dsl": "1.0.3", "namespace": "shop", "name": "order", "version": "1.0.0"},
    "do": [{"a": {"set": "${ . }"}}],
}
WAITING = {
    "document": {"dsl": "1.0.3", "namespace": "shop", "name": "waits", "version": "1.0.0"},
    "do": [{"l": {"listen": {"to": {"one": {"with": {"type": "go"}}}}}}],
}
PASSPHRASE = "correct horse battery staple"


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    cost = Cost(passes=1, memory_bytes=1 << 20)
    monkeypatch.setattr(_key, "_COST", cost)
    defaults = _key.protect_key.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "cost", cost)
    _key._opened.clear()
    yield
    diagnostics.ask_with(None)


@pytest.fixture
def secret_file(home: Path) -> Path:
    path = home.parent / "passphrase"
    path.touch(mode=0o600)
    path.write_text(PASSPHRASE + "\n")
    return path


@pytest.fixture(params=["files", "node"])
def ran(request: pytest.FixtureRequest, home: Path, qflow: Run) -> Iterator[str]:
    """A finished execution in the home, and perhaps a node that runs there."""
    path = home.parent / "flow.json"
    path.write_text(json.dumps(FLOW))
    assert qflow("init").exit_code == 0
    done = qflow("run", str(path), "--input", '{"name": "x"}')
    assert done.exit_code == 0, done.stderr
    ((found,)) = json.loads(qflow("list", "--json").stdout)
    if request.param == "files":
        yield found["id"]
        return
    with start_blocking_portal() as portal:
        node = portal.wrap_async_context_manager(Node(Config(home=home)))
        with node as here, portal.wrap_async_context_manager(serve(here, socket_path(home))):
            yield found["id"]


def document(result: Result) -> Any:
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def kinds_on_record(home: Path, qflow: Run) -> list[str]:
    lines = qflow("audit", "query", "--json", "--type", "q.qflow.keys.*").stdout.splitlines()
    return [json.loads(line)["type"] for line in lines]


def test_a_rotation_is_shown_and_on_record(qflow: Run, home: Path, ran: str) -> None:
    before = document(qflow("keys", "show", "--json"))
    assert (before["epoch"], before["oldest"], before["protected"]) == (0, 0, False)
    assert before["node"] == load_or_create_key(home).did
    done = document(qflow("keys", "rotate", "--json"))
    assert (done["epoch"], done["oldest"]) == (1, 0)
    assert done["keys"] >= before["own"] >= 1
    told = qflow("keys", "rotate", "--forget", "--yes")
    assert told.exit_code == 0, told.stderr
    assert "epoch 2" in told.stdout
    assert "below 2 are destroyed" in told.stderr
    assert document(qflow("keys", "show", "--json"))["oldest"] == 2
    shown = document(qflow("show", ran, "--json"))
    assert shown["output"] == {"name": "x"}
    again = qflow("run", str(home.parent / "flow.json"), "--input", '{"name": "y"}')
    assert again.exit_code == 0, again.stderr


def test_there_are_never_two_writers(qflow: Run, home: Path) -> None:
    """A node that holds the home and does not answer: the command changes nothing."""
    file = home.parent / "a.keys"
    assert qflow("init").exit_code == 0
    assert qflow("keys", "export", str(file)).exit_code == 0
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(Node(Config(home=home))),
    ):
        before = {path.name: path.read_bytes() for path in home.glob("*keys")}
        for command in (("rotate",), ("import", str(file)), ("export", f"{file}.2")):
            refused = qflow("keys", *command)
            assert refused.exit_code == 5, command
            assert "qflow doctor names its process" in refused.stderr
        assert {path.name: path.read_bytes() for path in home.glob("*keys")} == before
    assert not Path(f"{file}.2").exists()


def test_another_machine_takes_the_keys(
    qflow: Run, home: Path, ran: str, secret_file: Path
) -> None:
    file, other = home.parent / "a.keys", home.parent / "other"
    told = document(qflow("keys", "export", str(file), "--json"))
    assert told["epochs"] == [0]
    assert (told["protected"], told["subnet"]) == (False, "default")
    assert file.stat().st_mode & 0o777 == 0o600
    did = load_or_create_key(home).did
    assert qflow("init", "--home", str(other)).exit_code == 0
    brought = document(qflow("keys", "import", str(file), "--json", "--home", str(other)))
    assert brought == {"node": did, "epochs": [0], "fresh": 1}
    again = qflow("keys", "import", str(file), "--home", str(other))
    assert again.exit_code == 0
    assert "nothing new" in again.stdout
    assert "trusted" in again.stderr
    shown = document(qflow("keys", "show", "--json", "--home", str(other)))
    assert shown["imported"] == [{"node": did, "epochs": [0]}]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QFLOW_SUBNET", "elsewhere")
        third = str(home.parent / "third")
        assert qflow("init", "--home", third).exit_code == 0
        refused = qflow("keys", "import", str(file), "--home", third)
    assert refused.exit_code == 1
    assert "keys of subnet 'default'; this home is of 'elsewhere'" in refused.stderr


def test_a_home_that_lost_its_subnet_keys_is_opened_with_its_own_export(
    qflow: Run, home: Path
) -> None:
    flow = home.parent / "flow.json"
    flow.write_text(json.dumps(FLOW))
    assert qflow("init").exit_code == 0
    assert qflow("run", str(flow), "--input", '{"name": "x"}').exit_code == 0
    (ran,) = (one["id"] for one in json.loads(qflow("list", "--json").stdout))
    file, old, stranger = (home.parent / f"{name}.keys" for name in ("new", "old", "stranger"))
    other = str(home.parent / "other")
    for _ in range(2):
        assert qflow("keys", "rotate").exit_code == 0
    assert qflow("init", "--home", other).exit_code == 0
    assert qflow("keys", "export", str(stranger), "--home", other).exit_code == 0
    assert qflow("keys", "import", str(stranger)).exit_code == 0
    assert qflow("keys", "export", str(old)).exit_code == 0
    assert qflow("keys", "rotate", "--forget", "--yes").exit_code == 0
    assert qflow("keys", "export", str(file)).exit_code == 0
    (home / "subnet.keys").unlink()
    for command in (("rotate",), ("import", str(stranger)), ("import", str(old))):
        refused = qflow("keys", *command)
        assert refused.exit_code != 0, command
        assert "qflow keys import FILE" in refused.stderr, command
    (home / "subnet.keys").unlink(missing_ok=True)
    brought = document(qflow("keys", "import", str(file), "--json"))
    assert (brought["epochs"], brought["fresh"]) == ([3], 1)
    shown = document(qflow("keys", "show", "--json"))
    assert (shown["epoch"], shown["oldest"], shown["imported"]) == (3, 3, [])
    assert document(qflow("show", ran, "--json"))["output"] == {"name": "x"}
    records = qflow("audit", "query", "--json", "--type", "q.qflow.keys.imported.v1").stdout
    assert len(records.splitlines()) >= 2
    assert qflow("keys", "rotate").exit_code == 0
    again = qflow("run", str(flow), "--input", '{"name": "y"}')
    assert again.exit_code == 0, again.stderr


def test_an_export_may_be_under_a_passphrase(
    qflow: Run, home: Path, ran: str, secret_file: Path
) -> None:
    file, other = home.parent / "a.keys", str(home.parent / "other")
    option = ("--passphrase-file", str(secret_file))
    assert document(qflow("keys", "export", str(file), *option, "--json"))["protected"] is True
    assert qflow("init", "--home", other).exit_code == 0
    unasked = qflow("keys", "import", str(file), "--home", other)
    assert unasked.exit_code == 2
    assert "no terminal" in unasked.stderr
    wrong = home.parent / "wrong"
    wrong.touch(mode=0o600)
    wrong.write_text("something else")
    refused = qflow("keys", "import", str(file), "--home", other, "--passphrase-file", str(wrong))
    assert refused.exit_code == 2
    assert "the passphrase is wrong" in refused.stderr
    assert document(qflow("keys", "import", str(file), "--home", other, *option, "--json"))["fresh"]


def test_an_export_overwrites_nothing(qflow: Run, home: Path, ran: str) -> None:
    file = home.parent / "a.keys"
    file.write_text("dear")
    refused = qflow("keys", "export", str(file))
    assert refused.exit_code == 2
    assert "is there already" in refused.stderr
    assert file.read_text() == "dear"
    link = home.parent / "link"
    link.symlink_to(home.parent / "nowhere")
    assert qflow("keys", "export", str(link)).exit_code == 2
    assert not (home.parent / "nowhere").exists()
    assert qflow("keys", "export", str(home.parent / "no" / "folder")).exit_code == 2


@pytest.mark.holds("S14")
def test_a_changed_file_of_keys_brings_nothing(qflow: Run, home: Path) -> None:
    file, other = home.parent / "a.keys", str(home.parent / "other")
    assert qflow("init").exit_code == qflow("init", "--home", other).exit_code == 0
    assert qflow("keys", "export", str(file)).exit_code == 0
    whole = file.read_bytes()
    for at in (0, 5, 20, len(whole) // 2, len(whole) - 1):
        for content in (whole[:at], whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]):
            file.write_bytes(content)
            assert qflow("keys", "import", str(file), "--home", other).exit_code in (1, 2)
    file.write_bytes(whole)
    file.chmod(0o644)
    refused = qflow("keys", "import", str(file), "--home", other)
    assert (refused.exit_code, "open to others" in refused.stderr) == (2, True)
    assert not (home.parent / "other" / "subnet.keys").exists()


def test_the_nodes_key_is_put_under_a_passphrase_and_out_again(
    qflow: Run, home: Path, secret_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = home.parent / "flow.json"
    path.write_text(json.dumps(FLOW))
    assert qflow("init").exit_code == 0
    done = document(qflow("keys", "protect", "--passphrase-file", str(secret_file), "--json"))
    assert done == {"protected": True, "changed": False}
    _key._opened.clear()
    refused = qflow("run", str(path))
    assert refused.exit_code == 2
    assert "there is no passphrase" in refused.stderr
    monkeypatch.setenv("QFLOW_KEYS__PASSPHRASE_FILE", str(secret_file))
    assert qflow("run", str(path)).exit_code == 0
    assert document(qflow("keys", "show", "--json"))["protected"] is True
    assert qflow("doctor").exit_code == 0
    assert document(qflow("keys", "unprotect", "--json")) == {"protected": False}
    monkeypatch.delenv("QFLOW_KEYS__PASSPHRASE_FILE")
    _key._opened.clear()
    assert qflow("run", str(path)).exit_code == 0


def test_a_passphrase_is_typed_on_a_terminal(
    qflow: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    answers = iter(["one", "another", PASSPHRASE, PASSPHRASE, PASSPHRASE, "wrong"])

    def typed(question: str) -> str:
        asked.append(question.removesuffix(": ").rpartition(" for ")[0] or question)
        return next(answers)

    monkeypatch.setattr(_command, "_typed", typed)
    assert qflow("init").exit_code == 0
    refused = qflow("keys", "protect")
    assert (refused.exit_code, "two passphrases" in refused.stderr) == (2, True)
    assert qflow("keys", "protect").exit_code == 0
    _key._opened.clear()
    assert document(qflow("keys", "show", "--json"))["protected"] is True
    _key._opened.clear()
    refused = qflow("keys", "show")
    assert (refused.exit_code, "passphrase is wrong" in refused.stderr) == (2, True)
    assert asked == ["new passphrase", "again: "] * 2 + ["passphrase"] * 2


def test_without_a_key_there_is_nothing_to_show(qflow: Run, home: Path, tmp_path: Path) -> None:
    for command in (("show",), ("rotate",), ("protect",), ("unprotect",), ("export", "x")):
        refused = qflow("keys", *command)
        assert refused.exit_code == 3, command
        assert "qflow init" in refused.stderr


@pytest.mark.holds("S18")
def test_no_secret_is_said_or_written_anywhere(
    qflow: Run,
    home: Path,
    secret_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Every command about keys, those that fail too, at the most talkative, and the node."""
    secrets = Secrets(monkeypatch, PASSPHRASE)
    monkeypatch.setenv("QFLOW_LOG_LEVEL", "debug")
    monkeypatch.setenv("QFLOW_DEBUG", "1")
    logging.getLogger().setLevel(logging.DEBUG)
    path, waiting = home.parent / "flow.json", home.parent / "waits.json"
    path.write_text(json.dumps(FLOW))
    waiting.write_text(json.dumps(WAITING))
    other = str(home.parent / "other")
    files = [str(home.parent / name) for name in ("a.keys", "b.keys")]
    option = ("--passphrase-file", str(secret_file))
    said: list[str] = []

    def say(*arguments: str) -> Result:
        result = qflow(*arguments)
        said.append(result.output + result.stderr)
        return result

    with caught(said):
        say("init")
        say("init", "--home", other)
        say("run", str(path), "--input", "{}")
        ((found,)) = json.loads(say("list", "--json").stdout)
        say("keys", "rotate")
        with start_blocking_portal() as portal:
            node = portal.wrap_async_context_manager(Node(Config(home=home)))
            with node as here, portal.wrap_async_context_manager(serve(here, socket_path(home))):
                say("run", "--detach", str(waiting), "--input", "{}")
                say("keys", "rotate", "--forget", "--yes")
                say("keys", "export", files[0])
                say("keys", "import", files[0])
                say("keys", "show")
                say("status", "--json")
        say("keys", "export", files[1], *option)
        for file in files:
            say("keys", "import", file, "--home", other)
            say("keys", "import", file, "--home", other, *option)
        say("keys", "protect", *option)
        _key._opened.clear()
        say("keys", "show")
        monkeypatch.setenv("QFLOW_KEYS__PASSPHRASE_FILE", str(secret_file))
        for command in ("show", "rotate", "unprotect"):
            say("keys", command, "--json")
        say("keys", "export", files[0])
        say("audit", "erase", found["id"], "--reason", "asked", "--yes")
        say("doctor")
        say("config", "show")
        say("show", found["id"], "--json")
        for name in ("subnet.keys", "keys", "node.key"):
            damaged = home.parent / f"damaged-{name}"
            shutil.copytree(home, damaged, ignore=shutil.ignore_patterns("*.sock", "lock"))
            content = (damaged / name).read_bytes()
            (damaged / name).write_bytes(content[:60] + b"\xff" + content[61:])
            for command in ("show", "rotate", "export"):
                say(
                    "keys",
                    command,
                    *([f"{damaged}.out"] if command == "export" else []),
                    "--home",
                    str(damaged),
                )
    said += capfd.readouterr()
    assert len(secrets.found) > 20
    assert sum("Traceback" in text for text in said) > 3, "it was not talkative"
    assert secrets.shown_in("\n".join(said).encode()) == []
    keys = ("node.key", ".keys", "keys")
    for kept in sorted(home.parent.rglob("*")):
        if kept.is_file() and kept != secret_file and not kept.name.endswith((*keys, ".out")):
            assert secrets.shown_in(kept.read_bytes()) == [], kept
    # The files of keys themselves show what they are for, and nothing else.
    for name in ("keys", "subnet.keys"):
        assert secrets.shown_in((home / name).read_bytes()) == []


class caught(logging.Handler):  # noqa: N801 - used as a function is
    """Every line of the standard library's loggers, with tracebacks, while it is entered."""

    def __init__(self, said: list[str]) -> None:
        super().__init__(logging.DEBUG)
        self._said = said

    def emit(self, record: logging.LogRecord) -> None:
        self._said.append(logging.Formatter().format(record))

    def __enter__(self) -> None:
        logging.getLogger().addHandler(self)

    def __exit__(self, *_: object) -> None:
        logging.getLogger().removeHandler(self)


@pytest.mark.holds("S18")
def test_no_object_shows_a_key(home: Path) -> None:
    key = key_named("a")
    ring = Keyring(home, lambda: key.seed)
    ring.take()
    ring.rotate()
    for shown in (ring, ring.subnet, ring.subnet.ring, ring._file, ring._adopted, vars(ring)):
        text = repr(shown)
        assert key.seed.hex() not in text
        assert repr(key.seed) not in text
        for _, secret in ring.subnet.exported():
            assert repr(secret) not in text
