"""The random networks are what they promise, and over many of them nothing of the schema is missed."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings

from shared_specs import UNetSpec, tables
from shared_specs.schema import Level, Part
from shared_specs.shapes import Shape, feature_shapes

from ..strategies import specs
from ..toml_text import toml


def without_none(value: Any) -> Any:
    """As a file has it: a key that has no value is not there."""
    if isinstance(value, dict):
        return {key: without_none(item) for key, item in value.items() if item is not None}
    return [without_none(item) for item in value] if isinstance(value, list | tuple) else value


@pytest.fixture(scope="module")
def drawn() -> list[tuple[UNetSpec, Shape]]:
    """Some hundreds of cases."""
    cases: list[tuple[UNetSpec, Shape]] = []

    @settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
    @given(case=specs())
    def draw(case: tuple[UNetSpec, Shape]) -> None:
        cases.append(case)

    draw()
    return cases


def test_every_map_has_two_pixels_a_side_and_few_in_all(drawn: list[tuple[UNetSpec, Shape]]) -> None:
    for spec, images in drawn:
        shapes = feature_shapes(spec, images)
        assert min(min(shape[2:]) for shape in shapes.values()) >= 2
        assert images[0] == 2 and max(images[2:]) <= 24
        assert spec.parameter_count < 50_000


def test_names_are_unique(drawn: list[tuple[UNetSpec, Shape]]) -> None:
    for spec, _ in drawn:
        for names in ([layer.name for layer in spec.layers], [tensor.name for tensor in spec.tensors]):
            assert len(names) == len(set(names))


def test_files_of_them_mean_the_same(drawn: list[tuple[UNetSpec, Shape]]) -> None:
    for spec, _ in drawn:
        lines = [f"{key} = {toml(value)}" for key, value in without_none(spec.model_dump()).items()]
        from_toml = UNetSpec.model_validate(tomllib.loads("\n".join(lines)))
        from_json = UNetSpec.model_validate_json(spec.model_dump_json())
        assert spec == from_toml == from_json
        assert spec.fingerprint == from_toml.fingerprint == from_json.fingerprint


def places(spec: UNetSpec) -> Iterator[tuple[Part, Level]]:
    """What holds at each level of the encoder and of the decoder."""
    yield from (("encoder", spec.at("encoder", level)) for level in range(spec.levels))
    yield from (("decoder", spec.at("decoder", level)) for level in range(spec.levels - 1))


def options(table: tables.Table, prefix: str) -> Iterator[str]:
    """Every word and switch in a table, as `key=value`; of sizes, whether they are given by axis."""
    for key, value in table:
        if isinstance(value, tables.Table):
            yield from options(value, f"{prefix}{key}.")
        elif isinstance(value, bool | str):
            yield f"{prefix}{key}={value}"
        elif isinstance(value, tuple) and key in ("kernel", "stride", "padding", "dilation", "output_padding", "scale"):
            yield f"{prefix}{key} by axis"
        elif key == "order" and value is not None:
            yield f"{prefix}order={','.join(value)}"


def test_no_kind_of_layer_is_missed(drawn: list[tuple[UNetSpec, Shape]]) -> None:
    kinds = {layer.kind for spec, _ in drawn for layer in spec.layers}
    norms = {f"{norm.model_fields['kind'].annotation.__args__[0]}_norm" for norm in get_args(get_args(tables.Norm)[0])}
    activations = {
        get_args(kind.model_fields["kind"].annotation)[0] for kind in get_args(get_args(tables.Activation)[0])
    }
    expected = (norms - {"none_norm"}) | activations
    expected |= {"conv", "transposed_conv", "max_pool", "average_pool", "nearest", "linear", "pixel_shuffle"}
    assert kinds == expected | {"merge", "sum", "multiply", "dropout"}


EXPECTED = [
    "conv.padding_mode=zeros", "conv.padding_mode=reflect", "conv.padding_mode=replicate",
    "conv.padding_mode=circular", "conv.bias=True", "conv.bias=False", "norm.running_variance=biased",
    "norm.running_variance=unbiased", "norm.affine=True", "norm.affine=False", "activation.slopes=one",
    "activation.slopes=per_channel", "activation.approximation=none", "activation.approximation=tanh",
    "block.order=conv,norm,activation", "block.order=conv,activation,norm", "block.order=norm,conv,activation",
    "block.order=norm,activation,conv", "block.order=activation,conv",
    "down.kind=none", "down.kind=max_pool", "down.kind=average_pool", "down.kind=conv", "down.width=same",
    "down.width=next", "up.kind=none", "up.kind=transposed_conv", "up.kind=nearest", "up.kind=linear",
    "up.kind=pixel_shuffle", "up.width=half", "up.width=same", "up.width=skip", "up.width=decoder",
    "up.align_corners=True", "up.align_corners=False", "up.scale=skip", "up.before.order=conv",
    "up.before.padding_mode=circular", "up.after.padding_mode=reflect", "up.after.norm.kind=batch",
    "merge.kind=none", "merge.kind=sum", "merge.kind=concatenate", "merge.order=skip,upsampled",
    "merge.order=upsampled,skip", "merge.before_up=True", "merge.size_mismatch=error",
    "merge.size_mismatch=crop_skip", "merge.size_mismatch=pad_upsampled", "merge.size_mismatch=resize_upsampled",
    "merge.padding_mode=zeros", "merge.padding_mode=reflect", "merge.padding_mode=replicate",
    "merge.odd_difference=half_to_even", "merge.odd_difference=floor", "merge.odd_difference=all_after",
    "merge.resize=nearest", "merge.resize=linear", "merge.resize=linear_align_corners",
    "residual.last_activation=before_sum", "residual.last_activation=after_sum", "residual.stride_by=average_pool",
    "residual.stride_by=conv", "residual.norm=True", "residual.norm=False", "attention.norm.kind=none",
    "attention.norm.kind=batch", "attention.norm.kind=instance",
]  # fmt: skip
BY_AXIS = ["conv.kernel", "conv.padding", "conv.dilation", "conv.stride", "down.kernel", "down.stride", "up.kernel"]
BY_AXIS += ["up.stride", "up.padding", "up.output_padding", "up.scale"]


def test_no_option_is_missed(drawn: list[tuple[UNetSpec, Shape]]) -> None:
    seen = {option for spec, _ in drawn for _, level in places(spec) for option in options(level, "")}
    assert [option for option in EXPECTED if option not in seen] == []
    assert [key for key in BY_AXIS if f"{key} by axis" not in seen] == []


def skips_that_differ(spec: UNetSpec, images: Shape) -> set[str | None]:
    """How the merges make sizes equal that are not."""
    shapes = feature_shapes(spec, images)
    merges = [layer for layer in spec.layers if layer.kind == "merge" and {*layer.inputs} <= shapes.keys()]
    return {m.settings.size_mismatch for m in merges if shapes[m.inputs[0]][2:] != shapes[m.inputs[-1]][2:]}


def test_no_form_of_network_is_missed(drawn: list[tuple[UNetSpec, Shape]]) -> None:
    forms = {
        "3-D": lambda spec: spec.dimensions == 3,
        "one level": lambda spec: spec.levels == 1,
        "three levels": lambda spec: spec.levels == 3,
        "dropout first": lambda spec: spec.block.order[0] == "dropout",
        "dropout last": lambda spec: spec.block.order[-1] == "dropout",
        "dropout between": lambda spec: "dropout" in spec.block.order[1:-1],
        "nested": lambda spec: spec.nested,
        "stem": lambda spec: spec.residual is not None and spec.residual.stem > 0,
        "really nested": lambda spec: any(layer.name.startswith("nested.") for layer in spec.layers),
        "deep supervision": lambda spec: bool(spec.deep_logits),
        "no head": lambda spec: spec.head is None,
        "head norm": lambda spec: any(layer.name == "head_norm" for layer in spec.layers),
        "head activation": lambda spec: any(layer.name == "head_activation" for layer in spec.layers),
        "middle widths": lambda spec: spec.middle_widths is not None,
        "decoder widths": lambda spec: spec.decoder_widths is not None,
        "decoder middle widths": lambda spec: spec.decoder_middle_widths is not None,
        "two overrides": lambda spec: len(spec.override) > 1,
        "no convolution at a level": lambda spec: any(not at.block.convolutions for _, at in places(spec)),
        "images are the skip": lambda spec: any(at.block.convolutions == 0 for at in [spec.at("encoder", 0)]),
        "strided block": lambda spec: any(part == "encoder" and at.conv.stride != 1 for part, at in places(spec)),
        "strided shortcut": lambda spec: any(".shortcut.pool" in layer.name for layer in spec.layers),
        "norm of one level alone": lambda spec: len({at.norm.kind for _, at in places(spec)}) > 1,
        "two groups": lambda spec: any(getattr(at.norm, "groups", 1) == 2 for _, at in places(spec)),
        "two skips of one merge": lambda spec: any(len(l.inputs) == 3 for l in spec.layers if l.kind == "merge"),  # noqa: E741
    }  # fmt: skip
    assert [name for name, holds in forms.items() if not any(holds(spec) for spec, _ in drawn)] == []
    assert any(len(set(images[2:])) > 1 for _, images in drawn), "every image is square"
    differing = {mismatch for spec, images in drawn for mismatch in skips_that_differ(spec, images)}
    assert differing == {"crop_skip", "pad_upsampled", "resize_upsampled"}
