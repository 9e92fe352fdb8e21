"""`call: http` against a real server."""

from __future__ import annotations

import base64
import gzip
import json
import socket
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from qflow.errors import StepError
from qflow.model import ERRORS
from qflow.steps import Limits
from tests.steps.conftest import Make, Stub, attempt, http

pytestmark = pytest.mark.anyio


async def failure(make: Make, tried: Any, **settings: Any) -> dict[str, Any]:
    async with make(**settings) as runner:
        with pytest.raises(StepError) as caught:
            await runner.run(tried)
    return caught.value.problem


async def output(make: Make, tried: Any, **settings: Any) -> Any:
    async with make(**settings) as runner:
        return await runner.run(tried)


async def test_json_comes_back_as_data(make: Make, stub: Stub) -> None:
    stub.answer("/pets", [{"id": 1, "name": "Milou"}])
    assert await output(make, http(f"{stub.url}/pets")) == [{"id": 1, "name": "Milou"}]


async def test_uri_template_is_filled_from_the_input_in_path_and_query(
    make: Make, stub: Stub
) -> None:
    value = {"id": "a/b c", "status": "sold & paid"}
    tried = http(f"{stub.url}/echo?id={{id}}&status={{status}}", value)
    seen = await output(make, tried)
    assert seen["path"] == "/echo?id=a%2Fb%20c&status=sold%20%26%20paid"


async def test_endpoint_may_be_an_expression_and_is_then_not_expanded_again(
    make: Make, stub: Stub
) -> None:
    tried = http(f'${{ "{stub.url}/echo?q=\\(.q)" }}', {"q": "%7Bsecret%7D", "secret": "no"})
    seen = await output(make, tried)
    assert seen["path"] == "/echo?q=%7Bsecret%7D"


async def test_missing_template_variable_is_an_expression_error(make: Make, stub: Stub) -> None:
    problem = await failure(make, http(f"{stub.url}/pet/{{id}}", {}))
    assert problem["type"] == ERRORS + "expression"
    assert stub.requests == []


async def test_headers_query_and_body_are_evaluated(make: Make, stub: Stub) -> None:
    tried = http(
        f"{stub.url}/echo?a=1",
        {"name": "Ada", "tags": ["x", "y"], "none": None},
        method="post",
        headers={"X-Name": "${ .name }"},
        query={"tag": "${ .tags }", "flag": True, "none": "${ .none }"},
        body={"hello": "${ .name }", "deep": [{"n": 1.5}], "at": "${ $run }"},
        variables={"run": 7},
    )
    seen = await output(make, tried)
    assert seen["method"] == "POST"
    assert seen["path"] == "/echo?a=1&tag=x&tag=y&flag=true"
    assert seen["headers"]["x-name"] == "Ada"
    assert seen["headers"]["content-type"] == "application/json"
    assert json.loads(seen["body"]) == {"hello": "Ada", "deep": [{"n": 1.5}], "at": 7}


async def test_text_body_is_sent_as_it_is(make: Make, stub: Stub) -> None:
    seen = await output(make, http(f"{stub.url}/echo", method="put", body="grüße"))
    assert (seen["body"], seen["headers"]["content-type"]) == (
        "grüße",
        "text/plain; charset=utf-8",
    )


async def test_form_is_encoded_when_the_header_says_so(make: Make, stub: Stub) -> None:
    form = {"content-type": "application/x-www-form-urlencoded"}
    tried = http(f"{stub.url}/echo", method="post", headers=form, body={"a": "1 2", "b": ["x", 2]})
    assert (await output(make, tried))["body"] == "a=1+2&b=x&b=2"


async def test_every_request_carries_the_idempotency_key(make: Make, stub: Stub) -> None:
    tried = http(f"{stub.url}/echo", method="post")
    seen = await output(make, tried)
    assert seen["headers"]["idempotency-key"] == tried.step_key


async def test_the_flow_may_set_its_own_idempotency_key(make: Make, stub: Stub) -> None:
    tried = http(f"{stub.url}/echo", headers={"Idempotency-Key": "order-7"})
    assert (await output(make, tried))["headers"]["idempotency-key"] == "order-7"


async def test_raw_output_is_base64(make: Make, stub: Stub) -> None:
    stub.answer("/bytes", b"\x00\xff{", content_type="application/json")
    got = await output(make, http(f"{stub.url}/bytes", output="raw"))
    assert base64.b64decode(got) == b"\x00\xff{"


