"""A user's own module: recognised, proven, and where it is another network, told so in one sentence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import parity
from backends import trace
from parity.adoption.inference import infer
from parity.adoption.matching import match
from shared_specs import SpecError, UNetSpec, load_spec, spec_names
from shared_specs.keymap import original_keys, to_canonical
from shared_specs.shapes import total_stride

pytestmark = pytest.mark.needs_backends("pytorch")

CHANGEABLE: dict[str, Any] = {
    "name": "changeable",
    "title": "The spec of own_networks.Changeable",
    "source": "tests",
    "dimensions": 2,
    "in_channels": 3,
    "out_channels": 2,
    "widths": [4, 8, 12],
    "block": {"convolutions": 2, "order": ["conv", "norm", "activation"]},
    "conv": {"kernel": 3, "stride": 1, "padding": 1, "padding_mode": "zeros", "dilation": 1, "bias": True},
    "norm": {"kind": "batch", "epsilon": 1e-5, "momentum": 0.1, "running_variance": "unbiased"},
    "activation": {"kind": "leaky_relu", "slope": 0.01},
    "down": {"kind": "max_pool", "kernel": 2, "stride": 2, "padding": 0, "rounding": "floor"},
    "up": {
        "kind": "linear",
        "scale": 2,
        "align_corners": True,
        "after": {
            "kernel": 1,
            "padding": 0,
            "padding_mode": "zeros",
            "bias": False,
            "width": "decoder",
            "order": ["conv"],
            "norm": {"kind": "none"},
            "activation": {"kind": "identity"},
        },
    },
    "merge": {
        "kind": "concatenate",
        "order": ["skip", "upsampled"],
        "size_mismatch": "pad_upsampled",
        "odd_difference": "floor",
        "padding_mode": "zeros",
    },
    "head": {"kernel": 1, "padding": 0, "bias": True},
}


def changeable() -> UNetSpec:
    return UNetSpec.model_validate(CHANGEABLE)


def own(name: str, **change: Any) -> Any:
    import torch

    from tests import own_networks

    torch.manual_seed(0)
    classes = {"nothing": lambda channels: torch.nn.Identity(), "BiasedNorm": own_networks.BiasedNorm}
    named = {
        key: classes.get(value) or getattr(torch.nn, value) for key, value in change.items() if value.__class__ is str
    }
    return getattr(own_networks, name)(**(change | named))


def changed_in_place(statement: str) -> Any:
    from tests.own_networks import ChangedInPlace

    return ChangedInPlace(statement)


SHAPES = {
    "Sequentials": (1, 1, 30, 41),
    "Functional": (2, 1, 29, 32),
    "Lists": (1, 3, 24, 36),
    "Strided": (1, 1, 4, 8, 12),
}
STYLES = tuple(SHAPES)


@pytest.mark.parametrize("style", STYLES)
def test_spec_of_every_style_is_inferred_and_proven(style: str) -> None:
    module = own(style)
    adoption = parity.adopt(module, backends=["pytorch"])
    assert adoption.equal, str(adoption)
    assert adoption.inferred
    assert adoption.verdict is not None
    assert adoption.verdict.probes == ["structure", "forward", "activations", "statistics", "gradients"]
    assert adoption.spec is not None
    compared = {m.quantity for m in adoption.verdict.measurements if m.probe == "activations"}
    assert compared == {layer.name for layer in adoption.spec.layers}


@pytest.mark.parametrize("style", STYLES)
def test_inferred_spec_is_found_in_the_module_that_it_is_from(style: str) -> None:
    traced = trace.trace(own(style), SHAPES[style])
    inference = infer(traced)
    assert inference.spec is not None
    found = match(inference.spec, traced)
    assert found.complete
    assert found.differences == []
    assert found.missing == []


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
    "dropout": (
        {"extra": "Dropout"},
        "encoder.1.down",
        "before it an additional dropout of rate 0.5 instead of none",
    ),
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


def test_module_is_proven_to_be_the_spec_it_was_given() -> None:
    adoption = parity.adopt(own("Changeable"), changeable(), backends=["pytorch"])
    assert adoption.equal, str(adoption)
    assert not adoption.inferred
    assert adoption.first_difference == ""


def test_proof_sees_what_no_trace_can_show() -> None:
    adoption = parity.adopt(own("Changeable", norm="BiasedNorm"), changeable(), backends=["pytorch"])
    assert adoption.differences == []
    assert not adoption.equal
    assert "running_var" in adoption.first_difference
    assert "statistics" in adoption.first_difference


@pytest.mark.needs_backends("pytorch", "flax_nnx")
def test_flax_is_proven_as_well() -> None:
    adoption = parity.adopt(own("Functional"))
    assert adoption.equal, str(adoption)
    assert adoption.verdict is not None
    assert adoption.verdict.models == ("pytorch", "flax_nnx", "your module")


def test_key_map_turns_the_state_dict_into_the_canonical_weights() -> None:
    module = own("Sequentials")
    adoption = parity.adopt(module, backends=["pytorch"])
    assert adoption.spec is not None
    spec = adoption.spec.model_copy(update={"checkpoint": adoption.checkpoint})
    state = {name: tensor.numpy() for name, tensor in module.state_dict().items()}
    weights = to_canonical(spec, state)
    assert list(weights) == list(adoption.weights) == [tensor.name for tensor in spec.tensors]
    assert all(np.array_equal(weights[name], values) for name, values in adoption.weights.items())
    assert adoption.keys["encoder.1.block.0.norm.running_var"] == "down1.1.double_conv.1.running_var"


def test_key_map_is_right_where_a_layer_is_only_partly_named_alike() -> None:
    from tests.own_networks import HalfNamed

    module = own("Sequentials")
    module.outc = HalfNamed(module.outc)
    adoption = parity.adopt(module, backends=["pytorch"])
    assert adoption.equal, str(adoption)
    assert adoption.spec is not None
    assert original_keys(adoption.spec.model_copy(update={"checkpoint": adoption.checkpoint})) == adoption.keys
    assert adoption.keys["head.bias"] == "outc.b"
    assert adoption.checkpoint.keys["outc.weight"] == "head.weight"


def test_frozen_module_is_proven() -> None:
    module = own("Changeable").requires_grad_(False)
    adoption = parity.adopt(module, changeable(), backends=["pytorch"])
    assert adoption.equal, str(adoption)
    assert not module.out.weight.requires_grad


def group_norm(of: str) -> Any:
    import torch

    return lambda channels: torch.nn.GroupNorm(channels if of == "each" else 4, channels)


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


@pytest.mark.parametrize(("of", "kind"), [("each", "instance"), ("four", "group")])
def test_group_norm_is_inferred_as_one_kind_on_all_levels(of: str, kind: str) -> None:
    inference = infer(trace.trace(own("Changeable", norm=group_norm(of)), (1, 3, 32, 32)))
    assert inference.spec is not None, inference.reason
    assert inference.spec.norm.kind == kind
    assert inference.spec.override == ()


def with_dropout() -> UNetSpec:
    block = {"convolutions": 1, "order": ["conv", "norm", "activation", "dropout"]}
    return UNetSpec.model_validate(CHANGEABLE | {"block": block, "dropout": {"rate": 0.5}})


@pytest.mark.parametrize("training", [True, False], ids=["on", "off"])
def test_dropout_that_is_a_function_is_told(training: bool) -> None:
    module = own("Changeable", drop={"training": training})
    adoption = parity.adopt(module, backends=["pytorch"])
    assert adoption.equal != training
    if training:
        assert "dropout of rate 0.5 in evaluation mode too" in adoption.first_difference
    else:
        assert "without the dropout of rate 0.5" in " ".join(adoption.assumed)


@pytest.mark.parametrize("training", [True, False], ids=["on", "off"])
def test_dropout_of_the_spec_that_is_a_function_is_told(training: bool) -> None:
    change = {"drop": {"training": training}, "single": True}
    adoption = parity.adopt(own("Changeable", **change), with_dropout(), backends=["pytorch"])
    assert adoption.equal != training, str(adoption)
    assert any("dropout (enter)" in line and "called as a function" in line for line in adoption.assumed)
    assert ("in evaluation mode on instead of off" in adoption.first_difference) == training


def test_more_outputs_in_training_are_told() -> None:
    adoption = parity.adopt(own("Auxiliary"), backends=["pytorch"])
    assert adoption.equal, str(adoption)
    assert "the 2 tensors that it returns in training do not matter but for the logits" in adoption.assumed


SIZED = CHANGEABLE | {
    "in_channels": 1,
    "widths": [4, 8],
    "block": {"convolutions": 1, "order": ["conv", "activation"]},
    "norm": {"kind": "none"},
    "activation": {"kind": "relu"},
    "merge": {"kind": "concatenate", "order": ["skip", "upsampled"], "size_mismatch": "error"},
}


@pytest.mark.parametrize(
    ("resize", "scale", "words"),
    [
        ({"size": (16, 20)}, 2, "is 2 times the size before for others too"),
        ({"scale_factor": 2}, "skip", "is the size of the skip for others too"),
        ({"scale_factor": 2}, 2, ""),
    ],
    ids=["size_for_a_factor", "factor_for_the_skip", "factor"],
)
def test_size_that_agrees_on_the_example_is_told(resize: dict[str, Any], scale: Any, words: str) -> None:
    spec = UNetSpec.model_validate(SIZED | {"up": {"kind": "nearest", "scale": scale}})
    adoption = parity.adopt(own("Sized", **resize), spec, (2, 1, 16, 20), backends=["pytorch"])
    assert adoption.equal, str(adoption)
    assert bool(adoption.assumed) == bool(words)
    assert words in " ".join(adoption.assumed)


def test_first_of_several_outputs_is_said_to_be_the_logits() -> None:
    from backends.pytorch import UNet
    from tests.own_networks import Pair

    spec = load_spec("unet_same").narrow(16)
    adoption = parity.adopt(Pair(UNet(spec)), spec, backends=["pytorch"])
    assert adoption.equal, str(adoption)
    assert adoption.assumed == ("the first of the 2 tensors that it returns are the logits",)
    assert adoption.keys["head.bias"] == "inner.head.bias"


def test_keys_that_inference_has_no_use_for_are_ignored() -> None:
    module = own("Functional")
    module.register_buffer("mean", module.last.weight.detach().clone())
    adoption = parity.adopt(module, backends=["pytorch"])
    assert adoption.equal
    assert adoption.ignored == ("mean",)


@pytest.mark.parametrize("spec_name", spec_names())
def test_every_network_of_the_zoo_is_found_in_itself(spec_name: str) -> None:
    """Gates, nested nodes and shortcuts too, where two convolutions read one map."""
    from backends.pytorch import UNet
    from tests.own_networks import AllHeads

    spec = narrow(load_spec(spec_name))
    module = AllHeads(spec) if spec.deep_logits else UNet(spec)
    resized = any(layer.kind == "nearest" and layer.settings.scale is None for layer in spec.layers)
    whole = (
        [2 * side for side in total_stride(spec)] if resized else None
    )  # no index_select, for which no spec has a word
    found = match(spec, trace.trace(module, parity.random_batch(spec, count=1, size=whole).images))
    assert found.complete, found.differences
    assert found.differences == []
    assert found.keys == {name: name for name in found.keys}
    assert list(found.keys) == [tensor.name for tensor in spec.tensors]
    assert found.maps[spec.logits] == found.trace.outputs[0]


def narrow(spec: UNetSpec) -> UNetSpec:
    for divisor in (16, 8, 4, 2):
        try:
            return spec.narrow(divisor)
        except SpecError:
            continue
    return spec


@pytest.mark.parametrize("spec_name", ["unet_bn_crop", "unet_bn_pad", "unet_bn_same", "unet_paper", "unet_same"])
def test_network_of_the_zoo_is_inferred_from_its_trace(spec_name: str) -> None:
    from backends.pytorch import UNet

    spec = load_spec(spec_name).narrow(16)
    inference = infer(trace.trace(UNet(spec), parity.random_batch(spec, count=1).images))
    assert inference.spec is not None, inference.reason
    assert inference.spec.fingerprint == spec.fingerprint


@pytest.mark.parametrize("batch_norm", [True, False], ids=["batch_norm", "plain"])
@pytest.mark.parametrize("pad", [True, False], ids=["pad", "crop"])
def test_handwritten_module_of_the_benchmarks_is_inferred(pad: bool, batch_norm: bool) -> None:
    from benchmarks.handwritten import UNet

    adoption = parity.adopt(UNet(1, 2, (4, 8, 16), 0, batch_norm, pad), backends=["pytorch"])
    assert adoption.equal, str(adoption)
    assert adoption.spec is not None
    assert adoption.spec.merge.size_mismatch == ("pad_upsampled" if pad else "crop_skip")
    assert adoption.spec.merge.odd_difference == ("floor" if pad else "half_to_even")


NOT_INFERRED = {
    "Residual": "add at the top within encoder level 0: residual, dense or nested, which is not plain",
    "MomentumNone": "averages over all batches (momentum None)",
    "Softmax": "softmax at the top in decoder level 0, for which a spec has no word",
}


@pytest.mark.parametrize("name", NOT_INFERRED)
def test_what_cannot_be_inferred_is_said(name: str) -> None:
    changes = {"MomentumNone": {"norm_settings": {"momentum": None}}, "Softmax": {"softmax": True}}
    module = own("Changeable", **changes[name]) if name in changes else own(name)
    adoption = parity.adopt(module)
    assert adoption.spec is None
    assert NOT_INFERRED[name] in adoption.reason
    assert not adoption.equal


def test_dropout_that_no_spec_has_is_left_out_and_said() -> None:
    adoption = parity.adopt(own("Changeable", extra="Dropout"), backends=["pytorch"])
    assert adoption.equal, str(adoption)
    assert "without the dropout of rate 0.5 at dropout (enter.extra)" in " ".join(adoption.assumed)


def test_other_channels_are_a_difference_and_no_error() -> None:
    spec = UNetSpec.model_validate(CHANGEABLE | {"in_channels": 1})
    adoption = parity.adopt(own("Changeable"), spec, backends=["pytorch"])
    assert "encoder.0.block.0.conv, in your module conv2d (enter.c1): input channels 3 instead of 1" in str(adoption)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Refuses", "Refuses fails on images 1x1x256x320 (ValueError: I will not)"),
        ("no_module", "got 'int', expected a torch.nn.Module"),
    ],
)
def test_module_that_cannot_be_traced_is_refused(name: str, words: str) -> None:
    with pytest.raises(trace.TraceError) as refused:
        parity.adopt(own(name))
    assert words in str(refused.value)
