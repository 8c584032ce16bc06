"""The spec that is inferred from a user's own module, and where none can be, why."""

from __future__ import annotations

import pytest

import parity
from backends import trace
from parity.adoption.inference import infer
from parity.adoption.matching import match
from shared_specs import SpecError, UNetSpec, load_spec, spec_names
from shared_specs.shapes import total_stride

from .adopted import group_norm, own

pytestmark = pytest.mark.needs_backends("pytorch")

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


@pytest.mark.parametrize(("of", "kind"), [("each", "instance"), ("four", "group")])
def test_group_norm_is_inferred_as_one_kind_on_all_levels(of: str, kind: str) -> None:
    inference = infer(trace.trace(own("Changeable", norm=group_norm(of)), (1, 3, 32, 32)))
    assert inference.spec is not None, inference.reason
    assert inference.spec.norm.kind == kind
    assert inference.spec.override == ()


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
    "Residual": "add at the top within encoder level 0: a residual block, which is not plain",
    "MomentumNone": "averages over all batches (momentum None)",
    "Softmax": "softmax at the top in decoder level 0, for which a spec has no word",
    "NoScale": "batch_norm at enter.n1 in encoder level 0 has no scale and shift, for which a spec has no word",
    "Ceil": "max_pool at pool in encoder level 0 has sizes rounded up (ceil_mode), for which a spec has no word",
}


@pytest.mark.parametrize("name", NOT_INFERRED)
def test_what_cannot_be_inferred_is_said(name: str) -> None:
    changes = {
        "MomentumNone": {"norm_settings": {"momentum": None}},
        "Softmax": {"softmax": True},
        "NoScale": {"norm_settings": {"affine": False}},
        "Ceil": {"pool_settings": {"ceil_mode": True}},
    }
    module = own("Changeable", **changes[name]) if name in changes else own(name)
    adoption = parity.adopt(module)
    assert adoption.spec is None
    assert NOT_INFERRED[name] in adoption.reason
    assert not adoption.equal


DROPOUTS = {
    "Dropout": (
        "without the dropout of rate 0.5 at dropout (enter.extra), ",
        " and 2 more: a spec has one in every unit of a level or in none",
    ),
    "Dropout2d": (
        "without the dropout of rate 0.5 of whole channels at dropout2d (enter.extra), ",
        " and 2 more: a spec has none",
    ),
}


@pytest.mark.parametrize("kind", DROPOUTS)
def test_dropout_that_no_spec_has_is_left_out_and_said(kind: str) -> None:
    adoption = parity.adopt(own("Changeable", extra=kind), backends=["pytorch"])
    assert adoption.equal, str(adoption)
    (line,) = [line for line in adoption.assumed if line.startswith(DROPOUTS[kind][0])]
    assert DROPOUTS[kind][1] in line
