"""The stream cut into executions: records in, cuts out."""

from __future__ import annotations

import signal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support_records import event, make

from lambdatrace import wire
from lambdatrace.agent import attribution
from lambdatrace.agent.attribution import Attribution, Cut, deadline_in

RUNTIME, SECOND, OTHER = 100, 200, 300
A = "11111111-aaaa-4aaa-8aaa-000000000001"
B = "11111111-aaaa-4aaa-8aaa-000000000002"
C = "11111111-aaaa-4aaa-8aaa-000000000003"
REPLY = b"request-id: %s\r\nLambda-Runtime-Deadline-Ms: 1795645287688\r\nLam"


def connection(number: int, started: int, branch: int = RUNTIME, **fields: Any) -> bytes:
    """A connection as the ring has it; fields of its latest exchange begin with exchange_."""
    mine = {name: fields[name] for name in fields if not name.startswith("exchange_")}
    its = {name[9:]: fields[name] for name in fields if name.startswith("exchange_")}
    values = {"kind": wire.KIND_CONNECTION, "family": 4, "closed": started + 1, **mine}
    record = make(wire.ConnectionRecord, id=number, started=started, branch=branch, **values)
    return event(record, make(wire.Exchange, **its))


def exchange(number: int, first_out: int, branch: int = RUNTIME, **fields: Any) -> bytes:
    """One that another followed, on connection `number`."""
    values = {"kind": wire.KIND_EXCHANGE, "first_out": first_out, "branch": branch, **fields}
    return event(make(wire.ExchangeRecord, connection=number, **values))


def blocked(thread: int, started: int, branch: int = RUNTIME, **fields: Any) -> bytes:
    values = {"kind": wire.KIND_BLOCKED, "started": started, "branch": branch, **fields}
    return event(make(wire.BlockedRecord, tid=thread, **values))


def pause(thread: int, started: int, branch: int = RUNTIME, **fields: Any) -> bytes:
    values = {"kind": wire.KIND_PAUSE, "started": started, "branch": branch, **fields}
    return event(make(wire.PauseRecord, tid=thread, **values))


def text(number: int, time: int, branch: int = RUNTIME, kind: int = wire.KIND_DNS) -> bytes:
    return event(make(wire.TextRecord, kind=kind, connection=number, time=time, branch=branch))


def edge(what: int, time: int, request_id: str = "", branch: int = RUNTIME, **fields: Any) -> bytes:
    words = REPLY % request_id.encode() if what == wire.EDGE_START else request_id.encode()
    values = {"kind": wire.KIND_EDGE, "tgid": branch, "syscalls_position": time * 10, **fields}
    values = {"text": words, **values}
    return event(make(wire.EdgeRecord, edge=what, time=time, branch=branch, **values))


def start(time: int, request_id: str, branch: int = RUNTIME) -> bytes:
    return edge(wire.EDGE_START, time, request_id, branch)


def answer(
    time: int, request_id: str, branch: int = RUNTIME, what: int = wire.EDGE_RESPONSE
) -> bytes:
    return edge(what, time, request_id, branch)


def response(time: int, request_id: str, branch: int = RUNTIME) -> bytes:
    """A runtime answers, and asks for the next execution right away."""
    return answer(time, request_id, branch) + ask(time, branch)


def ask(time: int, branch: int = RUNTIME) -> bytes:
    return edge(wire.EDGE_NEXT, time, branch=branch)


def ids(cut: Cut) -> list[int]:
    return [record.id for record in cut.records.connections]


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


def test_what_other_extensions_do_is_nobodys() -> None:
    stream = [connection(1, 1, OTHER), ask(2), start(3, A), connection(2, 4, OTHER)]
    stream += [connection(3, 5), response(6, A), edge(wire.EDGE_PROCESS_EXIT, 7, branch=OTHER)]
    state = Attribution()
    assert told(state.feed(b"".join(stream))) == [(A, "ok", [3])]
    assert state.sees_runtime


def test_an_error_is_one() -> None:
    cuts = Attribution().feed(ask(1) + start(2, A) + answer(3, A, what=wire.EDGE_ERROR) + ask(4))
    assert told(cuts) == [(A, "error", [])]


