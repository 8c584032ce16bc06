"""Habits of people who write U-Nets: inferred where a spec can say them, and else told in words that help."""

from __future__ import annotations

from typing import Any

import pytest

import parity
from backends import trace
from parity.adoption.adopt import identify
from parity.adoption.images import images_of, telling_batch
from parity.adoption.inference import Inference, infer
from parity.adoption.matching import match
from parity.adoption.spec_values import with_overrides
from shared_specs import UNetSpec

from .adopted import CHANGEABLE, own

pytestmark = pytest.mark.needs_backends("pytorch")


def two_levels(habit: str) -> Any:
    import torch

    from tests.own_variety import TwoLevels

    torch.manual_seed(0)
    return TwoLevels(habit)


def inferred(habit: str, shape: tuple[int, ...] = (1, 3, 16, 20)) -> Inference:
    return infer(trace.trace(two_levels(habit), shape))


def spec_of(habit: str, shape: tuple[int, ...] = (1, 3, 16, 20)) -> UNetSpec:
    traced = trace.trace(two_levels(habit), shape)
    inference = infer(traced)
    assert inference.spec is not None, inference.reason
    assert match(inference.spec, traced).differences == []
    return inference.spec


def test_generator_that_begins_with_a_stride_is_proven() -> None:
    from tests.own_variety import Generator

    adoption = parity.adopt(Generator(), backends=["pytorch"])
    assert adoption.equal, str(adoption)
    spec = adoption.spec
    assert spec is not None
    assert spec.widths == (3, 4, 8, 8)
    assert [spec.at("encoder", level).block.convolutions for level in range(4)] == [0, 1, 1, 1]
    assert {spec.at("decoder", level).block.convolutions for level in range(3)} == {0}
    befores = [spec.at("decoder", level).up.before for level in range(3)]
    assert [before is not None and before.order for before in befores] == [("activation",), ("activation",), False]
    assert any(words.startswith("without the dropout of rate 0.5") for words in adoption.assumed)


@pytest.mark.parametrize(("levels", "size"), [(9, (256, 512)), (8, (256, 384))])
def test_images_of_a_proof_are_no_larger_than_they_must_be(levels: int, size: tuple[int, int]) -> None:
    merge = {"kind": "concatenate", "order": ["skip", "upsampled"], "size_mismatch": "error"}
    spec = UNetSpec.model_validate(CHANGEABLE | {"widths": [2] * levels, "merge": merge})
    assert telling_batch(spec, seed=0).images.shape == (2, 3, *size)


def test_channels_are_those_of_the_convolution_that_runs_first() -> None:
    assert trace.first_convolution(two_levels("decoder made first")) == (3, 2)
    assert trace.first_convolution(two_levels("adds places")) == (1, 2)
    assert spec_of("decoder made first").in_channels == 3


def test_smooth_resize_that_enlarges_is_linear() -> None:
    merge = spec_of("smooth resize", (1, 3, 17, 20)).merge
    assert (merge.size_mismatch, merge.resize) == ("resize_upsampled", "linear")


def test_convolution_before_up_is_no_part_of_the_block() -> None:
    spec = spec_of("thin before up")
    assert spec.up.before is not None and spec.up.after is None
    assert (spec.up.before.kernel, spec.up.before.order) == (1, ("conv",))
    assert spec.at("encoder", 1).block.convolutions == 2


def test_last_convolution_with_another_kernel_is_the_head() -> None:
    spec = spec_of("head like a unit")
    assert spec.head is not None and spec.head.activation is not None
    assert spec.head.activation.kind == "relu"
    assert spec.at("decoder", 0).block.convolutions == 2


def test_module_that_takes_square_images_only_is_proven_on_those() -> None:
    adoption = parity.adopt(two_levels("square"), backends=["pytorch"])
    assert adoption.equal, str(adoption)
    assert any(words.startswith("images of 188 stand for all: TwoLevels fails on") for words in adoption.assumed)


