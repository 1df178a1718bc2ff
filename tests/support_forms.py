"""What others ask of exported files, as checks; and OTLP as OpenTelemetry's classes take it."""

from __future__ import annotations

import base64
import json
from typing import Any

from google.protobuf import json_format
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

# What a double holds exactly: readers of JSON take numbers for doubles.
EXACT = 2**53
NAMES = {"process_name": "name", "thread_name": "name", "process_sort_index": "sort_index",
         "thread_sort_index": "sort_index"}  # fmt: skip


_IDS = ("traceId", "spanId", "parentSpanId")


def checked(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Events that a viewer takes as they are: complete, named, and properly nested."""
    processes, threads = set(), set()
    tracks: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for event in events:
        assert type(event["name"]) is str
        assert event["name"]
        assert type(event["cat"]) is str
        assert "," not in event["cat"]
        assert type(event["args"]) is dict
        for number in ("ts", "pid", "tid"):
            assert type(event[number]) is int
            assert 0 <= event[number] < EXACT
        assert max(event["pid"], event["tid"]) < 2**31
        if event["ph"] == "M":
            assert event["args"].keys() == {NAMES[event["name"]]}
            if event["name"] == "process_name":
                assert event["pid"] not in processes
                processes.add(event["pid"])
            if event["name"] == "thread_name":
                assert (event["pid"], event["tid"]) not in threads
                threads.add((event["pid"], event["tid"]))
            continue
        assert event["ph"] == "X"
        assert type(event["dur"]) is int
        assert 0 <= event["dur"] < EXACT
        span = (event["ts"], event["ts"] + event["dur"])
        tracks.setdefault((event["pid"], event["tid"]), []).append(span)
    assert tracks.keys() <= threads
    assert {process for process, _ in tracks} <= processes
    for spans in tracks.values():
        assert_nested(spans)
    return events


def assert_nested(spans: list[tuple[int, int]]) -> None:
    open_ends: list[int] = []
    for start, end in sorted(spans, key=lambda span: (span[0], -span[1])):
        while open_ends and open_ends[-1] <= start:
            open_ends.pop()
        assert not open_ends or end <= open_ends[-1], "one begins in another and outlives it"
        open_ends.append(end)


def as_proto(text: str, kind: Any = TracesData) -> Any:
    """OTLP's JSON as its classes take it: ids in base64, which is protobuf's own way."""
    document = json.loads(text)
    for resource in document["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                for name in _IDS:
                    if name in span:
                        span[name] = base64.b64encode(bytes.fromhex(span[name])).decode()
    return json_format.Parse(json.dumps(document), kind())


def spans(data: Any) -> list[Any]:
    return [
        span for each in data.resource_spans for scope in each.scope_spans for span in scope.spans
    ]


def facts(attributes: Any) -> dict[str, Any]:
    found = {}
    for each in attributes:
        value = json_format.MessageToDict(each.value)
        (kind, held), *_ = value.items()
        found[each.key] = int(held) if kind == "intValue" else held
    assert len(found) == len(attributes), "one twice"
    return found
