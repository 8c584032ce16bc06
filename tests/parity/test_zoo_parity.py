"""The point of the project: every network of the zoo is the same in every backend, in every probe."""

from __future__ import annotations

from functools import cache

import pytest

import backends
import parity
from backends.contract import Execution
from parity import LIMIT, PROBES
from shared_specs import load_spec

PAIRS = {
    ("numpy_reference", "pytorch"): ("pytorch",),
    ("numpy_reference", "flax_nnx"): ("flax_nnx",),
    ("pytorch", "flax_nnx"): ("pytorch", "flax_nnx"),
}


@cache
def checked(spec_name: str, precision: str) -> parity.Verdict:
    """The verdict of a network, computed once however the tests are ordered."""
    return parity.check(load_spec(spec_name).narrow(32), execution=Execution(precision=precision))


@pytest.fixture
def verdict(spec_name, precision):
    return checked(spec_name, precision)


@pytest.mark.parametrize("probe", PROBES)
@pytest.mark.parametrize(
    "pair",
    [pytest.param(pair, marks=pytest.mark.needs_backends(*names), id="-".join(pair)) for pair, names in PAIRS.items()],
)
def test_equal(verdict, pair, probe):
    measured = [m for m in verdict.measurements if (m.reference, m.candidate) == pair and m.probe == probe]
    assert measured, "nothing was compared"
    assert all(m.floor > 0 or m.distance == 0 for m in measured)
    worst = max(measured, key=lambda m: m.distance)
    assert worst.distance <= LIMIT, str(worst)


@pytest.mark.needs_backends("pytorch")
def test_every_quantity_is_measured(verdict):
    """Each probe has each thing that the design says it compares, by name."""
    spec = verdict.spec
    candidates = [name for name in backends.default() if name != "numpy_reference"]
    one = [m for m in verdict.measurements if (m.reference, m.candidate) == ("numpy_reference", candidates[0])]
    names = {probe: {m.quantity for m in one if m.probe == probe} for probe in PROBES}
    tensors = {tensor.name for tensor in spec.tensors}
    trainable = {tensor.name for tensor in spec.tensors if tensor.trainable}
    layers = {layer.name for layer in spec.layers}
    state = {f"momentum/{name}" for name in trainable}
    assert names["structure"] == tensors | {f"shape of {name}" for name in layers} | {"parameter count"}
    assert names["forward"] == {"logits"}
    assert names["activations"] == layers
    assert names["statistics"] == tensors
    assert names["gradients"] == {f"gradient of {name}" for name in trainable | {"the images"}} | {"loss", "logits"}
    assert names["optimizer"] == tensors | state
    assert names["trajectory"] == {f"step {k}: {name}" for k in (1, 2, 3) for name in tensors | state | {"loss"}}


@pytest.mark.needs_backends("pytorch")
def test_gradients_rise_above_their_floors(verdict):
    """A check of zeros against zeros would pass, and so would one under a floor as high as the values."""
    weights = [m for m in verdict.measurements if m.probe == "gradients" and m.quantity.endswith(".weight")]
    heights = [m.max_abs_error / m.max_rel_error / m.floor for m in weights if m.max_abs_error]  # largest value / floor
    assert heights
    assert min(heights) > {"float64": 1e9, "float32": LIMIT}[verdict.execution.precision]


@pytest.mark.full
@pytest.mark.needs_backends("pytorch", "flax_nnx")
def test_full_width_on_the_published_input(spec_name, precision, record_property, capsys):
    """The five networks as they are, on the inputs whose output sizes are published; prints the largest distances."""
    sizes = {"unet_bn_same": (8, 224), "unet_same": (1, 512)}
    spec = load_spec(spec_name)
    count, size = sizes.get(spec_name, (1, 572))
    verdict = parity.check(
        spec,
        execution=Execution(precision=precision),
        # Without the activations: every map of three models at once takes more than 24 GiB.
        probes=["structure", "forward", "statistics", "gradients"],
        batch=parity.random_batch(spec, count=count, size=(size, size)),
    )
    for probe in verdict.probes:
        worst = verdict.worst(probe)
        assert worst is not None
        record_property(probe, worst.distance)
        with capsys.disabled():
            print(f"{spec_name} {precision} {probe}: {worst.distance:.3g} ({worst.quantity}, {worst.candidate})")
    assert verdict.equal, str(verdict.first_difference)
