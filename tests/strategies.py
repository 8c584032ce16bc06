"""Random small networks over every knob of a spec, each with images that it can take.

The networks are right by construction, so that hardly a draw is thrown away. They come in two regimes: in one the
convolutions of a block keep the size, so that shortcuts, gates and nested nodes fit; in the other they do not, and
the merges crop, pad or resize. They are cheap: a few channels, 6 to 24 pixels a side, two images.
"""

from __future__ import annotations

from itertools import islice
from typing import Any

from hypothesis import reject
from hypothesis import strategies as st

from shared_specs import UNetSpec
from shared_specs.shapes import Shape, sizes_if_it_fits, total_stride

from . import unit_strategies as units

SIDES = {2: range(6, 25), 3: range(6, 17)}
"""Sides of the images that are tried, by the number of dimensions."""


@st.composite
def specs(draw: st.DrawFn, dimensions: tuple[int, ...] = (2, 2, 3), most_levels: int = 3) -> tuple[UNetSpec, Shape]:
    """A network and the shape (N, C, H, W) or (N, C, D, H, W) of images for it.

    No map has fewer than 2 pixels a side, so that no norm is degenerate.
    """
    values = draw(spec_values(draw(st.sampled_from(dimensions)), draw(st.integers(1, most_levels))))
    spec = UNetSpec.model_validate(values)
    return spec, (2, spec.in_channels, *draw(image_sizes(spec)))


@st.composite
def image_sizes(draw: st.DrawFn, spec: UNetSpec) -> tuple[int, ...]:
    """Sides of a small image; unequal where that fits, and such that skips differ in size where the spec allows it."""
    sides = SIDES[spec.dimensions]
    start = next((side for side in sides if fits(spec, (side,) * spec.dimensions)), None)
    if start is None:
        reject()
    size = [start] * spec.dimensions
    for axis, stride in enumerate(total_stride(spec)):
        found = (side for side in sides if side >= start and fits(spec, (*size[:axis], side, *size[axis + 1 :])))
        options = sorted(islice(found, 4), key=lambda side, stride=stride: (side % stride == 0, side))
        size[axis] = draw(st.sampled_from(options[:3]))
    return tuple(size)


def fits(spec: UNetSpec, size: tuple[int, ...]) -> bool:
    sizes = sizes_if_it_fits(spec, size)
    return sizes is not None and min(map(min, sizes.values())) >= 2


@st.composite
def spec_values(draw: st.DrawFn, dimensions: int, levels: int) -> dict[str, Any]:
    """The values of a spec file."""
    keeps_size = levels == 1 or draw(st.integers(0, 3)) > 0
    nested = levels > 1 and keeps_size and draw(st.integers(0, 4)) == 0
    factor = draw(factors(dimensions))
    up = draw(ups(dimensions, factor, keeps_size))
    attention = keeps_size and levels > 1 and draw(st.integers(0, 3)) == 0
    kinds = ["concatenate", "sum"] + ["none"] * (not nested and not attention and keeps_size)
    merge_kind = draw(st.sampled_from(kinds))
    if merge_kind == "sum":
        up |= ends_at_the_skips_width(draw, up)

    # Widths: even where something halves or groups them, and a multiple of the pixels that a shuffle makes of them.
    even = attention or draw(st.booleans()) or "half" in uses(up, "width")
    choices = [2, 4, 6] if even else [2, 3, 4, 5, 6]
    choices = [2**dimensions] if up["kind"] == "pixel_shuffle" else choices
    widths, middle, decoder, decoder_middle = (
        [draw(st.sampled_from(choices)) for _ in range(count)] for count in (levels, levels, levels - 1, levels - 1)
    )
    norm = draw(units.norms(even))
    dropout = draw(st.sampled_from([None, None, {"rate": 0.25}]))
    residual = None
    convolutions = draw(st.integers(1, 2 if keeps_size else 1))
    if keeps_size and draw(st.booleans()):
        residual = draw(units.residuals(convolutions, norm))
    ends_with_activation = residual is not None and residual["last_activation"] == "after_sum"
    values: dict[str, Any] = {
        "name": "random",
        "title": "A random network",
        "source": "tests/strategies.py",
        "dimensions": dimensions,
        "in_channels": draw(st.sampled_from([2, 4] if even else [1, 2, 3])),
        "out_channels": draw(st.integers(2, 4)),  # with 1, the thousand cases on record could not be drawn again
        "widths": widths,
        "block": {
            "convolutions": convolutions,
            "order": draw(units.orders(norm, dropout is not None, ends_with_activation)),
        },
        "conv": draw(units.convolutions(dimensions, keeps_size)),
        "norm": norm,
        "activation": draw(units.activations()),
        "down": draw(downs(factor)),
        "up": up,
        "merge": draw(merges(merge_kind, keeps_size, nested, attention)),
        "nested": nested,
        "head": draw(heads(even)),
    }
    optional = {
        "middle_widths": draw(st.sampled_from([None, middle])),
        "decoder_widths": draw(st.sampled_from([None, decoder])),
        "dropout": dropout,
        "residual": residual,
        "attention": {"width": "half", "bias": draw(st.booleans()), "norm": draw(units.norms_of_one())}
        if attention
        else None,
    }
    optional["decoder_middle_widths"] = draw(st.sampled_from([None, decoder_middle]))
    values |= {key: value for key, value in optional.items() if value is not None}
    order = values["block"]["order"]
    if norm["kind"] in ("group", "layer") and order.index("norm") < order.index("conv"):
        # It meets the channels of the images and of the upsampled map, of which one leaves nothing to a layer norm.
        values["in_channels"] = max(2, values["in_channels"])
        if "half" in uses(up, "width") or up["kind"] == "pixel_shuffle":
            values["norm"] = draw(units.norms_of_one(["batch", "instance"]))
    if levels > 2 and draw(st.booleans()):
        values["deep_supervision"] = {"levels": [1], "weights": [1.0, draw(st.sampled_from([0.5, 0.0]))]}
    values["override"] = draw(overrides(values, levels, factor, even, keeps_size))
    if may_join_first(values, levels) and draw(st.integers(0, 2)) == 0:
        values["merge"]["before_up"] = True
        values["override"].append(
            {"part": "encoder", "levels": [levels - 1], "down": {"kind": "none"}, "conv": {"stride": 1}}
        )
        values["override"].append({"part": "encoder", "levels": [0], "conv": {"stride": factor}})
    else:
        without_parts(draw, values, levels)
    return values


