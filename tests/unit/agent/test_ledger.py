"""Each execution's own part of a connection that many executions use."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from support_records import make

from lambdatrace import wire
from lambdatrace.agent.ledger import MAX_TOLD, Ledger

COUNTERS = (
    "bytes_out", "bytes_in", "waited", "transferred", "sends", "receives", "retransmits",
    "exchanges",
)  # fmt: skip
ZEROS = [0] * len(COUNTERS)


def record(number: int = 1, started: int = 100, **fields: Any) -> wire.ConnectionRecord:
    values = {"kind": wire.KIND_CONNECTION, "family": 4, "state": wire.TCP_ESTABLISHED, **fields}
    return make(wire.ConnectionRecord, id=number, started=started, **values)


def test_a_connection_within_one_execution_is_told_as_it_is() -> None:
    original = record(closed=150, bytes_out=10, bytes_in=20)
    (share,) = Ledger().share([original], [], 90, 200)
    assert share == original
    assert share is not original


def test_a_kept_connection_is_told_by_its_differences() -> None:
    ledger = Ledger()
    (first,) = ledger.share([], [record(bytes_out=10, sends=1)], 90, 200)
    (second,) = ledger.share([], [record(bytes_out=25, sends=3)], 300, 400)
    assert ledger.share([], [record(bytes_out=25, sends=3)], 500, 600) == []
    (last,) = ledger.share([record(bytes_out=26, sends=4, closed=750)], [], 700, 800)
    shares = [first, second, last]
    assert [(share.bytes_out, share.sends) for share in shares] == [(10, 1), (15, 2), (1, 1)]
    reused = wire.CONNECTION_REUSED
    assert [share.flags & reused for share in shares] == [0, reused, reused]
    still_open = wire.CONNECTION_OPEN
    assert [share.flags & still_open for share in shares] == [still_open, still_open, 0]
    # It has ended: a later one of the same number is another.
    (other,) = ledger.share([record(bytes_out=3, started=900, closed=950)], [], 890, 1000)
    assert (other.bytes_out, other.flags) == (3, 0)


def test_what_ended_before_the_execution_is_marked() -> None:
    before, during = record(1, 10, closed=20), record(2, 30, closed=45)
    shares = Ledger().share([during, before], [], 40, 50)
    assert [share.id for share in shares] == [1, 2]  # by start
    assert [share.flags for share in shares] == [wire.CONNECTION_BEFORE, wire.CONNECTION_REUSED]


def test_what_only_the_end_of_its_process_closed_was_open() -> None:
    (share,) = Ledger().share([record(closed=201)], [], 90, 200)
    assert share.flags & wire.CONNECTION_OPEN


def test_a_change_of_state_is_news() -> None:
    ledger = Ledger()
    opening = {"state": wire.TCP_SYN_SENT}
    assert len(ledger.share([], [record(**opening)], 90, 200)) == 1
    # Nothing has changed, and somebody waits for it.
    assert len(ledger.share([], [record(**opening)], 300, 400)) == 1
    assert len(ledger.share([], [record(established=450)], 400, 500)) == 1
    assert ledger.share([], [record(established=450)], 500, 600) == []
    assert len(ledger.share([], [record(established=450, error=104)], 600, 700)) == 1
    assert ledger.share([], [record(established=450, error=104)], 700, 800) == []


def test_a_peek_leaves_everything_as_it_was() -> None:
    ledger, still_open, ended = Ledger(), record(1, bytes_out=10), record(2, bytes_in=5, closed=150)
    ledger.share([], [record(1, bytes_out=4)], 90, 95)
    packed = still_open.pack(), ended.pack()
    looks = [ledger.share([ended], [still_open], 100, 200, peek=True) for _ in range(2)]
    assert looks[0] == looks[1] == ledger.share([ended], [still_open], 100, 200)
    assert {share.id: share.bytes_out for share in looks[0]} == {1: 6, 2: 0}
    assert (still_open.pack(), ended.pack()) == packed


def test_a_handshake_that_began_or_ended_is_news() -> None:
    ledger = Ledger()
    ledger.share([], [record(established=150)], 90, 200)
    assert len(ledger.share([], [record(established=150, tls_started=250)], 200, 300)) == 1
    assert ledger.share([], [record(established=150, tls_started=250)], 300, 400) == []
    done = {"established": 150, "tls_started": 250, "tls_ended": 450}
    assert len(ledger.share([], [record(**done)], 400, 500)) == 1
    assert ledger.share([], [record(**done)], 500, 600) == []


def exchange(number: int = 1, **fields: int) -> wire.ExchangeRecord:
    values = {"first_out": 100, "last_out": 101, "bytes_out": 10, "sends": 1, **fields}
    return make(wire.ExchangeRecord, kind=wire.KIND_EXCHANGE, connection=number, **values)


ANSWERED = {"first_in": 150, "last_in": 160, "bytes_in": 20, "receives": 1}


def test_an_exchange_is_told_once() -> None:
    ledger, whole = Ledger(), exchange(**ANSWERED)
    # Its execution ends with the connection open, and the exchange the latest on it.
    assert ledger.exchanges([], [whole]) == [whole]
    assert ledger.exchanges([], [whole]) == []  # nobody used it
    # The next request completes the record; what the execution did itself is the next one.
    following = exchange(first_out=300, last_out=300)
    assert ledger.exchanges([whole], [following]) == [following]
    # And when the connection has ended.
    assert ledger.exchanges([following], []) == []
    assert ledger.exchanges([], []) == []


def test_an_exchange_that_was_answered_later_is_told_again() -> None:
    ledger, asked, whole = Ledger(), exchange(), exchange(**ANSWERED)
    assert ledger.exchanges([], [asked]) == [asked]
    assert ledger.exchanges([], [whole]) == [whole]
    more = exchange(**{**ANSWERED, "last_in": 900, "bytes_in": 70})
    assert ledger.exchanges([more], []) == [more]


def test_exchanges_of_other_connections_are_others() -> None:
    ledger = Ledger()
    first, second = exchange(1, **ANSWERED), exchange(2, **ANSWERED)
    assert ledger.exchanges([], [first]) == [first]
    assert ledger.exchanges([second], [first]) == [second]


def test_exchanges_come_by_start_whoever_spoke_first() -> None:
    greeting = exchange(1, first_out=0, last_out=0, bytes_out=0, first_in=50, last_in=50)
    late, early = exchange(2, first_out=60), exchange(3, first_out=40)
    assert Ledger().exchanges([late, greeting], [early]) == [early, greeting, late]


def test_a_peek_at_exchanges_leaves_everything_as_it_was() -> None:
    ledger, told, latest = Ledger(), exchange(1, **ANSWERED), exchange(2)
    ledger.exchanges([], [told])
    for _ in range(2):
        assert ledger.exchanges([told], [latest], peek=True) == [latest]
    assert ledger.exchanges([told], [latest]) == [latest]
    assert ledger.exchanges([], [latest]) == []


def test_the_exchanges_remembered_are_bounded() -> None:
    ledger, count = Ledger(), MAX_TOLD + 10
    latest = [exchange(number) for number in range(1, count + 1)]
    assert len(ledger.exchanges([], latest)) == count
    # The newest are known, the others told again rather than none at all.
    assert ledger.exchanges([], latest[10:]) == []
    assert ledger.exchanges([], latest[:10]) == latest[:10]


def test_an_exchange_of_a_connection_that_is_kept_is_not_forgotten_for_its_age() -> None:
    ledger, kept = Ledger(), exchange(1)
    ledger.exchanges([], [kept])
    for number in range(2):
        first = 2 + number * (MAX_TOLD - 1)
        others = [exchange(each) for each in range(first, first + MAX_TOLD - 1)]
        assert kept not in ledger.exchanges([], [kept, *others])
    assert ledger.exchanges([], [kept]) == []


_STEPS = st.lists(
    st.tuples(
        st.dictionaries(st.integers(1, 4), st.lists(st.integers(0, 9), min_size=8, max_size=8)),
        st.sets(st.integers(1, 4)),
        st.booleans(),
    ),
    max_size=12,
)


@settings(deadline=None)
@given(_STEPS)
def test_the_shares_add_up_to_the_kernels_totals(
    steps: list[tuple[dict[int, list[int]], set[int], bool]],
) -> None:
    ledger = Ledger()
    totals: dict[int, list[int]] = {}  # of what lives
    kernel, told = ZEROS, ZEROS
    for number, (grow, close, peek) in enumerate(steps):
        for connection, by in grow.items():
            now = totals.setdefault(connection, ZEROS)
            totals[connection] = [a + b for a, b in zip(now, by, strict=True)]
            kernel = [a + b for a, b in zip(kernel, by, strict=True)]
        time = 1000 * (number + 1)
        records = {
            connection: record(connection, 1, **dict(zip(COUNTERS, counts, strict=True)))
            for connection, counts in totals.items()
        }
        finished = [each for connection, each in records.items() if connection in close]
        still_open = [each for connection, each in records.items() if connection not in close]
        if peek:
            ledger.share(finished, still_open, time, time + 500, peek=True)
        for share in ledger.share(finished, still_open, time, time + 500):
            told = [a + getattr(share, name) for a, name in zip(told, COUNTERS, strict=True)]
        assert told == kernel
        totals = {each.id: totals[each.id] for each in still_open}


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["ask", "answer", "end of execution", "look", "close"]),
            st.integers(1, 3),
        ),
        max_size=40,
    )
)
def test_no_exchange_is_left_out_and_none_told_twice_as_it_stands(
    steps: list[tuple[str, int]],
) -> None:
    """As the probe does it: a request after an answer completes the exchange before it."""
    ledger = Ledger()
    latest: dict[int, dict[str, int]] = {}
    complete: list[wire.ExchangeRecord] = []
    told: list[wire.ExchangeRecord] = []
    expected: dict[tuple[int, int], tuple[int, int]] = {}  # what became of each
    for time, (step, number) in enumerate([*steps, ("end of execution", 1)], 1):
        current = latest.get(number)
        if step == "ask" and (current is None or "first_in" in current):
            complete += [exchange(number, **current)] if current else []
            latest[number] = {"first_out": time, "last_out": time}
        elif step == "answer" and current is not None:
            current.setdefault("first_in", time)
            current["bytes_in"] = current.get("bytes_in", 0) + 1
        elif step == "close" and current is not None:
            complete.append(exchange(number, **latest.pop(number)))
        elif step in ("end of execution", "look"):
            open_ones = [exchange(each, **fields) for each, fields in latest.items()]
            found = ledger.exchanges(complete, open_ones, peek=step == "look")
            if step != "look":
                told += found
                complete = []
        for each, fields in latest.items():
            state = fields.get("first_in", 0), fields.get("bytes_in", 0)
            expected[each, fields["first_out"]] = state
    last = {(each.connection, each.first_out): (each.first_in, each.bytes_in) for each in told}
    assert last == expected
    packed = [each.pack() for each in told]
    assert len(packed) == len(set(packed))


def test_connections_whose_end_nobody_tells_are_forgotten() -> None:
    ledger, kept = Ledger(), record(1, bytes_out=1)
    for number in range(3):
        opened = [record(2 + number * MAX_TOLD + each) for each in range(MAX_TOLD - 1)]
        ledger.share([], [kept, *opened], 90, 200)
        assert len(ledger._told) <= MAX_TOLD
    (share,) = ledger.share([], [record(1, bytes_out=3)], 300, 400)
    assert share.bytes_out == 2
