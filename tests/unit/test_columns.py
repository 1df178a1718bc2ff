"""Records as differences: whatever they hold, they come back as they were."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import support_traces as traces
from hypothesis import example, given
from hypothesis import strategies as st

from lambdatrace import columns, items, wire

LAYOUTS = [*items._LAYOUTS.values()]
START_NS = traces.ORIGIN_NS


def values(layout: type[wire.Record], some: Any) -> st.SearchStrategy[tuple[Any, ...]]:
    """Rows of a layout whose numbers and texts are drawn from a few, or from all there are."""
    cells = []
    for kind in layout.__annotations__.values():
        if kind[0] == "b":
            size = int(kind[1:])
            cells.append(st.sampled_from([b"", b"node", b"\0x"]) | st.binary(max_size=size))
        else:
            bits, low = int(kind[1:]), -(2 ** (int(kind[1:]) - 1)) if kind[0] == "s" else 0
            cells.append(st.sampled_from([0, 1, 9]) | st.integers(low, low + 2**bits - 1))
    return st.tuples(*cells)


@given(st.data(), st.sampled_from(LAYOUTS), st.integers(0, 2**63))
def test_any_records_come_back(data: st.DataObject, layout: type[wire.Record], start: int) -> None:
    rows = data.draw(st.lists(values(layout, data), max_size=6))
    packed = b"".join(layout(*row).pack() for row in rows)
    reader = columns.Reader(*columns.pack(layout, packed, start), start)
    assert reader.unpack(layout, len(rows)) == packed
    assert reader.is_at_end


def test_one_kind_behind_the_other() -> None:
    connections = b"".join(traces.pipeline())
    exchanges = traces.exchange(2, first_out=80, last_out=82, first_in=1_240, last_in=1_310)
    both = [
        columns.pack(wire.ConnectionRecord, connections, START_NS),
        columns.pack(wire.ExchangeRecord, exchanges, START_NS),
    ]
    streams = [b"".join(parts) for parts in zip(*both, strict=True)]
    reader = columns.Reader(*streams, START_NS)
    assert reader.unpack(wire.ConnectionRecord, len(traces.pipeline())) == connections
    assert not reader.is_at_end
    assert reader.unpack(wire.ExchangeRecord, 1) == exchanges
    assert reader.is_at_end


def test_a_record_like_the_one_before_costs_nothing_but_codes() -> None:
    one = traces.pipeline()[1]
    single, lower = columns.pack(wire.ConnectionRecord, one, START_NS)
    many, many_lower = columns.pack(wire.ConnectionRecord, one * 10, START_NS)
    # What has a reference in its own record, or none, is told again; addresses and names are not.
    fields = len(wire.ConnectionRecord.NAMES)
    assert len(many) - 10 * fields < 10 * (len(single) - fields)
    assert len(many_lower) < 10 * len(lower)
    assert many.count(b"python3") == 1


@given(st.binary(max_size=200), st.binary(max_size=50), st.sampled_from(LAYOUTS), st.integers(0, 3))
@example(bytes(200), b"", wire.ConnectionRecord, 3)
def test_any_bytes_are_records_or_refused(
    deflated: bytes, lower: bytes, layout: type[wire.Record], count: int
) -> None:
    reader = columns.Reader(deflated, lower, START_NS)
    with contextlib.suppress(ValueError):
        assert len(reader.unpack(layout, count)) == count * layout.SIZE


@pytest.mark.parametrize("layout", LAYOUTS)
def test_references_are_fields(layout: type[wire.Record]) -> None:
    for name, reference in columns._REFERENCES[layout].items():
        names = layout.NAMES
        assert name in names
        assert reference.removeprefix("-") in ("", *names)
        if reference and reference[0] != "-":
            # Known before it is needed.
            assert names.index(reference) < names.index(name)
