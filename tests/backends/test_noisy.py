"""The float64 network under rounding noise is the same in PyTorch as in NumPy: its values, its noise, its decisions."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import backends
from backends.contract import UNIT_ROUNDOFF, Model, RoundingNoise
from parity import random_batch
from parity.batches import Batch
from parity.noise_floor import rms
from shared_specs import Recipe, UNetSpec, initial_weights, load_spec
from shared_specs.shapes import output_shape

pytestmark = pytest.mark.needs_backends("pytorch")

RERUNS = 8

FARTHEST = 4.0
"""How far, as a factor, two estimates of one deviation may lie apart. From 8 re-runs each they do so by chance only:
for every network of `tests/variants.py` in float32, 12 re-runs each, 10,062 quantities lay between 0.44 and 2.6."""

Variant = Callable[..., UNetSpec]

NO_NORM = {"norm": {"kind": "none"}, "block": {"convolutions": 2, "order": ["conv", "activation"]}}
VOLUME = {"dimensions": 3, "in_channels": 2, "widths": [4, 8], "size": (4, 6, 8)}

VARIANTS: dict[str, dict[str, Any]] = {
    "batch norm": {},
    "no norm, adam": NO_NORM | {"recipe": "adam"},
    "group norm, leaky relu": {
        "norm": {"kind": "group", "groups": 2, "epsilon": 1e-3},
        "activation": {"kind": "leaky_relu", "slope": 0.2},
    },
    "instance norm, prelu": {
        "norm": {"kind": "instance", "epsilon": 1e-3, "affine": True},
        "activation": {"kind": "prelu", "slopes": "per_channel"},
    },
    "layer norm, gelu": {
        "norm": {"kind": "layer", "epsilon": 1e-3},
        "activation": {"kind": "gelu", "approximation": "none"},
    },
    "padded pool, elu, linear": {
        "down__kernel": 3,
        "down__padding": 1,
        "activation": {"kind": "elu", "alpha": 0.7},
        "up": {"kind": "linear", "scale": 2, "align_corners": True},
    },
    "resized merge": {
        "merge": {"kind": "concatenate", "order": ["skip", "upsampled"]}
        | {"size_mismatch": "resize_upsampled", "resize": "linear"},
        "size": (15, 11),
    },
    "residual": {
        "residual": {"span": 2, "last_activation": "after_sum", "stride_by": "conv"}
        | {"kernel": 1, "padding": 0, "bias": True, "norm": True}
    },
    "attention": {"attention": {"width": "half", "bias": True, "norm": {"kind": "none"}}},
    "nested, deep supervision": {
        "nested": True,
        "widths": [4, 4, 8],
        "deep_supervision": {"levels": [1], "weights": [0.7, 0.5]},
    },
    "3-D": VOLUME,
}


def case(variant: Variant, name: str) -> tuple[UNetSpec, Batch, Recipe]:
    values = dict(VARIANTS[name])
    size, recipe = values.pop("size", (8, 12)), values.pop("recipe", "sgd")
    spec = variant(**values)
    random = np.random.default_rng(0)
    images = random.normal(size=(2, spec.in_channels, *size))
    count, classes, *sides = output_shape(spec, images.shape)
    return spec, Batch(images, random.integers(0, classes, (count, *sides)), "random"), Recipe.named(recipe)


def quantities(model: Model, batch: Batch) -> dict[str, np.ndarray]:
    """Everything that a model says of two steps."""
    found = {f"activation/{name}": values for name, values in model.activations(batch.images).items()}
    for step in (1, 2):
        result = model.train_step(batch.images, batch.labels)
        found |= {f"{step}/loss": np.asarray(result.loss), f"{step}/logits": result.logits}
        found |= {f"{step}/image gradient": result.image_gradient}
        found |= {f"{step}/gradient/{name}": values for name, values in result.gradients.items()}
        found |= {f"{step}/{name}": values for name, values in model.weights().items()}
        found |= {f"{step}/{name}": values for name, values in model.optimizer_state().items()}
    return found


def deviations(
    name: str, true: dict[str, np.ndarray], spec: UNetSpec, batch: Batch, recipe: Recipe, noise: tuple[float, int]
) -> dict[str, float]:
    reference: Any = backends.get(name)
    unit_roundoff, turned = noise
    squares = dict.fromkeys(true, 0.0)
    for seed in range(RERUNS):
        run = quantities(reference.build_noisy(spec, RoundingNoise(unit_roundoff, seed, turned), recipe), batch)
        for quantity in true:
            squares[quantity] += rms(run[quantity] - true[quantity]) ** 2
    return {quantity: (square / RERUNS) ** 0.5 for quantity, square in squares.items()}


@pytest.mark.parametrize("name", VARIANTS)
def test_without_noise_it_is_the_numpy_reference(variant: Variant, name: str) -> None:
    """The twin, which makes the decisions of a run under noise, computes what NumPy computes."""
    from backends.pytorch.noisy import NoisyModel

    spec, batch, recipe = case(variant, name)
    reference: Any = backends.get("numpy_reference")
    true = quantities(reference.build_noisy(spec, RoundingNoise(0.0, 0), recipe), batch)
    given = quantities(NoisyModel(spec, None, recipe), batch)
    assert given.keys() == true.keys()
    noise = deviations("numpy_reference", true, spec, batch, recipe, (UNIT_ROUNDOFF["float64"], 0))
    strayed = {
        quantity: rms(given[quantity] - values) / (noise[quantity] or 1.0)
        for quantity, values in true.items()
        if rms(given[quantity] - values) > 8 * noise[quantity] + 2.0**-53 * rms(values)
    }
    assert not strayed


NOISES = {
    "float64": ("float64", 0),
    "float32": ("float32", 0),
    "float32 turned up": ("float32", 1),
    "float32 turned down": ("float32", -1),
    "bfloat16": ("bfloat16", 0),
}
CASES = [(name, noise) for name in VARIANTS for noise in NOISES]
QUICK = [("batch norm", noise) for noise in NOISES] + [
    (name, list(NOISES)[number % len(NOISES)]) for number, name in enumerate(VARIANTS) if name != "batch norm"
]


@pytest.mark.parametrize(
    ("name", "kind"),
    [pytest.param(*case, id="-".join(case), marks=() if case in QUICK else pytest.mark.full) for case in CASES],
)
def test_noise_moves_every_quantity_as_far_as_in_numpy(variant: Variant, name: str, kind: str) -> None:
    precision, turned = NOISES[kind]
    spec, batch, recipe = case(variant, name)
    reference: Any = backends.get("numpy_reference")
    true = quantities(reference.build_noisy(spec, RoundingNoise(0.0, 0), recipe), batch)
    noise = UNIT_ROUNDOFF[precision], turned
    expected, given = (
        deviations(backend, true, spec, batch, recipe, noise) for backend in ("numpy_reference", "pytorch")
    )
    still = {quantity for quantity, deviation in expected.items() if deviation == 0}
    assert still == {quantity for quantity, deviation in given.items() if deviation == 0}
    assert still <= {f"{step}/step" for step in (1, 2)}
    ratios = {quantity: given[quantity] / deviation for quantity, deviation in expected.items() if deviation}
    assert 0.8 < np.median(list(ratios.values())) < 1.25
    assert {quantity: r for quantity, r in ratios.items() if not 1 / FARTHEST < r < FARTHEST} == {}


def test_a_gradient_of_zero_and_its_momentum_have_noise(variant: Variant) -> None:
    """In front of a batch norm a bias has a gradient of zero: what is left of it is rounding alone."""
    spec, batch, recipe = case(variant, "batch norm")
    pytorch: Any = backends.get("pytorch")
    model = pytorch.build_noisy(spec, RoundingNoise(2.0**-24, 1), recipe)
    gradient = model.train_step(batch.images, batch.labels).gradients["encoder.0.block.0.conv.bias"]
    momentum = model.optimizer_state()["momentum/encoder.0.block.0.conv.bias"]
    for values in (gradient, momentum):
        assert 1e-12 < rms(values) < 1e-5


@pytest.mark.parametrize("phase", ["forward", "forward_backward", "train_step"])
def test_a_program_gives_what_the_methods_give(variant: Variant, phase: str) -> None:
    spec, batch, recipe = case(variant, "batch norm")
    pytorch: Any = backends.get("pytorch")
    noise = RoundingNoise(2.0**-24, 3, turned=1)
    one, other = (pytorch.build_noisy(spec, noise, recipe) for _ in range(2))
    step = one.program(phase, batch.images, batch.labels)
    fetched = one.fetch(step())
    if phase == "forward":
        np.testing.assert_array_equal(fetched["logits"], other.forward(batch.images))
        return
    run = other.train_step if phase == "train_step" else other.loss_and_gradients
    result = run(batch.images, batch.labels)
    assert fetched["loss"] == result.loss
    for name, values in one.weights().items():
        # The gradient of the images takes noise that a program, which does not compute it, gives to others.
        np.testing.assert_allclose(values, other.read_tensor(name), rtol=1e-5, atol=1e-6)


def test_reruns_differ_by_their_seed_only(variant: Variant) -> None:
    spec, batch, _ = case(variant, "batch norm")
    pytorch: Any = backends.get("pytorch")
    first, again, other = (
        pytorch.build_noisy(spec, RoundingNoise(1e-7, seed)).forward(batch.images) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0


def test_decisions_are_those_of_the_run_without_noise(variant: Variant) -> None:
    """Noise so coarse that it would turn many, in a precision where decisions are treated apart."""
    spec, batch, recipe = case(variant, "no norm, adam")
    pytorch: Any = backends.get("pytorch")
    model = pytorch.build_noisy(spec, RoundingNoise(2.0**-12, 1), recipe)
    taken: list[Any] = []
    decide = model.rounding.decide

    def watched(x: Any, how: Any) -> Any:
        left = model.rounding.exact_decisions
        expected, decision = left[0], decide(x, how)
        taken.append((bool((decision == expected).all()), bool((decision != how(x.detach(), x.new_zeros(()))).any())))
        return decision

    model.rounding.decide = watched
    model.loss_and_gradients(batch.images, batch.labels)
    kinds = [layer.kind for layer in spec.layers]
    assert len(taken) == kinds.count("relu") + kinds.count("max_pool")
    assert all(as_the_twin for as_the_twin, _ in taken)
    assert any(else_another for _, else_another in taken)


def test_a_unit_near_zero_is_turned_where_that_is_asked_for() -> None:
    import torch

    from backends.pytorch.rounding import Rounding

    exact = torch.tensor([[[[1e-9, -1e-9, 0.5, -0.5]]]], dtype=torch.float64)
    error = torch.tensor([[[[1e-8, -1e-8, 1e-8, -1e-8]]]], dtype=torch.float64)
    passes = {}
    for turned in (1, 0, -1):
        rounding = Rounding(RoundingNoise(2.0**-24, 0, turned), torch.device("cpu"))
        rounding.exact_decisions = deque([exact if turned else exact > 0])
        passes[turned] = rounding.decide(exact + error, torch.gt).flatten().tolist()
    assert passes[1] == [False, False, True, False]
    assert passes[0] == [True, False, True, False]
    assert passes[-1] == [True, True, True, False]


@pytest.mark.parametrize("tie", [0.0, 0.25, -0.25])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "size"),
    [((2, 2), (2, 2), (0, 0), (7, 8)), ((3, 2), (2, 1), (1, 1), (9, 6)), ((3, 3, 2), (2, 2, 2), (1, 0, 1), (6, 7, 8))],
    ids=["windows", "padded, overlapping", "3-D"],
)
def test_the_winner_of_a_window_is_numpys(kernel: Any, stride: Any, padding: Any, size: Any, tie: float) -> None:
    import torch

    from backends.pytorch.noisy_layers import winner as pytorch_winner
    from shared_specs.layout import Layer, Pool

    random = np.random.default_rng(0)
    x = random.integers(0, 8, (2, 3, *size)) / 4.0  # many ties, and many within 0.25 of one
    layer = Layer("down", "max_pool", "encoder", 1, ("x",), 3, 3, Pool(kernel, stride, padding))
    ties = np.full((1, 3, *(1,) * len(size)), tie)
    seen = x + random.normal(size=x.shape)
    winners = pytorch_winner(layer, torch.tensor(seen), torch.tensor(x), torch.tensor(ties)).numpy()

    padded, magnitudes = (
        np.pad(each, [(0, 0), (0, 0), *((p, p) for p in padding)], constant_values=-np.inf) for each in (x, abs(seen))
    )
    numbers = np.pad(np.arange(np.prod(size)).reshape(size), [(p, p) for p in padding])
    for index in np.ndindex(*winners.shape):
        corner = [place * s for place, s in zip(index[2:], stride, strict=True)]
        window = tuple(slice(c, c + k) for c, k in zip(corner, kernel, strict=True))
        values, places = padded[index[:2]][window].ravel(), numbers[window].ravel()
        chosen = np.argmax(values)
        near = np.flatnonzero(values >= values.max() - abs(tie))
        near = near[near != chosen] if tie > 0 else near
        if tie and len(near):
            chosen = near[np.argmax(magnitudes[index[:2]][window].ravel()[near])]
        assert winners[index] == places[chosen]


def test_a_unit_that_is_turned_on_wins_its_window() -> None:
    """Behind a ReLU the window is all zeros without noise, and no order of its places tells which unit was turned."""
    from backends.numpy_reference.resampling import winner

    for place in range(4):
        exact, seen = np.zeros(4), np.zeros(4)
        seen[place] = -1e-9
        windows = ([np.array([x]) for x in each] for each in (exact, seen))
        assert winner(*windows, np.array(-1e-8)) == place


def test_every_network_of_the_zoo_has_floors(spec_name: str) -> None:
    """One re-run of each at its own structure, so that no kind of layer there is left without noise."""
    spec = load_spec(spec_name).narrow(16)
    batch = random_batch(spec, count=1) if spec.norm.kind == "none" else random_batch(spec)
    pytorch: Any = backends.get("pytorch")
    model = pytorch.build_noisy(spec, RoundingNoise(2.0**-24, 1))
    moved = model.activations(batch.images)
    from backends.pytorch.noisy import NoisyModel

    true = NoisyModel(spec, None, Recipe()).activations(batch.images)
    assert moved.keys() == true.keys() == {layer.name for layer in spec.layers}
    for name, values in true.items():
        assert 2.0**-26 < rms(moved[name] - values) / rms(values) < 2.0**-12, name


@pytest.mark.parametrize(
    "name", ["numpy_reference", pytest.param("pytorch", marks=pytest.mark.needs_backends("pytorch"))]
)
def test_decisions_turned_once_are_turned_in_the_first_step_alone(name: str) -> None:
    spec = load_spec("unet_bn_same").narrow(32)
    batch, weights = random_batch(spec, 2), initial_weights(spec, 2)
    moved = {}
    for once in (False, True):
        noise = RoundingNoise(UNIT_ROUNDOFF["float32"], 0, turned=1, turned_once=once)
        model = backends.get(name).build_noisy(spec, noise, Recipe())
        model.load_weights(weights)
        moved[once] = [model.train_step(batch.images, batch.labels).gradients["head.weight"] for _ in range(2)]
    np.testing.assert_array_equal(moved[True][0], moved[False][0])
    assert not np.array_equal(moved[True][1], moved[False][1])
