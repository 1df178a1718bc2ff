r"""Filters over documents: `host~partner,connect_ms>=100,status!=ok` -> a predicate.

A filter is conditions with commas between them, and all of them have to hold. A condition is a
field's name as docs/json.md has it, an operator and a value:

    = !=         equal or not; texts exactly, `null` where a value is not known
    ~ !~         a text contains it or does not, whatever the case
    < <= > >=    numbers and moments (RFC 3339, or the beginning of one in UTC)

A value with commas, quotes or blanks around it stands in double quotes; `\"` and `\\` inside them.
What is not known (null) is unequal to everything and neither above nor below anything.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from lambdatrace.errors import UsageError
from lambdatrace.values import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

TEXT, NUMBER, BOOLEAN, MOMENT = "text", "number", "true or false", "moment"
# A field's kind, or what its text can be.
Kind = str | tuple[str, ...]

# Compiled when there is a filter: that takes longer than the module.
_CONDITION = (
    r"(?s)\s*([a-z][a-z0-9_.]*)\s*(!=|!~|<=|>=|=|~|<|>)\s*"
    r'(?:"((?:[^"\\]|\\.)*)"|([^,"]*?))\s*(?:,|$)'
)
# The beginning of one, and what makes a whole one of it.
_MOMENT = (
    r"[0-9]{4}(?:-[0-9]{2}(?:-[0-9]{2}(?:[Tt ][0-9]{2}(?::[0-9]{2}(?::[0-9]{2}"
    r"(?:\.[0-9]{1,9})?)?)?)?)?)?"
)
_FIRST_MOMENT = "0000-01-01T00:00:00.000000000"
_NUMBER = r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]{1,3})?"
_OPERATORS: dict[str, tuple[str, ...]] = {
    TEXT: ("=", "!=", "~", "!~"),
    NUMBER: ("=", "!=", "<", "<=", ">", ">="),
    BOOLEAN: ("=", "!="),
    MOMENT: ("=", "!=", "~", "!~", "<", "<=", ">", ">="),
}
_TESTS: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda found, wanted: bool(found == wanted),
    "!=": lambda found, wanted: bool(found != wanted),
    "~": lambda found, wanted: wanted.casefold() in found.casefold(),
    "!~": lambda found, wanted: wanted.casefold() not in found.casefold(),
    "<": lambda found, wanted: bool(found < wanted),
    "<=": lambda found, wanted: bool(found <= wanted),
    ">": lambda found, wanted: bool(found > wanted),
    ">=": lambda found, wanted: bool(found >= wanted),
}
_NEGATIVE = ("!=", "!~")
_HINT = "as in --filter 'host~partner,connect_ms>=100,status!=ok'"
_NULL = "null"


class Condition(Value):
    """One comparison; `value` None stands for null."""

    field: str
    operator: str
    value: str | float | bool | None

    def holds(self, document: Mapping[str, Any]) -> bool:
        """Whether a document is as it says."""
        found = value_of(document, self.field)
        if found is None or self.value is None:
            return (found is self.value) is not (self.operator in _NEGATIVE)
        return _TESTS[self.operator](found, self.value)

    def __str__(self) -> str:
        value = self.value
        if value is None:
            return f"{self.field}{self.operator}{_NULL}"
        if isinstance(value, bool):
            return f"{self.field}{self.operator}{str(value).lower()}"
        if isinstance(value, float):
            return f"{self.field}{self.operator}{value!r}"
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'{self.field}{self.operator}"{escaped}"'


class Filter:
    """Conditions that all have to hold, sorted by what they are about."""

    def __init__(self, conditions: Mapping[str, Sequence[Condition]]) -> None:
        self._conditions = conditions

    def on(self, scope: str) -> tuple[Condition, ...]:
        """The conditions about one kind of thing."""
        return tuple(self._conditions.get(scope, ()))

    def holds(self, scope: str, document: Mapping[str, Any]) -> bool:
        """Whether all conditions about this kind of thing hold for one of them."""
        return all(each.holds(document) for each in self._conditions.get(scope, ()))

    def holds_for_one(self, scope: str, documents: Iterable[Mapping[str, Any]]) -> bool:
        """Whether all of them hold for the same one of many; also where there are none."""
        conditions = self._conditions.get(scope)
        return not conditions or any(
            all(each.holds(document) for each in conditions) for document in documents
        )


def value_of(document: Mapping[str, Any], field: str) -> Any:
    """The value of a field; a dot leads into an object, and out of none comes None."""
    value: Any = document
    for name in field.split("."):
        value = None if value is None else value[name]
    return value


def parse(text: str | None, scopes: Mapping[str, Mapping[str, Kind]]) -> Filter:
    """The filter that `text` spells; None: one that everything passes.

    `scopes` say which fields there are, by what they are about ({scope: {field: kind}}); of two
    with one name the first scope's is meant. Raises UsageError, in words.
    """
    found: dict[str, list[Condition]] = {}
    if text is None:
        return Filter(found)
    at = 0
    while at < len(text) or not found:
        match = re.compile(_CONDITION).match(text, at)
        if match is None or (match.end() == len(text) and text.rstrip().endswith(",")):
            rest = text[at:].strip() or text
            raise UsageError(f"--filter: {rest!r} is not a condition", _HINT)
        name, operator, quoted, plain = match.groups()
        scope, kind = _field(name, scopes)
        value = _value(name, operator, kind, plain, quoted)
        found.setdefault(scope, []).append(Condition(name, operator, value))
        at = match.end()
    return Filter(found)


def _field(name: str, scopes: Mapping[str, Mapping[str, Kind]]) -> tuple[str, Kind]:
    for scope, fields in scopes.items():
        if name in fields:
            return scope, fields[name]
    there = "; ".join(f"of {scope}: {', '.join(fields)}" for scope, fields in scopes.items())
    raise UsageError(f"--filter: there is no field {name!r}", f"the fields are, {there}")


def _value(
    name: str, operator: str, kind: Kind, plain: str | None, quoted: str | None
) -> str | float | bool | None:
    base = TEXT if isinstance(kind, tuple) else kind
    if operator not in _OPERATORS[base]:
        raise UsageError(
            f"--filter: {name} is a {base}, and {operator} does not go with that",
            f"use one of {' '.join(_OPERATORS[base])}",
        )
    if plain == _NULL:
        if operator not in ("=", "!="):
            raise UsageError("--filter: null is neither above nor below anything", "use = or !=")
        return None
    text = re.sub(r"\\(.)", r"\1", quoted or "", flags=re.DOTALL) if plain is None else plain
    if base == NUMBER:
        if not re.fullmatch(_NUMBER, text):
            raise UsageError(f"--filter: {name} is a number, {text!r} is none", _HINT)
        return float(text)
    if base == BOOLEAN:
        if text not in ("true", "false"):
            raise UsageError(f"--filter: {name} is true or false, not {text!r}", _HINT)
        return text == "true"
    if base == MOMENT and operator not in ("~", "!~"):
        return _moment(name, text)
    if isinstance(kind, tuple) and operator in ("=", "!=") and text not in kind:
        raise UsageError(f"--filter: {name} is never {text!r}", f"it is one of {', '.join(kind)}")
    return text


def _moment(name: str, text: str) -> str:
    """A moment as documents have it: to the ns, in UTC, so that texts compare as moments do.

    Of the beginning of one the first moment that begins so. Raises UsageError.
    """
    from lambdatrace.analysis.times import parse_moment, rfc_3339

    whole = text
    if re.fullmatch(_MOMENT, text.removesuffix("Z")):
        whole = text.removesuffix("Z")
        whole = f"{whole}{_FIRST_MOMENT[len(whole) :]}Z"
    elif not re.match(r"[0-9]{4}-", text):
        raise UsageError(
            f"--filter: {name} is a moment, {text!r} is none",
            "write it as in started_at>=2026-11-22T07, or say how long ago with --since",
        )
    return rfc_3339(parse_moment(whole, 0))
