"""Signed statements, by the vectors of the specification of DSSE."""

from __future__ import annotations

import json
from base64 import b64decode, urlsafe_b64encode
from typing import Any

import pytest

from qflow.errors import VerificationError
from qflow.trust._envelope import encode_for_signing, open_envelope, sign_envelope
from tests.audit.exports import KEY

TYPE = "http://example.com/HelloWorld"
BODY = b"hello world"
OTHER = bytes(31) + b"\x01"


def opened(document: Any, kind: str = TYPE, public: bytes = KEY.public) -> bytes:
    return open_envelope(json.dumps(document).encode(), kind, public)


@pytest.fixture
def document() -> dict[str, Any]:
    made: dict[str, Any] = json.loads(sign_envelope(TYPE, BODY, KEY))
    return made


def test_the_bytes_that_are_signed_are_those_of_the_specification() -> None:
    due = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert encode_for_signing(TYPE, BODY) == due


def test_lengths_are_of_bytes() -> None:
    assert encode_for_signing("é", b"") == "DSSEv1 2 é 0 ".encode()


def test_the_form_is_that_of_the_specification(document: dict[str, Any]) -> None:
    assert document["payload"] == "aGVsbG8gd29ybGQ="
    assert document["payloadType"] == TYPE
    assert document["signatures"][0]["keyid"] == KEY.did
    assert len(b64decode(document["signatures"][0]["sig"])) == 64
    assert opened(document) == BODY


def test_both_alphabets_of_base64_are_read(document: dict[str, Any]) -> None:
    sig = b64decode(document["signatures"][0]["sig"])
    document["signatures"][0]["sig"] = urlsafe_b64encode(sig).decode()
    assert opened(document) == BODY


def test_signatures_of_others_are_passed_over(document: dict[str, Any]) -> None:
    document["signatures"].insert(0, {"sig": "AAAA"})
    document["signatures"][1]["keyid"] = "anything"
    assert opened(document) == BODY


@pytest.mark.holds("H4", "H5", "H6")
def test_what_is_not_signed_by_the_key_is_refused(document: dict[str, Any]) -> None:
    changes: list[dict[str, Any]] = [
        {"payload": "aGVsbG8gd29ybGE="},
        {"payload": "aGVsbG8gd29ybGQ"},
        {"payload": "aGVsbG8gd29ybGQ=\n"},
        {"payloadType": "text/plain"},
        {"signatures": []},
        {"signatures": document["signatures"] * 17},
        {"signatures": [{"sig": "A" * 88}]},
        {"unknown": 1},
        {"payload": 1},
    ]
    for change in changes:
        with pytest.raises(VerificationError):
            opened(document | change)
    with pytest.raises(VerificationError):
        opened(document, kind="text/plain")
    with pytest.raises(VerificationError):
        opened(document, public=OTHER)
    for junk in (b"", b"[]", b"{", b"\xff", b"null", b" " * (9 << 20)):
        with pytest.raises(VerificationError):
            open_envelope(junk, TYPE, KEY.public)
