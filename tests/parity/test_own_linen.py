"""A user's own Flax Linen modules, bound to their variables: compared as they are, and where they part it is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from parity import PROBES, compare_modules
from shared_specs import TandemError, UNetSpec, WeightsError, initial_weights

from .pairs import adopted, of_two_levels

pytestmark = pytest.mark.needs_backends("pytorch", "flax_linen")

TORCH, LINEN = "TorchUNet (pytorch)", "LinenUNet (flax_linen)"


def pair(**changes: Any) -> tuple[Any, Any]:
    """A hand-written module in PyTorch and its port to Linen, with something changed in the port."""
    from flax import linen as nn

    from tests.parity import linen_ports, ports

    named = {
        "BatchNorm": nn.BatchNorm,
        "Reused": linen_ports.Reused,
        "remat": nn.remat(linen_ports.Unit, static_argnums=(2,)),
    }
    changes = {key: named.get(value, value) if isinstance(value, str) else value for key, value in changes.items()}
    if changes.get("make"):
        changes["make"] = getattr(linen_ports, changes["make"])
    module = ports.trained()
    return module, linen_ports.ported(module, **changes)


@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_a_sound_port_is_equal(precision: str) -> None:
    comparison = compare_modules(*pair(), precision=precision)
    assert comparison.equal, str(comparison)
    assert comparison.names == (TORCH, LINEN)
    assert not any(LINEN in words for words in comparison.assumed)
    verdict = comparison.verdict
    assert verdict is not None
    assert verdict.probes == list(PROBES)
    compared = {(m.probe, m.quantity) for m in verdict.measurements if m.candidate == LINEN and m.reference == TORCH}
    assert ("forward", "logits") in compared
    assert ("activations", "decoder.0.up") in compared
    assert ("activations", "encoder.1.block.0.conv") in compared
    assert ("statistics", "logits after a pass in training mode") in compared
    assert ("gradients", "gradient of the images") in compared
    assert ("gradients", "gradient of decoder.0.up.weight") in compared
    assert ("trajectory", "step 3: encoder.0.block.0.norm.running_var") in compared
    assert ("trajectory", "logits after step 3") in compared


FAULTS: dict[str, tuple[dict[str, Any], str, str]] = {
    "epsilon": ({"settings": {"epsilon": 1.0001e-5}}, "activations", "encoder.1.block.0.conv"),
    "momentum": ({"settings": {"momentum": 0.99}}, "statistics", "encoder.0.block.0.norm.running_mean"),
    "biased_variance": ({"norm": "BatchNorm"}, "statistics", "encoder.0.block.0.norm.running_var"),
    "mode_forgotten": ({"frozen_norm": True}, "statistics", "encoder.0.block.0.norm.running_mean"),
}
"""What is changed in the port, and the probe and the quantity that must be named first."""


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_a_port_is_named(fault: str) -> None:
    change, probe, quantity = FAULTS[fault]
    comparison = compare_modules(*pair(**change), probes=["activations", "statistics"])
    assert not comparison.equal
    assert comparison.verdict is not None
    first = comparison.verdict.first_difference
    assert first is not None
    assert (first.probe, first.quantity, first.candidate) == (probe, quantity, LINEN)
    assert len(comparison.notes) == (1 if fault == "mode_forgotten" else 2), comparison.notes
    sound = [m for m in comparison.verdict.measurements if m.candidate == TORCH]
    assert sound and all(m.equal for m in sound)


@pytest.mark.parametrize(
    ("changes", "captured"),
    [
        ({"others": "remat"}, {"encoder.1.block.0.conv": True}),
        ({"dtype": "float32"}, {"encoder.0.block.0.conv": True}),
        ({"first": "Reused"}, {"encoder.0.block.0.conv": False, "encoder.1.block.0.conv": True}),
    ],
    ids=["rematerialised", "in_another_dtype", "a_layer_that_runs_twice"],
)
def test_what_published_modules_do_is_taken(changes: dict[str, Any], captured: dict[str, bool]) -> None:
    comparison = compare_modules(*pair(**changes), probes=["activations", "gradients"])
    assert comparison.equal, str(comparison)
    assert comparison.verdict is not None
    seen = {m.quantity for m in comparison.verdict.measurements if LINEN in (m.reference, m.candidate)}
    assert {name: name in seen for name in captured} == captured


def test_a_mode_may_be_a_field() -> None:
    from tests.parity import linen_ports, ports

    module = ports.trained()
    flax = linen_ports.ported_within(module, linen_ports.ModeAsField)
    comparison = compare_modules(module, flax, probes=["forward", "statistics"])
    assert comparison.equal, str(comparison)


def test_what_comes_behind_all_layers_is_told() -> None:
    comparison = compare_modules(*pair_within("WithSigmoid"), probes=["forward", "activations"])
    assert comparison.notes == (
        "every layer that is known is equal, head the last: look behind it, for a sigmoid for instance",
    )
    assert not compare_modules(*pair_within("WithSigmoid"), probes=["forward"]).notes


def test_a_mode_may_be_what_is_mutable() -> None:
    from tests.parity import linen_ports, ports

    module = ports.trained()
    flax = linen_ports.ported_within(module, linen_ports.ModeByMutability)
    comparison = compare_modules(module, flax, probes=["forward", "activations", "statistics"])
    assert comparison.equal, str(comparison)


def test_boxed_parameters_are_unboxed() -> None:
    from flax import linen as nn

    from tests.parity import linen_ports, ports

    module = ports.trained()
    variables = linen_ports.variables_of(module)
    kernel = variables["params"]["out"]["kernel"]
    variables["params"]["out"]["kernel"] = nn.Partitioned(kernel, names=(None,) * 4)
    comparison = compare_modules(module, linen_ports.LinenUNet().bind(variables), probes=["forward"])
    assert comparison.equal, str(comparison)


def test_a_tensor_that_was_not_ported_is_named() -> None:
    from tests.parity import linen_ports, ports

    module = ports.trained()
    variables = linen_ports.variables_of(module)
    variables["params"]["up"]["kernel"] = variables["params"]["up"]["kernel"][::-1, ::-1]
    comparison = compare_modules(module, linen_ports.LinenUNet().bind(variables), probes=["forward"])
    assert not comparison.equal
    words = f"params.up.kernel of {LINEN} holds the values of decoder.0.up.weight in another order"
    assert comparison.assumed[-1].startswith(words)


def test_modules_stay_as_they_are() -> None:
    import jax

    module, flax = pair(dtype="float16")
    before = jax.tree.map(np.array, flax.variables)
    compare_modules(module, flax, probes=["trajectory"])
    assert flax.dtype == "float16"
    assert jax.tree.all(jax.tree.map(np.array_equal, before, flax.variables))
    assert {str(array.dtype) for array in jax.tree.leaves(flax.variables)} == {"float32"}


# ------------------------------------------------------------------------------------ Tandem's own module of a spec


@pytest.fixture(scope="module")
def narrow() -> UNetSpec:
    return of_two_levels("unet_bn_same")


def built(spec: UNetSpec, weights: Any = None) -> Any:
    """Tandem's Linen module of a spec, with its seeded weights."""
    from backends.flax_linen import UNet
    from backends.flax_linen.weights import native, put, to_native

    variables: dict[str, Any] = {}
    for tensor in spec.tensors:
        values = to_native(tensor, (weights or initial_weights(spec))[tensor.name])
        put(variables, native(tensor), np.asarray(values, np.float32))
    return UNet(spec).bind(variables)