def test_a_runtime_that_exits_is_a_crash_and_its_last_words_can_be_claimed() -> None:
    state = Attribution()
    cuts = state.feed(ask(1) + start(2, A) + connection(1, 3) + exit_of(RUNTIME, 5))
    assert told(cuts) == [(A, "crash", [1])]
    assert not state.sees_runtime
    state.feed(connection(2, 4, closed=6) + connection(3, 4, OTHER))
    assert [record.id for record in state.claim(RUNTIME).connections] == [2]
    assert not any(state.claim(RUNTIME).lists())


def exit_of(branch: int, time: int, tgid: int = 0) -> bytes:
    """Of the branch's first process, or of one with a number of its own that this one started."""
    parent = branch if tgid else 0
    return edge(wire.EDGE_PROCESS_EXIT, time, branch=branch, tgid=tgid or branch, parent=parent)


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
    assert sorted(record.id for record in cut.records.connections) == [1, 2, 3]
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
    assert state.feed(ask(1) + start(2, A) + answer(3, B)) == []
    assert [cut.request_id for cut in state.open_cuts()] == [A]


def test_an_id_that_the_reply_did_not_show_is_learned_from_the_response() -> None:
    state = Attribution()
    state.feed(ask(1) + edge(wire.EDGE_START, 2, text=b"HTTP/1.1 200 OK\r\nDate: today\r\n"))
    assert state.open_cut("") is not None
    assert told(state.feed(connection(1, 3) + response(4, C))) == [(C, "ok", [1])]


@pytest.mark.parametrize("odd", [b"\xff\xfe" * 18, b"\0" * 36, b"\x1b[2J", b"'; DROP TABLE items"])
def test_ids_of_odd_bytes_are_text(odd: bytes) -> None:
    state = Attribution()
    cuts = state.feed(ask(1) + edge(wire.EDGE_START, 2, text=REPLY % odd) + ask(3) + start(4, B))
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
    kept = [record.id for record in cut.records.connections]
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


def test_every_kind_of_record_is_cut_by_the_time_it_began() -> None:
    def round_of(began: int, number: int) -> bytes:
        pieces = (
            connection(number, began), exchange(number, began), blocked(number, began),
            text(number, began), text(number, began, kind=wire.KIND_TLS),
            exit_of(RUNTIME, began, tgid=number),
        )  # fmt: skip
        return b"".join(pieces)

    state = Attribution()
    stream = [round_of(1, 1), ask(2), start(3, A), round_of(4, 2), round_of(9, 4)]
    (first,) = state.feed(b"".join([*stream, round_of(5, 3), response(8, A)]))
    # What began after the response was already there when it came.
    (second,) = state.feed(start(10, B) + round_of(11, 5) + response(20, B))
    assert numbers(first) == {kind: [1, 2, 3] for kind in numbers(first)} | {
        "texts": [1, 1, 2, 2, 3, 3]
    }
    assert numbers(second) == {kind: [4, 5] for kind in numbers(second)} | {"texts": [4, 4, 5, 5]}


def numbers(cut: Cut) -> dict[str, list[int]]:
    """What tells the records of a cut apart, by kind."""
    records = cut.records
    return {
        "connections": [record.id for record in records.connections],
        "exchanges": [record.connection for record in records.exchanges],
        "blocked": [record.tid for record in records.blocked],
        "texts": [record.connection for record in records.texts],
        "processes": [record.tgid for record in records.processes],
    }


def test_overlapping_executions_keep_every_kind_apart() -> None:
    def round_of(branch: int, began: int, number: int) -> bytes:
        kinds = exchange, blocked, text, connection
        pieces = [kind(number, began, branch) for kind in kinds]
        return b"".join([*pieces, exit_of(branch, began, tgid=number)])

    stream = [ask(1), ask(1, SECOND), start(2, A), start(2, B, SECOND)]
    stream += [round_of(RUNTIME, 3, 1), round_of(SECOND, 4, 2), round_of(OTHER, 4, 3)]
    cuts = Attribution().feed(b"".join([*stream, response(5, A), response(6, B, SECOND)]))
    assert [set(map(tuple, numbers(cut).values())) for cut in cuts] == [{(1,)}, {(2,)}]


def test_an_exchange_that_only_the_server_began_has_a_beginning() -> None:
    state = Attribution()
    stream = ask(1) + start(2, A) + exchange(1, 0, first_in=3) + exchange(2, 0, first_in=12)
    (first,) = state.feed(stream + response(10, A))
    (second,) = state.feed(start(11, B) + response(20, B))
    assert [numbers(cut)["exchanges"] for cut in (first, second)] == [[1], [2]]


