"""S18: whatever fails, no secret in a problem or a log line, in any spelling."""

from __future__ import annotations

import base64
import io
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
import structlog

from qflow.errors import StepError
from qflow.model import Attempt, ErrorKind, problem
from qflow.steps import Functions
from tests.steps.conftest import Make, Stub, attempt, http

pytestmark = [pytest.mark.anyio, pytest.mark.holds("S18")]

TOKEN = 'p@ss/w0rd +"é&<x>'
USE = {"secrets": ["token", "login"]}
FORMS = [
    TOKEN,
    quote(TOKEN, safe=""),
    quote(TOKEN),
    quote_plus(TOKEN),
    quote(TOKEN, safe="").lower(),
    json.dumps(TOKEN)[1:-1],
    base64.b64encode(TOKEN.encode()).decode().rstrip("="),
    base64.b64encode(f"ada:{TOKEN}".encode()).decode().rstrip("="),
    "w0rd",
]


def assert_hidden(text: str) -> None:
    for form in FORMS:
        assert form not in text, f"{form!r} leaked"


@pytest.fixture(autouse=True)
def stored(put_secret: Callable[[str, Any], None]) -> None:
    put_secret("token", TOKEN)
    put_secret("login", {"username": "ada", "password": TOKEN})


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """Everything that any logger of the process says, down to debug, with tracebacks."""
    out = io.StringIO()
    root = logging.getLogger()
    kept, keeper = root.level, logging.StreamHandler(out)
    root.addHandler(keeper)
    root.setLevel(logging.DEBUG)
    structlog.configure(
        processors=[structlog.processors.format_exc_info, structlog.processors.JSONRenderer()],
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=False,
    )
    try:
        yield out
    finally:
        structlog.reset_defaults()
        root.removeHandler(keeper)
        root.setLevel(kept)


async def problem_of(make: Make, tried: Attempt, **settings: Any) -> dict[str, Any]:
    async with make(**settings) as runner:
        with pytest.raises(StepError) as caught:
            await runner.run(tried)
    error = caught.value
    assert_hidden(str(error))
    assert error.__suppress_context__
    return error.problem


def attempts(url: str) -> dict[str, Attempt]:
    secret = "${ $secrets.token }"
    basic = {"uri": f"{url}/fail_echo", "authentication": {"basic": {"use": "login"}}}
    bearer = {
        "uri": f"{url}/fail_echo",
        "authentication": {"bearer": {"token": "${ $secrets.login.password | @base64 }"}},
    }
    path = f'${{ "{url}/fail_echo?q=\\($secrets.token | @uri)" }}'
    return {
        "path": http(path, use=USE),
        "query": http(f"{url}/fail_echo", query={"q": secret}, use=USE),
        "header": http(
            f"{url}/fail_echo", headers={"x-key": "${ $secrets.token | @uri }"}, use=USE
        ),
        "text body": http(f"{url}/fail_echo", method="post", body=secret, use=USE),
        "json body": http(f"{url}/fail_echo", method="post", body={"deep": [secret]}, use=USE),
        "basic": http(basic, use=USE),
        "base64": http(f"{url}/fail_echo", query={"q": "${ $secrets.token | @base64 }"}, use=USE),
        "base64 inside": http(
            f"{url}/fail_echo",
            method="post",
            body='${ "ada:" + $secrets.token | @base64 }',
            use=USE,
        ),
        "bearer": http(bearer, use=USE),
        "refused header": http(f"{url}/fail_echo", headers={"x": secret}, use=USE),
        "no host": http('${ "http:///" + $secrets.token }', use=USE),
        "not a uri": http("${ $secrets.token }", use=USE),
        "expression": http("${ $secrets.token | error }", use=USE),
        "template": http(f"{url}/{{missing}}", "${ $secrets.token }", use=USE),
    }


