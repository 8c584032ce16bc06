"""A network drawn as text: the U with its shapes and skips, or the triangle of nodes of a nested one (U-Net++)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from shared_specs import UNetSpec
from shared_specs.layout import Convolution, Layer, Pool, Resize
from shared_specs.shapes import Shape, feature_shapes
from shared_specs.sizes import size_label

from .canvas import Canvas

WIDTH = 80
"""Columns that a drawing takes where it can."""

MARGIN = 3
"""Columns on the left for the number of the level."""

DEEP = "*"
"""Marks a map that has a head of deep supervision."""


@dataclass(frozen=True)
class Node:
    """The map at the end of a block: its shape (N, C, H, W), and whether it has a head of deep supervision."""

    shape: Shape
    deep: bool = False

    @property
    def label(self) -> str:
        """ "64x224x224", channels first."""
        return size_label(self.shape[1:]) + DEEP * self.deep

    @property
    def channels(self) -> str:
        return str(self.shape[1]) + DEEP * self.deep


class Network:
    """What is to be drawn of a spec with one batch of images."""

    def __init__(self, spec: UNetSpec, images: Shape):
        self.spec, self.images = spec, images
        self.shapes = feature_shapes(spec, images)
        self.last = spec.levels - 1
        self._supervised = set(spec.deep_supervision.levels) if spec.deep_supervision else set()
        self.encoder: list[Node] = []
        for level in range(spec.levels):
            before = self.encoder[-1].shape if self.encoder else images
            self.encoder.append(Node(self._end_of(f"encoder.{level}", before), level in self._at_the_bottom()))
        self.decoder: dict[int, Node] = {}
        for level in reversed(range(self.last)):
            before = self.decoder[level + 1].shape if level + 1 in self.decoder else self.encoder[-1].shape
            self.decoder[level] = Node(self._end_of(f"decoder.{level}", before), level in self._supervised)

    def _at_the_bottom(self) -> set[int]:
        return self._supervised & {self.last}  # a head of the lowest level reads the encoder's map

    def row(self, level: int) -> list[Node]:
        """The nodes of a nested network at one level, from the encoder's to the decoder's."""
        if level == self.last:
            return [self.encoder[level]]
        inner = [self._end_of(f"nested.{level}.{number}", self.images) for number in range(self.last - 1 - level)]
        return [self.encoder[level], *map(Node, inner), self.decoder[level]]

    def layers_of(self, part: str) -> list[Layer]:
        return [layer for layer in self.spec.layers if layer.name.startswith(f"{part}.")]

    def _end_of(self, part: str, before: Shape) -> Shape:
        """The shape that comes out of a part, or what goes into it where it has no layers."""
        layers = self.layers_of(part)
        return self.shapes[layers[-1].name] if layers else before

    def down(self, level: int) -> str:
        """How a level's encoder gets smaller maps: "max_pool 2", "conv 2"."""
        first = next((layer for layer in self.layers_of(f"encoder.{level}") if _stride(layer) is not None), None)
        return "" if first is None else f"{first.kind} {_stride(first)}"

    def up(self, level: int) -> str:
        """How a level's decoder gets larger maps: "transposed_conv 2", "nearest 2"."""
        found = next((layer for layer in self.layers_of(f"decoder.{level}") if layer.name.endswith(".up")), None)
        return "" if found is None else f"{found.kind} {_stride(found) or ''}".strip()

    def merge(self, level: int) -> list[str] | None:
        """How a level joins skip and upsampled map, in long words and in short; None where it does not."""
        found = next((layer for layer in self.layers_of(f"decoder.{level}") if layer.kind == "merge"), None)
        if found is None:
            return None
        into, size = [self._size(name) for name in found.inputs], self.shapes[found.name][2:]
        mismatch = ""
        if into[0] != into[-1]:
            verb = found.settings.size_mismatch.partition("_")[0]
            mismatch = f"{verb} to {size_label(size)}, "
        attention = "attention, " if any(".attention." in name for name in found.inputs) else ""
        kind = found.settings.kind
        return [f"{mismatch}{attention}{kind}", f"{attention}{kind}", kind, ""]

    def _size(self, name: str) -> tuple[int, ...]:
        return self.shapes.get(name, self.images)[2:]

    def convolutions(self) -> str:
        """How many convolutions the blocks have, without shortcuts."""
        parts = {"encoder": range(self.spec.levels), "decoder": range(self.last)}
        said = []
        for part, levels in parts.items():
            counts = [self._count(f"{part}.{level}.block") for level in levels]
            if counts:
                one = len(set(counts)) == 1
                said.append(f"{part} {counts[0] if one else ', '.join(map(str, counts)) + ' from level 0 down'}")
        return f"Convolutions in a block: {'; '.join(said)}."

    def _count(self, block: str) -> int:
        return sum(layer.kind == "conv" and ".shortcut." not in layer.name for layer in self.layers_of(block))


def draw(spec: UNetSpec, images: Shape, width: int = WIDTH) -> list[str]:
    """The lines of a drawing, of `width` columns at most where the shapes leave room for it."""
    network = Network(spec, images)
    lines = _nested(network, width) if spec.nested and spec.levels > 1 else _u(network, width)
    notes = [network.convolutions()]
    if spec.nested and spec.levels > 1:
        notes.append("Numbers are channels. A node also reads every map on its left at its level.")
    if spec.deep_logits:
        heads = ", ".join(f"{name} {size_label(network.shapes[name][1:])}" for name in spec.deep_logits)
        notes.append(f"{DEEP} has a head of deep supervision, for training alone: {heads}.")
    return [*lines, "", *notes]


