"""Many executions as a table of pandas.

Loading pandas takes longer than most commands may: import this where it is needed, never at the
head of a module that others load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lambdatrace.glance import UNKNOWN

if TYPE_CHECKING:
    from lambdatrace.analysis.taken import Taken


def times_frame(taken: Taken) -> pd.DataFrame:
    """One row for each execution.

    Columns: `total` and the name of each part, ns, as Int64; NA where that is not known.
    """
    columns = {name: np.array(column, dtype=np.int64) for name, column in taken.columns.items()}
    return pd.DataFrame(
        {
            name: pd.arrays.IntegerArray(column, column == UNKNOWN)
            for name, column in columns.items()
        }
    )
