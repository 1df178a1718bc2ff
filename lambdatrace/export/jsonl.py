"""JSON lines: everything that the store holds of executions, and what it means (docs/export.md).

What an execution is decoded to is for other programs; read back (`--from`, `import`) are its items.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from lambdatrace import interchange
from lambdatrace.export import documents
from lambdatrace.export.pieces import batches
from lambdatrace.export.records import EXECUTION, SYSCALL
from lambdatrace.export.stored import rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lambdatrace.export.stored import StoredExecution

_encode = json.JSONEncoder(allow_nan=False).encode


def write(executions: Iterable[StoredExecution]) -> Iterator[bytes]:
    """The file, piece by piece. Raises CorruptItemError where an execution is not readable."""
    return batches(line.encode("ascii") for line in _lines(executions))


def _lines(executions: Iterable[StoredExecution]) -> Iterator[str]:
    yield interchange.header_line()
    count = items = 0
    for stored in executions:
        count += 1
        items += len(stored.items)
        # What stands in every line: lines are of use one by one, or in a table.
        execution_id = stored.execution.execution_id
        head = {"record": "", "execution_id": execution_id}
        for kind, document in rows(stored):
            head["record"] = kind
            yield f"{_encoded({**head, **document})}\n"
            if kind == EXECUTION:
                yield from map(interchange.item_line, stored.items)
        prefix = f'"record": "{SYSCALL}", "execution_id": {_encoded(execution_id)}, '
        for line in documents.syscall_lines(stored.records, prefix):
            yield f"{line}\n"
    yield interchange.end_line(count, items)


def _encoded(value: Any) -> str:
    """`value` as JSON that every reader takes: not all take half of a pair of surrogates."""
    text = _encode(value)
    return _encode(_whole(value)) if "\\ud" in text else text


def _whole(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {name: _whole(each) for name, each in value.items()}
    return [_whole(each) for each in value] if isinstance(value, list) else value