def _u(network: Network, width: int) -> list[str]:
    spec, last = network.spec, network.last
    left = [node.label for node in network.encoder]
    right = [network.decoder[level].label for level in range(last)]
    ends = _ends(network)
    if not last:
        return [f"{'':{MARGIN}}{ends[0]} ──▶ {left[0]} ──▶ {ends[1]}"]
    indent = next((step for step in (4, 3, 2, 1) if _columns(network, step) <= width), 1)
    width = max(width, _columns(network, indent))
    canvas = Canvas(width)
    canvas.write(0, MARGIN, ends[0])
    canvas.write_left_of(0, width, ends[1])
    canvas.write(1, MARGIN, f"│ {network.down(0)}")
    canvas.write_left_of(1, width, f"{_head(spec)} ▲".lstrip())
    for level in range(last):
        y, x, end = 2 + 2 * level, MARGIN + indent * level, width - indent * level
        canvas.write(y, 0, str(level))
        canvas.write(y, x, left[level])
        canvas.write_left_of(y, end, right[level])
        if (words := network.merge(level)) is not None:
            canvas.arrow(y, x + len(left[level]) + 1, end - len(right[level]) - 1, words)
        canvas.write(y + 1, x + indent, f"│ {network.down(level + 1)}")
        canvas.write_left_of(y + 1, end - indent, f"{network.up(level)} ▲")
    y, x, end = 2 + 2 * last, MARGIN + indent * last, width - indent * last
    middle = x + (end - x - len(left[last])) // 2
    canvas.write(y, 0, str(last))
    canvas.write(y, x, "└")
    canvas.arrow(y, x + 1, middle - 1)
    canvas.write(y, middle, left[last])
    canvas.line(y, middle + len(left[last]) + 1, end - 1)
    canvas.write(y, end - 1, "┘")
    return canvas.lines()


def _ends(network: Network) -> tuple[str, str]:
    logits = network.shapes[network.spec.logits]
    return f"images {size_label(network.images[1:])}", f"logits {size_label(logits[1:])}"


def _columns(network: Network, indent: int) -> int:
    """How wide a U has to be, so that nothing on its left meets what is on its right."""
    last, needed = network.last, [sum(map(len, _ends(network))) + 2]
    for level in range(last):
        labels = len(network.encoder[level].label) + len(network.decoder[level].label)
        ways = len(network.down(level + 1)) + len(network.up(level))
        needed += [2 * indent * level + labels + 6, 2 * indent * (level + 1) + ways + 6]
    needed.append(2 * indent * last + len(network.encoder[last].label) + 8)
    return MARGIN + max(needed)


def _nested(network: Network, width: int) -> list[str]:
    rows = [network.row(level) for level in range(network.spec.levels)]
    sizes = [size_label(row[0].shape[2:]) for row in rows]
    labels = [[node.channels if node.shape[2:] == row[0].shape[2:] else node.label for node in row] for row in rows]
    longest = max(len(label) for row in labels for label in row)
    start, steps = MARGIN + max(map(len, sizes)) + 2, 2 * network.last
    fewest = (longest + 5) // 2
    step = max(fewest, min(9, (width - start - longest) // steps))
    ends = _ends(network)
    width = max(width, start + step * steps + longest, len(ends[0]) + len(ends[1]) + MARGIN + 2)
    canvas = Canvas(width)
    canvas.write(0, start, ends[0])
    head_end = max(start + step * steps + longest, start + len(ends[0]) + 2 + len(ends[1]))
    canvas.write_left_of(0, head_end, ends[1])
    canvas.write(1, start, f"│ {network.down(0)}")
    canvas.write_left_of(1, start + step * steps + 1, f"{_head(network.spec)} ▲".lstrip())
    for level, row in enumerate(labels):
        y = 2 + 2 * level
        canvas.write(y, 0, str(level))
        canvas.write(y, MARGIN, sizes[level])
        for number, label in enumerate(row):
            x = start + step * (2 * number + level)
            canvas.write(y, x, label)
            if number + 1 < len(row):
                canvas.arrow(y, x + len(label) + 1, x + 2 * step - 1)
            if number == 0 and level < network.last:
                canvas.write(y + 1, x + step // 2 + 1, "↘")
            if level:
                canvas.write(y - 1, x + step // 2 + 1, "↗")
    down, up = network.down(1), network.up(0)
    return [*canvas.lines(), "", f"↘ {down or 'down'}   ↗ {up or 'up'}   {_joined(network)}".rstrip()]


def _joined(network: Network) -> str:
    words = network.merge(0)
    return "" if words is None else f"→ {words[0]}"


def _head(spec: UNetSpec) -> str:
    """The layers after the decoder, as they run."""
    return " ".join(layer.kind for layer in spec.layers if layer.stage == "head")


def _stride(layer: Layer) -> str | None:
    """By how much a layer changes the size; None where it does not, or where it takes the size of another map."""
    settings: Any = layer.settings
    if layer.kind == "pixel_shuffle":
        return str(settings.scale)
    match settings:
        case Convolution() | Pool():
            axes = settings.stride
        case Resize() if settings.scale is not None:
            axes = settings.scale
        case _:
            return None
    if set(axes) == {1} and isinstance(settings, Convolution):
        return None
    return str(axes[0]) if len(set(axes)) == 1 else size_label(axes)
