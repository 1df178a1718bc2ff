"""Events of the Extensions API: read without json, as json would read them."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from lambdatrace.agent.extensions_api import read_event

INVOKE = {
    "eventType": "INVOKE",
    "deadlineMs": 1792651234567,
    "requestId": "3da1f2dc-3222-475e-9205-e2e6c6318895",
    "invokedFunctionArn": "arn:aws:lambda:eu-west-1:123456789012:function:orders",
    "tracing": {"type": "X-Amzn-Trace-Id", "value": "Root=1-5f35ae12-0c0fec141ab77a00bc047aa2"},
}


def test_an_invocation_however_it_is_spaced() -> None:
    expected = {
        "eventType": "INVOKE",
        "deadlineMs": "1792651234567",
        "requestId": "3da1f2dc-3222-475e-9205-e2e6c6318895",
        "value": "Root=1-5f35ae12-0c0fec141ab77a00bc047aa2",
    }
    assert read_event(json.dumps(INVOKE).encode()) == expected
    assert read_event(json.dumps(INVOKE, separators=(",", ":")).encode()) == expected
    assert read_event(json.dumps(INVOKE, indent=4).encode()) == expected


def test_a_shutdown() -> None:
    body = b'{"eventType":"SHUTDOWN","shutdownReason":"Timeout","deadlineMs":17}'
    assert read_event(body) == {
        "eventType": "SHUTDOWN", "shutdownReason": "Timeout", "deadlineMs": "17",
    }  # fmt: skip


def test_what_is_missing_or_of_another_kind_is_left_out() -> None:
    assert read_event(b"") == {}
    assert read_event(b'{"eventType": null, "requestId": {}, "deadlineMs": -1}') == {}
    assert read_event(b'{"eventType" "INVOKE"}') == {}


@given(st.binary(max_size=300))
def test_any_bytes_are_an_event_of_texts(body: bytes) -> None:
    for prefix in (b"", b'{"eventType":', b'{"requestId": "', b'"deadlineMs" : 9'):
        assert all(isinstance(value, str) for value in read_event(prefix + body).values())


@given(st.uuids(), st.integers(0, 2**53))
def test_any_id_and_deadline(request_id: object, deadline: int) -> None:
    event = {**INVOKE, "requestId": str(request_id), "deadlineMs": deadline}
    read = read_event(json.dumps(event).encode())
    assert (read["requestId"], int(read["deadlineMs"])) == (str(request_id), deadline)
