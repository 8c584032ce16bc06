"""What a key takes is told in the words of a TOML file, whatever pydantic calls it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Discriminator, Field, Tag

from shared_specs.expectations import LARGEST, Expectations, did_you_mean, either


class Circle(BaseModel):
    kind: Literal["circle"]
    radius: Annotated[float, Field(gt=0)]


class Square(BaseModel):
    kind: Literal["square"]
    side: float = 1.0
    corners: Literal[4] = 4


class Anything(BaseModel):
    note: str = ""


Shape = Annotated[Circle | Square, Field(discriminator="kind")]
Positive = Annotated[int, Field(gt=0, le=LARGEST)]
NumberOrAxes = Annotated[
    Annotated[Positive, Tag("number")] | Annotated[tuple[Positive, ...], Tag("axes")],
    Discriminator(lambda value: "number" if isinstance(value, int) else "axes"),
]


class Drawing(BaseModel):
    """A table with every kind of key."""

    title: str
    visible: bool
    count: int
    sides: Annotated[int, Field(ge=3, le=12)]
    layers: Positive
    padding: Annotated[int, Field(ge=0)]
    opacity: Annotated[float, Field(gt=0, le=1)]
    angle: Annotated[float, Field(ge=0, lt=360)]
    most: Annotated[float, Field(le=0.5)]
    colour: Literal["red", "green", "blue"]
    version: Literal[1]
    widths: tuple[Positive, ...]
    points: list[list[float]]
    colours: list[Literal["red", "green"]]
    rows: list[Positive | str]
    kernel: Positive | tuple[Positive, ...]
    stride: NumberOrAxes
    margin: Positive | None = None
    scale: Positive | Literal["skip"] | None = None
    shape: Shape
    frame: Shape | None = None
    shapes: list[Shape]
    circle: Circle
    maybe_circle: Circle | None = None
    anything: Anything
    more: dict[str, int]
    whatever: Any = None


CIRCLE = "a table with kind, radius"
SHAPE = "a table whose kind is 'circle' or 'square'"
POSITIVE = "a whole number greater than 0"
WORDS: dict[tuple[str | int, ...], str] = {
    ("title",): "text",
    ("visible",): "true or false",
    ("count",): "a whole number",
    ("sides",): "a whole number from 3 to 12",
    ("layers",): POSITIVE,
    ("padding",): "a whole number of at least 0",
    ("opacity",): "a number greater than 0 and at most 1",
    ("angle",): "a number of at least 0 and less than 360",
    ("most",): "a number at most 0.5",
    ("colour",): "'red', 'green' or 'blue'",
    ("version",): "1",
    ("widths",): "a list of whole numbers greater than 0",
    ("widths", 3): POSITIVE,
    ("points",): "a list of lists",
    ("points", 0): "a list of numbers",
    ("points", 0, 1): "a number",
    ("colours",): "a list of 'red' or 'green'",
    ("rows",): "a list of a whole number greater than 0 or text",
    ("kernel",): "a whole number greater than 0 or a list of whole numbers greater than 0",
    ("kernel", "int"): "a whole number greater than 0 or a list of whole numbers greater than 0",
    ("kernel", 1): POSITIVE,
    ("stride",): "a whole number greater than 0 or a list of whole numbers greater than 0",
    ("stride", "number"): "a whole number greater than 0 or a list of whole numbers greater than 0",
    ("stride", "axes", 1): POSITIVE,
    ("margin",): POSITIVE,
    ("scale",): "a whole number greater than 0 or 'skip'",
    ("shape",): SHAPE,
    ("shape", "circle"): CIRCLE,
    ("shape", "circle", "radius"): "a number greater than 0",
    ("shape", "square", "corners"): "4",
    ("frame",): SHAPE,
    ("frame", "square", "side"): "a number",
    ("shapes",): f"a list of {SHAPE}",
    ("shapes", 2): SHAPE,
    ("shapes", 2, "circle", "kind"): "'circle'",
    ("circle",): CIRCLE,
    ("maybe_circle",): CIRCLE,
    ("maybe_circle", "radius"): "a number greater than 0",
    ("anything",): "a table",
    ("more",): "a table",
    ("whatever",): "",
    ("absent",): "",
    ("count", "deeper"): "",
    ("count", 0): "",
    ("circle", "absent"): "",
}


@pytest.mark.parametrize(
    ("location", "words"),
    WORDS.items(),
    ids=lambda value: None if isinstance(value, str) else ".".join(map(str, value)),
)
def test_a_place_takes(location: tuple[str | int, ...], words: str) -> None:
    assert Expectations(Drawing).words(location) == words


@pytest.mark.parametrize(
    ("location", "keys"),
    [
        ((), list(Drawing.model_fields)),
        (("circle",), ["kind", "radius"]),
        (("maybe_circle",), ["kind", "radius"]),
        (("frame", "square"), ["kind", "side", "corners"]),
        (("shapes", 0, "circle"), ["kind", "radius"]),
        (("shape",), []),
        (("count",), []),
        (("more",), []),
        (("absent",), []),
    ],
)
def test_a_table_has_the_keys(location: tuple[str | int, ...], keys: list[str]) -> None:
    assert Expectations(Drawing).keys(location) == keys


@pytest.mark.parametrize(("words", "text"), [("a", "a"), ("ab", "a or b"), ("abcd", "a, b, c or d")])
def test_words_are_joined(words: str, text: str) -> None:
    assert either(iter(words)) == text


@pytest.mark.parametrize(
    ("word", "most", "text"),
    [
        ("kernal", 1, "kernel"),
        ("stride", 2, "strides or strided"),
        ("stride", 1, "strides"),
        ("colour", 1, ""),
    ],
)
def test_the_nearest_word_is_guessed(word: str, most: int, text: str) -> None:
    assert did_you_mean(word, iter(["kernel", "strided", "strides"]), most) == text
    assert most > 1 or did_you_mean(word, ["kernel", "strided", "strides"]) == text
