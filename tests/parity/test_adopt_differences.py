"""A user's own module that is another network than its spec: the first difference is told in one sentence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import parity
from parity.adoption.adopt import identify
from shared_specs import UNetSpec

from .adopted import CHANGEABLE, changeable, changed_in_place, group_norm, own

pytestmark = pytest.mark.needs_backends("pytorch")

PLANTED: dict[str, tuple[dict[str, Any], str, str]] = {
    "merge_order": ({"swap": True}, "decoder.1.merge", "order upsampled, skip instead of skip, upsampled"),
    "merge_padding": ({"pad": {"mode": "replicate"}}, "decoder.0.merge", "padding mode replicate instead of zeros"),
    "epsilon": ({"norm_settings": {"eps": 1e-3}}, "encoder.0.block.0.norm", "epsilon 0.001 instead of 1e-05"),
    "momentum": ({"norm_settings": {"momentum": 0.01}}, "encoder.0.block.0.norm", "momentum 0.01 instead of 0.1"),
    "cumulative": ({"norm_settings": {"momentum": None}}, "encoder.0.block.0.norm", "momentum none instead of 0.1"),
    "batch_statistics": (
        {"norm_settings": {"track_running_stats": False}},
        "encoder.0.block.0.norm",
        "running statistics no instead of yes",
    ),
    "no_scale": ({"norm_settings": {"affine": False}}, "encoder.0.block.0.norm", "scale and shift no instead of yes"),
    "norm_kind": ({"norm": "InstanceNorm2d"}, "encoder.0.block.0.norm", "kind instance_norm instead of batch_norm"),
    "no_norm": (
        {"norm": "nothing"},
        "encoder.0.block.0.norm",
        "batch_norm none instead of one before leaky_relu (enter.act)",
    ),
    "padding": ({"conv": {"padding": 0}}, "encoder.0.block.0.conv", "padding 0 instead of 1"),
    "padding_mode": (
        {"conv": {"padding_mode": "reflect"}},
        "encoder.0.block.0.conv",
        "padding mode reflect instead of zeros",
    ),
    "kernel": ({"conv": {"kernel_size": 5, "padding": 2}}, "encoder.0.block.0.conv", "kernel 5 instead of 3"),
    "bias": ({"conv": {"bias": False}}, "encoder.0.block.0.conv", "bias no instead of yes"),
    "slope": (
        {"act_settings": {"negative_slope": 0.2}},
        "encoder.0.block.0.activation",
        "slope 0.2 instead of 0.01",
    ),
    "activation": ({"act": "ReLU"}, "encoder.0.block.0.activation", "kind relu instead of leaky_relu"),
    "foreign": ({"act": "Mish"}, "encoder.0.block.0.activation", "kind mish instead of leaky_relu"),
    "no_activation": (
        {"act": "Identity"},
        "encoder.0.block.0.activation",
        "leaky_relu none instead of one before conv2d (enter.c2)",
    ),
    "order_of_a_unit": (
        {"act_first": True},
        "encoder.0.block.0.norm",
        "order leaky_relu before batch_norm instead of batch_norm before leaky_relu",
    ),
    "align_corners": ({"up": {"align_corners": False}}, "decoder.1.up", "align_corners no instead of yes"),
    "up_kind": ({"up": {"mode": "nearest", "align_corners": None}}, "decoder.1.up", "kind nearest instead of linear"),
    "up_factor": ({"up": {"scale_factor": 3}}, "decoder.1.up", "factor 3 instead of 2"),
    "pool_kind": ({"pool": "AvgPool2d"}, "encoder.1.down", "kind average_pool instead of max_pool"),
    "pool_rounding": ({"pool_settings": {"ceil_mode": True}}, "encoder.1.down", "rounding ceil instead of floor"),
    "stride": ({"pool_settings": {"stride": 3}}, "encoder.1.down", "stride 3 instead of 2"),
    "additional": ({"extra": "Tanh"}, "encoder.1.down", "before it an additional tanh instead of none"),
    "after_the_head": ({"softmax": True}, "head", "after it softmax instead of the end of the network"),
    "tied": (
        {"tied": True},
        "decoder.0.block.1.conv",
        "tensor the same as encoder.0.block.1.conv.weight instead of its own",
    ),
}
"""What is changed in the module, the layer where it shows first, and the words that name it."""


@pytest.mark.parametrize("fault", PLANTED)
def test_first_difference_is_told_in_one_sentence(fault: str) -> None:
    change, layer, words = PLANTED[fault]
    adoption = parity.adopt(own("Changeable", **change), changeable(), backends=["pytorch"])
    first = adoption.differences[0]
    assert first.layer == layer
    assert str(first).endswith(words)
    assert adoption.first_difference == str(first)
    assert not adoption.equal


IN_PLACE = {
    "mask": ("a[a > 60] = 60", "setitem"),
    "slice_of_channels": ("a[:, :2].clamp_(max=50)", "clamp"),
    "data": ("a.data.clamp_(max=50)", "clamp"),
    "new_data": ("a.data = a.data.clamp(max=50)", "data"),
    "pixels_beyond_the_images": ("a[:, :, :, 3000:] = 0", "setitem"),
    "unseen": ("with torch._C.DisableTorchFunction(): a.clamp_(max=50)", "change in place"),
    "iterated": ("for part in a.data: part.clamp_(max=50)", "clamp"),
}
"""A statement on a map that changes nothing on images such as the proof's, and the call that is told."""