def test_the_latest_exchange_of_a_connection_that_ended_is_one_as_well() -> None:
    state = Attribution()
    latest = {
        "exchange_first_out": 4, "exchange_last_out": 5, "exchange_first_in": 7,
        "exchange_last_in": 8, "exchange_bytes_out": 10, "exchange_bytes_in": 20,
        "exchange_sends": 1, "exchange_receives": 2, "exchange_retransmits_before": 3,
    }  # fmt: skip
    stream = exchange(1, 2) + connection(1, 1, retransmits=5, tgid=77, **latest)
    (cut,) = state.feed(ask(1) + start(2, A) + stream + connection(2, 3) + response(10, A))
    before, told = cut.records.exchanges
    assert (before.connection, before.first_out) == (1, 2)
    assert (told.kind, told.connection, told.tgid, told.branch) == (
        wire.KIND_EXCHANGE, 1, 77, RUNTIME,
    )  # fmt: skip
    assert (told.first_out, told.last_out, told.first_in, told.last_in) == (4, 5, 7, 8)
    assert (told.bytes_out, told.bytes_in, told.sends, told.receives) == (10, 20, 1, 2)
    assert told.retransmits == 2  # its own


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"first_out": 4, "last_out": 5, "first_in": 7, "last_in": 8}, True),
        ({"first_out": 4, "last_out": 5}, True),  # no answer yet
        ({"last_in": 8, "first_in": 7}, True),  # a server that spoke first
        ({"last_in": 8}, False),  # what came was no answer, and nothing was asked
        ({}, False),
    ],
)
def test_what_an_exchange_is(fields: dict[str, int], told: bool) -> None:
    record = attribution.exchange_record(
        make(wire.ConnectionRecord, id=1), make(wire.Exchange, **fields)
    )
    assert (record is not None) is told
    if record is not None:
        times = {name: getattr(record, name) for name in fields}
        assert times == fields


def test_a_connection_without_any_exchange_tells_none() -> None:
    none = make(wire.Exchange, retransmits_before=3)
    assert attribution.exchange_record(make(wire.ConnectionRecord, retransmits=9), none) is None
    # Retransmits are counted by the kernel at any time.
    fewer = make(wire.Exchange, first_out=1, retransmits_before=3)
    told = attribution.exchange_record(make(wire.ConnectionRecord, retransmits=2), fewer)
    assert told is not None
    assert told.retransmits == 0


@pytest.mark.parametrize(
    "make_one",
    [
        exchange,
        blocked,
        pause,
        text,
        lambda number, began: text(number, began, kind=wire.KIND_TLS),
        lambda number, began: exit_of(RUNTIME, began, tgid=1_000 + number),
        connection,
    ],
)
def test_of_every_kind_so_many_are_kept_and_the_others_counted(make_one: Any) -> None:
    state = Attribution(max_claimed=10)
    state.feed(ask(1) + start(2, A))
    state.feed(b"".join(make_one(number, 3) for number in range(1, 26)))
    (cut,) = state.feed(response(4, A))
    assert sorted(map(len, cut.records.lists())) == [0, 0, 0, 0, 0, 10]
    assert cut.lost == 15
    (following,) = state.feed(start(5, B) + make_one(1, 6) + response(7, B))
    assert (sum(map(len, following.records.lists())), following.lost) == (1, 0)


def test_a_crash_tells_of_its_own_process_with_how_it_ended() -> None:
    state = Attribution()
    child = exit_of(RUNTIME, 4, tgid=RUNTIME + 1)
    own = edge(wire.EDGE_PROCESS_EXIT, 5, branch=RUNTIME, flags=11)
    (cut,) = state.feed(ask(1) + start(2, A) + child + own)
    assert [edge.tgid for edge in cut.records.processes] == [RUNTIME + 1, RUNTIME]
    assert [edge.flags & wire.ENDING_SIGNAL for edge in cut.records.processes] == [0, 11]
    assert cut.ended == 5
    # Its children end after it.
    state.feed(exit_of(RUNTIME, 6, tgid=RUNTIME + 2))
    assert [edge.tgid for edge in state.claim(RUNTIME).processes] == [RUNTIME + 2]


