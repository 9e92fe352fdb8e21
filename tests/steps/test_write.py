"""`call: document`: what a step asks of a shared document, in one operation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from qflow.errors import ConfigError, StepError
from qflow.model import ErrorKind, problem
from qflow.steps import Functions
from qflow.steps._write import Change
from tests.steps.conftest import Make, attempt


class Notes:
    """Notes what it is asked to write."""

    def __init__(self, error: StepError | None = None) -> None:
        self.asked: list[tuple[str, list[Change], str]] = []
        self.error = error

    async def write(self, document: str, changes: Sequence[Change], *, operation: str) -> None:
        self.asked.append((document, list(changes), operation))
        if self.error is not None:
            raise self.error


async def write(make: Make, documents: Notes | None, value: Any = None, **given: Any) -> Any:
    made = attempt({"call": "document", "with": {"document": "cart", **given}}, value)
    async with make(documents=documents) as runner:
        assert runner.can(made.task)
        return await runner.run(replace(made, document="shop/cart"))


@pytest.mark.anyio
async def test_a_call_is_one_operation_named_by_its_step(make: Make) -> None:
    notes = Notes()
    given = {
        "append": {"/log": ["a", "b"], "/one": "c", "/none": []},
        "increment": {"/n": "${ .n }"},
        "merge": {"/m": {"x": 1}},
        "set": '${ {("/of/" + .who): true} }',
        "delete": ["/old"],
    }
    output = await write(make, notes, {"n": 2, "who": "ada"}, **given)
    key = attempt({}).step_key
    assert output == {"document": "shop/cart", "operation": key}
    assert notes.asked == [
        (
            "shop/cart",
            [
                ("delete", "/old", None),
                ("set", "/of/ada", True),
                ("merge", "/m", {"x": 1}),
                ("increment", "/n", 2),
                ("append", "/log", ["a", "b"]),
                ("append", "/one", ["c"]),
            ],
            key,
        )
    ]


@pytest.mark.anyio
async def test_a_path_is_written_before_those_beneath_it(make: Make) -> None:
    notes = Notes()
    await write(make, notes, set={"/a/b": 1, "/a": {}, "/a/b/c": 2})
    assert [path for _, path, _ in notes.asked[0][1]] == ["/a", "/a/b", "/a/b/c"]


@pytest.mark.anyio
@pytest.mark.parametrize(
    "given", [{"delete": "${ {} }"}, {"set": "${ 3 }"}, {"delete": ["${ 3 }"]}]
)
async def test_what_is_no_change_is_refused_before_anything_is_written(
    make: Make, given: dict[str, Any]
) -> None:
    notes = Notes()
    with pytest.raises(StepError) as caught:
        await write(make, notes, **given)
    assert caught.value.problem["status"] == 400
    assert notes.asked == []


@pytest.mark.anyio
async def test_what_the_document_refuses_fails_the_step(make: Make) -> None:
    refusal = StepError(problem(ErrorKind.VALIDATION, "Not like this"))
    with pytest.raises(StepError, match="Not like this"):
        await write(make, Notes(refusal), set={"/a": 1})


@pytest.mark.anyio
async def test_without_documents_the_call_fails(make: Make) -> None:
    with pytest.raises(StepError, match="no documents"):
        await write(make, None, set={"/a": 1})


def test_no_function_takes_the_name_of_the_call() -> None:
    with pytest.raises(ConfigError, match="document"):
        Functions().register("document", print)
