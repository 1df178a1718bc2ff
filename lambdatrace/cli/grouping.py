"""Options that belong together, as one parameter of a command.

Typer takes a command's options from its parameters, one by one. A parameter whose type is a Value
(values.py) of options stands for all of them.
"""

from __future__ import annotations

from functools import wraps
from inspect import Parameter, Signature, signature
from typing import TYPE_CHECKING, Any, get_type_hints

from lambdatrace.values import Value, defaults_of

if TYPE_CHECKING:
    from collections.abc import Callable


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """`command` with the fields of its parameters that are Values in their place, for typer."""
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, type[Value]] = {}
    parameters: list[Parameter] = []
    for parameter in signature(command).parameters.values():
        kind = hints[parameter.name]
        if not (isinstance(kind, type) and issubclass(kind, Value)):
            parameters.append(parameter.replace(annotation=kind, kind=Parameter.KEYWORD_ONLY))
            continue
        groups[parameter.name] = kind
        options = get_type_hints(kind, include_extras=True)
        parameters += [
            Parameter(
                name,
                Parameter.KEYWORD_ONLY,
                default=defaults_of(kind)[name],
                annotation=options[name],
            )
            for name in kind.__slots__
        ]

    @wraps(command)
    def run(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{field: given.pop(field) for field in group.__slots__})
        command(**given)

    changed: Any = run
    changed.__signature__ = Signature(parameters)
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run
