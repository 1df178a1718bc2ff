"""The stream cut into executions: records in, cuts out."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambdatrace import wire
from lambdatrace.agent import attribution
from lambdatrace.agent.attribution import Attribution, Cut

RUNTIME, SECOND, OTHER = 100, 200, 300
A = "11111111-aaaa-4aaa-8aaa-000000000001"
B = "11111111-aaaa-4aaa-8aaa-000000000002"
C = "11111111-aaaa-4aaa-8aaa-000000000003"
REPLY = b"HTTP/1.1 200 OK\r\nLambda-Runtime-Aws-Request-Id: %s\r\nContent-"


def connection(number: int, started: int, branch: int = RUNTIME, **fields: Any) -> bytes:
    values = dict.fromkeys(wire.ConnectionRecord.NAMES, 0)
    values |= {"address": b"", "comm": b"", "kind": wire.KIND_CONNECTION, "family": 4}
    values |= {"id": number, "started": started, "closed": started + 1, "branch": branch, **fields}
    return wire.ConnectionRecord(*values.values()).pack()


def edge(what: int, time: int, request_id: str = "", branch: int = RUNTIME, **fields: Any) -> bytes:
    values = dict.fromkeys(wire.EdgeRecord.NAMES, 0)
    values |= {"kind": wire.KIND_EDGE, "edge": what, "branch": branch, "tgid": branch}
    values |= {"time": time, "syscalls_position": time * 10, "request_id": b"", "text": b""}
    if what == wire.EDGE_START:
        values["text"] = REPLY % request_id.encode()
    else:
        values["request_id"] = request_id.encode()
    return wire.EdgeRecord(*{**values, **fields}.values()).pack()


def start(time: int, request_id: str, branch: int = RUNTIME) -> bytes:
    return edge(wire.EDGE_START, time, request_id, branch)


def response(time: int, request_id: str, branch: int = RUNTIME) -> bytes:
    return edge(wire.EDGE_RESPONSE, time, request_id, branch)


def ask(time: int, branch: int = RUNTIME) -> bytes:
    return edge(wire.EDGE_NEXT, time, branch=branch)


def ids(cut: Cut) -> list[int]:
    return [record.id for record in cut.connections]


def told(cuts: list[Cut]) -> list[tuple[str, str, list[int]]]:
    return [(cut.request_id, cut.status, ids(cut)) for cut in cuts]


def test_init_belongs_to_the_first_execution_only() -> None:
    stream = [
        connection(1, 5), ask(10), start(20, A), connection(2, 25), response(30, A), ask(31),
        start(40, B), connection(3, 45), response(50, B),
    ]  # fmt: skip
    cuts = Attribution().feed(b"".join(stream))
    assert told(cuts) == [(A, "ok", [1, 2]), (B, "ok", [3])]
    assert [(cut.started, cut.ended, cut.syscalls_position) for cut in cuts] == [
        (20, 30, 300),
        (40, 50, 500),
    ]
    assert {(cut.branch, cut.edges) for cut in cuts} == {(RUNTIME, "kernel")}


def test_the_background_between_two_executions_is_the_seconds() -> None:
    stream = [ask(1), start(2, A), response(5, A), ask(6), connection(9, 7), start(20, B)]
    stream += [connection(10, 21), response(30, B)]
    assert told(Attribution().feed(b"".join(stream))) == [(A, "ok", []), (B, "ok", [9, 10])]


def test_a_slice_may_end_anywhere_between_records() -> None:
    stream = [connection(1, 5), ask(10), start(20, A), connection(2, 25), response(30, A), ask(31)]
    whole = told(Attribution().feed(b"".join(stream)))
    for split in range(len(stream) + 1):
        state = Attribution()
        cuts = state.feed(b"".join(stream[:split])) + state.feed(b"".join(stream[split:]))
        assert told(cuts) == whole


def test_overlapping_executions_of_two_runtimes_stay_apart() -> None:
    stream = [
        ask(1), ask(1, SECOND), start(2, A), start(3, B, SECOND), connection(1, 4),
        connection(2, 5, SECOND), connection(3, 6), response(7, B, SECOND), connection(4, 8),
        response(9, A),
    ]  # fmt: skip
    state = Attribution()
    assert told(state.feed(b"".join(stream))) == [(B, "ok", [2]), (A, "ok", [1, 3, 4])]
    assert state.runtimes == 2


def test_what_other_extensions_do_is_nobodys() -> None:
    stream = [connection(1, 1, OTHER), ask(2), start(3, A), connection(2, 4, OTHER)]
    stream += [connection(3, 5), response(6, A), edge(wire.EDGE_PROCESS_EXIT, 7, branch=OTHER)]
    state = Attribution()
    assert told(state.feed(b"".join(stream))) == [(A, "ok", [3])]
    assert state.sees_runtime


def test_an_error_is_one() -> None:
    cuts = Attribution().feed(ask(1) + start(2, A) + edge(wire.EDGE_ERROR, 3, A))
    assert told(cuts) == [(A, "error", [])]


def test_a_runtime_that_exits_is_a_crash_and_its_last_words_can_be_claimed() -> None:
    state = Attribution()
    cuts = state.feed(ask(1) + start(2, A) + connection(1, 3) + exit_of(RUNTIME, 5))
    assert told(cuts) == [(A, "crash", [1])]
    assert not state.sees_runtime
    state.feed(connection(2, 4, closed=6) + connection(3, 4, OTHER))
    assert [record.id for record in state.claim(RUNTIME)] == [2]
    assert state.claim(RUNTIME) == []


def exit_of(branch: int, time: int, tgid: int = 0) -> bytes:
    return edge(wire.EDGE_PROCESS_EXIT, time, branch=branch, tgid=tgid or branch)


def test_a_child_of_the_runtime_that_exits_is_no_crash() -> None:
    state = Attribution()
    assert state.feed(ask(1) + start(2, A) + exit_of(RUNTIME, 3, tgid=RUNTIME + 1)) == []
    assert told(state.feed(response(4, A))) == [(A, "ok", [])]


def test_a_request_that_was_moved_on_from_is_unfinished() -> None:
    cuts = Attribution().feed(ask(1) + start(2, A) + ask(3) + start(4, B) + response(5, B))
    assert told(cuts) == [(A, "unfinished", []), (B, "ok", [])]


def test_an_invoke_event_alone_takes_all_traffic() -> None:
    state = Attribution()
    state.feed(connection(1, 1) + connection(2, 2, OTHER))
    cut = state.begin(A, 5)
    assert (cut.edges, cut.branch) == ("extension", 0)
    state.feed(connection(3, 6))
    state.peek(cut)
    assert sorted(record.id for record in cut.connections) == [1, 2, 3]
    state.end(cut, attribution.OK, 10)
    assert sorted(ids(cut)) == [1, 2, 3]
    assert state.open_cuts() == []


def test_what_began_after_the_end_is_the_nexts() -> None:
    state = Attribution()
    cut = state.begin(A, 1)
    state.feed(connection(1, 5) + connection(2, 10) + connection(3, 11))
    assert ids(state.end(cut, attribution.OK, 10)) == [1]
    following = state.begin(B, 10)
    assert ids(state.end(following, attribution.OK, 20)) == [2, 3]


def test_a_start_that_was_seen_replaces_an_invoke_event() -> None:
    state = Attribution()
    state.begin(A, 1)
    state.feed(connection(1, 2, OTHER))
    (cut,) = state.feed(ask(3) + start(4, A) + connection(2, 5) + response(6, A))
    assert (cut.started, cut.edges, cut.branch, ids(cut)) == (4, "kernel", RUNTIME, [2])
    assert state.open_cuts() == []


def test_a_response_that_was_seen_says_whose_an_invoke_event_was() -> None:
    state = Attribution()
    state.begin(A, 1)
    state.feed(connection(1, 2, OTHER) + connection(2, 3))
    (cut,) = state.feed(response(6, A))
    assert (cut.edges, cut.branch, ids(cut)) == ("extension", RUNTIME, [2])
    assert state.open_cuts() == []


def test_nobody_answers_for_another_runtime() -> None:
    state = Attribution()
    assert state.feed(ask(1) + start(2, A) + connection(1, 3) + response(4, A, OTHER)) == []
    assert told(state.feed(response(5, A))) == [(A, "ok", [1])]


def test_a_response_to_an_unknown_request_ends_nothing() -> None:
    state = Attribution()
    assert state.feed(ask(1) + start(2, A) + response(3, B)) == []
    assert [cut.request_id for cut in state.open_cuts()] == [A]


def test_an_id_that_the_reply_did_not_show_is_learned_from_the_response() -> None:
    state = Attribution()
    state.feed(ask(1) + edge(wire.EDGE_START, 2, text=b"HTTP/1.1 200 OK\r\nDate: today\r\n"))
    assert state.open_cut("") is not None
    assert told(state.feed(connection(1, 3) + response(4, C))) == [(C, "ok", [1])]


@pytest.mark.parametrize("odd", [b"\xff\xfe" * 18, b"\0" * 36, b"\x1b[2J", b"'; DROP TABLE items"])
def test_ids_of_odd_bytes_are_text(odd: bytes) -> None:
    state = Attribution()
    text = REPLY % odd
    cuts = state.feed(ask(1) + edge(wire.EDGE_START, 2, text=text) + ask(3) + start(4, B))
    assert all(cut.request_id.encode() is not None for cut in cuts)
    assert len(cuts) == 1


def test_half_a_record_is_refused() -> None:
    with pytest.raises(ValueError, match="whole records"):
        Attribution().feed(connection(1, 1)[:-1])


def test_what_is_kept_is_bounded_and_what_is_not_is_counted() -> None:
    state = Attribution(max_claimed=10)
    unclaimed = b"".join(connection(number, number, OTHER) for number in range(10_000))
    state.feed(unclaimed)
    cut = state.begin(A, 0)
    state.peek(cut)
    kept = [record.id for record in cut.connections]
    assert len(kept) <= attribution.MAX_UNCLAIMED
    assert kept == list(range(10_000 - len(kept), 10_000))  # the newest
    state.end(cut, attribution.OK, 10_000)
    state.begin(B, 10_000)
    state.feed(b"".join(connection(number, 10_001 + number) for number in range(25)))
    (cut,) = state.feed(response(20_000, B))
    assert (ids(cut), cut.lost) == (list(range(10)), 15)
    (cut,) = state.feed(start(20_001, C) + response(20_002, C))
    assert cut.lost == 0


def test_the_number_of_branches_is_bounded() -> None:
    state = Attribution()
    state.feed(ask(1) + start(2, A) + connection(1, 3))
    state.feed(b"".join(connection(9, 4, branch) for branch in range(1_000, 2_000)))
    assert len(state._branches) <= attribution.MAX_BRANCHES
    assert told(state.feed(response(5, A))) == [(A, "ok", [1])]
    # Not even if all of them were runtimes.
    state.feed(b"".join(ask(6, branch) for branch in range(1_000, 2_000)))
    assert len(state._branches) <= attribution.MAX_BRANCHES


_SIZE = wire.ConnectionRecord.SIZE
_NUMBERS = st.sampled_from([0, 1, 2, 3, 2**32 - 1])
_EDGES = st.builds(
    lambda what, time, text, branch, tgid: edge(what, time, branch=branch, tgid=tgid, text=text),
    st.integers(0, 8),
    st.integers(0, 2**60),
    st.sampled_from([b"", REPLY % A.encode(), REPLY % B.encode(), b"\xff" * 96]),
    _NUMBERS,
    _NUMBERS,
)
_ANSWERS = st.builds(
    lambda what, request_id, branch: edge(what, 5, request_id, branch=branch),
    st.sampled_from([wire.EDGE_RESPONSE, wire.EDGE_ERROR]),
    st.sampled_from([A, B, ""]),
    _NUMBERS,
)
_CONNECTIONS = st.builds(connection, st.integers(1, 9), st.integers(0, 2**60), _NUMBERS)
_NOISE = st.binary(min_size=_SIZE, max_size=_SIZE)


@given(st.binary(max_size=4 * _SIZE))
def test_arbitrary_bytes_are_refused_or_taken(data: bytes) -> None:
    state = Attribution()
    if len(data) % _SIZE:
        with pytest.raises(ValueError, match="whole records"):
            state.feed(data)
    else:
        state.feed(data)


@settings(deadline=None)
@given(st.lists(_EDGES | _ANSWERS | _CONNECTIONS | _NOISE | st.just("begin"), max_size=60))
def test_any_stream_is_cut_without_telling_anything_twice(stream: list[Any]) -> None:
    state = Attribution()
    cuts: list[Cut] = []
    fed = 0
    for piece in stream:
        if piece == "begin":
            state.begin(A, 3)
        else:
            fed += piece[0] == wire.KIND_CONNECTION
            cuts += state.feed(piece)
    for cut in state.open_cuts():
        cuts.append(state.end(cut, attribution.UNFINISHED, 2**61))
    assert len({id(cut) for cut in cuts}) == len(cuts)
    records = [id(record) for cut in cuts for record in cut.connections]
    assert len(records) == len(set(records)) <= fed
    assert all(record.started < cut.ended for cut in cuts for record in cut.connections)
    assert state.open_cuts() == []
    assert all(cut.status for cut in cuts)
