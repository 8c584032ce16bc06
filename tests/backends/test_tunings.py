"""However a backend is tuned, it computes the same network; and each tuning says what it turns."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import backends
import parity
from backends import Execution
from backends.conformance.networks import SMALLEST
from shared_specs import load_spec
from tests.variants import VARIANTS, built

ROOT = Path(__file__).parents[2]

QUICK = {"pytorch": ("channels_last", "tuned"), "flax_nnx": ("op_by_op", "donate", "tuned")}

SLOW = {"pytorch": ("compile", "compile_max_autotune")}
"""Those that compile a step with Inductor take minutes; `make full` has them."""

pytestmark = pytest.mark.needs_backends("pytorch", "flax_nnx")

ARMS = [
    pytest.param(name, tuning, id=f"{name}-{tuning}", marks=marks)
    for arms, marks in ((QUICK, ()), (SLOW, (pytest.mark.full,)))
    for name, known in arms.items()
    for tuning in known
]


def check(name: str, tuning: str, precision: str, changes: dict[str, Any]) -> parity.Verdict:
    spec, images, labels = built(changes)
    execution = Execution(precision=precision, tuning=tuning)
    return parity.check(spec, [name], execution, batch=parity.Batch(images, labels, "of the test"))


@pytest.mark.parametrize("precision", ["float64", "float32", "bfloat16"])
@pytest.mark.parametrize(("name", "tuning"), ARMS)
def test_equal(name, tuning, precision):
    verdict = check(name, tuning, precision, VARIANTS["as in the zoo"])
    assert verdict.equal, str(verdict.first_difference)


@pytest.mark.parametrize("name", ["pytorch", "flax_nnx"])
def test_equal_where_skips_are_cropped(name):
    """In PyTorch the crop is a padding by less than nothing, so that channels-last maps stay so."""
    verdict = check(name, "tuned", "float32", VARIANTS["crop"])
    assert verdict.equal, str(verdict.first_difference)


@pytest.mark.parametrize("name", ["pytorch", "flax_nnx"])
def test_every_tuning_says_what_it_turns(name):
    backend = backends.get(name)
    tunings = backends.capabilities(name).tunings
    assert backend.capabilities.tunings == tunings
    knobs = {tuning: backend.knobs(Execution(tuning=tuning)) for tuning in tunings}
    assert len({frozenset(turned.items()) for turned in knobs.values()}) == len(knobs), "two tunings are the same"
    assert len({tuple(turned) for turned in knobs.values()}) == 1, "not every knob is listed by every tuning"


@pytest.mark.parametrize("name", ["pytorch", "flax_nnx"])
def test_forward_programs_of_tuned_backends_fold_the_norm(name):
    """What is folded once does not see the weights change: the contract allows it, and a user should know."""
    spec = load_spec("unet_bn_same").narrow(32)
    images = np.random.default_rng(0).standard_normal((1, 3, 16, 16))
    moved = {}
    for tuning in ("default", "tuned"):
        model = backends.get(name).build(spec, Execution(tuning=tuning))
        program = model.program("forward", images)
        before = model.fetch(program())["logits"]
        model.load_weights({tensor: 2 * values for tensor, values in model.weights().items()})
        moved[tuning] = not np.array_equal(model.fetch(program())["logits"], before)
    assert moved == {"default": True, "tuned": False}


def test_what_was_compiled_is_counted():
    spec, images, labels = built(SMALLEST)
    expected = {("pytorch", "default"): 0, ("flax_nnx", "op_by_op"): 0, ("flax_nnx", "default"): 1}
    for (name, tuning), compilations in expected.items():
        model = backends.get(name).build(spec, Execution(tuning=tuning))
        before = model.compile_report()
        step = model.program("train_step", images, labels)
        step(), step()
        after = model.compile_report()
        assert after.compilations - before.compilations == compilations
        assert (after.compile_s > before.compile_s) == (compilations > 0)
        assert after.graph_breaks == 0


@pytest.mark.parametrize("tuning", ["default", "tuned"])
def test_flax_compiles_once_for_each_shape(tuning):
    spec = load_spec("unet_bn_same").narrow(32)
    model = backends.get("flax_nnx").build(spec, Execution(tuning=tuning))
    counts = []
    for side in (16, 16, 32, 16):
        model.forward(np.zeros((1, 3, side, side)))
        counts.append(model.compile_report().compilations)
    assert counts == [1, 1, 2, 2]


def test_flax_shares_the_batch_among_the_devices_of_a_process():
    """In a process with two CPU devices, as a tuned worker has: still equal, and both are used where they can be."""
    code = (
        "import parity\n"
        "from backends import Execution, get\n"
        "from tests.variants import built\n"
        "spec, execution = built({})[0], Execution(tuning='tuned')\n"
        "verdict = parity.check(spec, ['flax_nnx'], execution, batch=parity.random_batch(spec, count=2))\n"
        "assert verdict.equal, verdict.first_difference\n"
        "model = get('flax_nnx').build(spec, execution)\n"
        "for count, devices in ((2, '2'), (3, '1'), (4, '2')):\n"
        "    model.activations(parity.random_batch(spec, count=count).images)\n"
        "    assert model.flags()['devices'] == devices, (count, model.flags())\n"
        "batch = parity.random_batch(spec, count=2)\n"
        "step = model.program('train_step', batch.images, batch.labels)\n"
        "step()\n"
        "model.load_weights(model.weights())\n"
        "model.activations(parity.random_batch(spec, count=3).images)\n"
        "step()\n"
        "assert model.flags()['devices'] == '2'\n"
    )
    # Without the switches of the tests: here XLA compiles as it does for a user.
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "PYTHONPATH": str(ROOT)}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd=ROOT)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.needs_backends("flax_nnx")
def test_a_switch_that_xla_does_not_have_is_left_out() -> None:
    from backends.jax_engine.compiling import knows

    assert knows("xla_cpu_enable_fast_math")
    assert not knows("xla_of_another_release")