def test_a_runtime_that_ends_between_two_executions_is_nobodys_crash() -> None:
    state = Attribution()
    assert len(state.feed(ask(1) + start(2, A) + response(3, A))) == 1
    assert state.feed(exit_of(RUNTIME, 4)) == []
    assert not state.sees_runtime
    assert [edge.tgid for edge in state.claim(RUNTIME).processes] == [RUNTIME]


@pytest.mark.parametrize("has_told", [False, True])
def test_who_ends_before_it_asked_for_an_execution_has_failed_in_init(has_told: bool) -> None:
    cutting = Attribution()
    cut = cutting.begin(A, 10)
    stream = connection(1, 4) + connection(2, 12, branch=OTHER)
    stream += edge(wire.EDGE_INIT_ERROR, 5) if has_told else b""
    assert cutting.feed(stream + edge(wire.EDGE_PROCESS_EXIT, 20, exit_code=3)) == []
    assert not cutting.sees_runtime
    assert cutting.death is not None
    ended = cutting.end_in_init(cut, cutting.death, 15)
    assert ended.status == (attribution.ERROR if has_told else attribution.CRASH)
    assert (ended.in_init, ended.branch, ids(ended)) == (True, RUNTIME, [1])
    assert ended.ended > 20
    own = ended.own_end()
    assert own is not None
    assert own.exit_code == 3
    assert cutting.open_cuts() == []


def test_where_there_is_a_runtime_others_that_end_are_nobodys_failed_init() -> None:
    cutting = Attribution()
    cutting.feed(edge(wire.EDGE_PROCESS_EXIT, 3, branch=OTHER) + ask(5))
    assert cutting.death is None
    cutting.feed(edge(wire.EDGE_PROCESS_EXIT, 7, branch=OTHER) + exit_of(RUNTIME, 8))
    assert cutting.death is None


@pytest.mark.parametrize(
    "fields", [{"parent": RUNTIME}, {"flags": signal.SIGKILL}, {"flags": signal.SIGTERM}]
)
def test_a_child_and_who_was_ended_are_no_failed_init(fields: dict[str, int]) -> None:
    cutting = Attribution()
    cutting.feed(edge(wire.EDGE_PROCESS_EXIT, 3, **fields))
    assert cutting.death is None
    cutting.feed(edge(wire.EDGE_PROCESS_EXIT, 4, flags=signal.SIGKILL | wire.ENDING_OUT_OF_MEMORY))
    assert cutting.death is not None


def test_who_told_of_its_failed_init_and_was_ended_has_failed_all_the_same() -> None:
    cutting = Attribution()
    stream = edge(wire.EDGE_INIT_ERROR, 3)
    cutting.feed(stream + edge(wire.EDGE_PROCESS_EXIT, 4, flags=signal.SIGKILL))
    assert cutting.death is not None
    assert cutting.death.status == attribution.ERROR


def test_figures_are_those_of_the_executions_own_edges() -> None:
    state = Attribution()
    stream = [ask(1), edge(wire.EDGE_START, 2, A, cpu=100), edge(wire.EDGE_RESPONSE, 3, A, cpu=140)]
    stream += [ask(4)]
    stream += [edge(wire.EDGE_START, 9, B, cpu=500), edge(wire.EDGE_ERROR, 10, B, cpu=501), ask(11)]
    cuts = state.feed(b"".join(stream))
    assert [figures(cut) for cut in cuts] == [(100, 140), (500, 501)]


def test_figures_of_an_execution_that_was_moved_on_from_end_with_the_next_one() -> None:
    stream = [ask(1), edge(wire.EDGE_START, 2, A, cpu=100), edge(wire.EDGE_START, 4, B, cpu=170)]
    cuts = Attribution().feed(b"".join([*stream, edge(wire.EDGE_RESPONSE, 5, B, cpu=180), ask(6)]))
    assert [figures(cut) for cut in cuts] == [(100, 170), (170, 180)]


def test_figures_of_a_crash_end_with_its_process() -> None:
    own = edge(wire.EDGE_PROCESS_EXIT, 5, cpu=190)
    (cut,) = Attribution().feed(ask(1) + edge(wire.EDGE_START, 2, A, cpu=100) + own)
    assert figures(cut) == (100, 190)


