"""Modules and models that were built from a spec, compared as they are: every layer and tensor is known by name."""

from __future__ import annotations

import numpy as np
import pytest

import backends
from backends import Execution
from parity import compare_modules
from shared_specs import ShapeError, TandemError, UNetSpec, WeightsError, initial_weights

from .pairs import adopted, built, of_two_levels

pytestmark = pytest.mark.needs_backends("pytorch", "flax_nnx")


@pytest.fixture(scope="module")
def narrow() -> UNetSpec:
    return of_two_levels("unet_bn_same")


def test_modules_built_from_a_spec_are_compared_by_every_name(narrow: UNetSpec) -> None:
    module, flax = built(narrow)
    comparison = compare_modules(module, flax, probes=["structure", "forward", "activations", "statistics"])
    assert comparison.equal, str(comparison)
    assert {str(tensor.dtype) for tensor in module.parameters()} == {"torch.float32"}  # the copy was in float64
    assert comparison.verdict is not None
    assert comparison.verdict.spec is narrow  # PyTorch's module has it
    compared = {m.quantity for m in comparison.verdict.measurements if m.probe == "activations"}
    assert compared == {layer.name for layer in narrow.layers}


@pytest.mark.parametrize("changed", ["pytorch", "flax_nnx"])
def test_a_change_in_a_module_built_from_a_spec_is_named(narrow: UNetSpec, changed: str) -> None:
    module, flax = built(narrow)
    if changed == "pytorch":
        module.encoder[1].block[0].norm.eps = 1.0001e-5
    else:
        norm = flax.encoder[1].block[0].norm
        norm.settings = norm.settings.model_copy(update={"epsilon": 1.0001e-5})
    comparison = compare_modules(module, flax, probes=["forward", "activations"])
    assert comparison.verdict is not None
    first = comparison.verdict.first_difference
    assert first is not None
    assert first.quantity == "encoder.1.block.0.norm"
    assert changed in first.candidate


def test_an_own_module_and_one_built_from_the_spec_are_equal() -> None:
    from tests.parity import ports

    module = ports.trained()
    flax, _ = adopted(module)
    comparison = compare_modules(module, flax, probes=["structure", "statistics"])
    assert comparison.equal, str(comparison)


@pytest.mark.parametrize("precision", ["float32", None])
def test_models_are_compared_in_their_own_precision(narrow: UNetSpec, precision: str | None) -> None:
    one, other = (backends.get("pytorch").build(narrow, Execution()) for _ in range(2))
    before = one.weights()
    comparison = compare_modules(one, other, probes=["optimizer"], precision=precision)
    assert comparison.equal, str(comparison)
    assert comparison.names == ("reference", "candidate")
    assert comparison.verdict is not None
    assert comparison.verdict.execution.precision == "float32"
    assert all(np.array_equal(values, before[name]) for name, values in one.weights().items())


def test_weights_that_are_given_are_taken_by_both(narrow: UNetSpec) -> None:
    from backends import pytorch

    one, other = pytorch.UNet(narrow), pytorch.UNet(narrow)
    assert not compare_modules(one, other, probes=["structure", "forward"]).equal
    assert compare_modules(one, other, probes=["structure", "forward"], weights=initial_weights(narrow)).equal
    with pytest.raises(WeightsError, match=r"missing head\.bias"):
        compare_modules(one, other, weights={k: v for k, v in initial_weights(narrow).items() if k != "head.bias"})


def test_a_model_in_another_precision_is_refused(narrow: UNetSpec) -> None:
    model = backends.get("pytorch").build(narrow, Execution())
    with pytest.raises(TandemError, match="the reference is a model in float32, and the comparison is in float64"):
        compare_modules(model, model, precision="float64")


@pytest.mark.parametrize("name", ["pytorch", "flax_nnx"])
def test_a_module_of_another_spec_is_refused(narrow: UNetSpec, name: str) -> None:
    module = built(narrow)[name == "flax_nnx"]
    with pytest.raises(WeightsError, match=r"(UNet: not weights of|the module was not built from) unet_same"):
        compare_modules(module, module, spec=of_two_levels("unet_same"))


def test_a_module_of_another_spec_of_the_same_tensors_is_different(narrow: UNetSpec) -> None:
    other = of_two_levels("unet_bn_pad")
    module = built(narrow)[0]
    with pytest.raises(ShapeError):
        compare_modules(module, module, spec=narrow, images=(1, 3, 33, 33))
    comparison = compare_modules(module, module, spec=other, probes=["structure"], images=(1, 3, 32, 32))
    assert not comparison.equal
