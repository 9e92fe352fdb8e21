"""`call: openapi` against a document and a server on loopback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qflow.clock import SystemClock
from qflow.errors import StepError
from qflow.model import ERRORS, Attempt
from qflow.steps import Functions, Limits, Runner
from qflow.trust import Secrets
from tests.steps.conftest import Make, Stub, attempt

pytestmark = pytest.mark.anyio

PETSTORE: dict[str, Any] = {
    "swagger": "2.0",
    "host": "petstore.swagger.io",
    "basePath": "/v2",
    "schemes": ["https", "http"],
    "paths": {
        "/pet/{petId}": {
            "parameters": [{"$ref": "#/parameters/petId"}],
            "get": {"operationId": "getPetById"},
            "post": {
                "operationId": "updatePetWithForm",
                "consumes": ["application/x-www-form-urlencoded"],
                "parameters": [
                    {"name": "name", "in": "formData", "type": "string"},
                    {"name": "tags", "in": "formData", "type": "array"},
                ],
            },
        },
        "/pet": {
            "post": {
                "operationId": "addPet",
                "consumes": ["application/json", "application/xml"],
                "parameters": [{"in": "body", "name": "body", "required": True}],
            }
        },
        "/pet/findByStatus": {
            "get": {
                "operationId": "findPetsByStatus",
                "parameters": [
                    {
                        "name": "status",
                        "in": "query",
                        "required": True,
                        "type": "array",
                        "collectionFormat": "multi",
                    },
                    {"name": "ids", "in": "query", "type": "array", "collectionFormat": "pipes"},
                ],
            }
        },
    },
    "parameters": {"petId": {"name": "petId", "in": "path", "required": True}},
}

MODERN: dict[str, Any] = {
    "openapi": "3.1.0",
    "servers": [{"url": "/api/{version}", "variables": {"version": {"default": "v3"}}}],
    "paths": {
        "/items/{id}": {
            "put": {
                "operationId": "putItem",
                "parameters": [
                    {"name": "id", "in": "path", "required": True},
                    {"name": "X-Trace", "in": "header"},
                    {"name": "seen", "in": "cookie"},
                    {"name": "plain", "in": "query"},
                    {"name": "joined", "in": "query", "explode": False},
                    {"name": "deep", "in": "query", "style": "deepObject"},
                    {"name": "coded", "in": "query", "content": {"application/json": {}}},
                ],
                "requestBody": {"$ref": "#/components/requestBodies/Item"},
            }
        },
        "/loop": {"get": {"operationId": "loop", "parameters": [{"$ref": "#/components/a"}]}},
        "/out": {"get": {"operationId": "out", "parameters": [{"$ref": "other.json#/a"}]}},
        "/twice": {"get": {"operationId": "twice"}, "post": {"operationId": "twice"}},
        "/upload": {
            "post": {
                "operationId": "upload",
                "requestBody": {"content": {"multipart/form-data": {}}},
            }
        },
    },
    "components": {
        "a": {"$ref": "#/components/b"},
        "b": {"$ref": "#/components/a"},
        "requestBodies": {"Item": {"required": True, "content": {"application/json": {}}}},
    },
}


def call(document: str, operation: str, **given: Any) -> Attempt:
    base = given.pop("base", None)
    value = given.pop("value", None)
    task = {
        "call": "openapi",
        "with": {"document": {"endpoint": document}, "operationId": operation, **given},
    }
    return attempt(task, value, base=base)


@pytest.fixture
def petstore(stub: Stub) -> dict[str, str]:
    """The real names, routed to the stub."""
    stub.answer("/v2/swagger.json", PETSTORE)
    return {"petstore.swagger.io": stub.url}


URL = "https://petstore.swagger.io/v2/swagger.json"


async def test_petstore_operation_with_a_query_parameter(
    make: Make, stub: Stub, petstore: dict[str, str]
) -> None:
    stub.answer("/v2/pet/findByStatus", [{"id": 1}])
    async with make(routes=petstore) as runner:
        tried = call(
            URL,
            "findPetsByStatus",
            parameters={"status": "${ .status }", "ids": [1, 2]},
            value={"status": ["sold", "a&b"]},
        )
        assert await runner.run(tried) == [{"id": 1}]
    seen = stub.requests[1]
    assert seen["path"] == "/v2/pet/findByStatus?status=sold&status=a%26b&ids=1%7C2"
    assert seen["headers"]["accept"].startswith("application/json")
    assert seen["headers"]["idempotency-key"] == tried.step_key


async def test_petstore_operation_with_a_path_parameter_and_response_output(
    make: Make, stub: Stub, petstore: dict[str, str]
) -> None:
    stub.answer("/v2/pet/7%2F8", {"id": 7})
    async with make(routes=petstore) as runner:
        tried = call(URL, "getPetById", parameters={"petId": "7/8"}, output="response")
        got = await runner.run(tried)
    assert got["request"]["uri"] == "https://petstore.swagger.io/v2/pet/7%2F8"
    assert got["content"] == {"id": 7}


@pytest.mark.parametrize("given", [{"body": {"name": "Milou"}}, {"name": "Milou"}])
async def test_swagger_body_by_name_or_by_what_is_left(
    make: Make, stub: Stub, petstore: dict[str, str], given: dict[str, Any]
) -> None:
    stub.answer("/v2/pet", {})
    async with make(routes=petstore) as runner:
        await runner.run(call(URL, "addPet", parameters=given))
    seen = stub.requests[1]
    assert json.loads(seen["body"]) == {"name": "Milou"}
    assert seen["headers"]["content-type"] == "application/json"


async def test_swagger_form(make: Make, stub: Stub, petstore: dict[str, str]) -> None:
    stub.answer("/v2/pet/1", {})
    given = {"petId": 1, "name": "Milou & Co", "tags": ["a", "b"]}
    async with make(routes=petstore) as runner:
        await runner.run(call(URL, "updatePetWithForm", parameters=given))
    assert stub.requests[1]["body"] == b"name=Milou+%26+Co&tags=a%2Cb"


async def test_openapi_3_parameters_in_each_place(make: Make, stub: Stub) -> None:
    stub.answer("/docs/api.json", MODERN)
    stub.answer("/api/v3/items/5", {"ok": True})
    given = {
        "id": 5,
        "X-Trace": "t",
        "seen": "yes no",
        "plain": [1, 2],
        "joined": [1, 2],
        "deep": {"a": 1},
        "coded": {"a": [True]},
        "name": "left for the body",
    }
    async with make() as runner:
        tried = call(f"{stub.url}/docs/api.json", "putItem", parameters=given)
        assert await runner.run(tried) == {"ok": True}
    seen = stub.requests[1]
    assert seen["path"] == (
        "/api/v3/items/5?plain=1&plain=2&joined=1%2C2&deep%5Ba%5D=1"
        "&coded=%7B%22a%22%3A%5Btrue%5D%7D"
    )
    assert (seen["headers"]["x-trace"], seen["headers"]["cookie"]) == ("t", "seen=yes%20no")
    assert json.loads(seen["body"]) == {"name": "left for the body"}


async def test_document_in_yaml_from_the_flows_folder(
    make: Make, stub: Stub, tmp_path: Path
) -> None:
    stub.answer("/x", [1])
    text = f"openapi: '3.0.3'\nservers: [{{url: '{stub.url}'}}]\n"
    text += "paths: {/x: {get: {operationId: x}}}\n"
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs" / "x.yaml").write_text(text)
    async with make() as runner:
        for place in ("file://specs/x.yaml", f"file://{tmp_path}/specs/x.yaml"):
            assert await runner.run(call(place, "x", base=tmp_path)) == [1]


async def test_document_is_fetched_once_until_it_is_old(
    stub: Stub, secrets: Secrets, petstore: dict[str, str]
) -> None:
    class Clock(SystemClock):
        now = 0

        def now_ms(self) -> int:
            return self.now

    clock = Clock()
    stub.answer("/v2/pet/1", {})
    async with Runner(
        functions=Functions(), secrets=secrets, clock=clock, routes=petstore
    ) as runner:
        for clock.now in (0, 299_999, 300_001):
            await runner.run(call(URL, "getPetById", parameters={"petId": 1}))
    fetched = [seen for seen in stub.requests if seen["path"] == "/v2/swagger.json"]
    assert len(fetched) == 2


async def problem_of(runner: Runner, tried: Attempt) -> dict[str, Any]:
    with pytest.raises(StepError) as caught:
        await runner.run(tried)
    return caught.value.problem


@pytest.mark.parametrize(
    ("operation", "given", "kind", "words"),
    [
        ("nobody", {}, "configuration", "0 times"),
        ("twice", {}, "configuration", "2 times"),
        ("loop", {}, "configuration", "circle"),
        ("out", {}, "configuration", "outside itself"),
        ("upload", {"a": 1}, "configuration", "multipart"),
        ("putItem", {"name": 1}, "validation", "needs id"),
        ("putItem", {"id": 1}, "validation", "needs body"),
        ("putItem", {"id": {"a": [1]}, "name": 1}, "validation", "nested"),
    ],
)
async def test_what_does_not_fit_the_document_is_refused(
    make: Make, stub: Stub, operation: str, given: dict[str, Any], kind: str, words: str
) -> None:
    stub.answer("/api.json", MODERN)
    async with make() as runner:
        tried = call(f"{stub.url}/api.json", operation, parameters=given)
        problem = await problem_of(runner, tried)
    assert problem["type"] == ERRORS + kind
    assert words in problem["title"] + problem.get("detail", "")
    assert len(stub.requests) == 1


async def test_unknown_parameter_is_refused(
    make: Make, stub: Stub, petstore: dict[str, str]
) -> None:
    async with make(routes=petstore) as runner:
        tried = call(URL, "getPetById", parameters={"petId": 1, "colour": "red"})
        problem = await problem_of(runner, tried)
    assert problem["type"] == ERRORS + "validation"
    assert "colour" in problem["detail"]


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{}", b'{"openapi":"2.0"}', b"{", b"a: [", b"a: &x [*x]", b"&a {paths: *a}",
     b"[" * 50_000, b"x: " + b"y" * (600 << 10), b'{"openapi":"3.1.0","paths":{"/":[]}}'],
)  # fmt: skip
async def test_what_is_no_document_is_refused(make: Make, stub: Stub, content: bytes) -> None:
    stub.answer("/api", content)
    async with make() as runner:
        problem = await problem_of(runner, call(f"{stub.url}/api", "x"))
    assert problem["type"] == ERRORS + "configuration"


async def test_document_that_is_too_long_is_refused(
    make: Make, stub: Stub, petstore: dict[str, str]
) -> None:
    async with make(routes=petstore, limits=Limits(document_bytes_max=100)) as runner:
        problem = await problem_of(runner, call(URL, "getPetById", parameters={"petId": 1}))
    assert "longer than 100 bytes" in problem["detail"]


@pytest.mark.parametrize(
    "place", ["file://../out.json", "file:///etc/hostname", "file://link.json", "file://gone.json"]
)
async def test_files_outside_the_flows_folder_are_refused(
    make: Make, tmp_path: Path, place: str
) -> None:
    base = tmp_path / "flow"
    base.mkdir()
    (tmp_path / "out.json").write_text(json.dumps(PETSTORE))
    (base / "link.json").symlink_to(tmp_path / "out.json")
    async with make() as runner:
        problem = await problem_of(runner, call(place, "getPetById", base=base))
        assert problem["type"] == ERRORS + "configuration"
        problem = await problem_of(runner, call(place, "getPetById"))
        assert problem["title"] == "A flow without a folder has no files"


async def test_credentials_of_the_document_do_not_go_to_the_operation(
    make: Make, stub: Stub, petstore: dict[str, str]
) -> None:
    stub.answer("/v2/pet/1", {})
    endpoint = {"uri": URL, "authentication": {"bearer": {"token": "document-token"}}}
    task = {
        "call": "openapi",
        "with": {
            "document": {"endpoint": endpoint},
            "operationId": "getPetById",
            "parameters": {"petId": 1},
        },
    }
    async with make(routes=petstore) as runner:
        await runner.run(call(URL, "getPetById", parameters={"petId": 1}))
        await runner.run(attempt(task))
        await runner.run(attempt(task))
        await runner.run(call(URL, "getPetById", parameters={"petId": 1}))
    # The document without credentials is fetched once, with them each time.
    assert [seen["headers"].get("authorization") for seen in stub.requests] == [
        None,
        None,
        "Bearer document-token",
        None,
        "Bearer document-token",
        None,
        None,
    ]
