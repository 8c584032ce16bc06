"""FLOPs and bytes by hand for a small network, and against PyTorch's counter for the zoo."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings

from shared_specs import ShapeError, UNetSpec, load_spec
from shared_specs.cost import Cost, layer_costs, total_cost
from shared_specs.shapes import Shape, smallest_input

from ..strategies import specs

IMAGES = (1, 1, 4, 4)


@pytest.fixture(scope="module")
def small(changed_spec: Callable[..., UNetSpec]) -> UNetSpec:
    """Two levels of one convolution each: 1 -> 2 channels of 4x4, then 2 -> 4 of 2x2, up to 2 of 4x4, merged 4 -> 2."""
    change = {"widths": [2, 4], "block.convolutions": 1, "in_channels": 1, "out_channels": 2}
    return changed_spec(change, base="unet_same")


BY_HAND = {
    # forward FLOPs: 2 · pixels · out · in · kernel²; bytes: 4 · (input + weights + output), and for the backward pass
    # 4 · (output + input + 2 · weights + input), but no gradient of the image.
    "encoder.0.block.0.conv": Cost(2 * 16 * 2 * 1 * 9, 576, 4 * (16 + 18 + 32), 4 * (32 + 16 + 36)),
    "encoder.1.block.0.conv": Cost(2 * 4 * 4 * 2 * 9, 2 * 576, 4 * (8 + 72 + 16), 4 * (16 + 8 + 144 + 8)),
    "decoder.0.up": Cost(2 * 4 * 4 * 2 * 4, 2 * 256, 4 * (16 + 32 + 32), 4 * (32 + 16 + 64 + 16)),
    "decoder.0.block.0.conv": Cost(2 * 16 * 2 * 4 * 9, 2 * 2304, 4 * (64 + 72 + 32), 4 * (32 + 64 + 144 + 64)),
    "head": Cost(2 * 16 * 2 * 2, 2 * 128, 4 * (32 + 4 + 32), 4 * (32 + 32 + 8 + 32)),
}


@pytest.mark.parametrize("layer", BY_HAND)
def test_layer_by_hand(layer: str, small: UNetSpec) -> None:
    assert layer_costs(small, IMAGES)[layer] == BY_HAND[layer]


def test_layers_that_are_not_convolutions_cost_nothing(small: UNetSpec) -> None:
    costs = layer_costs(small, IMAGES)
    assert list(costs) == [layer.name for layer in small.layers]
    assert {costs[name] for name in costs.keys() - BY_HAND.keys()} == {Cost()}


def test_total_by_hand(small: UNetSpec) -> None:
    assert total_cost(small, IMAGES) == Cost(3_840, 7_104, 1_912, 3_184)
    assert total_cost(small, IMAGES, bytes_per_element=8) == Cost(3_840, 7_104, 3_824, 6_368)
    assert total_cost(small, (3, 1, 4, 4)).forward_flops == 3 * 3_840


@pytest.mark.parametrize(
    ("phase", "expected"),
    [("forward", (3_840, 1_912)), ("forward_backward", (10_944, 5_096)), ("train_step", (10_944, 5_096))],
)
def test_cost_of_a_phase(phase: str, expected: tuple[int, int], small: UNetSpec) -> None:
    assert total_cost(small, IMAGES).of_phase(phase) == expected


def test_cost_of_the_published_network() -> None:
    # Sides of the two convolutions' outputs, and (in, out) channels, from figure 1 of Ronneberger et al. 2015.
    sides = [(570, 568), (282, 280), (138, 136), (66, 64), (30, 28), (54, 52), (102, 100), (198, 196), (390, 388)]
    widths = [(1, 64), (64, 128), (128, 256), (256, 512), (512, 1024), (1024, 512), (512, 256), (256, 128), (128, 64)]
    macs = 0
    for (first, second), (before, after) in zip(sides, widths, strict=True):
        macs += 9 * first**2 * before * after + 9 * second**2 * after**2
    macs += sum(4 * side**2 * 2 * width * width for side, width in [(28, 512), (52, 256), (100, 128), (196, 64)])
    macs += 388**2 * 64 * 2
    assert total_cost(load_spec("unet_paper"), (1, 1, 572, 572)).forward_flops == 2 * macs


RESIDUAL = {
    "span": 1,
    "last_activation": "before_sum",
    "stride_by": "average_pool",
    "kernel": 1,
    "padding": 0,
    "bias": False,
    "norm": False,
}


def test_strided_dilated_and_transposed_layers_by_hand(changed_spec: Callable[..., UNetSpec]) -> None:
    """One level of stride 2 by axis, with a shortcut whose pool needs no gradient, and one of dilation 2 below it."""
    change = {
        "widths": [2, 4],
        "block.convolutions": 1,
        "in_channels": 1,
        "out_channels": 2,
        "conv.dilation": 2,
        "conv.padding": 2,
        "residual": RESIDUAL,
        "override": [{"part": "encoder", "levels": [0], "conv": {"stride": [1, 2]}}],
        "up.kernel": [3, 5],
        "up.padding": [1, 2],
        "up.output_padding": 1,
    }
    costs = layer_costs(changed_spec(change, base="unet_same"), (1, 1, 4, 8))
    assert costs["encoder.0.block.0.conv"] == Cost(2 * 16 * 18, 2 * 16 * 18, 4 * (32 + 18 + 32), 4 * (32 + 32 + 36))
    # The shortcut's convolution reads a pooled image: no gradient passes through it.
    assert costs["encoder.0.block.0.shortcut.conv"] == Cost(
        2 * 16 * 2, 2 * 16 * 2, 4 * (16 + 2 + 32), 4 * (32 + 16 + 4)
    )
    assert costs["encoder.1.block.0.conv"].forward_flops == 2 * 4 * 72
    # Every pixel of the input meets every weight: 2x2 of them, whatever the output's size.
    up = Cost(2 * 4 * 4 * 2 * 15, 2 * 2 * 4 * 120, 4 * (16 + 120 + 32), 4 * (32 + 16 + 240 + 16))
    assert costs["decoder.0.up"] == up


def test_a_norm_with_parameters_in_front_needs_a_gradient(changed_spec: Callable[..., UNetSpec]) -> None:
    norm = {"kind": "instance", "epsilon": 1e-5, "affine": True}
    change = {"widths": [2], "block.convolutions": 1, "block.order": ["norm", "conv", "activation"]}
    with_scale = layer_costs(changed_spec(change | {"norm": norm}), (1, 3, 4, 4))["encoder.0.block.0.conv"]
    without = layer_costs(changed_spec(change | {"norm": norm | {"affine": False}}), (1, 3, 4, 4))
    assert with_scale.backward_flops == 2 * with_scale.forward_flops
    assert without["encoder.0.block.0.conv"].backward_flops == with_scale.forward_flops


def test_heads_of_deep_supervision_are_counted_in_training_alone(changed_spec: Callable[..., UNetSpec]) -> None:
    deep = {"levels": [1], "weights": [1.0, 0.5]}
    spec = changed_spec({"widths": [2, 4, 8], "out_channels": 5, "deep_supervision": deep})
    cost = layer_costs(spec, (1, 3, 8, 8))["deep_head.0"]
    assert cost.of_phase("forward") == (0, 0)
    assert cost.of_phase("train_step") == (3 * 2 * 16 * 4 * 5, 4 * (64 + 20 + 80) + 4 * (80 + 64 + 40 + 64))


def test_cost_refuses_images_that_do_not_fit(small: UNetSpec) -> None:
    with pytest.raises(ShapeError, match="level 0"):
        total_cost(small, (1, 1, 5, 5))


@pytest.mark.needs_backends("pytorch")
@given(case=specs())
@settings(max_examples=40)
def test_flops_of_random_networks_agree_with_pytorchs_counter(case: tuple[UNetSpec, Shape]) -> None:
    agrees_with_pytorchs_counter(*case)


@pytest.mark.needs_backends("pytorch")
def test_flops_agree_with_pytorchs_counter(spec_name: str) -> None:
    spec = load_spec(spec_name).narrow(16)
    size = smallest_input(spec)
    agrees_with_pytorchs_counter(spec, (2, spec.in_channels, *[size] * spec.dimensions))


def agrees_with_pytorchs_counter(spec: UNetSpec, images: Shape) -> None:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    import backends.pytorch

    cost = total_cost(spec, images)
    module = backends.pytorch.UNet(spec)
    with FlopCounterMode(display=False) as forward:
        heads = module.heads(torch.randn(images))
    with FlopCounterMode(display=False) as backward:
        sum(logits.sum() for logits in heads).backward()
    assert forward.get_total_flops() == cost.forward_flops
    assert backward.get_total_flops() == cost.backward_flops
