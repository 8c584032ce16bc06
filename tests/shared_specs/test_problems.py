"""What pydantic finds wrong is told in one line, in the words and with the keys of the file."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, ValidationError

from shared_specs.problems import MOST_PROBLEMS, describe, in_file, shorten
from shared_specs.tables import Table


class Round(Table):
    kind: Literal["round"]
    radius: Annotated[float, Field(gt=0)]


class Square(Table):
    kind: Literal["square"]
    side: int


class Hole(Table):
    shape: Annotated[Round | Square, Field(discriminator="kind")] = Round(kind="round", radius=1)
    axes: tuple[int, ...] = ()


class Plate(Table):
    """A table of every form that the spec files have."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")] = "a"
    code: Annotated[str, Field(pattern=r"^\d+$")] = "1"
    widths: Annotated[tuple[int, ...], Field(strict=False, max_length=3)] = ()
    size: int | Annotated[tuple[int, ...], Field(strict=False)] = 1
    hole: Hole = Hole()
    holes: Annotated[tuple[Hole, ...], Field(strict=False)] = ()
    options: dict[str, int] = Field(default_factory=dict)
    is_drilled: bool = False


class Part(Table):
    """What has to be there."""

    hole: Hole
    depth: float


def told(table: type[Table], values: Any, **how: Any) -> str:
    with pytest.raises(ValidationError) as error:
        table.model_validate(values)
    return describe(error.value, values, **how)


KINDS = "'round', 'square'"
CASES: dict[str, tuple[type[Table], Any, str, str]] = {  # the line with the model at hand, and without it
    "another type": (
        Plate,
        {"name": 3, "size": "x", "hole": {"axes": 2}, "options": 1, "is_drilled": 0},
        "name: got 3, expected text; size: got 'x', expected a whole number or a list of whole numbers; "
        "size: got 'x', expected a whole number or a list of whole numbers; hole.axes: got 2, expected a list of whole "
        "numbers; options: got 1, expected a table; is_drilled: got 0, expected true or false",
        "name: got 3, expected text; size: got 'x', expected a whole number; size: got 'x', expected a list; "
        "hole.axes: got 2, expected a list; options: got 1, expected a table; "
        "is_drilled: got 0, expected true or false",
    ),
    "no table": (
        Part,
        {"hole": 1, "depth": "deep"},
        "hole: got 1, expected a table; depth: got 'deep', expected a number",
        "hole: got 1, expected a table; depth: got 'deep', expected a number",
    ),
    "a range": (
        Plate,
        {"widths": [1, 2, 3, 4], "hole": {"shape": {"kind": "round", "radius": 0.0}}},
        "widths: got [1, 2, 3, 4], expected at most 3 items; hole.shape.radius: got 0.0, expected greater than 0",
        "widths: got [1, 2, 3, 4], expected at most 3 items; hole.shape.radius: got 0.0, expected greater than 0",
    ),
    "a pattern": (
        Plate,
        {"name": "a b", "code": "x"},
        "name: got 'a b', expected letters, digits, dots, - and _, a letter or digit first; "
        "code: got 'x', expected text that matches ^\\d+$",
        "name: got 'a b', expected letters, digits, dots, - and _, a letter or digit first; "
        "code: got 'x', expected text that matches ^\\d+$",
    ),
    "a missing key": (
        Part,
        {"hole": {"shape": {"kind": "square"}}},
        "key hole.shape.side is missing; add it, a whole number; key depth is missing; add it, a number",
        "key hole.shape.side is missing; add it; key depth is missing; add it",
    ),
    "a missing kind": (
        Part,
        {"hole": {"shape": {"side": 2}}, "depth": 1.0},
        "key hole.shape.kind is missing; add it, 'round' or 'square'",
        "key hole.shape.kind is missing; add it",
    ),
    "an unknown kind": (
        Plate,
        {"holes": [{}, {"shape": {"kind": "long"}}]},
        f"holes.1.shape.kind: got 'long', expected {KINDS}",
        f"holes.1.shape.kind: got 'long', expected {KINDS}",
    ),
    "a misspelt kind": (
        Plate,
        {"hole": {"shape": {"kind": "sqare"}}},
        f"hole.shape.kind: got 'sqare', expected {KINDS}; did you mean 'square'?",
        f"hole.shape.kind: got 'sqare', expected {KINDS}; did you mean 'square'?",
    ),
    "unknown keys": (
        Plate,
        {"zzz": 1, "hole": {"qqq": 1}},
        "unknown key hole.qqq; remove it; unknown key zzz; remove it",
        "unknown key hole.qqq; remove it; unknown key zzz; remove it",
    ),
    "misspelt keys": (  # what is missing only because of it is not told
        Part,
        {"hole": {"shape": {"kind": "round", "radiuss": 1.0}, "axis": [1, 1]}, "dept": 1.0, "zzz": 1},
        "unknown key hole.shape.radiuss; did you mean radius?; unknown key hole.axis; did you mean axes?; "
        "unknown key dept; did you mean depth?; unknown key zzz; remove it",
        "key hole.shape.radius is missing; add it; unknown key hole.shape.radiuss; remove it; "
        "unknown key hole.axis; remove it; key depth is missing; add it; unknown key dept; remove it; "
        "unknown key zzz; remove it",
    ),
    "a misspelt key beside a wrong one of its name": (
        Part,
        {"hole": {}, "depth": "deep", "depht": 1.0},
        "depth: got 'deep', expected a number; unknown key depht; did you mean depth?",
        "depth: got 'deep', expected a number; unknown key depht; remove it",
    ),
}


