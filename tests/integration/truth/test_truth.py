"""What a trace says of connections, waits and names is what a packet capture says."""

from __future__ import annotations

import copy
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

import pytest
import support_capture
import support_probe
import support_world
from support_calls import Calls, logging
from support_host import stolen_share
from support_referee import Compared, compared, summary
from support_wire import Flow, Query, flows, queries
from support_world import World, world

from lambdatrace.agent.machine import Machine

if TYPE_CHECKING:
    from collections.abc import Iterator

SECURE = {port: (version, tickets) for port, version, tickets in support_world.SECURE.values()}

MAY_BE_LATE = 40
ATTEMPTS = 6
TIMES = ("connect time", "wait", "DNS delay")
# Of what is compared, where the host of this machine takes the CPUs away again and again.
MOST_EXCUSED = 0.1


class Untrue(Exception):  # noqa: N818
    """A trace and a capture of the same packets do not agree."""


@dataclass
class Seen:
    """What happened, by capture and by trace."""

    flows: list[Flow]
    queries: list[Query]
    document: dict[str, Any]
    log: Calls
    stolen: float  # of the time that the CPUs were wanted for, the share that the host took

    def excused(self, compared: int) -> int:
        """Of so many times, how many may be wrong since a CPU stood still between two clocks."""
        return int(compared * min(self.stolen, MOST_EXCUSED))

    def compared(self, document: dict[str, Any] | None = None) -> list[Compared]:
        return compared(self.flows, self.queries, document or self.document, SECURE, self.log)

    def check(self, what: str) -> None:
        """Raise Untrue where trace and capture do not agree in `what`, or in nothing at all."""
        found = [each for each in self.compared() if each.what == what]
        wrong = [each for each in found if not each.agrees]
        if not found or len(wrong) > (self.excused(len(found)) if what in TIMES else 0):
            raise Untrue("\n".join(map(str, [f"{len(wrong)} of {len(found)} differ:", *wrong])))

    def untrue(self) -> int:
        """In how many things trace and capture do not agree."""
        count = 0
        for what in {each.what for each in self.compared()}:
            try:
                self.check(what)
            except Untrue:
                count += 1
        return count


def see(made: World, *lanes: str) -> Seen:
    """Make the visits of these lanes, traced and captured."""
    folder = Path(mkdtemp(dir=made.folder))
    argument = {
        "ports": support_world.PORTS,
        "addresses": [getattr(support_world, each) for each in ("FAST", "FAST6", "NARROW", "SLOW")],
        "refused_from": support_world.REFUSED_FROM,
        "silent_from": support_world.SILENT_FROM,
        "certificate": f"{made.certificate}.crt",
    }
    client = str(support_world.PROGRAMS / "client.py")
    program = [sys.executable, client, json.dumps(argument), *lanes]
    machine = Machine()
    with (
        logging(program) as (command, log),
        support_capture.capturing(made.near, folder / "capture"),
    ):
        document = support_probe.trace(folder, made.command(*command))
    stolen = stolen_share(machine)
    packets = support_capture.read((folder / "capture").read_bytes())
    found = flows(packets)
    seen = Seen(found, queries(packets, found), document, log, stolen)
    print(f"{stolen:.1%} stolen\n{summary(seen.compared())}")
    return seen


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    support_probe.require_probe()
    with world(tmp_path_factory.mktemp("world")) as made:
        yield made


def measured(made: World, *lanes: str) -> Seen:
    """See the lanes, again where so little is wrong that it may be this machine's doing."""
    best, least = None, (0, 0)
    for _ in range(ATTEMPTS):
        seen = see(made, *lanes)
        wrong, kept = seen.untrue(), len(late(seen))
        if best is None or (wrong, kept) < least:
            best, least = seen, (wrong, kept)
        # A machine that is a guest is stopped now and then, and not always told; a noisy neighbour
        # does so for seconds. And now and then a kernel timer that sends several segments
        # again calls ftrace and no BPF program (bcc's neither, and none is counted as missed): why
        # is not known. What is wrong for any other reason is wrong again.
        if not wrong and kept <= most_late(seen):
            break
    assert best is not None
    return best