def test_an_execution_without_edges_has_no_figures() -> None:
    state = Attribution()
    cut = state.begin(A, 5)
    state.feed(connection(1, 6))
    assert figures(state.end(cut, attribution.OK, 10)) == (None, None)
    # One whose beginning no edge told of: its end is known.
    state.begin(B, 11)
    (cut,) = state.feed(edge(wire.EDGE_RESPONSE, 12, B, cpu=7))
    assert figures(cut) == (None, 7)


def figures(cut: Cut) -> tuple[int | None, int | None]:
    return tuple(edge and edge.cpu for edge in (cut.figures_before, cut.figures))


_SIZE = wire.EVENT_BYTES
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
_TIMES = st.integers(0, 2**60)
_RECORDS = st.one_of(
    [
        st.builds(kind, st.integers(1, 9), _TIMES, _NUMBERS)
        for kind in (connection, exchange, blocked, text)
    ]
)
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
@given(st.lists(_EDGES | _ANSWERS | _RECORDS | _NOISE | st.just("begin"), max_size=60))
def test_any_stream_is_cut_without_telling_anything_twice(stream: list[Any]) -> None:
    state = Attribution()
    cuts: list[Cut] = []
    fed = 0
    for piece in stream:
        if piece == "begin":
            state.begin(A, 3)
        else:
            # A connection brings its latest exchange along.
            fed += 1 + (piece[0] == wire.KIND_CONNECTION)
            cuts += state.feed(piece)
    for cut in state.open_cuts():
        cuts.append(state.end(cut, attribution.UNFINISHED, 2**61))
    assert len({id(cut) for cut in cuts}) == len(cuts)
    records = [record for cut in cuts for kind in cut.records.lists() for record in kind]
    assert len(records) == len({id(record) for record in records}) <= fed
    assert all(
        attribution._began(record) < cut.ended
        for cut in cuts
        for kind in cut.records.lists()
        for record in kind
        if not is_own_end(record, cut)
    )
    assert state.open_cuts() == []
    assert all(cut.status for cut in cuts)


def is_own_end(record: Any, cut: Cut) -> bool:
    return isinstance(record, wire.EdgeRecord) and record is cut.own_end()


def test_who_claims_an_execution_of_a_known_runtime_is_refused() -> None:
    state = Attribution()
    state.feed(start(1, A) + response(2, A))
    state.confirm(RUNTIME)
    cuts = state.feed(start(3, B) + start(4, B, OTHER) + response(5, B, OTHER) + response(6, B))
    assert [(cut.request_id, cut.branch, cut.ended) for cut in cuts] == [(B, RUNTIME, 6)]
    assert state.take_refused() == 2
    assert state.take_refused() == 0


def test_a_known_runtime_gets_back_what_another_claimed_first() -> None:
    state = Attribution()
    state.feed(start(1, A) + response(2, A))
    state.confirm(RUNTIME)
    cuts = state.feed(start(3, B, OTHER) + start(4, B) + response(5, B, OTHER) + response(6, B))
    assert [(cut.branch, cut.started, cut.ended) for cut in cuts] == [(RUNTIME, 4, 6)]
    assert state.take_refused() == 2


def test_where_no_runtime_is_known_yet_either_of_two_may_answer() -> None:
    state = Attribution()
    # Or somebody would wait for a response that never comes.
    cuts = state.feed(start(3, B, OTHER) + start(4, B) + response(6, B))
    assert [(cut.request_id, cut.ended) for cut in cuts] == [(B, 6)]
    assert state.take_refused() == 1


def test_another_process_of_the_runtime_begins_nothing_meanwhile() -> None:
    state = Attribution()
    stream = [start(1, A), edge(wire.EDGE_START, 2, B, tgid=7), response(3, A), start(4, B)]
    cuts = state.feed(b"".join([*stream, response(5, B)]))
    assert [(cut.request_id, cut.started, cut.status) for cut in cuts] == [
        (A, 1, "ok"),
        (B, 4, "ok"),
    ]
    assert state.take_refused() == 1


def test_what_shows_no_id_is_the_invocations_only_if_nobody_else_may_have_it() -> None:
    state = Attribution()
    state.feed(edge(wire.EDGE_START, 1, text=b"elsewhere"))
    nameless = state.open_cut("")
    assert nameless is not None
    assert state.may_be_anonymous(nameless, A)
    state.feed(ask(2, OTHER))
    assert not state.may_be_anonymous(nameless, A)


