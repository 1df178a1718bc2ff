"""From the probe to the store: drains the rings, and turns a cut into items that are written."""

from __future__ import annotations

import time

from lambdatrace import items, wire
from lambdatrace.agent import summary as summaries
from lambdatrace.agent.ledger import Ledger
from lambdatrace.agent.log import log
from lambdatrace.agent.names import Names
from lambdatrace.agent.settings import DEFAULT_TTL_DAYS
from lambdatrace.agent.syscall_buffer import SyscallBuffer

TYPE_CHECKING = False
if TYPE_CHECKING:
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
        self._syscalls = SyscallBuffer(wire.SyscallRecord.SIZE, probe.syscalls.stride)
        self._lost = probe.lost()
        self._lost_items = 0
        self._gaps = 0
        self._cpu = summaries.own_cost()[0]
        self._unseen: list[wire.ConnectionRecord] = []

    def take_unseen(self) -> list[wire.ConnectionRecord]:
        """Connections that `store` found to have ended, and that a later one has to tell of."""
        unseen, self._unseen = self._unseen, []
        return unseen

    def add_gap(self, began: int) -> list[wire.ConnectionRecord]:
        """A worker before this one ended in the middle of something: the next summary says so.

        Its ledger went with it. What connections older than `began` (ns, the records' clock) have
        counted so far may have been told, so it is not told again. Returns the connections that
        ended unseen.
        """
        self._gaps += 1
        followed = list(self._probe.followed_connections())
        older = [record for record, is_open in followed if is_open and record.started < began]
        self._ledger.share((), older, began, began)
        return [record for record, is_open in followed if not is_open]

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
        open_ones = self._open_connections(cut, final)
        connections = self._ledger.share(
            cut.connections, open_ones, cut.started, cut.ended, peek=not final
        )
        lookups = self._names.read(cut.dns, peek=not final)
        hosts = self._names.hosts(connections, lookups)
        syscalls = self._syscalls.take(cut.syscalls_position) if final else self._syscalls.peek()
        summary = self._summary(cut, connections, hosts, cut.offset, cold_start)
        summary.update(more)
        packed = b"".join([record.pack() for record in connections])
        ttl_days = self._settings.ttl_days
        expires = summaries.expires_at(DEFAULT_TTL_DAYS if ttl_days is None else ttl_days)
        names = {"lookups": [lookup.row() for lookup in lookups], "hosts": hosts}
        batch = items.make_items(summary, packed, syscalls, expires, names)
        lost = self._writer.write(batch, deadline)
        if final:
            self._names.forget_open()
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

    def _open_connections(self, cut: Cut, final: bool) -> list[wire.ConnectionRecord]:
        """Connections without an end, of the cut's branch; those that ended unseen join it."""
        still_open = []
        for record, is_open in self._probe.followed_connections():
            own = record.branch == cut.branch or not cut.branch
            own = own and record.started < cut.ended
            if own and is_open:
                still_open.append(record)
            elif own:
                cut.connections.append(record)
            # The kernel has forgotten it.
            if not is_open and not (own and final):
                self._unseen.append(record)
        return still_open

    def _summary(
        self,
        cut: Cut,
        connections: list[wire.ConnectionRecord],
        hosts: dict[int, str],
        offset: int,
        cold_start: bool,
    ) -> dict[str, Any]:
        cpu, peak = summaries.own_cost()
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
            "agent": {"cpu_ns": max(0, cpu - self._cpu), "peak_bytes": peak},
            "destinations": rows,
            "destinations_left_out": left_out,
        }

    def _dropped(self, cut: Cut) -> dict[str, int]:
        dropped = summaries.lost_since(self._lost, self._probe.lost())
        if cut.lost:
            dropped["connections"] = dropped.get("connections", 0) + cut.lost
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


def monotonic_deadline(deadline_ms: int) -> float:
    """A deadline in ms since the epoch, as Lambda gives it, on time.monotonic (s)."""
    return time.monotonic() + deadline_ms / 1000 - time.time()
