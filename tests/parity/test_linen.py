"""Flax Linen builds the same networks as Flax NNX, with which it shares its arithmetic and its programs.

NNX is judged on the whole zoo and on every choice of the schema. That Linen has every kind of layer, and every
precision, is what the conformance suite asks of it: `tests/backends/test_conformance.py`.
"""

from __future__ import annotations

from typing import Any

import pytest

import backends
import parity
from backends.contract import Execution
from shared_specs import load_spec
from shared_specs.catalog import CORE

pytestmark = pytest.mark.needs_backends("flax_linen")


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