def test_an_execution_that_another_worker_saw_end() -> None:
    state = Attribution()
    cut = state.end(state.resume(A, RUNTIME, 5), "ok", 9)
    assert (cut.branch, cut.started, cut.ended, cut.edges) == (RUNTIME, 5, 9, "kernel")
    assert state.sees_runtime
    assert state.open_cuts() == []


def test_a_snapshot_ends_what_every_environment_would_tell_again() -> None:
    state = Attribution()
    stream = [connection(1, 5), connection(2, 6, OTHER), edge(wire.EDGE_SNAPSHOT, 10)]
    # After it was restored, and before its first execution.
    stream += [connection(3, 12), ask(13), start(20, A), connection(4, 21), response(30, A)]
    assert told(state.feed(b"".join(stream))) == [(A, "ok", [3, 4])]
    snapshot = state.take_snapshot()
    assert snapshot is not None
    assert snapshot.time == 10
    assert state.take_snapshot() is None
    assert state.take_others(99).connections == []


def test_what_others_did_can_be_asked_for() -> None:
    state = Attribution()
    stream = [connection(1, 5), connection(2, 6, OTHER), start(20, A), response(30, A)]
    state.feed(b"".join([*stream, connection(3, 31, OTHER), connection(4, 32)]))
    assert [record.id for record in state.take_others(30).connections] == [2]
    assert [record.id for record in state.take_others(40).connections] == [3]


def test_several_at_once_in_one_process() -> None:
    state = Attribution(several=True)
    stream = [start(1, A), start(2, B), connection(1, 3), response(4, A), start(5, C)]
    stream += [connection(2, 6), response(7, C), response(8, B), start(9, A), connection(3, 10)]
    cuts = state.feed(b"".join([*stream, response(11, A)]))
    # Whoever ends last is given everything, and says that it is not his alone.
    assert told(cuts) == [(A, "ok", []), (C, "ok", []), (B, "ok", [1, 2]), (A, "ok", [3])]
    assert [cut.is_shared for cut in cuts] == [True, True, True, False]
    assert [(cut.started, cut.ended) for cut in cuts] == [(1, 4), (5, 7), (2, 8), (9, 11)]


def test_several_at_once_end_with_their_process() -> None:
    state = Attribution(several=True)
    cuts = state.feed(start(1, A) + start(2, B) + edge(wire.EDGE_PROCESS_EXIT, 3, parent=0))
    assert [(cut.request_id, cut.status) for cut in cuts] == [(A, "crash"), (B, "crash")]
    assert state.open_cuts() == []


def test_no_more_than_so_many_at_once() -> None:
    state = Attribution(several=True)
    stream = [start(number, f"{number:036}") for number in range(attribution.MAX_OPEN + 3)]
    cuts = state.feed(b"".join(stream))
    assert [(cut.started, cut.status) for cut in cuts] == [(n, "unfinished") for n in range(3)]


def test_all_traffic_is_without_that_of_known_extensions() -> None:
    state = Attribution()
    state.apart = {OTHER}
    cut = state.begin(A, 1)
    state.feed(connection(1, 2) + connection(2, 3, OTHER) + connection(3, 4, SECOND))
    assert ids(state.end(cut, "ok", 9)) == [1, 3]
    assert [record.id for record in state.take_others(9).connections] == [2]


@pytest.mark.parametrize(
    ("text", "deadline"),
    [
        (REPLY % A.encode(), 1795645287688),
        (REPLY.lower() % A.encode(), 1795645287688),
        (b"Request-Id: x\r\nLambda-Runtime-Deadline-Ms: 17956452", 0),
        (b"Request-Id: x\r\nLambda-Runtime-Deadline-Ms: 1795645\r\n2222", 0),
        (b"\xff" * 96, 0),
        (b"", 0),
    ],
)
def test_the_deadline_in_a_reply(text: bytes, deadline: int) -> None:
    assert deadline_in(text) == deadline


@pytest.mark.parametrize("request_id", [A, A.upper(), "1", "id with spaces", f"{A}-and-more"])
def test_request_ids_of_other_forms(request_id: str) -> None:
    stream = Attribution()
    # Its answer is not in the form in which it is looked for.
    cuts = stream.feed(ask(1) + start(10, request_id) + connection(1, 12) + ask(20))
    assert told(cuts) == [(request_id[:36], attribution.UNFINISHED, [1])]
    assert (cuts[0].started, cuts[0].ended) == (10, 20)
    assert attribution.is_beginning(cuts[0].request_id, request_id) == (len(request_id) >= 36)
    # And an ordinary one follows.
    assert told(stream.feed(start(30, B) + response(40, B) + ask(41))) == [(B, attribution.OK, [])]


