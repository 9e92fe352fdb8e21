"""What `qflow doc` asks and prints, against a node that answers over the socket."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import Result

from qflow.cli import _doctor_documents
from qflow.state import Listed
from tests.cli.conftest import Behind
from tests.cli.documents import ADA, BOB, EVIL, KeptDocuments

Run = Callable[..., Result]


@pytest.fixture
def documents(behind: Behind) -> KeptDocuments:
    behind.node.documents = KeptDocuments()
    made: KeptDocuments = behind.node.documents
    return made


def answer(result: Result, code: int = 0) -> Any:
    assert result.exit_code == code, result.stderr
    (line,) = result.stdout.splitlines()
    return json.loads(line)


def refusal(result: Result, code: int) -> list[str]:
    assert result.exit_code == code, (result.stdout, result.stderr)
    assert result.stdout == ""
    return result.stderr.splitlines()


def test_a_list_says_how_much_there_is(qflow: Run, documents: KeptDocuments) -> None:
    head, row = qflow("doc", "list").stdout.splitlines()
    assert head.split() == ["DOCUMENT", "STATE", "SINCE", "BLOCKS", "SIZE", "OPERATIONS"]
    assert row.split()[:2] == ["shop/cart", "alive"]
    assert "4.0 KiB" in row
    assert "1,234" in row
    assert answer(qflow("doc", "list", "--json"))[0]["operations"] == 1234


def test_a_value_is_printed_as_json_that_cannot_steer_a_terminal(
    qflow: Run, documents: KeptDocuments
) -> None:
    assert qflow("doc", "get", "shop/cart", "/items/tea").stdout == "2\n"
    printed = qflow("doc", "get", "shop/cart").stdout
    assert "\x1b" not in printed
    assert "\u202e" not in printed
    found = answer(qflow("doc", "get", "shop/cart", "/items", "--json"))
    assert found["value"] == {"tea": 2}
    assert base64.b64decode(found["clock"]) == b"\x00now"
    assert answer(qflow("doc", "get", "shop/cart", "--json"))["value"]["note"] == EVIL


def test_a_clock_that_was_printed_is_taken_again(qflow: Run, documents: KeptDocuments) -> None:
    clock = base64.b64encode(b"\x00old").decode()
    assert answer(qflow("doc", "get", "shop/cart", "--at", clock, "--json"))["clock"] == clock
    (line, hint) = refusal(qflow("doc", "get", "shop/cart", "--at", "!"), 2)
    assert "clock" in line
    assert "--json" in hint


def test_a_strategy_says_what_is_made_of_siblings(qflow: Run, documents: KeptDocuments) -> None:
    found = qflow("doc", "get", "shop/cart", "/items/tea", "--strategy", "keep-all")
    assert json.loads(found.stdout) == [2]


def test_what_is_not_there_is_said_in_a_line(qflow: Run, documents: KeptDocuments) -> None:
    (line, hint) = refusal(qflow("doc", "get", "shop/cart", "/none"), 3)
    assert line == "error: shop/cart has nothing at /none"
    assert "qflow doc get shop/cart" in hint
    assert answer(qflow("doc", "get", "shop/cart", "/none", "--json"), 3)["found"] is False
    (line, hint) = refusal(qflow("doc", "get", "shop/card"), 3)
    assert "shop/card" in line
    assert "qflow doc list" in hint
    (line,) = refusal(qflow("doc", "get", "shop/cart", "items"), 2)
    assert "JSON Pointer" in line
    (line,) = refusal(qflow("doc", "get", " "), 2)
    assert "empty" in line


@pytest.mark.parametrize(
    ("arguments", "change"),
    [
        (["/a", '{"b": 1}'], ("set", "/a", {"b": 1})),
        (["/a", "1", "--increment"], ("increment", "/a", 1)),
        (["/a", "[1]", "--append"], ("append", "/a", [[1]])),
        (["", '{"b": 1}', "--merge"], ("merge", "", {"b": 1})),
        (["/a", "--delete"], ("delete", "/a", None)),
        (["/a", "-5", "--increment"], ("increment", "/a", -5)),
    ],
)
def test_one_write_is_one_change(
    qflow: Run, documents: KeptDocuments, arguments: list[str], change: tuple[Any, ...]
) -> None:
    options = [item for item in arguments if item.startswith("--")]
    words = [item for item in arguments if not item.startswith("--")]
    done = answer(qflow("doc", "set", *options, "--json", "--", "shop/cart", *words))
    assert done["durable"] is True
    assert documents.changes == [("shop/cart", *change, None)]


def test_an_operation_has_the_id_that_it_was_given(qflow: Run, documents: KeptDocuments) -> None:
    assert qflow("doc", "set", "shop/cart", "/a", "1", "--operation", "pay-7").exit_code == 0
    assert documents.changes[0][-1] == "pay-7"


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["/a"], "needs a value"),
        (["/a", "1", "--delete"], "takes no value"),
        (["/a", "1", "--append", "--merge"], "two things"),
        (["/a", "text"], "not JSON"),
    ],
)
def test_a_write_that_makes_no_sense_is_refused(
    qflow: Run, documents: KeptDocuments, arguments: list[str], word: str
) -> None:
    line, _ = refusal(qflow("doc", "set", "shop/cart", *arguments), 2)
    assert word in line
    assert documents.changes == []


def test_what_the_document_refuses_is_said_with_how_to_look(
    qflow: Run, documents: KeptDocuments
) -> None:
    line, hint = refusal(qflow("doc", "set", "shop/cart", "/note", "1", "--increment"), 1)
    assert "is a text" in line
    assert "qflow doc get" in hint


def test_conflicts_are_told_with_who_wrote_what(qflow: Run, documents: KeptDocuments) -> None:
    lines = qflow("doc", "conflicts", "shop/cart").stdout.splitlines()
    assert lines[0].split()[:2] == ["set", "/a"]
    assert lines[1].split() == ["shown", "1", ADA]
    assert lines[2].split()[0] == "kept"
    assert lines[2].split()[-1] == BOB
    assert "\x1b" not in "".join(lines)
    assert lines[3].split()[:2] == ["type", "(all)"]
    found = answer(qflow("doc", "conflicts", "shop/cart", "--json"))
    assert found[0]["values"][1] == {"value": EVIL, "node": BOB}


def test_history_is_a_table_the_newest_first(qflow: Run, documents: KeptDocuments) -> None:
    lines = qflow("doc", "history", "shop/cart", "-n", "3").stdout.splitlines()
    assert lines[0].split() == ["TIME", "KIND", "PATH", "VALUE", "CHANGE", "NODE"]
    assert [line.split()[0] for line in lines[1:]] == ["3", "2", "1"]
    assert "..." in lines[3]
    found = answer(qflow("doc", "history", "shop/cart", "-n", "1", "--json"))
    assert [item["seq"] for item in found] == [1]


def test_a_compaction_says_what_it_waits_for(qflow: Run, documents: KeptDocuments) -> None:
    result = qflow("doc", "compact", "shop/cart")
    assert "1,200 operations compacted, 4.0 KiB to 1.0 KiB" in result.stdout
    assert BOB in result.stderr
    assert answer(qflow("doc", "compact", "shop/cart", "--json"))["durable"] is True


# -- without a node ------------------------------------------------------------------------


def test_the_files_of_a_home_take_writes_and_answer(qflow: Run) -> None:
    assert qflow("init").exit_code == 0
    assert qflow("doc", "list").stderr.strip() == "no documents"
    refusal(qflow("doc", "get", "shop/cart"), 3)
    assert qflow("doc", "set", "shop/cart", "", '{"a": {"b": 1}}', "--merge").exit_code == 0
    for _ in range(2):
        done = qflow("doc", "set", "shop/cart", "/n", "2", "--increment", "--operation", "x")
        assert done.exit_code == 0
    assert answer(qflow("doc", "get", "shop/cart", "--json"))["value"] == {"a": {"b": 1}, "n": 2}
    (line, _) = refusal(qflow("doc", "set", "shop/cart", "/a", "1", "--increment"), 1)
    assert "/a" in line
    (line,) = refusal(qflow("doc", "set", "shop/cart", "/a/..", "1"), 2)
    assert ".." in line
    (line,) = refusal(qflow("doc", "set", "a//b", "/a", "1"), 2)
    assert "a//b" in line
    found = answer(qflow("doc", "history", "shop/cart", "/n", "--json"))
    assert [(item["kind"], item["value"]) for item in found] == [("increment", 2)]


def checked(qflow: Run) -> dict[str, Any]:
    (found,) = [
        item
        for item in json.loads(qflow("doctor", "--json").stdout)["checks"]
        if item["check"] == "documents"
    ]
    return dict(found)


def test_the_doctor_says_what_documents_there_are(qflow: Run) -> None:
    assert qflow("init").exit_code == 0
    assert checked(qflow)["found"] == "none yet"
    qflow("doc", "set", "shop/cart", "/n", "2")
    found = checked(qflow)
    assert found["status"] == "OK"
    assert found["found"].startswith("1 document, 1 operation and ")
    assert "waits" not in found["found"]


@pytest.mark.parametrize(("operations", "status"), [(200_000, "OK"), (400_000, "WARN")])
def test_the_doctor_says_whether_compaction_waits(
    qflow: Run, monkeypatch: pytest.MonkeyPatch, operations: int, status: str
) -> None:
    listed = [
        Listed(
            id=bytes(16),
            name=name,
            state=state,
            created_ms=1,
            blocks=1,
            size_bytes=100,
            operations=count,
        )
        for name, state, count in (
            ("big", "alive", operations),
            ("small", "alive", 1),
            ("gone", "erasing", 999_999),
        )
    ]
    assert qflow("init").exit_code == 0
    qflow("doc", "set", "big", "/n", "2")
    monkeypatch.setattr(_doctor_documents, "_listed", lambda session: listed)
    found = checked(qflow)
    assert found["status"] == status
    assert "compaction waits for big" in found["found"]
    assert "1 erasure to be finished" in found["found"]
    assert ("qflow doc compact big" in str(found.get("fix"))) == (status == "WARN")
