"""Immutable values with named fields: dataclasses that cost nothing until there is one of them.

`dataclasses` compiles six methods for each class when it is defined, which for all that `show`
needs takes as long as everything else together. A `Value` compiles one, and only where there are
more than a few objects; the others are the same for all. To a type checker, and to the functions of
`dataclasses`, it is a frozen dataclass with slots. That nothing is assigned to a field is left to
the type checker: objects are made in a third of the time that way.
"""

from __future__ import annotations

from itertools import repeat
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, dataclass_transform

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

AnyValue = TypeVar("AnyValue", bound="Value")

# To compile takes as long as to make so many objects without.
_FEW = 40
# How many there are, by class; not in the class, whose methods would be looked up anew each time.
_MADE: dict[type, int] = {}


@dataclass_transform(frozen_default=True)
class _ValueType(type):
    """Makes a class's annotated names its slots."""

    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> _ValueType:
        """A class of values; takes no base but Value itself."""
        names = tuple(namespace.get("__annotations__", ()))
        namespace["_defaults"] = {each: namespace.pop(each) for each in names if each in namespace}
        namespace["__slots__"] = namespace["__match_args__"] = names
        namespace["_names"] = frozenset(names)
        return super().__new__(mcs, name, bases, namespace)


class _Fields:
    """What `dataclasses` looks for, made for a class when somebody looks."""

    def __get__(self, value: Value | None, owner: type[Value]) -> dict[str, Any]:
        from dataclasses import field, make_dataclass

        known = owner._defaults
        fields: list[Any] = [
            (name, Any, field(default=known[name])) if name in known else (name, Any)
            for name in owner.__slots__
        ]
        made: Any = make_dataclass(owner.__name__, fields)
        owner.__dataclass_fields__ = made.__dataclass_fields__
        return owner.__dataclass_fields__


class Value(metaclass=_ValueType):
    """The base of all values. Annotated names are fields; defaults are shared, so immutable."""

    if not TYPE_CHECKING:
        # A type checker makes them from the annotations.
        __dataclass_fields__ = _Fields()

        def __init__(self, *values: Any, **named: Any) -> None:
            kind = type(self)
            made = _MADE.get(kind, 0)
            if made < _FEW:
                _MADE[kind] = made + 1
                # Nothing is left out: the values are in the order of the names, or all are named.
                if values and not named and len(values) == len(kind.__slots__):
                    any(map(setattr, repeat(self), kind.__slots__, values))  # None of each
                    return
                if not values and named.keys() == kind._names:
                    any(map(setattr, repeat(self), named, named.values()))
                    return
                given = dict(zip(kind.__slots__, values, strict=False)) | named if values else named
                is_clear = len(given) == len(values) + len(named)
                whole = {**kind._defaults, **given} if kind._defaults else given
                if is_clear and whole.keys() == kind._names:
                    for name, value in whole.items():
                        setattr(self, name, value)
                    return
            # Which also says what was wrong.
            kind.__init__ = _initialiser(kind)
            self.__init__(*values, **named)

    else:
        __slots__: ClassVar[tuple[str, ...]]
        _defaults: ClassVar[dict[str, Any]]

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return _fields_of(self) == _fields_of(other)

    def __hash__(self) -> int:
        return hash(_fields_of(self))

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
        return f"{type(self).__name__}({shown})"


def replaced(value: AnyValue, **changes: Any) -> AnyValue:
    """`value` with other values for some of its fields. Raises TypeError for what is none."""
    return type(value)(**({name: getattr(value, name) for name in value.__slots__} | changes))


def defaults_of(kind: type[Value]) -> Mapping[str, Any]:
    """The fields of a class that need not be given, and what they are then."""
    return kind._defaults


def as_dict(value: Value) -> dict[str, Any]:
    """The fields by name, in their order."""
    return {name: getattr(value, name) for name in value.__slots__}


def _fields_of(value: Value) -> tuple[Any, ...]:
    return tuple([getattr(value, name) for name in value.__slots__])


def _initialiser(kind: type[Value]) -> Callable[..., None]:
    names = kind.__slots__
    known = kind._defaults
    parameters = [f"{name}=_defaults[{name!r}]" if name in known else name for name in names]
    body = "; ".join(f"self.{name} = {name}" for name in names) or "pass"
    made: dict[str, Any] = {"_defaults": known}
    # As `dataclasses` does; the names are those of this package's own classes.
    exec(f"def __init__(self, {', '.join(parameters)}): {body}", made)  # noqa: S102
    initialiser: Callable[..., None] = made["__init__"]
    initialiser.__qualname__ = f"{kind.__qualname__}.__init__"
    return initialiser