def test_only_who_was_given_an_execution_ends_it_by_asking_for_the_next() -> None:
    stream = Attribution()
    assert stream.feed(ask(1) + start(10, A)) == []
    # A process that the runtime has forked, and several at once in one process.
    assert stream.feed(edge(wire.EDGE_NEXT, 15, tgid=RUNTIME + 1)) == []
    assert told(stream.feed(response(20, A))) == [(A, attribution.OK, [])]
    several = Attribution(several=True)
    assert several.feed(ask(1) + start(10, A) + ask(15)) == []


def test_an_answer_to_what_nobody_saw_given() -> None:
    stream = Attribution()
    cuts = stream.feed(ask(1) + connection(1, 5) + answer(20, A) + connection(2, 21))
    assert told(cuts) == [(A, attribution.OK, [1])]
    assert (cuts[0].started, cuts[0].ended, cuts[0].edges) == (0, 20, attribution.EXTENSION)
    # It answers once, and nobody else does.
    assert stream.feed(answer(22, B)) == []
    assert stream.feed(ask(30) + edge(wire.EDGE_RESPONSE, 40, B, tgid=RUNTIME + 1)) == []


LATE = attribution.ANSWERING_NS


def test_an_answer_that_is_streamed_is_part_of_its_execution() -> None:
    state = Attribution()
    assert state.feed(ask(1) + start(2, A) + answer(10, A) + connection(1, 11)) == []
    assert [cut.request_id for cut in state.open_cuts()] == [A]
    (cut,) = state.feed(edge(wire.EDGE_NEXT, 10 + LATE, cpu=7))
    assert told([cut]) == [(A, "ok", [1])]
    assert (cut.ended, cut.syscalls_position) == (10 + LATE, 10 * (10 + LATE))
    assert figures(cut) == (0, 7)
    # One that is out at once has ended when it was.
    (cut,) = state.feed(start(20, B) + answer(30, B) + connection(2, 31) + ask(29 + LATE))
    assert (cut.ended, ids(cut)) == (30, [])


@pytest.mark.parametrize("end", [start(40, B), edge(wire.EDGE_NEXT, 40, tgid=RUNTIME + 2)])
def test_an_answer_of_another_process_of_the_runtime(end: bytes) -> None:
    state = Attribution()
    by_another = edge(wire.EDGE_RESPONSE, 30, A, tgid=RUNTIME + 1)
    assert state.feed(ask(1) + start(2, A) + by_another + answer(35, A)) == []
    (cut,) = state.feed(end)
    assert (cut.request_id, cut.status, cut.ended) == (A, "ok", 30)


def test_an_answer_has_not_gone_on_until_the_next_execution() -> None:
    state = Attribution()
    state.feed(ask(1) + start(2, A) + answer(10, A))
    (cut,) = state.feed(start(10 + 100 * LATE, B))
    assert (cut.status, cut.ended) == ("ok", 10)


@pytest.mark.parametrize(
    ("what", "status"), [(wire.EDGE_RESPONSE, "crash"), (wire.EDGE_ERROR, "error")]
)
def test_a_runtime_that_ends_while_it_answers(what: int, status: str) -> None:
    state = Attribution()
    (cut,) = state.feed(ask(1) + start(2, A) + answer(3, A, what=what) + exit_of(RUNTIME, 9))
    assert (cut.status, cut.ended, cut.own_end() is not None) == (status, 9, True)


def test_an_answer_is_over_where_nobody_will_be_seen_to_ask() -> None:
    assert told(Attribution().feed(start(2, A) + answer(3, A))) == [(A, "ok", [])]


def test_an_answered_execution_can_be_ended_as_its_answer_says() -> None:
    state = Attribution()
    state.feed(ask(1) + start(2, A) + answer(3, A, what=wire.EDGE_ERROR))
    (cut,) = state.open_cuts()
    assert cut.answer is not None
    assert (state.conclude(cut, cut.answer).status, cut.ended) == ("error", 3)
    assert state.open_cuts() == []
