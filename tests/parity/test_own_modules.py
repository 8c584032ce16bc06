"""Two modules of a user's, in one framework or two: compared as they are, and where they part it is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import backends
from backends import Execution
from parity import PROBES, compare_modules
from shared_specs import ShapeError, TandemError, UNetSpec, WeightsError, initial_weights, load_spec

pytestmark = pytest.mark.needs_backends("pytorch", "flax_nnx")

TORCH, FLAX = "TorchUNet (pytorch)", "FlaxUNet (flax_nnx)"


def pair(**changes: Any) -> tuple[Any, Any]:
    """A hand-written module in PyTorch and its port to Flax, with something changed in the port."""
    from tests.parity import ports

    if changes.get("norm"):
        changes["norm"] = getattr(ports.nnx, changes["norm"])
    for key in {"first", "make"} & set(changes):
        changes[key] = getattr(ports, changes[key])
    module = ports.trained()
    return module, ports.ported(module, **changes)


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


def of_two_levels(name: str) -> UNetSpec:
    return UNetSpec.model_validate(load_spec(name).model_dump() | {"widths": [4, 8]})


@pytest.fixture(scope="module")
def narrow() -> UNetSpec:
    return of_two_levels("unet_bn_same")


def built(spec: UNetSpec) -> tuple[Any, Any]:
    """Tandem's own modules of a spec, with the same weights."""
    from flax import nnx

    from backends import flax_nnx, pytorch

    module, flax = pytorch.UNet(spec), flax_nnx.UNet(spec, rngs=nnx.Rngs(0))
    weights = initial_weights(spec)
    pytorch.load_weights(module, spec, weights)
    flax_nnx.load_weights(flax, spec, weights)
    return module, flax


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
    import parity
    from backends import flax_nnx
    from tests.parity import ports

    module = ports.trained()
    adoption = parity.adopt(module, backends=[])
    assert adoption.spec is not None
    flax = flax_nnx.UNet(adoption.spec, rngs=ports.nnx.Rngs(0))
    flax_nnx.load_weights(flax, adoption.spec, adoption.weights)
    comparison = compare_modules(module, flax, probes=["structure", "statistics"])
    assert comparison.equal, str(comparison)


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


def test_a_port_takes_no_weights() -> None:
    import parity

    module, flax = pair()
    weights = parity.adopt(module, backends=[]).weights
    with pytest.raises(TandemError, match="have names of their own, and it cannot take weights; load them first"):
        compare_modules(module, flax, weights=weights)


def residual() -> Any:
    from tests.own_networks import Residual

    return Residual()


def fixed_dtype() -> Any:
    from tests.parity import ports

    class Fixed(ports.FlaxUNet):
        def __call__(self, x: Any) -> Any:
            return super().__call__(x).astype("float32")

    return Fixed()


def fails() -> Any:
    from tests.parity import ports

    class Fails(ports.FlaxUNet):
        def __call__(self, x: Any) -> Any:
            raise ValueError("not today")

    return Fails()


REFUSED: dict[str, tuple[Callable[[], tuple[Any, Any]], dict[str, Any], str]] = {
    "no_module": (lambda: (pair()[0], 3), {}, "the candidate is a 'int', expected a torch.nn.Module, a flax.nnx.Modul"),
    "two_ports": (
        lambda: (pair()[1], pair()[1]),
        {"spec": "unet_bn_same"},
        "its tensors have names of their own, and candidate FlaxUNet (flax_nnx) does not tell which they are",
    ),
    "no_spec": (lambda: (pair()[1], pair()[1]), {}, "nothing says which network the two are; say it with spec="),
    "not_inferred": (
        lambda: (residual(), pair()[1]),
        {},
        "Residual (pytorch): no spec can be inferred (add at the top within encoder level 0: residual",
    ),
    "bfloat16": (pair, {"precision": "bfloat16"}, "modules are compared in float64 or float32, not in bfloat16"),
    "labels": (pair, {"labels": np.zeros((1, 8, 8), int)}, "labels without images"),
    "weights": (pair, {"weights": {}}, "weights: not weights of adopted: missing decoder.0.block.0.conv.bias"),
    "fixed_dtype": (
        lambda: (pair()[0], fixed_dtype()),
        {},
        "Fixed returns float32 where its tensors and images are flo",
    ),
    "fails": (lambda: (pair()[0], fails()), {}, "Fails fails on images 2x4x6x1, channels last (ValueError: not today)"),
    "probe": (pair, {"probes": ["backward"]}, "no probe is named 'backward'"),
    "small_images": (pair, {"images": (2, 1, 7, 7)}, "7"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_compared_is_one_line(case: str) -> None:
    make, options, words = REFUSED[case]
    with pytest.raises(TandemError) as raised:
        compare_modules(*make(), **options)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_where_no_spec_has_a_word_none_is_asked_for() -> None:
    from tests.parity import ports

    class WithSoftmax(ports.TorchUNet):
        def forward(self, x: Any) -> Any:
            return super().forward(x).softmax(1)

    with pytest.raises(TandemError, match=r"no spec can be inferred \(.*; return the logits, .* the module\)$"):
        compare_modules(WithSoftmax(), WithSoftmax())


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


def test_a_hook_on_a_gradient_is_refused_as_no_copy_has_it() -> None:
    from tests.parity import ports

    module, candidate = ports.trained(), ports.trained()
    candidate.bottom[0].weight.register_hook(lambda gradient: 1.01 * gradient)
    with pytest.raises(TandemError, match=r"hooks on the gradients of bottom\.0\.weight, which a copy has not"):
        compare_modules(module, candidate, probes=["gradients"])
