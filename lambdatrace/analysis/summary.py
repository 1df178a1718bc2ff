"""A stored summary as an Execution: every field is checked, for the store may hold anything."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from lambdatrace.analysis.linux import signal_name
from lambdatrace.errors import CorruptItemError
from lambdatrace.model import (
    ERRORS,
    SHORT_CONNECTIONS,
    AgentCost,
    CpuTime,
    DestinationFigures,
    Dropped,
    Ending,
    Execution,
    Level,
    Part,
    Partition,
    Protocol,
    Share,
    Status,
    Xray,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

Choice = TypeVar("Choice", bound=StrEnum)

# 9999-12-31T23:59:59Z in ns: what a date can be written for.
MAX_MOMENT_NS = 253_402_300_799 * 1_000_000_000
# Above any true figure (in ns 36 years), and such that a few sums still fit into 64 bits.
_MAX_INT = 2**60
_MAX_TEXT = 100_000
_DROPPED_NAMES = frozenset(Dropped.__slots__)
_DESTINATION_LENGTHS = range(10, 16)
_US = 1_000
# Where a destination's row may end before these.
_LATER_FIGURES: list[Any] = [None] * 10 + [0, 0, [], [], []]
_SHARE_LENGTH = 3
_XRAY_LENGTH = 3
_HEX = frozenset("0123456789abcdef")
# What an older agent did not tell, and what `lambdatrace run` has no use for.
_LATER_COSTS = (
    "after_ns", "sent_bytes", "write_units", "flushes", "retries", "spooled", "drained",
)  # fmt: skip


class Fields:
    """Typed access to a decoded JSON object; whatever is not as it should be is corrupt."""

    def __init__(self, values: Mapping[str, Any], owner: str) -> None:
        self._values = values
        self._owner = owner

    def refuse(self, what: str) -> NoReturn:
        """Raise CorruptItemError, naming the execution."""
        raise CorruptItemError(f"the summary of {self._owner!r} is corrupt: {what}")

    def has(self, name: str) -> bool:
        """Whether there is `name`: an older agent did not write it."""
        return name in self._values

    def get(self, name: str) -> Any:
        """The value of `name`, which has to be there."""
        if name not in self._values:
            self.refuse(f"{name!r} is missing")
        return self._values[name]

    def integer(self, name: str, maximum: int = _MAX_INT) -> int:
        """A whole number from 0 to `maximum`."""
        value = self._values.get(name)
        if type(value) is int and 0 <= value <= maximum:  # nearly always
            return value
        return self.check_integer(self.get(name), name, maximum)

    def check_integer(self, value: Any, name: str, maximum: int = _MAX_INT) -> int:
        """`value`, if it is a whole number from 0 to `maximum`."""
        # A bool is an int to Python, but not in this file format.
        if type(value) is not int or not 0 <= value <= maximum:
            self.refuse(f"{name!r} is not a number in its range")
        return int(value)

    def integer_or_none(self, name: str) -> int | None:
        """A whole number from 0 on, or null."""
        return None if self.get(name) is None else self.integer(name)

    def integers(self, value: Any, name: str, count: int) -> list[int]:
        """`value`, if it is an array of `count` whole numbers from 0 on."""
        values = [self.check_integer(each, name) for each in self.array(value, name)]
        if len(values) != count:
            self.refuse(f"{name!r} does not have {count} figures")
        return values

    def texts(self, name: str) -> tuple[str, ...]:
        """An array of strings."""
        return tuple(self.check_text(each, name) for each in self.array(self.get(name), name))

    def signed_or_none(self, name: str) -> int | None:
        """A whole number of either sign, or null."""
        value = self.get(name)
        if value is None:
            return None
        if type(value) is not int or abs(value) > _MAX_INT:
            self.refuse(f"{name!r} is not a number in its range")
        return int(value)

    def text(self, name: str) -> str:
        """A string of a sane length."""
        return self.check_text(self.get(name), name)

    def check_text(self, value: Any, name: str) -> str:
        """`value`, if it is a string of a sane length."""
        if not isinstance(value, str) or len(value) > _MAX_TEXT:
            self.refuse(f"{name!r} is not a text")
        return value

    def text_or_none(self, name: str) -> str | None:
        """A string of a sane length, or null."""
        return None if self.get(name) is None else self.text(name)

    def boolean(self, name: str) -> bool:
        """True or false."""
        value = self.get(name)
        if not isinstance(value, bool):
            self.refuse(f"{name!r} is neither true nor false")
        return value

    def choice(self, value: Any, name: str, kind: type[Choice]) -> Choice:
        """`value` as a member of the enum `kind`."""
        try:
            return kind(value)
        except (ValueError, TypeError):
            return self.refuse(f"{name!r} is none of {', '.join(kind)}")

    def mapping(self, name: str) -> dict[str, Any]:
        """An object."""
        value = self.get(name)
        if not isinstance(value, dict):
            self.refuse(f"{name!r} is not an object")
        return value

    def array(self, value: Any, name: str) -> list[Any]:
        """`value`, if it is an array."""
        if not isinstance(value, list):
            self.refuse(f"{name!r} is not an array")
        return value


def summary_fields(summary: Mapping[str, Any]) -> Fields:
    """Checked access to a summary, for keys that Execution has no place for."""
    owner = summary.get("execution_id")
    return Fields(summary, owner if isinstance(owner, str) else "an execution without an id")


def read_execution(summary: Mapping[str, Any]) -> Execution:
    """What a summary (`items.read_summary`) says. Raises CorruptItemError, in words."""
    fields = summary_fields(summary)
    dropped = fields.mapping("dropped")
    if not dropped.keys() <= _DROPPED_NAMES:
        fields.refuse("'dropped' counts something unknown")
    unavailable = {
        group: fields.check_text(reason, "unavailable")
        for group, reason in fields.mapping("unavailable").items()
    }
    none_seen = None if SHORT_CONNECTIONS in unavailable else 0
    return Execution(
        execution_id=fields.text("execution_id"),
        function=fields.text("function"),
        version=fields.text_or_none("version"),
        started_at_ns=fields.integer("started_ns", MAX_MOMENT_NS),
        duration_ns=fields.integer("duration_ns"),
        status=fields.choice(fields.get("status"), "status", Status),
        in_init=fields.boolean("in_init") if fields.has("in_init") else False,
        cold_start=fields.boolean("cold_start"),
        backend=fields.text("backend"),
        level=fields.choice(fields.get("level"), "level", Level),
        edges=fields.text("edges"),
        memory_mb=fields.integer_or_none("memory_mb"),
        command=fields.text_or_none("command"),
        exit_code=fields.signed_or_none("exit_code"),
        connections=fields.integer("connections") or none_seen,
        errors=None if ERRORS in unavailable else fields.integer("errors"),
        dropped=Dropped(
            **{name: fields.check_integer(dropped[name], f"dropped.{name}") for name in dropped}
        ),
        folded={
            kind: fields.check_integer(count, "folded")
            for kind, count in fields.mapping("folded").items()
        },
        capture=fields.texts("capture"),
        unavailable=unavailable,
        unseen=fields.texts("unseen"),
        cpu=_read_cpu(fields),
        steal_ns=fields.integer_or_none("steal_ns"),
        major_faults=fields.integer_or_none("major_faults"),
        partition=_read_partition(fields),
        shares=_read_shares(fields),
        ending=_read_ending(fields),
        agent=_read_agent(fields),
        # Before there were policies, everything was kept.
        kept=fields.boolean("kept") if fields.has("kept") else True,
        keep=fields.text("keep") if fields.has("keep") else "all",
        tolerance_ns=fields.integer("tolerance_ns") if fields.has("tolerance_ns") else None,
        backend_why=fields.text("backend_why") if fields.has("backend_why") else None,
        destinations=tuple(
            _read_destination(fields, row)
            for row in fields.array(fields.get("destinations"), "destinations")
        ),
        xray=_read_xray(fields),
    )


def _read_cpu(fields: Fields) -> CpuTime | None:
    value = fields.get("cpu")
    return None if value is None else CpuTime(*fields.integers(value, "cpu", 4))


def _read_partition(fields: Fields) -> Partition | None:
    if not fields.has("partition") or fields.get("partition") is None:
        return None
    values = fields.array(fields.get("partition"), "partition")
    if len(values) != len(Part):
        fields.refuse(f"'partition' does not have {len(Part)} figures")
    return Partition(
        *(None if each is None else fields.check_integer(each, "partition") for each in values)
    )


def _read_shares(fields: Fields) -> tuple[Share, ...]:
    rows = fields.array(fields.get("shares"), "shares") if fields.has("shares") else []
    return tuple(_read_share(fields, row) for row in rows)


def _read_share(fields: Fields, row: Any) -> Share:
    if len(fields.array(row, "shares")) != _SHARE_LENGTH:
        fields.refuse(f"a share does not have {_SHARE_LENGTH} values")
    part, subject, ns = row
    return Share(
        part=fields.choice(part, "shares", Part),
        subject=fields.check_text(subject, "shares"),
        ns=fields.check_integer(ns, "shares"),
    )


def _read_xray(fields: Fields) -> Xray | None:
    if not fields.has("xray"):
        return None
    values = fields.array(fields.get("xray"), "xray")
    if len(values) != _XRAY_LENGTH:
        fields.refuse("'xray' is not as long as it should be")
    trace_id, parent_id, sampled = values
    if not _is_hex(trace_id, 32) or not (parent_id is None or _is_hex(parent_id, 16)):
        fields.refuse("'xray' holds no id")
    return Xray(trace_id, parent_id, None if sampled is None else bool(sampled))


def _is_hex(value: Any, digits: int) -> bool:
    return isinstance(value, str) and len(value) == digits and _HEX.issuperset(value)


def _read_ending(fields: Fields) -> Ending | None:
    value = fields.get("ending")
    if "processes" not in fields.texts("capture"):
        return None  # that it ended was seen, by which signal was not
    return None if value is None else read_ending(*fields.integers(value, "ending", 3))


def read_ending(exit_code: int, signal: int, out_of_memory: int) -> Ending:
    """An ending from its three stored figures (items.py)."""
    return Ending(
        exit_code=None if signal else exit_code,
        signal=signal_name(signal) if signal else None,
        out_of_memory=bool(out_of_memory),
    )


def _read_agent(fields: Fields) -> AgentCost | None:
    if fields.get("agent") is None:
        return None
    cost = fields.mapping("agent")
    return AgentCost(
        cpu_ns=fields.check_integer(cost.get("cpu_ns"), "agent.cpu_ns"),
        peak_bytes=fields.check_integer(cost.get("peak_bytes"), "agent.peak_bytes"),
        **{
            name: fields.check_integer(cost[name], f"agent.{name}")
            for name in _LATER_COSTS
            if name in cost
        },
    )


def _read_destination(fields: Fields, row: Any) -> DestinationFigures:
    if len(fields.array(row, "destinations")) not in _DESTINATION_LENGTHS:
        fields.refuse("a destination does not have ten to fifteen figures")
    row = [*row, *_LATER_FIGURES[len(row) :]]
    host, address, port, protocol, *figures = row[:9]
    connect_ns, reused, requests, wait_us, tls_us, dns_us = row[9:]
    for figure in (*figures, reused, requests):
        if type(figure) is not int or not 0 <= figure <= _MAX_INT:
            fields.refuse("'destinations' is not a number in its range")
    connections, errors, bytes_out, bytes_in, time_ns = figures
    return DestinationFigures(
        host=None if host is None else fields.check_text(host, "destinations.host"),
        address=fields.check_text(address, "destinations.address"),
        port=fields.check_integer(port, "destinations.port", 65_535),
        protocol=fields.choice(protocol, "destinations.protocol", Protocol),
        connections=connections,
        errors=errors,
        bytes_out=bytes_out,
        bytes_in=bytes_in,
        time_ns=time_ns,
        connect_ns=_read_times(fields, connect_ns),
        reused=reused,
        requests=requests,
        wait_ns=_read_times(fields, wait_us, _US),
        tls_ns=_read_times(fields, tls_us, _US),
        dns_ns=_read_times(fields, dns_us, _US),
    )


def _read_times(fields: Fields, values: Any, unit_ns: int = 1) -> tuple[int, ...]:
    times = fields.array(values, "destinations")
    for value in times:
        # As check_integer does, without the call: there are very many of them.
        if type(value) is not int or not 0 <= value <= _MAX_INT // unit_ns:
            fields.refuse("'destinations' holds no times")
    return tuple(sorted(value * unit_ns for value in times) if times else ())
