"""`tandem show`: the layer table, from the spec alone."""

from __future__ import annotations

import math

from shared_specs import ShapeError, UNetSpec, load_spec
from shared_specs.cost import layer_costs, total_cost
from shared_specs.shapes import Shape, feature_shapes, smallest_input

from .. import selections
from ..console import Output, plain_table
from ..units import counted, sized

BYTES_PER_ELEMENT = 4
"""Memory is counted in float32."""

USUAL_SIZES = {True: (224, 256), False: (572,)}
"""Square sizes in pixels to show where none was asked for, by whether the convolutions are padded."""


def run(
    name: str, size: str | None = None, narrow: int | None = None, batch: int = 1, json_path: str | None = None
) -> int:
    """Print every layer's output shape, parameters, FLOPs and memory for one batch of images."""
    output = Output(json_path, [name])
    spec = load_spec(name).narrow(1 if narrow is None else narrow)
    height, width = selections.size(size) or usual_size(spec)
    images = (batch, spec.in_channels, height, width)
    shapes, costs = feature_shapes(spec, images), layer_costs(spec, images, BYTES_PER_ELEMENT)
    total = total_cost(spec, images, BYTES_PER_ELEMENT)

    table = plain_table(
        f"{spec.name}: {spec.title}",
        *("layer", "kind", "output (N, C, H, W)", "parameters", "FLOPs", "memory"),
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
    output.print(f"Images, logits  {_shape(images)} → {_shape(shapes['head'])}")
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


def usual_size(spec: UNetSpec) -> tuple[int, int]:
    """A size that the network takes: that of its field's papers, else the smallest. Raises ShapeError if none."""
    for side in USUAL_SIZES[spec.conv.padding > 0]:
        try:
            feature_shapes(spec, (1, spec.in_channels, side, side))
        except ShapeError:
            continue
        return side, side
    side = smallest_input(spec)
    return side, side


def _shape(shape: Shape) -> str:
    return "(" + ", ".join(map(str, shape)) + ")"


def _bytes(shape: Shape) -> int:
    return BYTES_PER_ELEMENT * math.prod(shape)
