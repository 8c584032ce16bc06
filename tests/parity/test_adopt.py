"""A user's own module: proven, with its keys, and what is assumed of it is said."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import parity
from backends import trace
from shared_specs import UNetSpec, load_spec
from shared_specs.keymap import original_keys, to_canonical

from .adopted import CHANGEABLE, changeable, own

pytestmark = pytest.mark.needs_backends("pytorch")


def test_module_is_proven_to_be_the_spec_it_was_given() -> None:
    adoption = parity.adopt(own("Changeable"), changeable(), backends=["pytorch"])
    assert adoption.equal, str(adoption)
    assert not adoption.inferred
    assert adoption.first_difference == ""


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


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Refuses", "Refuses fails on images 1x1x256x256 (ValueError: I will not)"),
        ("no_module", "got 'int', expected a torch.nn.Module"),
    ],
)
def test_module_that_cannot_be_traced_is_refused(name: str, words: str) -> None:
    with pytest.raises(trace.TraceError) as refused:
        parity.adopt(own(name))
    assert words in str(refused.value)
