"""Where each layer of a U-Net stands when it is drawn as a U, and where the contours of a distance run around it.

The encoder goes down the left wall, its deepest level along the bottom, the decoder up the right wall; nodes of a
nested decoder (U-Net++) have walls of their own in between. A distance is drawn away from the wall, outward, on a
logarithmic axis. The drawing is 1000 wide and a level `BAND` high; y is 0 at the top and negative below.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

WIDTH = 1000.0
ARM, DEPTH, BAND = 235.0, 130.0, 96.0
"""How far the largest distance reaches from the side walls and from the bottom, and the height of a level."""

LEFT, RIGHT = ARM + 15.0, WIDTH - ARM - 15.0
"""The two walls."""

NAME = re.compile(
    r"(encoder|decoder|nested)\.(\d{1,3})(?:\.(\d{1,3}))?(?:\.|$)|(deep_head)\.(\d{1,3})$|head(?:_activation)?$"
)

Point = tuple[float, float]


@dataclass(frozen=True)
class Seat:
    """Where a layer stands: its part of the network, level, and node of a nested decoder."""

    part: str
    level: int
    node: int = 0


@dataclass(frozen=True)
class Place:
    """A layer on its wall, and the direction in which a distance is drawn from there."""

    name: str
    seat: Seat
    wall: Point
    outward: Point
    reach: float

    def at(self, share: float) -> Point:
        """Where a distance ends that reaches this share, 0 to 1, of the axis."""
        return self.wall[0] + share * self.reach * self.outward[0], self.wall[1] + share * self.reach * self.outward[1]


@dataclass(frozen=True)
class Axis:
    """A logarithmic axis of distances."""

    smallest: float
    largest: float

    def share(self, distance: float) -> float:
        """Of the axis: 0 at its beginning and below, 1 at its end and beyond."""
        if not distance > self.smallest:
            return 0.0
        if distance >= self.largest:
            return 1.0
        return math.log(distance / self.smallest) / math.log(self.largest / self.smallest)


class Drawing:
    """The seats of the layers of one network.

    Args:
        names: of the layers, in order; those that do not stand in a U-Net are left out.
        deep_levels: the levels of the heads of deep supervision.
    """

    def __init__(self, names: Iterable[str], deep_levels: Sequence[int] = ()):
        seats = {name: seat for name in names if (seat := seat_of(name, deep_levels)) is not None}
        encoder = [seat.level for seat in seats.values() if seat.part == "encoder"]
        self.depth = max(encoder, default=0)
        self.columns = 1 + max((seat.node for seat in seats.values() if seat.part == "nested"), default=-1)
        self.levels = sorted({seat.level for seat in seats.values() if seat.level < self.depth})
        rows: dict[Seat, list[str]] = {}
        for name, seat in seats.items():
            at = Seat("decoder", seat.level) if seat.part in ("head", "deep_head") else seat
            rows.setdefault(at, []).append(name)
        found = {
            name: self._place(name, seats[name], at, (number + 0.5) / len(row))
            for at, row in rows.items()
            for number, name in enumerate(row)
        }
        self.places = {name: found[name] for name in seats}

    @property
    def bottom(self) -> float:
        """Where the bottom wall is."""
        return -BAND * self.depth

    def _place(self, name: str, seat: Seat, at: Seat, along: float) -> Place:
        top = -BAND * at.level
        if at.part == "encoder" and at.level < self.depth:
            return Place(name, seat, (LEFT, top - along * BAND), (-1, 0), ARM)
        if at.level >= self.depth:
            return Place(name, seat, (LEFT + along * (RIGHT - LEFT), self.bottom), (0, -1), DEPTH)
        upward = top - (1 - along) * BAND
        if at.part == "nested":
            room = (RIGHT - LEFT) / (self.columns + 1)
            return Place(name, seat, (LEFT + room * (at.node + 0.75), upward), (1, 0), 0.45 * room)
        return Place(name, seat, (RIGHT, upward), (1, 0), ARM)

    def walls(self) -> list[list[Point]]:
        """The U, and the walls of nested nodes, as lines."""
        nested = [place.wall for place in self.places.values() if place.seat.part == "nested"]
        stands = sorted({(x, math.ceil(y / BAND)) for x, y in nested})
        inner = [[(x, BAND * (top - 0.04)), (x, BAND * (top - 0.96))] for x, top in stands]
        return [self.contour(0.0), *inner]

    def contour(self, share: float) -> list[Point]:
        """The line around the U at a share of the axis, with round corners."""
        side, down = share * ARM, share * DEPTH
        turns = [math.pi / 2 * step / 12 for step in range(13)]
        left = [(LEFT - side * math.cos(turn), self.bottom - down * math.sin(turn)) for turn in turns]
        right = [(RIGHT + side * math.cos(turn), self.bottom - down * math.sin(turn)) for turn in reversed(turns)]
        return [(LEFT - side, 0.0), *left, *right, (RIGHT + side, 0.0)]

    def skips(self) -> list[tuple[int, list[Point]]]:
        """By level, the line from the encoder to the layer of the decoder that merges."""
        found = []
        for level in self.levels:
            here = [place for place in self.places.values() if place.seat.level == level]
            sends = [place for place in here if place.seat.part == "encoder"]
            merges = [place for place in here if place.seat.part == "decoder" and place.name.endswith(".merge")]
            if sends and merges:
                y = merges[-1].wall[1]
                found.append((level, [(LEFT, y), (RIGHT, y)]))
        return found


def seat_of(name: str, deep_levels: Sequence[int] = ()) -> Seat | None:
    """By the canonical name of a layer; None for one of another network."""
    match = NAME.match(name)
    if match is None:
        return None
    part, level, node, deep, number = match.groups()
    if deep:
        return Seat("deep_head", deep_levels[int(number)] if int(number) < len(deep_levels) else int(number) + 1)
    if part is None:
        return Seat("head", 0)
    return Seat(part, int(level), int(node or 0) if part == "nested" else 0)
