"""Two modules of a user's, in one framework or two: compared as they are, and where they part it is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from parity import PROBES, compare_modules

from .pairs import FLAX, TORCH, pair

pytestmark = pytest.mark.needs_backends("pytorch", "flax_nnx")


@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_a_sound_port_is_equal(precision: str) -> None:
    comparison = compare_modules(*pair(), precision=precision)
    assert comparison.equal, str(comparison)
    assert comparison.names == (TORCH, FLAX)
    verdict = comparison.verdict
    assert verdict is not None
    assert verdict.models == ("numpy_reference", TORCH, FLAX)
    assert verdict.execution.precision == precision
    assert verdict.probes == list(PROBES)
    compared = {(m.probe, m.quantity) for m in verdict.measurements if m.candidate == FLAX and m.reference == TORCH}
    assert ("forward", "logits") in compared
    assert ("activations", "decoder.0.up") in compared
    assert ("statistics", "logits after a pass in training mode") in compared
    assert ("gradients", "gradient of the images") in compared
    assert ("gradients", "gradient of decoder.0.up.weight") in compared
    assert ("trajectory", "step 3: encoder.0.block.0.norm.running_var") in compared
    assert ("trajectory", "logits after step 3") in compared


def test_a_fresh_port_is_equal_though_its_norms_are_constant() -> None:
    from tests.parity import ports

    module = ports.TorchUNet()
    comparison = compare_modules(module, ports.ported(module))
    assert comparison.equal, str(comparison)
    assert comparison.verdict is not None
    quantities = {m.quantity for m in comparison.verdict.measurements if m.candidate == FLAX}
    assert "gradient of encoder.0.block.0.conv.weight" in quantities
    assert "gradient of encoder.0.block.0.norm.weight" not in quantities  # which of the ones is it?
    told = comparison.assumed[-1]
    assert "encoder.0.block.0.norm.weight" in told
    assert "may lie anywhere in FlaxUNet (flax_nnx): what is constant" in told


@pytest.mark.parametrize("first", ["RawUnit", "SplitUnit"])
def test_a_module_that_holds_a_kernel_is_not_taken_for_the_layer(first: str) -> None:
    comparison = compare_modules(*pair(first=first), probes=["activations", "gradients"])
    assert comparison.equal, str(comparison)
    assert comparison.verdict is not None
    quantities = {m.quantity for m in comparison.verdict.measurements if FLAX in (m.reference, m.candidate)}
    assert "encoder.1.block.0.conv" in quantities
    assert "encoder.0.block.0.conv" not in quantities
    assert "gradient of encoder.0.block.0.conv.weight" in quantities


def test_a_module_may_be_told_its_mode_in_its_call() -> None:
    comparison = compare_modules(*pair(make="ToldUNet"), probes=["activations", "statistics", "gradients"])
    assert comparison.equal, str(comparison)
    assert comparison.notes == ()


def test_the_port_may_be_the_reference() -> None:
    module, flax = pair()
    comparison = compare_modules(flax, module, probes=["forward"])
    assert comparison.equal, str(comparison)
    assert comparison.names == (FLAX, TORCH)


FAULTS: dict[str, tuple[dict[str, Any], str, str, tuple[str, ...]]] = {
    "epsilon": (
        {"epsilon": 1.0001e-5},
        "activations",
        "encoder.1.block.0.conv",
        (
            f"encoder.1.block.0.conv is conv2d (bottom.0) in {TORCH} and bottom.conv in {FLAX}",
            "it may also be encoder.0.block.0.norm, encoder.0.block.0.activation, encoder.1.down, right before it, of "
            f"which {FLAX} shows no output",
        ),
    ),
    "momentum": (
        {"momentum": 0.99},
        "statistics",
        "encoder.0.block.0.norm.running_mean",
        (
            f"encoder.0.block.0.norm.running_mean is enter.1.running_mean in {TORCH} and enter.norm.mean in {FLAX}",
            f"{FLAX} gives the new batch a weight of 0.01 instead of 0.1, for which PyTorch has momentum=0.1 and Flax "
            "momentum=0.9",
        ),
    ),
    "biased_variance": (
        {"norm": "BatchNorm"},
        "statistics",
        "encoder.0.block.0.norm.running_var",
        (
            f"encoder.0.block.0.norm.running_var is enter.1.running_var in {TORCH} and enter.norm.var in {FLAX}",
            f"{FLAX} keeps the biased variance of a batch, as Flax's BatchNorm does, and PyTorch the unbiased one: "
            "trained, they part a little; where that is meant, compare all but statistics, optimizer and trajectory, "
            "with probes=",
        ),
    ),
    "momentum_and_variance": (
        {"momentum": 0.99, "norm": "BatchNorm"},
        "statistics",
        "encoder.0.block.0.norm.running_mean",
        (
            f"encoder.0.block.0.norm.running_mean is enter.1.running_mean in {TORCH} and enter.norm.mean in {FLAX}",
            f"{FLAX} gives the new batch a weight of 0.01 instead of 0.1, for which PyTorch has momentum=0.1 and Flax "
            "momentum=0.9",
        ),
    ),
}
"""What is changed in the port, the probe and the quantity that must be named first, and what is said of it."""


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_a_port_is_named(fault: str) -> None:
    change, probe, quantity, notes = FAULTS[fault]
    comparison = compare_modules(*pair(**change))
    assert not comparison.equal
    assert comparison.verdict is not None
    first = comparison.verdict.first_difference
    assert first is not None
    assert (first.probe, first.quantity, first.candidate) == (probe, quantity, FLAX)
    assert comparison.notes == notes
    assert str(comparison).endswith("\n".join((str(first), *notes)))
    sound = [m for m in comparison.verdict.measurements if m.candidate == TORCH]
    assert sound
    assert all(m.equal for m in sound)


def test_statistics_are_seen_in_the_logits_where_they_are_not_known_by_name() -> None:
    from tests.parity import ports

    module = ports.TorchUNet()
    comparison = compare_modules(module, ports.ported(module, momentum=0.99), probes=["statistics"])
    assert comparison.verdict is not None
    first = comparison.verdict.first_difference
    assert first is not None
    assert first.quantity == "logits after a pass in training mode"


def scale_a_kernel(flax: Any) -> None:
    flax.join.conv.kernel.set_value(flax.join.conv.kernel[...] * 1.001)


def turn_a_kernel(flax: Any) -> None:
    flax.up.kernel.set_value(flax.up.kernel[...][::-1, ::-1])


def round_a_kernel(flax: Any) -> None:
    flax.out.kernel.set_value(flax.out.kernel[...].astype("bfloat16"))


def swap_two_tensors(flax: Any) -> None:
    mean, bias = flax.enter.norm.mean[...], flax.enter.norm.bias[...]
    flax.enter.norm.mean.set_value(bias)
    flax.enter.norm.bias.set_value(mean)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (scale_a_kernel, f"no tensor of {FLAX} alone holds the values of decoder.0.block.0.conv.weight"),
        (turn_a_kernel, f"up.kernel of {FLAX} holds the values of decoder.0.up.weight in another order"),
        (
            swap_two_tensors,
            f"no tensor of {FLAX} alone holds the values of encoder.0.block.0.norm.bias, encoder.0.block.0.norm.runn",
        ),
        (round_a_kernel, f"{FLAX} holds head.weight rounded to a narrower dtype, so that it cannot be equal"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_tensor_that_was_not_ported_is_named(change: Callable[[Any], None], words: str) -> None:
    module, flax = pair()
    change(flax)
    comparison = compare_modules(module, flax, probes=["forward"])
    assert not comparison.equal
    assert comparison.assumed[-1].startswith(words)


def test_modules_stay_as_they_are() -> None:
    from flax import nnx

    module, flax = pair()
    module.train()
    flax.eval()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    held = {path: np.asarray(v.get_value()) for path, v in nnx.to_flat_state(nnx.state(flax)) if v.type is nnx.Param}
    assert compare_modules(module, flax, probes=["trajectory"]).equal
    assert module.training
    assert flax.enter.norm.use_running_average
    assert all(tensor.equal(before[name]) for name, tensor in module.state_dict().items())
    after = dict(nnx.to_flat_state(nnx.state(flax)))
    assert held
    assert all(np.array_equal(values, np.asarray(after[path].get_value())) for path, values in held.items())


def test_own_images_and_labels_are_taken() -> None:
    import torch

    images = torch.rand(1, 1, 8, 12)
    labels = np.ones((1, 8, 12), int)
    comparison = compare_modules(*pair(), probes=["gradients"], images=images, labels=labels)
    assert comparison.equal, str(comparison)
    assert comparison.verdict is not None
    assert comparison.verdict.batch_shape == (1, 1, 8, 12)
    assert comparison.verdict.batch_origin == "images and labels as given"


def test_a_module_in_other_dtypes_computes_in_the_precision_of_the_comparison() -> None:
    import jax.numpy as jnp
    from flax import nnx

    module, flax = pair()
    for _, node in nnx.iter_modules(flax):
        if isinstance(node, nnx.Conv | nnx.BatchNorm):
            node.dtype = jnp.float32  # as one who builds with dtype=jnp.float32 gets it
    assert compare_modules(module, flax, probes=["forward"]).equal


def test_another_setting_in_the_same_framework_is_told_in_words() -> None:
    from tests.parity import ports

    module, other = ports.trained(), ports.trained()
    assert compare_modules(module, other, probes=["forward"]).equal
    other.enter[1].eps = 1e-3
    comparison = compare_modules(module, other, probes=["forward"])
    assert not comparison.equal
    assert "candidate TorchUNet (pytorch): encoder.0.block.0.norm, in your module batch_norm (enter.1): " in str(
        comparison
    )
    assert "epsilon 0.001 instead of 1e-05" in str(comparison)


def test_a_difference_that_no_number_shows_is_one() -> None:
    import torch

    from tests.parity import ports

    module, other = ports.trained(), ports.trained()
    other.enter.append(torch.nn.Dropout(0.2))
    comparison = compare_modules(module, other, probes=["forward"])
    assert comparison.verdict is not None
    assert comparison.verdict.equal
    assert not comparison.equal
    assert "an additional dropout of rate 0.2 instead of none" in str(comparison)


def test_a_module_that_lacks_a_layer_is_told_without_a_verdict() -> None:
    from tests.parity import ports

    module, other = ports.trained(), ports.trained()
    other.join = other.join[:1]
    comparison = compare_modules(module, other)
    assert not comparison.equal
    assert comparison.verdict is None
    assert "what follows conv instead of batch_norm" in str(comparison)