def test_a_module_built_from_a_spec_is_compared_by_every_name(narrow: UNetSpec) -> None:
    import torch

    from backends import pytorch

    torch.manual_seed(0)
    module = pytorch.UNet(narrow)
    pytorch.load_weights(module, narrow, initial_weights(narrow))
    comparison = compare_modules(module, built(narrow), probes=["structure", "activations", "statistics"])
    assert comparison.equal, str(comparison)
    assert comparison.verdict is not None
    compared = {m.quantity for m in comparison.verdict.measurements if m.probe == "activations"}
    assert compared == {layer.name for layer in narrow.layers}


def test_a_change_in_a_module_built_from_a_spec_is_named(narrow: UNetSpec) -> None:
    norm = {"part": "encoder", "levels": [1], "norm": narrow.norm.model_dump() | {"epsilon": 1.0001e-5}}
    changed = UNetSpec.model_validate(narrow.model_dump() | {"override": [norm]})
    comparison = compare_modules(built(narrow), built(changed), spec=narrow, probes=["forward", "activations"])
    assert comparison.verdict is not None
    first = comparison.verdict.first_difference
    assert first is not None
    assert (first.quantity, first.candidate) == ("encoder.1.block.0.norm", "candidate UNet (flax_linen)")


@pytest.mark.needs_backends("flax_nnx")
def test_a_port_may_stand_beside_a_module_of_another_library() -> None:
    from tests.parity import linen_ports, ports

    module = ports.trained()
    nnx, spec = adopted(module)
    comparison = compare_modules(nnx, linen_ports.ported(module), spec=spec, probes=["forward", "statistics"])
    assert comparison.equal, str(comparison)
    assert comparison.names == ("UNet (flax_nnx)", LINEN)


