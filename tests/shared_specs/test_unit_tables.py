"""Sizes of layers: one number for every axis, or one for each."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from shared_specs.unit_tables import Margin, Size, SizeOrSkip, by_axis


@pytest.mark.parametrize(
    ("kind", "value", "read"),
    [
        (Size, 3, 3),
        (Size, [3, 1], (3, 1)),
        (Size, (3, 1, 2), (3, 1, 2)),
        (Margin, 0, 0),
        (Margin, [0, 2], (0, 2)),
        (SizeOrSkip, "skip", "skip"),
        (SizeOrSkip, [2, 1], (2, 1)),
    ],
)
def test_a_size_is_a_number_or_one_for_each_axis(kind: Any, value: object, read: object) -> None:
    assert TypeAdapter(kind).validate_python(value) == read


@pytest.mark.parametrize(
    ("kind", "value", "place"),
    [
        (Size, 0, ("number",)),
        (Size, [3, 0], ("axes", 1)),
        (Margin, -1, ("number",)),
        (Margin, [-1], ("axes", 0)),
        (SizeOrSkip, [3, 0], ("size", "axes", 1)),
        (SizeOrSkip, "skips", ("skip",)),
    ],
)
def test_an_error_speaks_of_what_was_meant_alone(kind: Any, value: object, place: tuple[object, ...]) -> None:
    with pytest.raises(ValidationError) as error:
        TypeAdapter(kind).validate_python(value)
    assert [found["loc"] for found in error.value.errors()] == [place]


def test_each_axis_has_its_number() -> None:
    assert by_axis(3, 2) == (3, 3)
    assert by_axis((3, 1), 2) == (3, 1)
