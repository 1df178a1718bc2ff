"""An execution as rows over time: which there are, in which order, and how they are numbered."""

from __future__ import annotations

from typing import Any

import support_traces as traces
from hypothesis import given
from hypothesis import strategies as st

from lambdatrace import wire
from lambdatrace.analysis.phases import told_apart
from lambdatrace.analysis.trace import read_trace
from lambdatrace.analysis.waterfall import (
    Activity,
    End,
    Group,
    Row,
    Stretch,
    Waterfall,
    waterfall,
)

MS = traces.MS
KNOWN = {"partition": [0] * 8 + [2_000 * MS, 0, 0, 0]}  # so there were pauses to be recorded


def fall(connections: list[bytes], **more: Any) -> Waterfall:
    trace = read_trace(traces.execution(connections, **more))
    return waterfall(trace, told_apart(trace.connections, trace.exchanges, whole=True))


def named(found: Waterfall) -> list[str]:
    return [row.number for row in found.rows]


def lookup(
    name: str, kind: str = "A", *, started: float = 0, answered: float | None = 1,
    answer: str | None = None, addresses: tuple[str, ...] = (), connection: int = 0,
) -> list[Any]:  # fmt: skip
    times = [traces.moment(started), traces.moment(answered)]
    answer = "NOERROR" if addresses else answer
    return [name, kind, "10.0.0.2", *times, 1, answer, 0, list(addresses), 100, connection]


def details(*lookups: list[Any]) -> dict[str, Any]:
    return {"lookups": list(lookups), "hosts": {}}


def ms(row: Row) -> list[tuple[str, float, float]]:
    return [(each.activity, each.start_ns / MS, each.end_ns / MS) for each in row.stretches]


def test_whoever_waits_for_what_a_peer_says_first_is_seen_to() -> None:
    """As for a greeting: no exchange says since when; the pause that it ended does."""
    unasked = {"first_out": None, "sends": 0}
    greeted = traces.connection(1, established=5, first_out=801, first_in=800, last_in=830,
                                closed=900, exchanges=1)  # fmt: skip
    silent = traces.connection(2, "10.0.0.8", started=905, established=910)
    found = fall(
        [greeted, silent],
        exchanges=[
            traces.exchange(1, first_in=800, last_in=800, **unasked),
            traces.exchange(1, first_out=801, first_in=830, last_in=830),
        ],
        pauses=[
            traces.pause("network", connection=1, started=6, ended=799, op="recvfrom"),
            traces.pause("network", connection=1, started=802, ended=829, op="recvfrom"),
            traces.pause("network", connection=2, started=911, ended=2_000, op="recvfrom"),
        ],
        **KNOWN,
    )
    first, *_, last = [row for row in found.rows if row.number.startswith("c")]
    assert ms(first) == [
        ("connect", 0, 5), ("wait", 6, 799), ("transfer", 800, 800), ("wait", 801, 830),
        ("transfer", 830, 830),
    ]  # fmt: skip
    assert first.took_ns == (5 + 793 + 29) * MS
    assert ms(last) == [("connect", 905, 910), ("wait", 911, 2_000)]


def test_rows_stand_by_start_and_bear_the_numbers_of_their_arrays() -> None:
    found = fall(
        [
            traces.connection(7, started=500, established=501, closed=600),
            traces.connection(3, started=20, established=21, closed=30),
        ],
        details=details(lookup("b", started=450), lookup("a", started=10)),
        blocked=[traces.blocked("fsync", started=300, ended=450)],
        pauses=[traces.pause("file", started=300, ended=450, op="fsync")],
        **KNOWN,
    )
    assert named(found) == ["n1", "c1", "w1", "n2", "c2", ""]
    assert found.connections == 2
    assert (found.calls_left_out, found.carriers, found.before) == (0, (), 0)


def test_nothing_happened() -> None:
    found = fall([])
    assert (found.rows, found.connections) == ((), 0)


def test_the_cpu_ran_where_nothing_paused() -> None:
    found = fall(
        [],
        pauses=[
            traces.pause("runqueue", started=0, ended=100),
            traces.pause("sleep", started=300, ended=1_000),
            traces.pause("runqueue", started=1_000, ended=1_001),
        ],
        **KNOWN,
    )
    (row,) = found.rows
    assert ms(row) == [
        (Activity.RUNQUEUE, 0, 100),
        (Activity.RUNNING, 100, 300),
        (Activity.RUNQUEUE, 1_000, 1_001),
        (Activity.RUNNING, 1_001, 2_000),
    ]
    assert row.took_ns == 300 * MS  # as the kernel summed it up


def test_without_pauses_there_is_no_row_of_the_cpu() -> None:
    """Neither an older agent nor one without the group can tell what it waited for."""
    assert fall([]).rows == ()
    assert fall([], capture=["cpu"], **KNOWN).rows == ()
    assert fall([], kept=False, **KNOWN).rows == ()


def test_what_a_connection_was_at_counts_and_only_within_the_execution() -> None:
    (row,) = fall(
        [
            traces.connection(
                1, started=-900, established=-880, first_out=100, first_in=300, bytes_out=1,
                bytes_in=1, flags=wire.CONNECTION_OPEN | wire.CONNECTION_REUSED,
            )
        ],
        exchanges=[
            traces.exchange(1, first_out=100, first_in=300, last_in=310),
            traces.exchange(1, first_out=1_900),
        ],
    ).rows[:1]  # fmt: skip
    assert ms(row)[-3:] == [
        (Activity.WAIT, 100, 300),
        (Activity.TRANSFER, 300, 310),
        (Activity.WAIT, 1_900, 2_000),
    ]
    assert (row.took_ns, row.end, row.start_ns) == (310 * MS, End.OPEN, -900 * MS)


