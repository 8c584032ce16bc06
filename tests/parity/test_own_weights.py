"""Which tensors of users' own modules are which, and what is done where their values do not say it or hide faults."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from parity import compare_modules
from shared_specs import UNetSpec, initial_weights, load_spec

pytestmark = pytest.mark.needs_backends("pytorch", "flax_nnx")


def of_two_levels(name: str) -> UNetSpec:
    return UNetSpec.model_validate(load_spec(name).model_dump() | {"widths": [4, 8]})


@pytest.fixture(scope="module")
def narrow() -> UNetSpec:
    return of_two_levels("unet_bn_same")


def places(weights: dict[str, Any], tensors: dict[str, Any]) -> dict[str, Any]:
    """Where `pair` finds tensors of a small network among variables of these names."""
    from backends.jax_engine.adoption.pairing import Held
    from backends.jax_engine.adoption.pairing import pair as find

    spec = of_two_levels("unet_same")
    held = {(name,): Held(np.asarray(values, np.float32), True) for name, values in tensors.items()}
    return {name: place.path[0] for name, place in find(spec, initial_weights(spec) | weights, held).items()}


BIAS = np.array([0.25, 0.5, 0.75, 1.0])


@pytest.mark.parametrize(
    ("weights", "tensors", "found"),
    [
        ({"encoder.0.block.0.conv.bias": BIAS}, {"b": BIAS}, {"encoder.0.block.0.conv.bias": "b"}),
        ({"encoder.0.block.0.conv.bias": BIAS}, {"b": BIAS, "c": BIAS}, {}),
        ({"encoder.0.block.0.conv.bias": BIAS, "decoder.0.block.0.conv.bias": BIAS}, {"b": BIAS}, {}),
        ({"encoder.0.block.0.conv.bias": 0 * BIAS}, {"b": 0 * BIAS}, {}),
        ({"encoder.0.block.0.conv.bias": BIAS}, {"b": 2 * BIAS, "c": BIAS[:1]}, {}),
        ({"head.bias": BIAS[:1]}, {"b": BIAS[:1]}, {"head.bias": "b"}),
        ({"head.bias": 0 * BIAS[:1]}, {"b": 0 * BIAS[:1]}, {}),
    ],
    ids=["one", "two_places", "two_tensors", "constant", "other_values", "a_number", "zero"],
)
def test_a_tensor_has_a_place_where_only_one_holds_its_values(
    weights: dict[str, Any], tensors: dict[str, Any], found: dict[str, str]
) -> None:
    assert places(weights, tensors) == found


@pytest.mark.parametrize(
    ("name", "axes", "turned"),
    [
        ("encoder.0.block.0.conv.weight", (2, 3, 1, 0), False),
        ("decoder.0.up.weight", (2, 3, 1, 0), False),  # nnx.ConvTranspose with transpose_kernel
        ("decoder.0.up.weight", (2, 3, 0, 1), True),  # and without
        ("decoder.0.up.weight", (0, 2, 3, 1), False),  # Tandem's own
        ("head.weight", (2, 3, 1, 0), False),
    ],
)
def test_a_kernel_is_known_in_every_layout_of_flax(name: str, axes: tuple[int, ...], turned: bool) -> None:
    spec = of_two_levels("unet_same")
    kernel = initial_weights(spec)[name]
    native = (kernel[:, :, ::-1, ::-1] if turned else kernel).transpose(axes)
    assert places({}, {"kernel": native}) == {name: "kernel"}


def test_constants_hide_no_fault_where_all_tensors_are_known(narrow: UNetSpec) -> None:
    """The shift of a fresh norm is zero, and a norm that subtracts it computes the same."""
    import torch

    from backends import pytorch

    torch.manual_seed(0)
    module, other = pytorch.UNet(narrow), pytorch.UNet(narrow)
    other.load_state_dict(module.state_dict())
    assert compare_modules(module, other, probes=["forward", "activations"]).equal
    norm = other.get_submodule("encoder.1.block.0.norm")
    own = type(norm)

    def subtract(self: Any, x: Any) -> Any:
        return own.forward(self, x) - 2 * self.bias.reshape(1, -1, 1, 1)

    norm.__class__ = type("Subtracts", (own,), {"forward": subtract})
    comparison = compare_modules(module, other, probes=["forward", "activations"])
    assert comparison.verdict is not None
    first = comparison.verdict.first_difference
    assert first is not None
    assert first.quantity == "encoder.1.block.0.norm"
    assert not other.state_dict()["encoder.1.block.0.norm.bias"].any()


@pytest.mark.parametrize("whose", ["own", "Tandem's"])
def test_frozen_parameters_are_told(narrow: UNetSpec, whose: str) -> None:
    from backends import pytorch
    from tests.parity import ports

    module, other = (ports.trained(), ports.trained()) if whose == "own" else (pytorch.UNet(narrow),) * 2
    part = "enter" if whose == "own" else "encoder"
    assert "frozen" not in str(compare_modules(module, other, probes=["forward"]))
    module.get_submodule(part).requires_grad_(False)
    comparison = compare_modules(module, module, probes=["gradients"])
    assert comparison.equal, str(comparison)
    told = [
        words for words in comparison.assumed if "parameters, which are frozen, are compared as if trained" in words
    ]
    assert len(told) == 2
    assert all(f"{part}." in words for words in told)
