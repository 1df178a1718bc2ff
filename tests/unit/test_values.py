"""Values: what a frozen dataclass with slots does, as far as anything here relies on it."""

from __future__ import annotations

import dataclasses

import pytest

from lambdatrace.values import Value, as_dict, defaults_of, replaced


class Point(Value):
    """A value."""

    x: int
    label: str | None = None
    tags: tuple[str, ...] = ()

    @property
    def doubled(self) -> int:
        return 2 * self.x


class Other(Value):
    """With the same fields."""

    x: int
    label: str | None = None
    tags: tuple[str, ...] = ()


def test_fields_are_given_by_place_or_name_and_default() -> None:
    point = Point(3, tags=("a",))
    assert (point.x, point.label, point.tags, point.doubled) == (3, None, ("a",), 6)
    assert repr(point) == "Point(x=3, label=None, tags=('a',))"
    assert defaults_of(Point) == {"label": None, "tags": ()}


def test_the_first_objects_are_as_those_after_them() -> None:
    class New(Value):
        """A class of which there is no object yet."""

        x: int
        label: str | None = None

    made = [New(n % 3, *["a"][: n % 2]) for n in range(200)]
    assert made == [New(x=n % 3, label="a" if n % 2 else None) for n in range(200)]


def test_equal_fields_are_equal_values_of_one_class_only() -> None:
    assert Point(1, "a") == Point(1, "a")
    assert hash(Point(1, "a")) == hash(Point(1, "a"))
    assert Point(1, "a") != Point(2, "a")
    assert Point(1) != Other(1)
    assert Point(1) != (1, None, ())


@pytest.mark.parametrize(
    ("values", "named"),
    [((), {}), ((1, "a", (), 4), {}), ((1,), {"y": 2}), ((1,), {"x": 2}), ((), {"label": "a"})],
)
def test_what_are_no_fields_is_refused(
    values: tuple[object, ...], named: dict[str, object]
) -> None:
    class New(Value):
        """A class of which there is no object yet."""

        x: int
        label: str | None = None
        tags: tuple[str, ...] = ()

    # Twice: the first object is made differently.
    for _ in range(2):
        with pytest.raises(TypeError, match="__init__"):
            New(*values, **named)  # type: ignore[arg-type]


def test_there_is_nothing_but_fields() -> None:
    assert not hasattr(Point(1), "__dict__")
    with pytest.raises(AttributeError):
        Point(1).y = 2  # type: ignore[attr-defined]


def test_a_field_can_be_replaced_in_a_copy() -> None:
    point = Point(1, "a")
    assert replaced(point, x=2) == Point(2, "a")
    assert point.x == 1
    with pytest.raises(TypeError):
        replaced(point, y=2)


def test_dataclasses_takes_it_for_one_of_its_own() -> None:
    point = Point(1, "a", ("b",))
    assert dataclasses.is_dataclass(point)
    assert [each.name for each in dataclasses.fields(Point)] == ["x", "label", "tags"]
    assert dataclasses.asdict(point) == as_dict(point) == {"x": 1, "label": "a", "tags": ("b",)}
    assert dataclasses.replace(point, x=2) == Point(2, "a", ("b",))  # type: ignore[type-var]
    # Each class has its own.
    assert [each.name for each in dataclasses.fields(Other)] == ["x", "label", "tags"]


def test_a_match_takes_fields_by_place() -> None:
    match Point(1, "a"):
        case Point(x, label):
            assert (x, label) == (1, "a")