def test_exchanges_have_rows_where_there_are_several_and_one_can_be_seen() -> None:
    def rows(count: int, length: float) -> list[str]:
        told = [
            traces.exchange(1, first_out=n * 60, first_in=n * 60 + length, last_in=n * 60 + length)
            for n in range(count)
        ]
        return named(fall([traces.connection(1, closed=1_000)], exchanges=told))

    assert rows(1, 50) == ["c1"]
    assert rows(2, 50) == ["c1", "e1", "e2"]
    assert rows(6, 50) == ["c1", *(f"e{n}" for n in range(1, 7))]
    assert rows(7, 50) == ["c1"]
    assert rows(2, 30) == ["c1"]


def test_exchanges_that_are_not_all_known_have_no_rows() -> None:
    trace = read_trace(
        traces.execution(
            [traces.connection(1, closed=1_000, exchanges=9)],
            exchanges=[
                traces.exchange(1, first_out=n, first_in=500, last_in=500) for n in range(2)
            ],
            folded={"exchanges": 7},
        )
    )
    assert named(waterfall(trace, {})) == ["c1"]


def test_a_socket_that_only_asked_for_names_is_left_out_unless_it_failed() -> None:
    asked = details(lookup("a", connection=1), lookup("b", connection=2))
    sockets = [
        traces.connection(1, port=53, protocol=17, closed=5),
        traces.connection(2, port=53, protocol=17, closed=5, error=111),
    ]
    found = fall(sockets, details=asked)
    assert (sorted(named(found)), found.carriers) == (["c2", "n1", "n2"], (1,))


def test_lookups_that_failed_and_those_that_only_seem_to() -> None:
    found = fall(
        [traces.connection(3, port=53, protocol=17, started=1, first_out=1, closed=700)],
        details=details(
            lookup("good", addresses=("10.0.0.7",)),
            lookup("good", "AAAA", answer="NXDOMAIN"),
            lookup("bad", answer="NXDOMAIN"),
            lookup("gone", answered=None, connection=3),
            lookup("on", started=10, answered=None, connection=9),
        ),
    )
    ends = {(row.source.name, row.source.type): row.end for row in found.rows}  # type: ignore[union-attr]
    assert ends == {
        ("good", "A"): End.DONE,
        ("good", "AAAA"): End.DONE,
        ("bad", "A"): End.FAILED,
        ("gone", "A"): End.FAILED,
        ("on", "A"): End.OPEN,
    }
    waited = {row.source.name: row.took_ns // MS for row in found.rows}  # type: ignore[union-attr]
    assert (waited["gone"], waited["on"]) == (700, 1_990)


def test_what_ended_before_is_counted() -> None:
    before = wire.CONNECTION_BEFORE
    found = fall(
        [
            traces.connection(1, started=-9, established=-8, closed=-5, flags=before),
            traces.connection(2, started=-9, closed=-5, error=111, flags=before),
        ]
    )
    assert (found.rows, found.before, found.before_failed) == ((), 2, 1)


def test_many_connections_are_groups_with_what_stands_out() -> None:
    found = fall(
        [
            *(
                traces.connection(
                    n, started=n, established=n + (90 if n == 50 else 1), closed=n + 100,
                    error=111 if n in (20, 30) else 104 if n == 25 else 0,
                    bytes_out=10, bytes_in=20,
                )
                for n in range(1, 101)
            ),
            traces.connection(200, "10.0.0.8", started=5, established=300, closed=400),
            *(
                traces.connection(300 + n, f"10.1.0.{n}", started=1_000, established=1_001,
                                  closed=1_002)
                for n in range(1, 6)
            ),
        ]
    )  # fmt: skip
    whole, *below, other, rest = found.rows
    assert isinstance(whole.source, Group)
    assert whole.source.troubles == (("refused", 2), ("reset", 1))
    assert (whole.source.count, whole.source.names, whole.number) == (100, 1, "")
    assert (whole.source.bytes_out, whole.source.bytes_in) == (1_000, 2_000)
    assert whole.source.median_ns == MS
    assert len(whole.stretches) == 100
    assert [(row.note, row.level) for row in below] == [
        ("first refused", 1), ("first reset", 1), ("longest", 1),
    ]  # fmt: skip
    assert (other.level, other.took_ns) == (0, 295 * MS)
    # Each of the five is short, and there is nothing else to say of it.
    assert isinstance(rest.source, Group)
    assert (rest.source.example, rest.source.names, rest.source.count) == (None, 5, 5)


@given(st.integers(1, 400), st.integers(1, 60), st.randoms(use_true_random=False))
def test_however_many_there_are_the_rows_can_be_read(count: int, places: int, random: Any) -> None:
    """And none is lost: each is a row of its own or in one group."""
    found = fall(
        [
            traces.connection(
                n, f"10.0.0.{random.randrange(places)}", started=random.random() * 1_900,
                closed=2_000, error=random.choice([0, 0, 0, 111]),
            )
            for n in range(1, count + 1)
        ]
    )  # fmt: skip
    groups = [row for row in found.rows if isinstance(row.source, Group)]
    single = [row for row in found.rows if row.level == 0 and not isinstance(row.source, Group)]
    assert len(groups) + len(single) <= 24
    assert sum(row.source.count for row in groups) + len(single) == count  # type: ignore[union-attr]
    assert len(found.rows) <= 24 * 5
    for row in found.rows:
        assert all(0 <= each.start_ns <= each.end_ns <= 2_000 * MS for each in row.stretches)


def test_a_moment_at_an_edge_stays() -> None:
    found = fall([traces.connection(1, started=2_000, closed=2_000, error=111)])
    assert found.rows[0].stretches == (Stretch(Activity.CONNECT, 2_000 * MS, 2_000 * MS),)
