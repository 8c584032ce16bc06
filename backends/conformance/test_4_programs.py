"""What is timed: a program of each phase computes what the methods compute, and what compilers did is counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from backends.contract import PHASES, BackendError, CompileReport, Execution, LoadSizes, Model
from parity.verdict import measure, told_apart
from shared_specs import initial_weights

from .steps import Failure, expect, needs
from .subject import Subject, apart

Arrays = dict[str, np.ndarray]

SIZES = LoadSizes(matrix=8, maps=(1, 2, 4), copied_bytes=1024)
"""So small that a load is over at once."""


def needs_phase(subject: Subject, phase: str) -> None:
    if lacks := subject.capabilities.lacks(phase=phase):
        pytest.skip(f"{subject.name} {lacks}")


def program_of(subject: Subject, model: Model, phase: str, network: str = "plain") -> Callable[[], Any]:
    batch = subject.batch(network)
    return model.program(phase, batch.images, None if phase == "forward" else batch.labels)


def run_as_methods_do(subject: Subject, phase: str, execution: Execution | None = None, network: str = "plain") -> None:
    """Raises Failure where a program's outputs, or what it left in its model, are not what the methods give.

    A program runs twice, so that the second step starts from what the first one left. The methods are those of a
    model with the tuning "default".
    """
    execution = execution or subject.base
    plain, batch = Execution(execution.device, execution.precision), subject.batch(network)
    probe = {"forward": "forward", "forward_backward": "gradients", "train_step": "trajectory"}[phase]
    floors = subject.floors(probe, network, plain)  # before the models, which measuring them may train
    timed = subject.model(network, execution)
    program = program_of(subject, timed, phase, network)
    outputs = [timed.fetch(program()) for _ in range(2)]
    timed.synchronize()
    left = timed.weights() | ({} if phase == "forward" else timed.optimizer_state())
    if phase == "forward_backward":
        _expect_parameters_kept(subject, left, network, plain)
    asked = subject.model(network, plain)  # the same model where the tuning is "default", with its weights anew
    if phase == "forward":
        found, expected = {"logits": outputs[1]["logits"]}, {"logits": asked.forward(batch.images)}
    elif phase == "forward_backward":
        result = asked.loss_and_gradients(batch.images, batch.labels)
        expected = {f"gradient of {name}": gradient for name, gradient in result.gradients.items()}
        expected["loss"] = np.asarray(result.loss)
        found = {name.replace("gradient/", "gradient of "): values for name, values in outputs[1].items()}
    else:
        found = {f"step {step}: loss": output["loss"] for step, output in enumerate(outputs, start=1)}
        expected = {}
        for step in (1, 2):
            expected[f"step {step}: loss"] = np.asarray(asked.train_step(batch.images, batch.labels).loss)
        expected |= {f"step 2: {name}": values for name, values in (asked.weights() | asked.optimizer_state()).items()}
        found |= {f"step 2: {name}": values for name, values in left.items()}
    for name, values in expected.items():
        expect(name in found, f"{phase}: fetch gives no {name}, expected it with {', '.join(list(expected)[:3])}")
        expect(
            not apart(found[name], values, floors[name]),
            f"{phase}: {name}: {_worst(found[name], values)}, further apart than rounding goes; expected the same "
            "network and step",
        )


def _worst(found: np.ndarray, expected: np.ndarray) -> str:
    """The element that is farthest from what it should be, in words."""
    worst = measure(("the methods", "the program"), "", "", expected, found, floor=1.0, limit=1.0)
    if worst.index is None:
        return f"the program gives the shape {found.shape}, the methods {expected.shape}"
    methods, program = told_apart(worst.reference_value, worst.candidate_value)
    return f"the program gives {program}{f' at {list(worst.index)}' if worst.index else ''}, the methods {methods}"


def _expect_parameters_kept(subject: Subject, left: Arrays, network: str, execution: Execution) -> None:
    spec, floors = subject.spec(network), subject.floors("statistics", network, execution)
    initial, parameters = initial_weights(spec), [tensor.name for tensor in spec.tensors if tensor.trainable]
    moved = [name for name in parameters if apart(left[name], initial[name], floors[name])]
    expect(not moved, f"forward_backward: the program moves {', '.join(moved[:3])}, expected statistics alone")


@needs("activations", "trajectory")
@pytest.mark.parametrize("phase", PHASES)
def test_program(subject: Subject, phase: str) -> None:
    needs_phase(subject, phase)
    run_as_methods_do(subject, phase)


@needs("builds")
def test_refuses_other_phases(subject: Subject, lacking_phase: str) -> None:
    phase = lacking_phase
    model, batch = subject.model(), subject.batch()
    method = {"forward_backward": model.loss_and_gradients, "train_step": model.train_step}[phase]
    for run in (lambda: program_of(subject, model, phase), lambda: method(batch.images, batch.labels)):
        try:
            run()
        except BackendError:
            continue
        raise Failure(f"it declares no phase {phase!r} and runs it; expected BackendError, or declare the phase")


@needs("builds")
def test_refuses_an_unknown_phase(subject: Subject) -> None:
    try:
        subject.model().program("backward", subject.batch().images)
    except BackendError:
        return
    raise Failure("program took the phase 'backward'; call backends.contract.check_phase(phase) first")


@needs("program")
def test_counts_what_it_compiles(subject: Subject) -> None:
    """A second call of a program compiles nothing more: a benchmark would time the compiler."""
    model = subject.model()
    program = program_of(subject, model, "train_step" if subject.trains() else "forward")
    program()
    before = model.compile_report()
    expect(
        isinstance(before, CompileReport) and before.compilations >= 0 <= before.compile_s,
        f"compile_report() is {before}, expected a CompileReport of what was compiled so far",
    )
    program()
    after = model.compile_report()
    expect(
        after.compilations == before.compilations,
        f"the second call of a program compiles {after.compilations - before.compilations} more, expected none",
    )


@needs("program")
def test_says_what_each_tuning_turns(subject: Subject) -> None:
    base = subject.base
    knobs = {
        tuning: subject.backend.knobs(Execution(base.device, base.precision, tuning))
        for tuning in subject.capabilities.tunings
    }
    for tuning, turned in knobs.items():
        expect(
            all(isinstance(name, str) and isinstance(value, str) for name, value in turned.items()),
            f"knobs() of the tuning {tuning!r} is {turned}, expected the setting of each knob as text",
        )
        same = [other for other in knobs if other != tuning and knobs[other] == turned]
        expect(not same, f"the tunings {tuning!r} and {same[:1]} turn the same knobs {turned}, expected others")


@needs("program")
def test_runs_its_loads(subject: Subject) -> None:
    loads = subject.backend.loads(subject.base, SIZES)
    if not loads:
        pytest.skip(f"{subject.name} has no loads(), so that reports have no ceilings of the device in it")
    for load in loads:
        load.run()
        expect(
            load.flops + load.bytes_moved > 0,
            f"the load {load.name!r} says neither what it computes nor what it moves, expected flops or bytes_moved",
        )
