"""`tandem show SPEC`: the network drawn, its layer table and totals, from the spec alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from rich.table import Table

from shared_specs import ShapeError, UNetSpec, load_spec
from shared_specs.cost import Cost, layer_costs
from shared_specs.errors import printable
from shared_specs.layout import Layer
from shared_specs.shapes import Axes, Shape, axis_names, feature_shapes, size_label, size_of, smallest_input

from .. import selections
from ..console import Output, plain_table
from ..drawing import WIDTH, draw
from ..units import counted, sized

BYTES_PER_ELEMENT = 4
"""Memory is counted in float32."""

COLUMNS = (
    ("layer", "kind", "output", "parameters", "FLOPs", "memory"),
    ("layer", "output", "parameters", "FLOPs", "memory"),
    ("layer", "output", "parameters", "FLOPs"),
    ("layer", "output", "parameters"),
)
"""Of the layer table; a terminal gets the first for which it is wide enough."""

USUAL_SIZES = {2: (224, 256, 572), 3: (128, 96)}
"""Sides in pixels to show where no size was asked for, by dimensions."""


@dataclass(frozen=True)
class Shown:
    """A network with one batch of images, and all that can be said of it without a framework."""

    spec: UNetSpec
    images: Shape

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        return feature_shapes(self.spec, self.images)

    @cached_property
    def costs(self) -> dict[str, Cost]:
        return layer_costs(self.spec, self.images, BYTES_PER_ELEMENT)

    @cached_property
    def total(self) -> Cost:
        return sum(self.costs.values(), Cost())

    @property
    def logits(self) -> Shape:
        return self.shapes[self.spec.logits]

    @property
    def norm_state(self) -> int:
        """Numbers of the norms' running statistics."""
        return sum(tensor.size for tensor in self.spec.tensors if not tensor.trainable)

    def layer(self, layer: Layer) -> dict[str, Any]:
        """A layer's keys in the JSON."""
        return {
            "name": layer.name,
            "kind": layer.kind,
            "output_shape": self.shapes[layer.name],
            "parameters": layer.parameter_count,
            "forward_flops": self.costs[layer.name].forward_flops,
            "backward_flops": self.costs[layer.name].backward_flops,
            "output_bytes": size_bytes(self.shapes[layer.name]),
        }

    def totals(self) -> dict[str, int]:
        """The totals' keys in the JSON."""
        return {
            "parameters": self.spec.parameter_count,
            "forward_flops": self.total.forward_flops,
            "backward_flops": self.total.backward_flops,
            "forward_bytes": self.total.forward_bytes,
            "backward_bytes": self.total.backward_bytes,
            "output_bytes": sum(map(size_bytes, self.shapes.values())),
            "norm_state": self.norm_state,
            "layers": len(self.spec.layers),
        }


def run(
    name: str, size: str | None = None, narrow: int | None = None, batch: int = 1, json_path: str | None = None
) -> int:
    """Print the network drawn, and every layer's output shape, parameters, FLOPs and memory for one batch of images."""
    output = Output(json_path, [name])
    shown = load(name, size, narrow, batch)
    spec = shown.spec
    drawing = draw(spec, shown.images, min(output.width, WIDTH))  # refuses images that do not fit
    output.print(printable(f"{spec.name}: {spec.title}"), "", style="bold")
    output.print(*drawing)
    tables = (layer_table(shown, columns) for columns in COLUMNS)
    output.print(next((table for table in tables if output.fits(table)), layer_table(shown, COLUMNS[-1])))
    print_totals(shown, output)
    output.write(
        "show",
        {
            "spec": spec,
            "images_shape": shown.images,
            "logits_shape": shown.logits,
            "layers": [shown.layer(layer) for layer in spec.layers],
            "totals": shown.totals(),
        },
    )
    return 0


def load(name: str, size: str | None, narrow: int | None, batch: int) -> Shown:
    """The network as asked for, at the size asked for or a usual one. Raises TandemError."""
    spec = load_spec(name).narrow(1 if narrow is None else narrow)
    given = selections.size(size)
    return Shown(spec, (batch, spec.in_channels, *(usual_size(spec) if given is None else size_of(spec, given))))


def layer_table(shown: Shown, columns: Sequence[str] = COLUMNS[0]) -> Table:
    """One row a layer. Without its kind, which its name and the drawing say, shapes are short, as in the drawing."""
    spec, whole = shown.spec, "kind" in columns
    output = f"output {axis_names(spec)}" if whole else "output"
    heads = [output if column == "output" else column for column in columns]
    table = plain_table("", *heads, right=("parameters", "FLOPs", "memory"))

    def add(shape: Shape, **cells: str) -> None:
        cells["output"] = shape_label(shape) if whole else size_label(shape[1:])
        cells["memory"] = sized(size_bytes(shape))
        table.add_row(*(cells.get(column, "") for column in columns))

    add(shown.images, layer="images")
    place = None
    for layer in spec.layers:
        if (layer.stage, layer.level) != place:
            table.add_section()
        place = (layer.stage, layer.level)
        flops = shown.costs[layer.name].forward_flops
        add(
            shown.shapes[layer.name],
            layer=layer.name,
            kind=layer.kind,
            parameters=f"{layer.parameter_count:,}" if layer.parameter_count else "",
            FLOPs=counted(flops) if flops else "",
        )
    return table


def print_totals(shown: Shown, output: Output) -> None:
    """What the table sums up to."""
    spec, total, state = shown.spec, shown.total, shown.norm_state
    state_words = f", and {state:,} numbers of norm state" if state else ""
    outputs = shown.totals()["output_bytes"]
    output.print(f"Parameters      {spec.parameter_count:,} ({sized(4 * spec.parameter_count)}){state_words}")
    output.print(f"Images, logits  {shape_label(shown.images)} → {shape_label(shown.logits)}")
    output.print(f"FLOPs           {counted(total.forward_flops)} forward, {counted(total.backward_flops)} backward")
    output.print(f"Bytes at least  {sized(total.forward_bytes)} moved forward, {sized(total.backward_bytes)} backward")
    output.print(f"All outputs     {sized(outputs)}, if every layer's output is kept")
    output.print(
        "Memory is that of the output in float32. A multiply-add counts 2 FLOPs; only convolutions are counted.",
        style="dim",
    )


def usual_size(spec: UNetSpec) -> Axes:
    """A size that the network takes: the first of the usual ones, else the smallest. Raises ShapeError if none."""
    unpadded = spec.conv.padding == 0 and spec.dimensions == 2
    for side in USUAL_SIZES[spec.dimensions][2 * unpadded :]:
        try:
            feature_shapes(spec, (1, spec.in_channels, *size_of(spec, (side,))))
        except ShapeError:
            continue
        return size_of(spec, (side,))
    return size_of(spec, (smallest_input(spec),))


def shape_label(shape: Shape) -> str:
    """ "(1, 64, 224, 224)"."""
    return "(" + ", ".join(map(str, shape)) + ")"


def size_bytes(shape: Shape) -> int:
    """Of a map in float32."""
    return BYTES_PER_ELEMENT * math.prod(shape)