def most_late(seen: Seen) -> int:
    """How much of a look may be judged by the program's own log, and it be a look at all."""
    return MAY_BE_LATE + seen.excused(len(seen.compared()))


def late(seen: Seen) -> list[Compared]:
    """What agrees with the program's own log only: this machine kept it waiting."""
    return [each for each in seen.compared() if each.agrees and not each.is_exact]


@pytest.fixture(scope="module")
def seen(made: World) -> Seen:
    return measured(made, "varied", "silences", "lost_handshakes", "lost_names")


def test_the_world_is_varied(seen: Seen) -> None:
    seen_flows = [flow for flow in seen.flows if flow.far[1] != 53]
    assert len(seen_flows) >= 200
    assert len({flow.far[0] for flow in seen_flows}) == 4
    assert sum(flow.syn_ack is None and not flow.refused for flow in seen_flows) == 4
    assert sum(flow.refused for flow in seen_flows) == 10
    assert sum(flow.retransmits for flow in seen_flows) >= 20
    assert sum(flow.far[1] in SECURE for flow in seen_flows) >= 50
    assert sum(len(flow.exchanges()) > 1 for flow in seen_flows) >= 50
    assert {q.answer for q in seen.queries} == {None, "NOERROR", "SERVFAIL", "NXDOMAIN"}
    assert max(q.attempts for q in seen.queries) > 1
    assert any(q.stream for q in seen.queries)
    assert seen.document["execution"]["dropped"] == 0


@pytest.mark.parametrize(
    "what",
    [
        *("connection", "connect time", "refusals", "retransmits"),
        *("exchanges", "wait"),
        *("query", "attempts", "answer", "DNS delay"),
    ],
)
def test_every_trace_tells_what_the_capture_tells(seen: Seen, what: str) -> None:
    seen.check(what)


@pytest.mark.parametrize(
    ("table", "column", "what", "off"),
    [
        ("connections", "connect_ms", "connect time", 1.0),
        ("exchanges", "wait_ms", "wait", 1.0),
        ("namelookups", "duration_ms", "DNS delay", -1.0),
        ("connections", "retransmits", "retransmits", 1),
    ],
)
def test_a_trace_that_is_a_little_wrong_is_found_out(
    seen: Seen, table: str, column: str, what: str, off: float
) -> None:
    document = copy.deepcopy(seen.document)
    for row in document[table]:
        if row[column] is not None:
            row[column] += off
    found = [each for each in seen.compared(document) if each.what == what]
    # 1 ms is within 5 % of what takes long.
    # What this machine kept waiting is judged by the program's log, which knows no wire.
    excused = {(each.what, each.where) for each in late(seen)}
    short = [
        each
        for each in found
        if each.wire is not None
        and float(each.wire) < 13
        and (each.what, each.where) not in excused
    ]
    assert len(short) >= 60
    # A machine that stops now and then makes one right by chance, now and then.
    assert sum(each.agrees for each in short) <= len(short) // 20 + seen.excused(len(short))


def test_nearly_no_program_was_kept_waiting(seen: Seen) -> None:
    kept = late(seen)
    assert len(kept) <= most_late(seen), "this machine is too busy:\n" + summary(kept)


def test_each_retransmit_of_a_long_lossy_upload_is_counted(made: World) -> None:
    seen = measured(made, "lossy_upload")
    seen.check("retransmits")
    assert seen.flows[0].retransmits > 30


NOT_YET = {
    "late_reader": ("wait", "a wait ends when the answer is read, not when it is there"),
    "long_upload": ("wait", "a wait begins when send() has returned, not when the bytes have left"),
    "answer_in_two": ("wait", "without TLS 1.3 tickets, a short answer's begin is taken for one"),
    "closed_early": ("retransmits to the end", "what is sent again after close() is not counted"),
}


@pytest.mark.parametrize(
    ("lane", "what"),
    [
        pytest.param(lane, what, marks=pytest.mark.xfail(raises=Untrue, strict=True, reason=why))
        for lane, (what, why) in NOT_YET.items()
    ],
)
def test_what_the_probe_does_not_tell_truly_yet(made: World, lane: str, what: str) -> None:
    see(made, lane).check(what)