def without_parts(draw: st.DrawFn, values: dict[str, Any], levels: int) -> None:
    """Leave out the convolutions of one level, or the head, and set the widths that follow from that."""
    part = draw(st.sampled_from(["nothing"] * 5 + ["images are the skip", "only resampled", "only upsampled", "head"]))
    shuffles = values["up"]["kind"] == "pixel_shuffle"
    none = {"block": {"convolutions": 0}}
    if part == "images are the skip" and levels > 1 and not shuffles:
        values["in_channels"] = values["widths"][0]
        values["override"].append({"part": "encoder", "levels": [0], **none})
    elif part == "only resampled" and levels > 1 and values["down"]["kind"].endswith("pool"):
        values["widths"][-1] = values["widths"][-2]
        values["override"].append({"part": "encoder", "levels": [levels - 1], **none})
    elif part == "only upsampled" and levels > 1 and values["merge"]["kind"] == "none":
        if values["up"].get("width") == "decoder" and "after" not in values["up"]:
            values["override"].append({"part": "decoder", "levels": [0], **none})
    elif part == "head" and "deep_supervision" not in values:
        del values["head"]
        last = values["decoder_widths"] if levels > 1 and "decoder_widths" in values else values["widths"]
        values["out_channels"] = last[0]


@st.composite
def factors(draw: st.DrawFn, dimensions: int) -> int | list[int]:
    """By how much a level is smaller than the one above: one number, or one for each axis."""
    one = draw(st.sampled_from([2, 2, 2, 3, 1]))
    return draw(st.sampled_from([one, one, [1, *[2] * (dimensions - 1)]]))


def by_axis(value: int | list[int], change: dict[int, int]) -> int | list[int]:
    """A value for each factor."""
    return [change[part] for part in value] if isinstance(value, list) else change[value]


@st.composite
def downs(draw: st.DrawFn, factor: int | list[int]) -> dict[str, Any]:
    if factor == 1:
        return {"kind": "none"}
    kind = draw(st.sampled_from(["max_pool", "average_pool", "conv"]))
    down = {"kind": kind, "kernel": factor, "stride": factor, "padding": 0}
    if kind != "average_pool" and draw(st.booleans()):
        down |= {"kernel": by_axis(factor, {1: 1, 2: 3, 3: 3}), "padding": by_axis(factor, {1: 0, 2: 1, 3: 0})}
    if kind == "conv":
        return down | {"bias": draw(st.booleans()), "width": draw(st.sampled_from(["same", "next"]))}
    return down | {"rounding": "floor"}


@st.composite
def ups(draw: st.DrawFn, dimensions: int, factor: int | list[int], keeps_size: bool) -> dict[str, Any]:
    kinds = ["transposed_conv", "nearest", "linear"] + ["pixel_shuffle"] * (factor == 2) + ["none"] * (factor == 1)
    kind = draw(st.sampled_from(kinds))
    up: dict[str, Any] = {"kind": kind}
    if kind == "transposed_conv":
        shapes = [({1: 1, 2: 2, 3: 3}, {1: 0, 2: 0, 3: 0}, {1: 0, 2: 0, 3: 0})]  # kernel, padding, output_padding
        shapes += [({1: 3, 2: 3, 3: 3}, {1: 1, 2: 1, 3: 1}, {1: 0, 2: 1, 3: 2})]
        shapes += [({1: 1, 2: 4, 3: 5}, {1: 0, 2: 1, 3: 1}, {1: 0, 2: 0, 3: 0})]
        kernel, padding, output_padding = (by_axis(factor, part) for part in draw(st.sampled_from(shapes)))
        up |= {"kernel": kernel, "stride": factor, "padding": padding, "output_padding": output_padding}
        up |= {"bias": draw(st.booleans()), "width": draw(units.up_widths())}
    elif kind in ("nearest", "linear"):
        up["scale"] = draw(st.sampled_from([factor, "skip"]))
        if kind == "linear":
            up["align_corners"] = draw(st.booleans())
    elif kind == "pixel_shuffle":
        up["scale"] = factor
    for place in ("before", "after"):
        if kind != "pixel_shuffle" and draw(st.integers(0, 3)) == 0:
            up[place] = draw(units.up_units(dimensions, keeps_size))
            if up[place]["width"] == "half" and (place == "after" or kind == "transposed_conv"):
                up[place]["width"] = "skip"  # halved twice, an even width may be odd
    if kind == "pixel_shuffle" and draw(st.booleans()):
        up["after"] = draw(units.up_units(dimensions, keeps_size))
        up["after"]["width"] = "decoder"
    return up