@pytest.mark.parametrize("is_known", [True, False], ids=["model", "no model"])
@pytest.mark.parametrize(("table", "values", "with_model", "without"), CASES.values(), ids=CASES)
def test_problems_are_told_in_one_line(
    table: type[Table], values: Any, with_model: str, without: str, is_known: bool
) -> None:
    if is_known:
        assert told(table, values, model=table) == with_model
    else:
        assert told(table, values) == without


def test_what_stands_before_the_keys_is_said_with_each() -> None:
    assert told(Plate, {"zzz": 1, "name": 3}, prefix="plates.0.") == (
        "plates.0.name: got 3, expected text; unknown key plates.0.zzz; remove it"
    )


def test_the_table_itself_may_be_none() -> None:
    assert told(Plate, 7) == ": got 7, expected a table"


@pytest.mark.parametrize("more", [0, 1, 7])
def test_the_first_problems_are_listed_and_the_others_counted(more: int) -> None:
    values = {f"z{number:02}": 1 for number in range(MOST_PROBLEMS + more)}
    listed = [f"unknown key {key}; remove it" for key in list(values)[:MOST_PROBLEMS]]
    assert told(Plate, values) == "; ".join([*listed, *([f"and {more} more"] if more else [])])


@pytest.mark.parametrize(
    ("keys", "values", "shown"),
    [
        ("norm.batch.epsilon", {"norm": {"kind": "batch"}}, "norm.epsilon"),  # the tag of a union
        ("norm.batch", {"norm": {"kind": "batch", "batch": 1}}, "norm.batch"),  # a key that is called like it
        ("kernel.axes.1", {"kernel": [1, "x"]}, "kernel.1"),  # the list, not the number, of a union
        ("kernel.one", {"kernel": "x"}, "kernel"),
        ("override.1.up.linear.scale", {"override": [{}, {"up": {"kind": "linear"}}]}, "override.1.up.scale"),
        ("axes.2", {"axes": (1, 2)}, "axes.2"),  # which is missing
        ("axes.2.x", {"axes": [1, 2]}, "axes.2.x"),
        ("conv.kernel", {}, "conv.kernel"),
        ("conv.0.kernel", {"conv": 5}, "conv.0.kernel"),
        ("conv.kernel", None, "conv.kernel"),
        (f"{'a' * 60}.{'b' * 61}", {}, f"{'a' * 60}.{'b' * 57}..."),
    ],
)
def test_a_key_stands_as_in_the_file(keys: str, values: Any, shown: str) -> None:
    assert in_file(keys.split("."), values) == shown


def nested(depth: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(depth):
        found = [found]
    return found


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("a" * 58, f"'{'a' * 58}'"),
        ("a" * 59, f"'{'a' * 56}..."),
        (None, "None"),
        (10**5_000, "an unprintable int"),
        (nested(100_000), "an unprintable list"),
    ],
    ids=["short", "long", "none", "digits", "lists"],
)
def test_a_value_is_shown_in_short(value: Any, shown: str) -> None:
    assert shorten(value) == shown


Line = Annotated[tuple[int, ...], Field(strict=False, min_length=2)]


class Drawing(Table):
    """Lists that may not be short, some of them in another."""

    lines: Annotated[tuple[Line, ...], Field(strict=False)] = ()
    ends: Annotated[tuple[int, ...], Field(strict=False, min_length=1)] = (1,)


def test_a_list_whose_items_are_wrong_is_not_called_short() -> None:
    """Pydantic counts the items that are right."""
    assert told(Drawing, {"ends": ["x"]}) == "ends.0: got 'x', expected a whole number"
    assert told(Drawing, {"ends": []}) == "ends: got [], expected at least 1 item"
    assert told(Drawing, {"ends": ["x"], "lines": [[1]]}) == (
        "lines.0: got [1], expected at least 2 items; ends.0: got 'x', expected a whole number"
    )
    assert told(Drawing, {"lines": [[1, "x"], [2]]}) == (
        "lines.0.1: got 'x', expected a whole number; lines.1: got [2], expected at least 2 items"
    )