@pytest.mark.parametrize("case", IN_PLACE)
@pytest.mark.parametrize("given", [True, False], ids=["given", "inferred"])
def test_map_that_is_changed_in_place_is_another_map(case: str, given: bool) -> None:
    statement, call = IN_PLACE[case]
    module = changed_in_place(statement)
    adoption = parity.adopt(module, changeable() if given else None, backends=["pytorch"])
    assert not adoption.equal
    assert call in adoption.first_difference


@pytest.mark.parametrize("fault", ["merge_order", "epsilon", "slope", "padding_mode", "align_corners", "momentum"])
def test_proof_sees_what_the_trace_sees(fault: str) -> None:
    adoption = parity.adopt(own("Changeable", **PLANTED[fault][0]), changeable(), backends=["pytorch"])
    assert adoption.verdict is not None
    assert not adoption.verdict.equal


def test_proof_sees_what_no_trace_can_show() -> None:
    adoption = parity.adopt(own("Changeable", norm="BiasedNorm"), changeable(), backends=["pytorch"])
    assert adoption.differences == []
    assert not adoption.equal
    assert "running_var" in adoption.first_difference
    assert "statistics" in adoption.first_difference


NORMS = {"instance": {"kind": "instance", "epsilon": 1e-5, "affine": True}}
NORMS["group"] = {"kind": "group", "groups": 4, "epsilon": 1e-5}


@pytest.mark.parametrize(
    ("of", "norm", "words"),
    [
        ("each", "instance", ""),
        ("four", "group", ""),
        ("each", "group", "encoder.1.block.0.norm, in your module group_norm (lower.n1): groups 8 instead of 4"),
        ("four", "instance", "kind group_norm instead of instance_norm"),
    ],
)
def test_group_norm_of_one_channel_a_group_is_instance_norm(of: str, norm: str, words: str) -> None:
    spec = UNetSpec.model_validate(CHANGEABLE | {"norm": NORMS[norm]})
    adoption = parity.adopt(own("Changeable", norm=group_norm(of)), spec, backends=["pytorch"])
    assert adoption.equal == (not words), str(adoption)
    assert words in adoption.first_difference


@pytest.mark.parametrize("training", [True, False], ids=["on", "off"])
def test_dropout_that_is_a_function_is_told(training: bool) -> None:
    module = own("Changeable", drop={"training": training})
    adoption = parity.adopt(module, backends=["pytorch"])
    assert adoption.equal != training
    if training:
        assert "dropout of rate 0.5 in evaluation mode too" in adoption.first_difference
    else:
        assert "without the dropout of rate 0.5" in " ".join(adoption.assumed)


LOOSE = {
    "Dropout": "without the dropout of rate 0.5 at dropout (enter.extra), ",
    "Dropout2d": "without the dropout of rate 0.5 of whole channels at dropout2d (enter.extra), ",
}


@pytest.mark.parametrize("kind", LOOSE)
def test_dropout_that_no_spec_can_say_is_left_out_of_a_given_spec_too(kind: str) -> None:
    adoption = identify(own("Changeable", extra=kind), changeable(), None)
    assert not adoption.differences
    assert adoption.assumed[0].startswith(LOOSE[kind])


