"""Options that belong together, as one parameter of a command.

Typer takes a command's options from its parameters, one by one. A parameter whose type is a Value
(values.py) of options stands for all of them.
"""

from __future__ import annotations

from functools import wraps
from inspect import Parameter, Signature, get_annotations, signature
from typing import TYPE_CHECKING, Any

from lambdatrace.values import Value, defaults_of

if TYPE_CHECKING:
    from collections.abc import Callable


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """`command` with the fields of its parameters that are Values in their place, for typer."""
    # `typing.get_type_hints` would take what is Annotated to pieces and put it together again.
    hints = get_annotations(command, eval_str=True)
    groups: dict[str, type[Value]] = {}
    parameters: list[Parameter] = []
    for parameter in signature(command).parameters.values():
        kind = hints[parameter.name]
        if not (isinstance(kind, type) and issubclass(kind, Value)):
            parameters.append(parameter.replace(annotation=kind, kind=Parameter.KEYWORD_ONLY))
            continue
        groups[parameter.name] = kind
        options = get_annotations(kind, eval_str=True)
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
    # The signature has them all; what typer finds here it would look at once more.
    run.__annotations__ = {}
    return run
