"""From the probe to the store: drains the rings, and turns a cut into items that are written."""

from __future__ import annotations

import time

from lambdatrace import items, wire
from lambdatrace.agent import summary as summaries
from lambdatrace.agent.attribution import exchange_record
from lambdatrace.agent.handshakes import Handshakes
from lambdatrace.agent.ledger import Ledger
from lambdatrace.agent.log import log
from lambdatrace.agent.machine import Machine
from lambdatrace.agent.names import Names
from lambdatrace.agent.settings import DEFAULT_TTL_DAYS
from lambdatrace.agent.syscall_buffer import SyscallBuffer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from lambdatrace.agent.attribution import Cut
    from lambdatrace.agent.settings import Settings
    from lambdatrace.bpf.loader import Probe
    from lambdatrace.store.base import Writer

BACKEND = "ebpf"


class Recorder:
    """What one agent knows between executions: counters told, items lost, what it has cost."""

    def __init__(self, probe: Probe, writer: Writer, settings: Settings) -> None:
        self._probe = probe
        self._writer = writer
        self._settings = settings
        self._ledger = Ledger()
        self._names = Names()
        self._handshakes = Handshakes()
        self._machine = Machine()
        self._syscalls = SyscallBuffer(probe.syscalls.stride)
        self._lost = probe.lost()
        self._lost_items = 0
        self._gaps = 0
        self._cpu = summaries.own_cost()[0]
        self._unseen: list[tuple[wire.ConnectionRecord, wire.Exchange]] = []

    @property
    def _capture(self) -> tuple[str, ...]:
        """The groups that are wanted and can be seen."""
        off = self._probe.unavailable
        return tuple(group for group in self._settings.capture if group not in off)

    def take_unseen(self) -> list[tuple[wire.ConnectionRecord, wire.Exchange]]:
        """Connections that `store` found to have ended, and that a later one has to tell of."""
        unseen, self._unseen = self._unseen, []
        return unseen

    def add_gap(self, began: int) -> list[tuple[wire.ConnectionRecord, wire.Exchange]]:
        """A worker before this one ended in the middle of something: the next summary says so.

        Its ledger went with it. What connections older than `began` (ns, the records' clock) have
        counted so far may have been told, so it is not told again. Returns the connections that
        ended unseen.
        """
        self._gaps += 1
        followed = list(self._probe.followed_connections())
        older = [
            (record, exchange)
            for record, exchange, is_open in followed
            if is_open and record.started < began
        ]
        self._ledger.share((), [record for record, _ in older], began, began)
        self._ledger.exchanges((), _latest(older))
        return [(record, exchange) for record, exchange, is_open in followed if not is_open]

    def drain(self) -> bytes:
        """Take what waits in both rings; returns the records of the events ring."""
        # Events first: an edge among them then never points behind what is known of syscalls.
        events = self._probe.events.drain()
        self.drain_syscalls()
        return events

    def drain_syscalls(self) -> None:
        """Take what waits in the syscalls ring."""
        records = self._probe.syscalls.drain()
        self._syscalls.add(records, self._probe.syscalls.position)

    def store(
        self,
        cut: Cut,
        deadline: float,
        *,
        cold_start: bool = False,
        final: bool = True,
        **more: Any,
    ) -> tuple[dict[str, Any], int]:
        """Write an execution until `deadline` (s, time.monotonic).

        Returns its summary and how many of its items were not stored.

        With `final` false it is written as it stands now and everything is kept for the next time;
        what is written then replaces it. `more` goes into the summary as it is.
        """
        if cut.offset is None:
            cut.offset = summaries.clock_offset()
        followed = self._open_connections(cut, final)
        records = cut.records
        connections = self._ledger.share(
            records.connections,
            [record for record, _ in followed],
            cut.started,
            cut.ended,
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
        syscalls = self._syscalls.take(cut.syscalls_position) if final else self._syscalls.peek()
        summary = self._summary(cut, connections, hosts, cut.offset, cold_start, final)
        summary.update(more)
        kinds: dict[int, Sequence[wire.Record]] = {
            wire.KIND_CONNECTION: connections,
            wire.KIND_EXCHANGE: exchanges,
            wire.KIND_BLOCKED: blocked,
        }
        packed = {
            kind: b"".join([record.pack() for record in found]) for kind, found in kinds.items()
        }
        ttl_days = self._settings.ttl_days
        expires = summaries.expires_at(DEFAULT_TTL_DAYS if ttl_days is None else ttl_days)
        details = {
            "lookups": [lookup.row() for lookup in lookups],
            "hosts": hosts,
            "tls": handshakes,
            "processes": [
                summaries.process_row(edge) for edge in records.processes if "processes" in capture
            ],
        }
        batch = items.make_items(summary, packed, expires, details, syscalls)
        lost = self._writer.write(batch, deadline)
        if final:
            self._names.forget_open()
            self._handshakes.forget({record.id: record for record, _ in followed})
        if final and not lost:
            # Else nobody may ever read it: it is told again.
            self._forget_told_losses()
        if lost:
            self._lost_items += lost
            log(
                f"{lost} of {len(batch)} items of {cut.request_id} were not stored: "
                f"{self._writer.last_error}"
            )
        return summary, lost

    def _open_connections(
        self, cut: Cut, final: bool
    ) -> list[tuple[wire.ConnectionRecord, wire.Exchange]]:
        """Connections without an end, of the cut's branch; those that ended unseen join it."""
        still_open = []
        for record, exchange, is_open in self._probe.followed_connections():
            own = record.branch == cut.branch or not cut.branch
            own = own and record.started < cut.ended
            if own and is_open:
                still_open.append((record, exchange))
            elif own:
                cut.records.connections.append(record)
                cut.records.exchanges += _latest([(record, exchange)])
            # The kernel has forgotten it.
            if not is_open and not (own and final):
                self._unseen.append((record, exchange))
        return still_open

    def _summary(
        self,
        cut: Cut,
        connections: list[wire.ConnectionRecord],
        hosts: dict[int, str],
        offset: int,
        cold_start: bool,
        final: bool,
    ) -> dict[str, Any]:
        cpu, peak = summaries.own_cost()
        figures = cut.figures or self._probe.figures(cut.branch, cut.ended)
        capture = self._capture
        steal, faults = self._machine.since(peek=not final)
        rows, left_out = summaries.destinations(connections, hosts, cut.started, cut.ended)
        return {
            "execution_id": cut.request_id,
            "function": self._settings.function,
            "version": self._settings.version,
            "started_ns": cut.started + offset,
            "monotonic_ns": cut.started,
            "duration_ns": max(0, cut.ended - cut.started),
            "status": cut.status,
            "cold_start": cold_start,
            "backend": BACKEND,
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
            "unavailable": self._probe.unavailable,
            "unseen": summaries.unseen(figures),
            "cpu": summaries.cpu(cut.figures_before, figures) if "cpu" in capture else None,
            "steal_ns": steal,
            "major_faults": faults,
            "ending": summaries.ending(cut) if "processes" in capture else None,
            "agent": {"cpu_ns": max(0, cpu - self._cpu), "peak_bytes": peak},
            "destinations": rows,
            "destinations_left_out": left_out,
        }

    def _dropped(self, cut: Cut) -> dict[str, int]:
        dropped = summaries.lost_since(self._lost, self._probe.lost())
        if cut.lost:
            dropped["records"] = cut.lost
        if self._syscalls.lost:
            dropped["syscalls"] = dropped.get("syscalls", 0) + self._syscalls.lost
        if self._lost_items:
            dropped["items"] = self._lost_items
        if self._gaps:
            dropped["gaps"] = self._gaps
        return dropped

    def _forget_told_losses(self) -> None:
        self._lost = self._probe.lost()
        self._syscalls.lost = 0
        self._lost_items = 0
        self._gaps = 0
        self._cpu = summaries.own_cost()[0]


def _latest(
    followed: Iterable[tuple[wire.ConnectionRecord, wire.Exchange]],
) -> list[wire.ExchangeRecord]:
    found = [exchange_record(record, exchange) for record, exchange in followed]
    return [record for record in found if record is not None]


def monotonic_deadline(deadline_ms: int) -> float:
    """A deadline in ms since the epoch, as Lambda gives it, on time.monotonic (s)."""
    return time.monotonic() + deadline_ms / 1000 - time.time()
