"""CloudEvents 1.0, strictly."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qflow.errors import EventError
from qflow.events import CloudEvent, record_event
from qflow.events._envelope import EVENT_BYTES_MAX

GOOD: dict[str, Any] = {
    "specversion": "1.0",
    "id": "A234-1234-1234",
    "source": "/mycontext",
    "type": "com.example.someevent",
    "time": "2018-04-05T17:31:00Z",
    "subject": "larger-context",
    "datacontenttype": "application/json",
    "dataschema": "https://example.com/schema",
    "comexampleextension1": "value",
    "comexampleothervalue": 5,
    "flag": True,
    "data": {"appinfoA": "abc", "appinfoC": [1, None]},
}


def test_the_specifications_example_goes_there_and_back() -> None:
    event = CloudEvent.from_mapping(GOOD)
    assert event.extensions == {
        "comexampleextension1": "value",
        "comexampleothervalue": 5,
        "flag": True,
    }
    assert event.to_mapping() == GOOD
    assert json.loads(event.to_json()) == GOOD


def test_least_event() -> None:
    least = {"specversion": "1.0", "id": "1", "source": "s", "type": "t"}
    assert CloudEvent.from_mapping(least).to_mapping() == least


def test_null_is_a_left_out_attribute() -> None:
    event = CloudEvent.from_mapping({**GOOD, "subject": None, "flag": None, "data": None})
    assert event.to_mapping().keys() == GOOD.keys() - {"subject", "flag", "data"}


def test_binary_data() -> None:
    coded = base64.b64encode(b"\0\xff").decode()
    made = {name: value for name, value in GOOD.items() if name != "data"}
    assert CloudEvent.from_mapping({**made, "data_base64": coded}).data_base64 == coded


@pytest.mark.parametrize("missing", ["specversion", "id", "source", "type"])
def test_required_attributes(missing: str) -> None:
    with pytest.raises(EventError, match=missing):
        CloudEvent.from_mapping({name: v for name, v in GOOD.items() if name != missing})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("specversion", "0.3"),
        ("specversion", 1.0),
        ("id", ""),
        ("id", 5),
        ("id", None),
        ("id", "a\nb"),
        ("id", "\ud800"),
        ("id", "\uffff"),
        ("source", ""),
        ("source", "a b"),
        ("source", "http://x/{y}"),
        ("type", ""),
        ("type", ["t"]),
        ("time", "2018-04-05"),
        ("time", "2018-04-05T17:31:00"),
        ("time", "2018-02-30T17:31:00Z"),
        ("time", "2018-04-05 17:31:00Z"),
        ("time", "2018-04-05T25:00:00Z"),
        ("time", "2018-04-05T17:31:00+99:00"),
        ("time", "NaN"),
        ("time", 1522949460),
        ("subject", ""),
        ("datacontenttype", "json"),
        ("datacontenttype", "a/b\r\nx: y"),
        ("dataschema", "relative"),
        ("data_base64", "AA=="),
        ("Upper", "x"),
        ("has_underscore", "x"),
        ("has-dash", "x"),
        ("", "x"),
        ("a" * 21, "x"),
        ("extensions", {}),
        ("ext", 1.5),
        ("ext", 1 << 31),
        ("ext", {"a": 1}),
        ("ext", ["a"]),
        ("ext", "a\x7fb"),
        ("data", float("nan")),
        ("data", {"a": b"bytes"}),
        ("data", {"a": "\ud800"}),
    ],
)
def test_what_the_format_does_not_say_is_refused(name: str, value: Any) -> None:
    with pytest.raises(EventError):
        CloudEvent.from_mapping({**GOOD, name: value})


@pytest.mark.parametrize("text", ["A", "A===", "A B=", "é", "AA\n==", "-_8="])
def test_junk_in_base64_is_refused(text: str) -> None:
    made = {name: value for name, value in GOOD.items() if name != "data"}
    with pytest.raises(EventError, match="base64"):
        CloudEvent.from_mapping({**made, "data_base64": text})


def test_not_an_object_is_refused() -> None:
    values: list[Any] = [[], "x", None, 5]
    for value in values:
        with pytest.raises(EventError, match="object"):
            CloudEvent.from_mapping(value)


def test_size_is_bounded() -> None:
    room = EVENT_BYTES_MAX - len(CloudEvent(id="1", source="s", type="t", data="").to_json())
    CloudEvent(id="1", source="s", type="t", data="x" * room)
    with pytest.raises(EventError, match="65536 are allowed"):
        CloudEvent(id="1", source="s", type="t", data="x" * (room + 1))


def test_depth_is_bounded() -> None:
    deep: Any = 1
    for _ in range(20_000):
        deep = [deep]
    with pytest.raises(EventError, match="not JSON"):
        CloudEvent(id="1", source="s", type="t", data=deep)


@given(
    st.dictionaries(
        st.text() | st.sampled_from(sorted(GOOD)),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text()),
    )
)
def test_anything_else_is_refused_or_comes_back_equal(extra: dict[str, Any]) -> None:
    try:
        event = CloudEvent.from_mapping({**GOOD, **extra})
    except EventError:
        return
    assert CloudEvent.from_mapping(json.loads(event.to_json())) == event


def test_a_record_is_one_event_wherever_it_is_told() -> None:
    record = {
        "chain": bytes(range(16)),
        "seq": 3,
        "type": "q.qflow.exec.step_completed.v1",
        "flow": "a/b/1.0.0",
        "step": "/do/0/x",
        "attempt": 1,
        "at": 1_700_000_000_123,
        "actor": "local",
        "node": "did:key:z6Mk",
        "payload": None,
        "meta": {"frame": 2},
    }
    event = record_event(record, source="did:key:z6Mk")
    assert event == record_event(dict(record), source="did:key:z6Mk")
    assert event.time == "2023-11-14T22:13:20.123Z"
    assert event.id == f"{event.subject}/3"
    assert event.data["step"] == "/do/0/x"
    assert event.data["payload"] is None
