"""Flax Linen builds the same networks. It shares its arithmetic with Flax NNX, which is judged on the whole zoo.

So a few networks suffice here that have every kind of layer between them; of the zoo's core the programs are the same.
"""

from __future__ import annotations

from typing import Any

import pytest

import backends
import parity
from backends.contract import Execution
from backends.numpy_reference.unet import KINDS
from shared_specs import load_spec
from shared_specs.catalog import CORE
from tests.variants import ATTENTION, MAX_POOL, RESIDUAL, TRANSPOSED, VOLUME, built, to_size

PROBES = ("structure", "activations", "statistics", "gradients")

pytestmark = pytest.mark.needs_backends("flax_linen")


def at(part: str, level: int, **changes: Any) -> dict[str, Any]:
    return {"part": part, "levels": [level]} | changes


ELU = {"kind": "elu", "alpha": 0.7}

NETWORKS: dict[str, dict[str, Any]] = {
    "norms, gates, dropout": {
        "widths": [4, 4, 8],
        "size": (8, 12),
        "attention": ATTENTION,
        "dropout": {"rate": 0.5},
        "block__order": ["conv", "dropout", "norm", "activation"],
        "down": MAX_POOL | {"kind": "average_pool"},
        "up": {"kind": "linear", "scale": 2, "align_corners": True},
        "override": [
            at(
                "encoder",
                0,
                norm={"kind": "instance", "epsilon": 1e-3, "affine": True},
                activation={"kind": "elu", "alpha": 0.7},
            ),
            at("encoder", 1, norm={"kind": "group", "groups": 2, "epsilon": 1e-3}, activation={"kind": "silu"}),
            at("encoder", 2, norm={"kind": "layer", "epsilon": 1e-3}, activation={"kind": "tanh"}),
            at("decoder", 1, activation={"kind": "prelu", "slopes": "per_channel"}),
            at("decoder", 0, activation={"kind": "leaky_relu", "slope": 0.2}),
        ],
    },
    "shortcuts, shuffled pixels, resized": to_size("resize_upsampled", resize="nearest")
    | {
        "residual": RESIDUAL,
        "up": {"kind": "pixel_shuffle", "scale": 2},
        "activation": {"kind": "gelu", "approximation": "tanh"},
        "override": [at("decoder", 0, activation={"kind": "identity"})],
    },
    "3-D, deep supervision": VOLUME
    | {
        "widths": [4, 4, 8],
        "size": (4, 4, 8),
        "conv__padding_mode": "replicate",
        "deep_supervision": {"levels": [1], "weights": [1.0, 0.5]},
        "up": {"kind": "nearest", "scale": 2},
        "override": [at("decoder", 0, up=TRANSPOSED | {"kernel": 3, "padding": 1, "output_padding": 1})],
    },
}
"""Changes to the small network of `tests/variants.py`."""


@pytest.mark.parametrize("changes", NETWORKS.values(), ids=list(NETWORKS))
def test_equal_in_all_probes(changes: dict[str, Any]) -> None:
    spec, images, labels = built(changes)
    batch = parity.Batch(images, labels, "of the test")
    verdict = parity.check(spec, ["flax_linen"], batch=batch, steps=2)
    assert verdict.equal, str(verdict.first_difference)
    assert verdict.probes == list(parity.PROBES)


def test_these_networks_have_every_kind_of_layer() -> None:
    kinds = {layer.kind for changes in NETWORKS.values() for layer in built(changes)[0].layers}
    kinds |= {layer.kind for layer in load_spec("unet_bn_same").layers}
    assert kinds == set(KINDS)


@pytest.mark.parametrize("precision", ["float64", "float32", "bfloat16"])
def test_equal_in_every_precision(precision: str) -> None:
    spec = load_spec("unet_bn_same").narrow(16)
    verdict = parity.check(spec, ["flax_linen"], Execution(precision=precision), PROBES)
    assert verdict.equal, str(verdict.first_difference)
    assert verdict.probes == list(PROBES)


@pytest.mark.parametrize(("spec_name", "tuning"), [*((name, "default") for name in CORE), ("unet_bn_same", "tuned")])
def test_nnx_and_linen_run_the_same_programs(spec_name: str, tuning: str) -> None:
    """To the letter, where the norms are the engine's: so what is proven or timed of one is so of the other."""
    ours, theirs = (programs(name, spec_name, tuning) for name in ("flax_linen", "flax_nnx"))
    assert ours == theirs
    assert all(text.count("stablehlo.convolution") > 15 for text in ours.values())


def programs(backend: str, spec_name: str, tuning: str) -> dict[str, str]:
    """What a check runs in float64, or what is timed, before it is compiled."""
    import jax

    precision = "float64" if tuning == "default" else "bfloat16"
    spec = load_spec(spec_name).narrow(16)
    model: Any = backends.get(backend).build(spec, Execution(precision=precision, tuning=tuning))
    batch = parity.random_batch(spec)
    with model._precision():
        images, labels = model._images(batch.images), model._labels(batch.images, batch.labels)
        tensors = model.parameters, model.statistics
        calls = {
            "inference": (model.network.logits, *tensors, images),
            "layers": (model.network.captured, *tensors, images),
            "step": (model._step, *tensors, model.optimizer_arrays, images, labels),
        }
        return {name: jax.jit(function).lower(*inputs).as_text() for name, (function, *inputs) in calls.items()}