async def test_response_output_has_request_and_response(make: Make, stub: Stub) -> None:
    stub.answer("/pet", {"id": 1}, x_trace="t")
    got = await output(make, http(f"{stub.url}/pet", output="response"))
    assert got["request"]["method"] == "GET"
    assert got["request"]["uri"] == f"{stub.url}/pet"
    assert got["request"]["headers"]["user-agent"] == "qflow"
    assert (got["statusCode"], got["content"]) == (200, {"id": 1})
    assert got["headers"]["x-trace"] == "t"


async def test_response_output_shows_no_credentials(make: Make, stub: Stub) -> None:
    stub.answer("/pet", {}, set_cookie="session=0123456789")
    endpoint = {"uri": f"{stub.url}/pet", "authentication": {"bearer": {"token": "tok-abcdef"}}}
    got = await output(make, http(endpoint, output="response", headers={"x-again": "tok-abcdef"}))
    assert stub.requests[0]["headers"]["authorization"] == "Bearer tok-abcdef"
    assert "tok-abcdef" not in json.dumps(got)
    assert "0123456789" not in json.dumps(got)


@pytest.mark.parametrize(
    ("body", "kind", "wanted"),
    [
        (b"", "application/json", None),
        (b'{"a":1}', "application/problem+json; charset=utf-8", {"a": 1}),
        ("été".encode("latin-1"), "text/plain; charset=iso-8859-1", "été"),
        (b"<a/>", "application/xml", "<a/>"),
        (b"\xff\xfe\x00", "application/octet-stream", base64.b64encode(b"\xff\xfe\x00").decode()),
    ],
)
async def test_content_is_read_by_its_type(
    make: Make, stub: Stub, body: bytes, kind: str, wanted: Any
) -> None:
    stub.answer("/x", body, content_type=kind)
    assert await output(make, http(f"{stub.url}/x")) == wanted


@pytest.mark.parametrize(
    "body",
    [
        b"<html>oops",
        b'{"a":1,"a":2}',
        b"NaN",
        b"[1e999]",
        b"18446744073709551616",
        b"[" * 100_000,
        b'"\\ud800"',
        b"\xff",
    ],
)
async def test_content_that_is_not_the_json_it_says_is_refused(
    make: Make, stub: Stub, body: bytes
) -> None:
    stub.answer("/x", body, content_type="application/json")
    problem = await failure(make, http(f"{stub.url}/x"))
    assert (problem["type"], problem["status"]) == (ERRORS + "communication", 502)


@pytest.mark.parametrize("status", [301, 400, 401, 404, 409, 429, 500, 503, 599])
async def test_status_outside_success_is_a_communication_error(
    make: Make, stub: Stub, status: int
) -> None:
    stub.answer("/x", b"because " + b"y" * 5000, status=status)
    problem = await failure(make, http(f"{stub.url}/x"))
    assert (problem["type"], problem["status"]) == (ERRORS + "communication", status)
    assert f"GET 127.0.0.1 answered {status}" in problem["title"]
    assert problem["detail"].startswith("because")
    assert len(problem["detail"]) == Limits().excerpt_chars_max


async def test_redirect_true_takes_300_to_399_for_success_and_follows_nothing(
    make: Make, stub: Stub
) -> None:
    stub.answer("/old", b"", status=302, location=f"{stub.url}/new")
    got = await output(make, http(f"{stub.url}/old", redirect=True, output="response"))
    assert (got["statusCode"], got["headers"]["location"]) == (302, f"{stub.url}/new")
    assert len(stub.requests) == 1


async def test_nothing_listening_is_503(make: Make) -> None:
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    problem = await failure(make, http(f"http://127.0.0.1:{port}/"))
    assert (problem["type"], problem["status"]) == (ERRORS + "communication", 503)


@pytest.mark.parametrize("path", ["half", "close"])
async def test_answer_that_breaks_off_is_502(make: Make, stub: Stub, path: str) -> None:
    problem = await failure(make, http(f"{stub.url}/{path}"))
    assert (problem["type"], problem["status"]) == (ERRORS + "communication", 502)


async def test_call_without_end_is_cut_at_the_default_timeout(make: Make, stub: Stub) -> None:
    limits = Limits(call_timeout_s=0.2)
    problem = await failure(make, http(f"{stub.url}/stall"), limits=limits)
    assert (problem["type"], problem["status"]) == (ERRORS + "timeout", 408)