def test_a_module_of_another_spec_is_refused(narrow: UNetSpec) -> None:
    with pytest.raises(WeightsError, match="the module was not built from unet_same: "):
        compare_modules(built(narrow), built(narrow), spec=of_two_levels("unet_same"))


def unbound() -> Any:
    from tests.parity import linen_ports

    return linen_ports.LinenUNet()


def without_a_mode() -> tuple[Any, Any]:
    from tests.parity import linen_ports, ports

    module = ports.trained()
    return module, linen_ports.ported_within(module, linen_ports.ModeUnderAnotherName)


def pair_within(name: str) -> tuple[Any, Any]:
    from tests.parity import linen_ports, ports

    module = ports.trained()
    return module, linen_ports.ported_within(module, getattr(linen_ports, name))


REFUSED: dict[str, tuple[Callable[[], tuple[Any, Any]], str]] = {
    "unbound": (
        lambda: (pair()[0], unbound()),
        "LinenUNet is a module of Flax Linen without its variables; give it with them: module.bind(variables)",
    ),
    "two_ports": (lambda: (pair()[1], pair()[1]), "nothing says which network the two are; say it with spec="),
    "without_a_mode": (
        without_a_mode,
        "ModeUnderAnotherName keeps batch_stats, and nothing tells it whether it is in training; expected an argument",
    ),
    "a_mode_that_goes_no_further": (
        lambda: pair(make="DeafUNet"),
        "DeafUNet changes its statistics in evaluation mode, so that its mode does not reach all of its layers; "
        'pass it on (Cannot update variable "mean" in "/enter/norm" because',
    ),
    "fixed_dtype": (lambda: pair(make="FixedDtype"), "FixedDtype returns float32 where its tensors and images are flo"),
    "channels_first": (
        lambda: pair_within("ChannelsFirst"),
        "; it takes channels first: wrap it in a module that moves them, and those of its logits back",
    ),
    "more_than_images": (
        lambda: pair_within("TakesTime"),
        "missing 1 required positional argument: 'time'); where it takes more than images, wrap it in a module that g",
    ),
    "fails": (lambda: pair(make="Fails"), "Fails fails on images 2x4x6x1, channels last (ValueError: not today)"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_compared_is_one_line(case: str) -> None:
    make, words = REFUSED[case]
    with pytest.raises(TandemError) as raised:
        compare_modules(*make(), probes=["forward"])
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)
