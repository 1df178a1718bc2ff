"""Many executions' destinations in one table: what `top-destinations` shows.

The only module that imports pandas, which takes longer than most commands may: import it where it
is needed, never at the head of a module that others load.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from lambdatrace.model import Protocol

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping

    from lambdatrace.model import Execution

# A summary keeps at most so many connect times of a destination, evenly spaced (model.py).
_KEPT_CONNECT_TIMES = 32
_QUANTILES = {"connect_p50_ns": 0.50, "connect_p95_ns": 0.95, "connect_p99_ns": 0.99}
_KEY = ["name", "port", "protocol"]
_SUMS = ["connections", "errors", "bytes_out", "bytes_in", "time_ns"]


@dataclass(frozen=True, slots=True)
class DestinationRow:
    """What all executions did with one destination. Quantiles are None if none ever connected."""

    host: str | None
    address: str  # of several, the one with the most connections
    addresses: int
    port: int
    protocol: Protocol
    executions: int
    connections: int
    errors: int
    bytes_out: int
    bytes_in: int
    connect_p50_ns: int | None
    connect_p95_ns: int | None
    connect_p99_ns: int | None
    time_ns: int


def destination_rows(executions: Iterable[Execution]) -> list[DestinationRow]:
    """One row for each host (or address, where no name is known), port and protocol.

    The most time first.
    """
    frame = destination_frame(executions)
    if frame.empty:
        return []
    grouped = frame.groupby(_KEY)
    table = grouped[_SUMS].sum()
    table["executions"] = grouped["execution"].nunique()
    table["addresses"] = grouped["address"].nunique()
    table["host"] = grouped["host"].first()
    by_address = frame.groupby([*_KEY, "address"])["connections"].sum().reset_index()
    by_address = by_address.sort_values(["connections", "address"], ascending=[False, True])
    table["address"] = by_address.groupby(_KEY)["address"].first()
    table = table.join(connect_quantiles(frame))
    table = table.reset_index().sort_values(
        ["time_ns", "name", "port"], ascending=[False, True, True]
    )
    return [_row(values) for values in table.to_dict("records")]


def destination_frame(executions: Iterable[Execution]) -> pd.DataFrame:
    """One row for each destination of each execution.

    Columns: execution (a number), name (host, else address), host, address, port, protocol,
    connections, errors, bytes_out, bytes_in, time_ns, connect_ns (a tuple).
    """
    rows = [
        (
            number,
            figures.host or figures.address,
            figures.host,
            figures.address,
            figures.port,
            str(figures.protocol),
            figures.connections,
            figures.errors,
            figures.bytes_out,
            figures.bytes_in,
            figures.time_ns,
            figures.connect_ns,
        )
        for number, execution in enumerate(executions)
        for figures in execution.destinations
    ]
    return pd.DataFrame(
        rows,
        columns=["execution", "name", "host", "address", "port", "protocol", *_SUMS, "connect_ns"],
    )


def connect_quantiles(frame: pd.DataFrame) -> pd.DataFrame:
    """Connect times (ns) by destination: the smallest that so many of all did not exceed.

    A time that was really measured, not one between two. Where a summary kept a selection, each
    kept time stands for as many connections as were left out around it.
    """
    times = frame[[*_KEY, "connections", "connect_ns"]].copy()
    kept = times["connect_ns"].map(len)
    thinned = (kept == _KEPT_CONNECT_TIMES) & (times["connections"] > _KEPT_CONNECT_TIMES)
    times["weight"] = (times["connections"] / _KEPT_CONNECT_TIMES).where(thinned, 1.0)
    times = times[kept > 0].explode("connect_ns").sort_values([*_KEY, "connect_ns"])
    reached = times.groupby(_KEY)["weight"].cumsum()
    total = times.groupby(_KEY)["weight"].transform("sum")
    return pd.DataFrame(
        {
            # Sums of fractions may fall short of a whole by a rounding error.
            name: times[reached >= share * total * (1 - 1e-9)].groupby(_KEY)["connect_ns"].first()
            for name, share in _QUANTILES.items()
        }
    )


def _row(values: Mapping[Hashable, Any]) -> DestinationRow:
    def number(name: str) -> int:
        return int(values[name])

    def number_or_none(name: str) -> int | None:
        return None if pd.isna(values[name]) else number(name)

    host = values["host"]
    return DestinationRow(
        host=host if isinstance(host, str) else None,
        address=str(values["address"]),
        addresses=number("addresses"),
        port=number("port"),
        protocol=Protocol(str(values["protocol"])),
        executions=number("executions"),
        connections=number("connections"),
        errors=number("errors"),
        bytes_out=number("bytes_out"),
        bytes_in=number("bytes_in"),
        connect_p50_ns=number_or_none("connect_p50_ns"),
        connect_p95_ns=number_or_none("connect_p95_ns"),
        connect_p99_ns=number_or_none("connect_p99_ns"),
        time_ns=number("time_ns"),
    )
