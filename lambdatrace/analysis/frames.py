"""Many executions as a table of pandas.

Loading pandas takes longer than most commands may: import this where it is needed, never at the
head of a module that others load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from lambdatrace.analysis.slo import TOTAL, taken_ns
from lambdatrace.model import Part

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lambdatrace.model import Execution

TIMES = (TOTAL, *map(str, Part))


def execution_frame(executions: Iterable[Execution]) -> pd.DataFrame:
    """One row for each execution, in their order.

    Columns: `total` and the name of each part, ns, as Int64; NA where that is not known.
    """
    rows = [taken_ns(execution) for execution in executions]
    return pd.DataFrame(rows, columns=list(TIMES)).astype("Int64")
