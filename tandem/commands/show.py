"""`tandem show`: the layer table, from the spec alone."""

from __future__ import annotations

import math

from shared_specs import ShapeError, UNetSpec, load_spec
from shared_specs.cost import layer_costs, total_cost
from shared_specs.errors import printable
from shared_specs.shapes import Axes, Shape, axis_names, feature_shapes, size_of, smallest_input

from .. import selections
from ..console import Output, plain_table
from ..units import counted, sized

BYTES_PER_ELEMENT = 4
"""Memory is counted in float32."""

USUAL_SIZES = {2: (224, 256, 572), 3: (128, 96)}
"""Sides in pixels to show where no size was asked for, by dimensions."""


def run(
    name: str, size: str | None = None, narrow: int | None = None, batch: int = 1, json_path: str | None = None
) -> int:
    """Print every layer's output shape, parameters, FLOPs and memory for one batch of images."""
    output = Output(json_path, [name])
    spec = load_spec(name).narrow(1 if narrow is None else narrow)
    given = selections.size(size)
    images = (batch, spec.in_channels, *(usual_size(spec) if given is None else size_of(spec, given)))
    shapes, costs = feature_shapes(spec, images), layer_costs(spec, images, BYTES_PER_ELEMENT)
    total = total_cost(spec, images, BYTES_PER_ELEMENT)

    table = plain_table(
        printable(f"{spec.name}: {spec.title}"),
        *("layer", "kind", f"output {axis_names(spec)}", "parameters", "FLOPs", "memory"),
        right=("parameters", "FLOPs", "memory"),
    )
    table.add_row("images", "", _shape(images), "", "", sized(_bytes(images)))
    place = None
    for layer in spec.layers:
        if (layer.stage, layer.level) != place:
            table.add_section()
        place = (layer.stage, layer.level)
        flops = costs[layer.name].forward_flops
        table.add_row(
            layer.name,
            layer.kind,
            _shape(shapes[layer.name]),
            f"{layer.parameter_count:,}" if layer.parameter_count else "",
            counted(flops) if flops else "",
            sized(_bytes(shapes[layer.name])),
        )
    outputs = sum(map(_bytes, shapes.values()))
    state = sum(tensor.size for tensor in spec.tensors if not tensor.trainable)
    output.print(table)
    state_words = f", and {state:,} numbers of norm state" if state else ""
    output.print(f"Parameters      {spec.parameter_count:,} ({sized(4 * spec.parameter_count)}){state_words}")
    output.print(f"Images, logits  {_shape(images)} → {_shape(shapes[spec.logits])}")
    output.print(f"FLOPs           {counted(total.forward_flops)} forward, {counted(total.backward_flops)} backward")
    output.print(f"Bytes at least  {sized(total.forward_bytes)} moved forward, {sized(total.backward_bytes)} backward")
    output.print(f"All outputs     {sized(outputs)}, if every layer's output is kept")
    output.print(
        "Memory is that of the output in float32. A multiply-add counts 2 FLOPs; only convolutions are counted.",
        style="dim",
    )
    output.write(
        "show",
        {
            "spec": spec.model_dump(mode="json"),
            "images_shape": images,
            "layers": [
                {
                    "name": layer.name,
                    "kind": layer.kind,
                    "output_shape": shapes[layer.name],
                    "parameters": layer.parameter_count,
                    "forward_flops": costs[layer.name].forward_flops,
                    "backward_flops": costs[layer.name].backward_flops,
                    "output_bytes": _bytes(shapes[layer.name]),
                }
                for layer in spec.layers
            ],
            "totals": {
                "parameters": spec.parameter_count,
                "forward_flops": total.forward_flops,
                "backward_flops": total.backward_flops,
                "forward_bytes": total.forward_bytes,
                "backward_bytes": total.backward_bytes,
                "output_bytes": outputs,
            },
        },
    )
    return 0


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


def _shape(shape: Shape) -> str:
    return "(" + ", ".join(map(str, shape)) + ")"


def _bytes(shape: Shape) -> int:
    return BYTES_PER_ELEMENT * math.prod(shape)