async def test_a_task_with_its_own_timeout_is_left_to_the_engine(make: Make, stub: Stub) -> None:
    limits = Limits(call_timeout_s=0.05)
    tried = http(f"{stub.url}/stall")
    patient = attempt({**tried.task, "timeout": {"after": "PT1H"}})
    async with make(limits=limits) as runner:
        with anyio.move_on_after(0.5) as engine:
            await runner.run(patient)
    assert engine.cancelled_caught


@pytest.mark.parametrize("path", ["huge", "bomb"])
async def test_endless_and_exploding_content_is_refused(make: Make, stub: Stub, path: str) -> None:
    problem = await failure(make, http(f"{stub.url}/{path}"))
    assert (problem["type"], problem["status"]) == (ERRORS + "communication", 502)
    assert "longer than 10485760 bytes" in problem["detail"]


async def test_content_packed_more_than_once_is_refused(make: Make, stub: Stub) -> None:
    problem = await failure(make, http(f"{stub.url}/nested"))
    assert problem["status"] == 502
    assert "encoded in a way" in problem["detail"]


async def test_packed_content_is_unpacked(make: Make, stub: Stub) -> None:
    stub.answer("/x", gzip.compress(b"[1]"), content_encoding="gzip", content_type="text/json+json")
    assert await output(make, http(f"{stub.url}/x")) == [1]


async def test_long_failure_is_cut_and_the_connection_given_back(make: Make, stub: Stub) -> None:
    stub.answer("/x", b"y" * (1 << 20), status=500)
    async with make(limits=Limits(connections_max=1)) as runner:
        for _ in range(3):
            with pytest.raises(StepError):
                await runner.run(http(f"{stub.url}/x"))
        assert (await runner.run(http(f"{stub.url}/echo")))["method"] == "GET"


async def test_too_many_headers_are_refused(make: Make, stub: Stub) -> None:
    problem = await failure(make, http(f"{stub.url}/headers"))
    assert problem["status"] == 502
    assert "headers are longer" in problem["detail"]


@pytest.mark.parametrize(
    "uri",
    [
        "ftp://127.0.0.1/x",
        "file:///etc/passwd",
        "http:///x",
        "not a uri",
        "http://a:b@127.0.0.1/",
        "http://127.0.0.1/" + "x" * 20_000,
        "http://127.0.0.1:99999/",
    ],
)
async def test_what_cannot_be_called_is_refused(make: Make, uri: str) -> None:
    problem = await failure(make, http(uri))
    assert problem["type"] == ERRORS + "validation"


@pytest.mark.parametrize(
    "headers",
    [{"a b": "x"}, {"x": "a\r\nb: c"}, {"x": "é"}, {"": "x"}, {"x": {"no": "text"}}],
)
async def test_headers_that_could_smuggle_are_refused(make: Make, stub: Stub, headers: Any) -> None:
    problem = await failure(make, http(f"{stub.url}/echo", headers=headers))
    assert problem["type"] == ERRORS + "validation"
    assert stub.requests == []


async def test_cookies_of_one_call_are_not_sent_by_the_next(make: Make, stub: Stub) -> None:
    stub.answer("/login", {}, set_cookie="session=abc; Path=/")
    async with make() as runner:
        await runner.run(http(f"{stub.url}/login"))
        seen = await runner.run(http(f"{stub.url}/echo"))
        assert runner._caller is not None
        assert len(runner._caller._client.cookies) == 0
    assert "cookie" not in seen["headers"]