def ends_at_the_skips_width(draw: st.DrawFn, up: dict[str, Any]) -> dict[str, Any]:
    """What to change so that the upsampled map has the channels of the skip, as a sum needs."""
    if up["kind"] == "transposed_conv" and "after" not in up:
        return {"width": "skip"}
    after = up.get("after") or draw(units.up_units(2, True)) | {"kernel": 1, "padding": 0}
    order = after["order"] if "conv" in after["order"] else ["conv", *after["order"]]
    return {"after": after | {"width": "skip", "order": order}}


def uses(table: dict[str, Any], key: str) -> list[Any]:
    """Every value of a key in a table and in the tables within it."""
    inner = [value for part in table.values() if isinstance(part, dict) for value in uses(part, key)]
    return [*inner, table[key]] if key in table else inner


@st.composite
def merges(draw: st.DrawFn, kind: str, keeps_size: bool, nested: bool, attention: bool) -> dict[str, Any]:
    merge: dict[str, Any] = {"kind": kind}
    if kind == "none":
        return merge
    if kind == "concatenate":
        merge["order"] = draw(st.sampled_from([["skip", "upsampled"], ["upsampled", "skip"]]))
    mismatches = ["pad_upsampled", "resize_upsampled"]
    mismatches += ["error"] * keeps_size + ["crop_skip"] * (not nested)
    mismatch = "error" if attention else draw(st.sampled_from(mismatches))
    merge["size_mismatch"] = mismatch
    if mismatch in ("crop_skip", "pad_upsampled"):
        merge["odd_difference"] = draw(st.sampled_from(["half_to_even", "floor", "all_after"]))
    if mismatch == "pad_upsampled":
        merge["padding_mode"] = draw(st.sampled_from(["zeros", "reflect", "replicate"]))
    if mismatch == "resize_upsampled":
        merge["resize"] = draw(st.sampled_from(["nearest", "linear", "linear_align_corners"]))
    return merge


def may_join_first(values: dict[str, Any], levels: int) -> bool:
    """Whether the maps may be joined before the up-sampling, which then leads to the resolution of the next level."""
    joins = levels > 1 and values["merge"]["kind"] == "concatenate" and values["up"].get("scale") != "skip"
    return joins and not values["nested"] and "attention" not in values


@st.composite
def heads(draw: st.DrawFn, even: bool) -> dict[str, Any]:
    kernel, padding = draw(st.sampled_from([(1, 0), (3, 1)]))
    head = {"kernel": kernel, "padding": padding, "bias": draw(st.booleans())}
    if draw(st.integers(0, 5)) == 0:
        head["norm"] = draw(units.norms_of_one())
    if draw(st.integers(0, 5)) == 0:
        head["activation"] = draw(units.activations())
    return head


@st.composite
def overrides(
    draw: st.DrawFn, values: dict[str, Any], levels: int, factor: int | list[int], even: bool, keeps_size: bool
) -> list[dict[str, Any]]:
    """Changes on some levels, at most one to the units of each part, so that no two contradict each other."""
    chosen = []
    for part, count in (("encoder", levels), ("decoder", levels - 1)):
        if count and draw(st.integers(0, 2)) == 0:
            override = {"part": part} | draw(units.changes(values, even, keeps_size))
            if draw(st.booleans()):
                override["levels"] = sorted(draw(st.sets(st.integers(0, count - 1), min_size=1)))
            chosen.append(override)
    if levels > 1 and draw(st.integers(0, 2)) == 0:
        chosen.append({"part": "encoder", "levels": [levels - 1], "down": draw(downs(factor))})
        if factor != 1 and keeps_size and draw(st.booleans()):
            chosen[-1] |= {"down": {"kind": "none"}, "conv": {"stride": factor}}  # the block's own stride
    merge = values["merge"]
    if levels > 1 and merge["kind"] == "concatenate" and draw(st.integers(0, 2)) == 0:
        chosen.append({"part": "decoder", "levels": [0], "merge": {"order": merge["order"][::-1]}})
    if levels > 1 and values["head"] and draw(st.integers(0, 7)) == 0 and keeps_size:
        chosen.append({"part": "encoder", "levels": [0], "conv": {"stride": 2}})  # the logits are smaller
    return chosen