TOLD = {
    "enlarged": (
        "nearest at the top enlarges what is at level 0 already, where a U-Net ends",
        "return what it reads, and enlarge that outside of the module",
    ),
    "skip of a half block": (
        "cat joins relu (enter.1) at decoder level 0, where the skip of a spec is relu",
        "no spec",
    ),
    "late skip": (
        "cat joins max_pool2d at decoder level 0, where the skip of a spec is relu (enter.3)",
        "no spec says",
    ),
    "norm after head": ("batch_norm (head.2) after the activation of the head", "no spec says it either"),
    "one block for two": ("conv at enter.2 uses enter.2.weight again, where each layer", "a module of its own"),
    "bare ends": ("the units of encoder level 0 do not repeat: conv, relu, conv", "as the units of a level are alike"),
}


@pytest.mark.parametrize("habit", TOLD)
def test_what_no_spec_can_say_is_told_with_what_to_do(habit: str) -> None:
    inference = inferred(habit)
    assert inference.spec is None
    reason, advice = TOLD[habit]
    assert reason in inference.reason
    assert advice in inference.advice


def test_attention_gates_are_inferred() -> None:
    from tests.own_variety import Gated

    inference = infer(traced := trace.trace(Gated(), (1, 3, 16, 20)))
    assert inference.spec is not None, inference.reason
    assert inference.spec.attention is not None
    assert inference.spec.attention.norm.kind == "batch"
    assert match(inference.spec, traced).differences == []


def test_gate_of_another_width_is_told() -> None:
    from tests.own_variety import Gated

    inference = infer(trace.trace(Gated(inner=3), (1, 3, 16, 20)))
    assert inference.spec is None
    assert (
        "decoder.0.attention.gate.conv, in your module conv2d (of_gate.0): output channels 3 instead"
        in inference.reason
    )


def test_nested_decoders_are_inferred() -> None:
    from tests.own_variety import Nested

    inference = infer(traced := trace.trace(Nested(), (1, 3, 16, 20)))
    assert inference.spec is not None, inference.reason
    assert inference.spec.nested
    assert match(inference.spec, traced).differences == []


def test_merge_of_more_maps_than_nested_decoders_have_is_told() -> None:
    from tests.own_variety import Nested

    inference = infer(trace.trace(Nested(forgets=True), (1, 3, 16, 20)))
    assert inference.spec is None
    assert inference.reason.startswith(
        "cat joins 3 maps, and not as nested decoders do: decoder.0.merge, in your module"
    )
    assert inference.branches


def test_rounding_up_that_no_size_shows_is_told() -> None:
    module = own("Changeable", pool_settings={"ceil_mode": True})
    seen = identify(module, None, images_of((1, 3, 18, 20), 0))  # 9 rows at level 1
    assert seen.spec is None
    assert "give --input-shape of sizes that divide" in seen.advice
    unseen = identify(module, None, images_of((1, 3, 16, 20), 0))
    assert unseen.differences == []
    assert any("max_pool2d (pool): ceil_mode rounds sizes up" in words for words in unseen.assumed)
    plain = identify(own("Changeable"), None, images_of((1, 3, 16, 20), 0))
    assert not any("ceil_mode" in words for words in plain.assumed)


def test_what_only_some_levels_have_is_no_key_of_all() -> None:
    up = {"kind": "nearest", "scale": 2}
    unit_before, gate = {"order": ["activation"]}, {"width": "half"}
    levels = {("decoder", level): {"up": up | {"before": unit_before}, "attention": gate} for level in (0, 1)}
    values = with_overrides({**levels, ("decoder", 2): {"up": up}})
    assert values["up"] == up
    assert "attention" not in values
    assert values["override"] == [
        {"part": "decoder", "levels": [0, 1], "up": up | {"before": unit_before}, "attention": gate}
    ]
