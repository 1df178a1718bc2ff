"""From the sensor to items: drains the rings, and packs what belongs to one execution."""

from __future__ import annotations

import time

from lambdatrace import items, partition, wire
from lambdatrace.agent import summary as summaries
from lambdatrace.agent.attribution import EXTENSION, KERNEL, TIMEOUT, UNFINISHED, exchange_record
from lambdatrace.agent.handshakes import Handshakes
from lambdatrace.agent.ledger import Ledger
from lambdatrace.agent.machine import Machine, stolen
from lambdatrace.agent.names import Names
from lambdatrace.agent.neighbours import Neighbours
from lambdatrace.agent.settings import DEFAULT_TTL_DAYS
from lambdatrace.agent.syscall_buffer import SyscallBuffer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from lambdatrace.agent.attribution import Cut, Records
    from lambdatrace.agent.sensor import Sensor
    from lambdatrace.agent.settings import Settings
    from lambdatrace.items import Item

# Among what is `unseen`: other executions ran in the very process at the same time.
OVERLAP = "overlap"


class Recorder:
    """What one agent knows between executions: counters told, losses not told, what it has cost.

    `supervisor`: the process whose CPU time counts as well, and with `is_first` all that it and
    this one have used since they began; 0: none, and what was used until now does not count.
    """

    def __init__(
        self, sensor: Sensor, settings: Settings, supervisor: int = 0, *, is_first: bool = False
    ) -> None:
        self._sensor = sensor
        self._settings = settings
        self._ledger = Ledger()
        self._names = Names()
        self._handshakes = Handshakes()
        self._machine = Machine()
        self._syscalls = SyscallBuffer(sensor.syscalls.stride)
        self._lost = sensor.lost()
        self._losses: dict[str, int] = {}  # of other kinds than the kernel's
        self._supervisor = supervisor
        # Of it and of this process, until the latest summary.
        self._cpu = self._spent() if not supervisor else 0
        if supervisor and not is_first:
            self._cpu = summaries.cpu_of(supervisor)
        self._cpu_packed = self._cpu
        self._neighbours = Neighbours() if settings.extensions else None
        self._unseen: list[tuple[wire.ConnectionRecord, wire.Exchange]] = []

    @property
    def _capture(self) -> tuple[str, ...]:
        """The groups that are wanted and can be seen."""
        off = self._sensor.unavailable
        return tuple(group for group in self._settings.capture if group not in off)

    def take_unseen(self) -> list[tuple[wire.ConnectionRecord, wire.Exchange]]:
        """Connections that `pack` found to have ended, and that a later one has to tell of."""
        unseen, self._unseen = self._unseen, []
        return unseen

    def add_losses(self, losses: Mapping[str, int]) -> None:
        """The next summary tells of these, by the names of model.Dropped."""
        for name, count in losses.items():
            self._losses[name] = self._losses.get(name, 0) + count

    def has_lost(self) -> bool:
        """Whether the kernel has dropped something that no summary has told of yet."""
        return bool(summaries.lost_since(self._lost, self._sensor.lost()))

    def add_gap(self, told_until: int) -> list[tuple[wire.ConnectionRecord, wire.Exchange]]:
        """A worker before this one ended in the middle of something: the next summary says so.

        Its ledger went with it. What connections older than `told_until` (ns, the records' clock)
        have counted so far may have been told, so it is not told again. Returns the connections
        that ended unseen.
        """
        self.add_losses({"gaps": 1})
        followed = list(self._sensor.followed_connections())
        self._count_as_told(
            (record, exchange)
            for record, exchange, is_open in followed
            if is_open and record.started < told_until
        )
        return [(record, exchange) for record, exchange, is_open in followed if not is_open]

    def begin_afresh(self, snapshot: wire.EdgeRecord | None = None) -> None:
        """SnapStart: what has been, and been counted, until now is no part of any execution.

        Every environment that is made of the snapshot would tell it again. Once when the snapshot
        is to be taken, for what the runtime did, and once more afterwards, for what goes on in the
        machine meanwhile.
        """
        if snapshot is not None:
            followed = self._sensor.followed_connections()
            self._count_as_told((record, exchange) for record, exchange, is_open in followed)
            self._syscalls.drop(snapshot.syscalls_position)
            self._syscalls.lost = 0
        self._lost = self._sensor.lost()
        self._machine.since()
        self._cpu = self._spent()

    def _spent(self) -> int:
        own = summaries.own_cost()[0]
        return own + summaries.cpu_of(self._supervisor) if self._supervisor else own

    def _count_as_told(
        self, followed: Iterable[tuple[wire.ConnectionRecord, wire.Exchange]]
    ) -> None:
        known = list(followed)
        now = time.monotonic_ns()
        self._ledger.share((), [record for record, _ in known], now, now)
        self._ledger.exchanges((), _latest(known))

    def drain(self) -> bytes:
        """Take what waits in both rings; returns the records of the events ring."""
        # Events first: an edge among them then never points behind what is known of syscalls.
        events = self._sensor.events.drain()
        self.drain_syscalls()
        return events

    def drain_syscalls(self) -> None:
        """Take what waits in the syscalls ring."""
        records = self._sensor.syscalls.drain()
        self._syscalls.add(records, self._sensor.syscalls.position)

    def pack(
        self,
        cut: Cut,
        *,
        cold_start: bool = False,
        final: bool = True,
        kept: bool = True,
        costs: Mapping[str, int] | None = None,
        others: Records | None = None,
        **more: Any,
    ) -> tuple[dict[str, Any], list[Item]]:
        """An execution's summary, and its items in the order they must be written.

        With `final` false it is packed as it stands now and everything is kept for the next time;
        what is written then replaces it. With `kept` false only its summary is. `costs` are what
        the agent has spent besides CPU and memory, `others` what other extensions did, `more` goes
        into the summary as it is.
        """
        if cut.offset is None:
            cut.offset = summaries.clock_offset()
        records = cut.records
        ended = wire.ENDING_SIGNAL | wire.ENDING_UNKNOWN
        killed = {edge.tgid: edge.time for edge in records.processes if edge.flags & ended}
        followed, elsewhere = self._open_connections(cut, final, killed)
        connections = self._ledger.share(
            records.connections,
            [record for record, _ in followed],
            cut.started,
            cut.ended,
            killed,
            peek=not final,
        )
        capture = self._capture
        exchanges = self._ledger.exchanges(records.exchanges, _latest(followed), peek=not final)
        if "exchanges" not in capture:
            # One that was never cut is none.
            exchanges = []
        lookups = self._names.read(records.texts, peek=not final)
        hosts = self._names.hosts(connections, lookups)
        self._handshakes.read(records.texts, peek=not final)
        handshakes = self._handshakes.of(connections)
        for number, (server_name, _, _) in handshakes.items():
            if server_name:
                hosts.setdefault(number, server_name)
        # What waited before an execution began is part of its environment's start, or of nobody's.
        blocked = [each for each in records.blocked if cold_start or each.ended > cut.started]
        if cut.status in (TIMEOUT, UNFINISHED) and "blocked" in capture:
            # Others have come back, or say so themselves when their process is killed.
            asleep = self._sensor.asleep(cut.branch, cut.ended)
            threshold = self._settings.threshold_ns
            blocked += [each for each in asleep if each.waited >= threshold]
        pauses = self._pauses(cut)
        syscalls: list[bytes] = []
        if not final:
            syscalls = self._syscalls.peek()
        elif kept:
            syscalls = self._syscalls.take(cut.syscalls_position)
        else:
            self._syscalls.drop(cut.syscalls_position)
        if cut.is_shared:
            # Counted, so that nobody else is told it; but whose it is nobody knows.
            connections, exchanges, lookups, blocked, pauses = [], [], [], [], []
            hosts, handshakes, records.processes = {}, {}, []
        figures = cut.figures or self._sensor.figures(cut.branch, cut.ended)
        # Only a command's branch begins with it: for others nothing tells what came before.
        if cut.is_shared or (cut.figures_before is None and cut.edges in (KERNEL, EXTENSION)):
            figures = None
        steal, busy, faults = self._machine.since(peek=not final)
        summary = self._summary(cut, connections, figures, cold_start, steal, faults)
        summary["destinations"], summary["destinations_left_out"] = summaries.destinations(
            connections, hosts, cut.started, cut.ended, exchanges, lookups
        )
        if summary["cpu"] is not None and figures is not None:
            rows = [(each.name, each.started, each.answered, each.connection) for each in lookups]
            spans = partition.spans(
                connections, exchanges, rows, hosts, cut.ended, "exchanges" in capture
            )
            division = partition.divide(
                (cut.started, cut.ended),
                summary["cpu"],
                summaries.idle(cut.figures_before, figures),
                stolen(summary["cpu"][0], steal, busy),
                pauses,
                partition.blames(pauses, spans, blocked),
                spans,
            )
            # Whatever took time has run: who has had no CPU was gone before anybody looked.
            blind = (
                () if summary["cpu"][0] else (partition.CPU, partition.RUNQUEUE, partition.STEAL)
            )
            summary.update(
                partition=division.row((*self._sensor.blind, *blind)), shares=division.shares_row()
            )
            if blind:
                summary["cpu"] = None
        summary["agent"].update(costs or {})
        summary.update(kept=kept, **more)
        if self._sensor.why:
            summary["backend_why"] = self._sensor.why
        if cut.tolerance is not None:
            summary["tolerance_ns"] = cut.tolerance
        if cut.in_init and cold_start:
            summary["in_init"] = True
        kinds: dict[int, Sequence[wire.Record]] = {
            wire.KIND_CONNECTION: connections,
            wire.KIND_EXCHANGE: exchanges,
            wire.KIND_BLOCKED: blocked,
            wire.KIND_PAUSE: pauses,
        }
        packed = {
            kind: b"".join([record.pack() for record in found]) for kind, found in kinds.items()
        }
        ttl_days = self._settings.ttl_days
        expires = summaries.expires_at(DEFAULT_TTL_DAYS if ttl_days is None else ttl_days)
        details = {
            "lookups": [lookup.row() for lookup in lookups],
            "hosts": {
                number: host
                for number, host in hosts.items()
                if number not in handshakes or handshakes[number][0] != host
            },
            "tls": handshakes,
            "processes": [
                summaries.process_row(edge)
                for edge in records.processes
                if "processes" in capture and not edge.flags & wire.ENDING_UNKNOWN
            ],
        }
        if self._neighbours is not None and others is not None:
            details |= self._neighbours.details(others, elsewhere, cut.started, cut.ended)
        if kept:
            batch = items.make_items(summary, packed, expires, details, syscalls)
        else:
            batch = items.make_items(summary, {}, expires)
        if final:
            self._names.forget_open()
            self._handshakes.forget({record.id: record for record, _ in followed})
            # Whoever loses this summary says so (add_losses), and they are told again.
            self._forget_told_losses()
        return summary, batch

    def _pauses(self, cut: Cut) -> list[wire.PauseRecord]:
        """The execution's pauses by end."""
        pauses = [each for each in cut.records.pauses if each.ended > cut.started]
        if cut.status in (TIMEOUT, UNFINISHED) and cut.branch:
            latest = self._sensor.pause(cut.branch, cut.ended)
            if latest is not None and latest.ended - latest.started >= self._settings.threshold_ns:
                pauses.append(latest)
        return sorted(pauses, key=lambda each: each.ended)

    def _open_connections(
        self, cut: Cut, final: bool, killed: Mapping[int, int]
    ) -> tuple[list[tuple[wire.ConnectionRecord, wire.Exchange]], list[wire.ConnectionRecord]]:
        """Connections without an end, of the cut's branch, and of other extensions.

        Those that ended unseen join the cut.
        """
        still_open, elsewhere = [], []
        apart = self._sensor.followed_branches() if self._neighbours else set()
        for record, exchange, is_open in self._sensor.followed_connections():
            own = record.branch == cut.branch or (not cut.branch and record.branch not in apart)
            own = own and record.started < cut.ended
            if is_open and record.branch in apart and record.started < cut.ended:
                elsewhere.append(record)
            elif own and is_open:
                still_open.append((record, exchange))
            elif own:
                # What is not known is when it was last closed, but a process that is killed closes
                # nothing before.
                record.closed = max(record.closed, killed.get(record.tgid, 0))
                cut.records.connections.append(record)
                cut.records.exchanges += _latest([(record, exchange)])
            # The kernel has forgotten it.
            if not is_open and not (own and final):
                self._unseen.append((record, exchange))
        return still_open, elsewhere

    def _summary(
        self,
        cut: Cut,
        connections: list[wire.ConnectionRecord],
        figures: wire.EdgeRecord | None,
        cold_start: bool,
        steal: int | None,
        faults: int | None,
    ) -> dict[str, Any]:
        # What packing costs from here on is the next one's.
        self._cpu_packed = self._spent()
        capture = self._capture
        return {
            "execution_id": cut.request_id,
            "function": self._settings.function,
            "version": self._settings.version,
            "started_ns": cut.started + (cut.offset or 0),
            "monotonic_ns": cut.started,
            "duration_ns": max(0, cut.ended - cut.started),
            "status": cut.status,
            "cold_start": cold_start,
            "backend": self._sensor.backend,
            "level": self._settings.level,
            "edges": cut.edges,
            "memory_mb": self._settings.memory_mb,
            "command": None,
            "exit_code": None,
            "connections": len(connections),
            "errors": sum(summaries.is_failed(record) for record in connections),
            "dropped": self._dropped(cut),
            "folded": summaries.folded(cut.figures_before, figures),
            "capture": list(capture),
            "unavailable": self._sensor.unavailable,
            "unseen": summaries.unseen(figures) + [OVERLAP] * cut.is_shared,
            "cpu": summaries.cpu(cut.figures_before, figures) if "cpu" in capture else None,
            "steal_ns": steal,
            "major_faults": faults,
            "ending": summaries.ending(cut) if "processes" in capture else None,
            "agent": {
                "cpu_ns": max(0, self._cpu_packed - self._cpu),
                "peak_bytes": summaries.own_cost()[1],
            },
        }

    def _dropped(self, cut: Cut) -> dict[str, int]:
        dropped = summaries.lost_since(self._lost, self._sensor.lost())
        if cut.lost:
            dropped["records"] = cut.lost
        if self._syscalls.lost:
            dropped["syscalls"] = dropped.get("syscalls", 0) + self._syscalls.lost
        for name, count in self._losses.items():
            dropped[name] = dropped.get(name, 0) + count
        return dropped

    def _forget_told_losses(self) -> None:
        self._lost = self._sensor.lost()
        self._syscalls.lost = 0
        self._losses = {}
        self._cpu = self._cpu_packed


def _latest(
    followed: Iterable[tuple[wire.ConnectionRecord, wire.Exchange]],
) -> list[wire.ExchangeRecord]:
    found = [exchange_record(record, exchange) for record, exchange in followed]
    return [record for record in found if record is not None]


def monotonic_deadline(deadline_ms: int) -> float:
    """A deadline in ms since the epoch, as Lambda gives it, on time.monotonic (s)."""
    return time.monotonic() + deadline_ms / 1000 - time.time()
