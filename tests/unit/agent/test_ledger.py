"""Each execution's own part of a connection that many executions use."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from lambdatrace import wire
from lambdatrace.agent.ledger import Ledger

COUNTERS = ("bytes_out", "bytes_in", "waited", "transferred", "sends", "receives", "retransmits")


def record(number: int = 1, started: int = 100, **fields: Any) -> wire.ConnectionRecord:
    values = dict.fromkeys(wire.ConnectionRecord.NAMES, 0)
    values |= {"address": bytes(16), "comm": bytes(16), "kind": wire.KIND_CONNECTION, "family": 4}
    values |= {"id": number, "started": started, "state": wire.TCP_ESTABLISHED, **fields}
    return wire.ConnectionRecord(*values.values())


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


_STEPS = st.lists(
    st.tuples(
        st.dictionaries(st.integers(1, 4), st.lists(st.integers(0, 9), min_size=7, max_size=7)),
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
    kernel, told = [0] * 7, [0] * 7
    for number, (grow, close, peek) in enumerate(steps):
        for connection, by in grow.items():
            now = totals.setdefault(connection, [0] * 7)
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