def test_dropout_in_every_unit_is_a_difference_as_the_spec_could_say_it() -> None:
    spec = UNetSpec.model_validate(CHANGEABLE | {"block": CHANGEABLE["block"] | {"convolutions": 1}})
    adoption = identify(own("Changeable", extra="Dropout", single=True), spec, None)
    assert "before it an additional dropout of rate 0.5 instead of none" in adoption.first_difference
    assert not identify(own("Changeable", extra="Dropout2d", single=True), spec, None).differences


def test_shortcut_that_the_module_has_not_is_named() -> None:
    residual = {"span": 2, "last_activation": "after_sum", "stride_by": "conv", "kernel": 1, "padding": 0}
    spec = UNetSpec.model_validate(CHANGEABLE | {"residual": residual | {"bias": True, "norm": True}})
    first = identify(own("Changeable"), spec, None).first_difference
    assert (
        first == "encoder.0.block.1.shortcut.conv, in your module enter.c1: shortcut from images none instead of conv"
    )


def test_norm_that_stands_in_front_of_a_whole_unit_is_one_more_and_no_other_order() -> None:
    from torch import nn

    def unit(before: int, after: int, kernel: int, stride: int = 1, padding: int = 0) -> list[Any]:
        return [nn.Conv2d(before, after, kernel, stride, padding), nn.BatchNorm2d(after), nn.LeakyReLU()]

    down = {"kind": "conv", "kernel": 2, "stride": 2, "padding": 0, "bias": True, "width": "next"}
    block = CHANGEABLE["block"] | {"convolutions": 1}
    spec = UNetSpec.model_validate(CHANGEABLE | {"widths": [4, 8], "down": down, "block": block})
    module = nn.Sequential(*unit(3, 4, 3, 1, 1), *unit(4, 8, 2, 2), *unit(8, 8, 3, 1, 1))
    first, second, *_ = identify(module, spec, np.zeros((1, 3, 8, 8))).differences
    assert str(first).startswith("encoder.1.block.0.conv, in your module batch_norm (4): before it an additional batch")
    assert "before it an additional leaky_relu instead of none" in str(second)


def test_only_tensors_of_other_outputs_are_said_to_be_of_them() -> None:
    from torch import nn

    class TwoHeads(type(own("Changeable"))):
        def __init__(self) -> None:
            super().__init__(extra=lambda: nn.PReLU())
            self.second, self.idle = nn.Conv2d(4, 2, 1), nn.Linear(1, 1, bias=False)

        def forward(self, x: Any) -> Any:
            return super().forward(x), self.second(self.enter(x))

    adoption = identify(TwoHeads(), changeable(), None)
    assert adoption.unused == (
        "2 of its tensors are read for other outputs alone: second.weight, second.bias",
        "1 of its tensors are not used by the traced pass: idle.weight",
    )


def test_call_that_training_mode_leaves_out_is_named() -> None:
    adoption = parity.adopt(own("Predicts"), backends=["pytorch"])
    assert adoption.first_difference.endswith("in your module sigmoid: in training mode left out instead of kept")


def test_logits_that_are_not_the_first_output_are_told_by_their_place() -> None:
    class Reversed(type(own("Pair", inner=None))):
        def forward(self, x: Any) -> Any:
            return super().forward(x)[::-1]

    adoption = identify(Reversed(own("Changeable")), changeable(), None)
    assert adoption.first_difference == "head: place among the outputs 2 instead of 1"


def with_dropout() -> UNetSpec:
    block = {"convolutions": 1, "order": ["conv", "norm", "activation", "dropout"]}
    return UNetSpec.model_validate(CHANGEABLE | {"block": block, "dropout": {"rate": 0.5}})


@pytest.mark.parametrize("training", [True, False], ids=["on", "off"])
def test_dropout_of_the_spec_that_is_a_function_is_told(training: bool) -> None:
    change = {"drop": {"training": training}, "single": True}
    adoption = parity.adopt(own("Changeable", **change), with_dropout(), backends=["pytorch"])
    assert adoption.equal != training, str(adoption)
    assert any("dropout (enter)" in line and "called as a function" in line for line in adoption.assumed)
    assert ("in evaluation mode on instead of off" in adoption.first_difference) == training


def test_other_channels_are_a_difference_and_no_error() -> None:
    spec = UNetSpec.model_validate(CHANGEABLE | {"in_channels": 1})
    adoption = parity.adopt(own("Changeable"), spec, backends=["pytorch"])
    assert "encoder.0.block.0.conv, in your module conv2d (enter.c1): input channels 3 instead of 1" in str(adoption)
