"""Executions as one self-contained page, to look at in a browser, to mail, to print."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from lambdatrace.analysis.trace import elsewhere_left_out
from lambdatrace.analysis.usual import is_telling, usual_figures
from lambdatrace.analysis.verdict import judge
from lambdatrace.export.html.page import MOST_REPORTS as MOST_REPORTS
from lambdatrace.export.html.page import page as page
from lambdatrace.export.html.report import Report as Report
from lambdatrace.export.html.summary import summary_html as summary_html
from lambdatrace.export.pieces import batches
from lambdatrace.export.stored import StoredExecution

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lambdatrace.model import Execution, Verdict


def write(executions: Iterable[StoredExecution]) -> Iterator[bytes]:
    """The page, piece by piece. Raises CorruptItemError where an execution is not readable."""
    every = iter(executions)
    # Decoded executions are large; one at a time is decoded again, once it is its turn.
    held = [(each.items, each.verdict, each.execution) for each in islice(every, MOST_REPORTS)]
    all_of_it = [execution for _, _, execution in held]
    reports = (_report(StoredExecution(items), verdict, all_of_it) for items, verdict, _ in held)
    return batches(piece.encode() for piece in page(reports, every))


def _report(
    stored: StoredExecution, verdict: Verdict | None, others: Iterable[Execution]
) -> Report:
    """A report; where no verdict was given, compared with the others on the page."""
    if verdict is None:
        one = stored.execution
        comparable = (
            each
            for each in others
            if each.function == one.function and each != one and is_telling(each)
        )
        verdict = judge(stored.trace, usual_figures(comparable, one))
    return Report(stored.trace, verdict, elsewhere_left_out(stored.records))
