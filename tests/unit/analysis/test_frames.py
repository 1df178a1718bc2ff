"""Many executions as a table."""

from __future__ import annotations

import support_traces as traces

from lambdatrace.analysis.frames import times_frame
from lambdatrace.analysis.summary import read_execution
from lambdatrace.analysis.taken import taken
from lambdatrace.model import Part


def test_one_row_for_each_execution_and_na_for_what_is_not_known() -> None:
    parts = [*range(1, len(Part)), None]
    told = read_execution(traces.summary(duration_ns=100, partition=parts))
    older = read_execution(traces.summary(duration_ns=7))
    frame = times_frame(taken([told, older]))
    assert tuple(frame.columns) == ("total", *Part)
    assert frame["total"].tolist() == [100, 7]
    assert frame["dns"].isna().tolist() == [False, True]
    assert frame.iloc[0, 1:-1].tolist() == parts[:-1]
    assert frame["other"].isna().all()
    assert str(frame["wait"].dtype) == "Int64"


def test_no_executions() -> None:
    assert times_frame(taken([])).empty