async def test_proxies_of_the_environment_are_ignored(
    make: Make, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert (await output(make, http(f"{stub.url}/echo")))["method"] == "GET"


async def test_a_route_sends_a_host_elsewhere_and_the_flow_does_not_notice(
    make: Make, stub: Stub
) -> None:
    stub.answer("/base/v2/pet/1", {"id": 1})
    tried = http("https://petstore.swagger.io/v2/pet/{petId}", {"petId": 1}, output="response")
    got = await output(make, tried, routes={"petstore.swagger.io": f"{stub.url}/base"})
    assert got["request"]["uri"] == "https://petstore.swagger.io/v2/pet/1"
    assert stub.requests[0]["headers"]["host"] == "petstore.swagger.io"


async def test_basic_authentication_by_values_and_by_reference(make: Make, stub: Stub) -> None:
    inline = {"basic": {"username": "${ .user }", "password": "${ .password }"}}
    value = {"user": "ada", "password": "love lace"}
    wanted = "Basic " + base64.b64encode(b"ada:love lace").decode()
    tried = http({"uri": f"{stub.url}/echo", "authentication": inline}, value)
    assert (await output(make, tried))["headers"]["authorization"] == wanted
    named = {"uri": f"{stub.url}/echo", "authentication": {"use": "mine"}}
    tried = http(named, value, use={"authentications": {"mine": inline}})
    assert (await output(make, tried))["headers"]["authorization"] == wanted


async def test_authentication_by_secret(
    make: Make, stub: Stub, put_secret: Callable[[str, Any], None]
) -> None:
    put_secret("login", {"username": "ada", "password": "pass-word"})
    put_secret("token", "tok-123\n")
    basic = {"uri": f"{stub.url}/echo", "authentication": {"basic": {"use": "login"}}}
    bearer = {"uri": f"{stub.url}/echo", "authentication": {"bearer": {"use": "token"}}}
    use = {"secrets": ["login", "token"]}
    wanted = "Basic " + base64.b64encode(b"ada:pass-word").decode()
    assert (await output(make, http(basic, use=use)))["headers"]["authorization"] == wanted
    assert (await output(make, http(bearer, use=use)))["headers"]["authorization"] == (
        "Bearer tok-123"
    )


async def test_digest_authentication_answers_the_challenge(make: Make, stub: Stub) -> None:
    challenge = 'Digest realm="r", nonce="n", qop="auth", algorithm=SHA-256'
    stub.answer("/digest", b"no", status=401, www_authenticate=challenge)
    policy = {"digest": {"username": "ada", "password": "love"}}
    endpoint = {"uri": f"{stub.url}/digest", "authentication": policy}
    assert (await failure(make, http(endpoint)))["status"] == 401
    assert stub.requests[1]["headers"]["authorization"].startswith('Digest username="ada"')


@pytest.mark.parametrize(
    ("policy", "kind"),
    [
        ({"oauth2": {}}, "configuration"),
        ({"oidc": {}}, "configuration"),
        ({"use": "nobody"}, "configuration"),
        ({"bearer": {"use": "undeclared"}}, "configuration"),
        ({"basic": {"username": "ada"}}, "authentication"),
        ({"bearer": {"token": "${ .missing }"}}, "authentication"),
    ],
)
async def test_authentication_that_cannot_be_made_is_refused_unsent(
    make: Make, stub: Stub, policy: Any, kind: str
) -> None:
    endpoint = {"uri": f"{stub.url}/echo", "authentication": policy}
    problem = await failure(make, http(endpoint, {}))
    assert problem["type"] == ERRORS + kind
    assert stub.requests == []


async def test_missing_secret_is_refused(make: Make, stub: Stub) -> None:
    problem = await failure(make, http(f"{stub.url}/echo", use={"secrets": ["gone"]}))
    assert problem["type"] == ERRORS + "configuration"
    assert "'gone' is not set" in problem["detail"]


async def test_secrets_not_named_by_the_flow_are_not_in_scope(
    make: Make, stub: Stub, put_secret: Callable[[str, Any], None]
) -> None:
    put_secret("mine", "mine-value")
    put_secret("other", "other-value")
    tried = http(f"{stub.url}/echo", body="${ $secrets }", method="post", use={"secrets": ["mine"]})
    assert json.loads((await output(make, tried))["body"]) == {"mine": "mine-value"}


async def test_cancelling_leaves_a_usable_runner(make: Make, stub: Stub) -> None:
    async with make(limits=Limits(connections_max=1)) as runner:
        for _ in range(3):
            with anyio.move_on_after(0.05):
                await runner.run(http(f"{stub.url}/stall"))
        assert (await runner.run(http(f"{stub.url}/echo")))["method"] == "GET"


async def test_many_calls_share_the_connections(make: Make, stub: Stub) -> None:
    done: list[str] = []
    async with make(limits=Limits(connections_max=4)) as runner:

        async def call(number: int) -> None:
            seen = await runner.run(http(f"{stub.url}/echo?n={number}"))
            done.append(seen["path"])

        async with anyio.create_task_group() as tasks:
            for number in range(50):
                tasks.start_soon(call, number)
    assert sorted(done) == sorted(f"/echo?n={number}" for number in range(50))
