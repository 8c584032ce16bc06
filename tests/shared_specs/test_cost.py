"""FLOPs and bytes by hand for a small network, and against PyTorch's counter for the zoo."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shared_specs import ShapeError, UNetSpec, load_spec
from shared_specs.cost import Cost, layer_costs, total_cost
from shared_specs.shapes import smallest_input

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


def test_cost_refuses_images_that_do_not_fit(small: UNetSpec) -> None:
    with pytest.raises(ShapeError, match="level 0"):
        total_cost(small, (1, 1, 5, 5))


@pytest.mark.needs_backends("pytorch")
def test_flops_agree_with_pytorchs_counter(spec_name: str) -> None:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    import backends.pytorch

    spec = load_spec(spec_name).narrow(16)
    size = smallest_input(spec)
    cost = total_cost(spec, (2, spec.in_channels, size, size))
    module = backends.pytorch.UNet(spec)
    with FlopCounterMode(display=False) as forward:
        logits = module(torch.randn(2, spec.in_channels, size, size))
    with FlopCounterMode(display=False) as backward:
        logits.sum().backward()
    assert forward.get_total_flops() == cost.forward_flops
    assert backward.get_total_flops() == cost.backward_flops