@pytest.mark.parametrize("where", attempts(""))
async def test_failing_call_shows_no_secret(
    make: Make, stub: Stub, logged: io.StringIO, where: str
) -> None:
    shown = await problem_of(make, attempts(stub.url)[where])
    assert_hidden(json.dumps(shown, ensure_ascii=False))
    assert_hidden(json.dumps(shown))
    assert_hidden(logged.getvalue())


async def test_the_server_did_get_the_secret_and_the_library_did_log_the_call(
    make: Make, stub: Stub, logged: io.StringIO
) -> None:
    await problem_of(make, attempts(stub.url)["query"])
    assert quote_plus(TOKEN) in stub.requests[0]["path"]
    assert "HTTP Request: GET" in logged.getvalue()
    assert "[redacted]" in logged.getvalue()


async def test_the_idempotency_key_does_not_depend_on_secrets(make: Make, stub: Stub) -> None:
    tried = attempts(stub.url)["query"]
    await problem_of(make, tried)
    assert stub.requests[0]["headers"]["idempotency-key"] == tried.step_key
    assert_hidden(tried.key)


async def test_response_output_shows_no_secret(make: Make, stub: Stub) -> None:
    stub.answer("/x", {}, x_back="w0rd")
    tried = http(f"{stub.url}/x", query={"q": "${ $secrets.token }"}, output="response", use=USE)
    async with make() as runner:
        got = await runner.run(tried)
    assert "[redacted]" in got["request"]["uri"]
    assert_hidden(got["request"]["uri"])


async def test_failing_function_shows_no_secret(make: Make, logged: io.StringIO) -> None:
    def inner(token: str) -> None:
        raise ValueError(f"cannot use {token!r}")

    def f(token: str) -> None:
        try:
            inner(token)
        except ValueError as error:
            raise RuntimeError(quote(token, safe="")) from error

    functions = Functions()
    functions.register("f", f)
    tried = attempt({"call": "f", "with": {"token": "${ $secrets.token }"}}, use=USE)
    shown = await problem_of(make, tried, functions=functions)
    assert shown["detail"] == "RuntimeError: [redacted]"
    assert "steps.function_failed" in logged.getvalue()
    assert "Traceback" in logged.getvalue()
    assert_hidden(logged.getvalue())


async def test_function_that_raises_or_cannot_be_given_a_secret_shows_none(make: Make) -> None:
    async def f(token: str) -> None:
        raise StepError(problem(ErrorKind.VALIDATION, f"bad {token}", json.dumps({"t": token})))

    functions = Functions()
    functions.register("f", f)
    for given in ("${ $secrets.token }", "${ $secrets.token | error }"):
        tried = attempt({"call": "f", "with": {"token": given}}, use=USE)
        shown = await problem_of(make, tried, functions=functions)
        assert "[redacted]" in json.dumps(shown)
        assert_hidden(json.dumps(shown))


async def test_credentials_that_cannot_be_sent_are_not_shown(make: Make, stub: Stub) -> None:
    policy = {"bearer": {"token": "${ .token }"}}
    endpoint = {"uri": f"{stub.url}/fail_echo", "authentication": policy}
    shown = await problem_of(make, http(endpoint, {"token": "computed\ntoken"}))
    assert shown["title"] == "The request cannot be sent"
    assert "computed" not in json.dumps(shown)


async def test_credentials_that_the_flow_computes_are_hidden_too(make: Make, stub: Stub) -> None:
    policy = {"basic": {"username": "ada", "password": "${ .password }"}}
    endpoint = {"uri": f"{stub.url}/fail_echo", "authentication": policy}
    shown = await problem_of(make, http(endpoint, {"password": "computed-password"}))
    assert "[redacted]" in shown["detail"]
    assert base64.b64encode(b"ada:computed-password").decode() not in shown["detail"]


async def test_an_excerpt_is_cut_after_it_is_redacted(make: Make, stub: Stub) -> None:
    body = "y" * 1020 + TOKEN
    stub.answer("/x", body.encode(), status=500)
    shown = await problem_of(make, http(f"{stub.url}/x", use=USE))
    assert shown["detail"] == "y" * 1020 + "[red"
