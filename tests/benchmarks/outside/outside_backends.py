"""Backends from outside, registered by entry points as any plug-in is: one for each way in which a cell goes wrong.

Each is the NumPy reference but for one thing, so that its workers start quickly.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from backends.contract import Execution
from backends.numpy_reference.layers import Identity
from backends.numpy_reference.model import NumPyModel, NumPyReference
from shared_specs import Recipe, UNetSpec

Step = Callable[[], dict[str, Any]]


class Outside(NumPyReference):
    def build(self, spec: UNetSpec, execution: Execution = Execution(), recipe: Recipe = Recipe()) -> NumPyModel:
        return OutsideModel(self.change_spec(spec), execution, recipe, self)

    def change_spec(self, spec: UNetSpec) -> UNetSpec:
        return spec

    def change_step(self, step: Step, model: NumPyModel) -> Step:
        return step


class OutsideModel(NumPyModel):
    def __init__(self, spec: UNetSpec, execution: Execution, recipe: Recipe, backend: Outside):
        super().__init__(spec, execution, recipe)
        self.backend = backend

    def program(self, phase: str, images: np.ndarray, labels: np.ndarray | None = None) -> Step:
        return self.backend.change_step(super().program(phase, images, labels), self)


class InferenceOnly(Outside):
    """It says what it can do, but not where it could be read without loading it."""

    name = "inference_only"
    capabilities = replace(NumPyReference.capabilities, phases=("forward",), note="inference only")


class WrongEpsilon(Outside):
    """One ten-thousandth off, in every batch norm."""

    name = "wrong_epsilon"

    def change_spec(self, spec: UNetSpec) -> UNetSpec:
        values = spec.model_dump()
        values["norm"]["epsilon"] *= 1.0001
        return UNetSpec.model_validate(values)


class SkippedLayer(Outside):
    """Faster than the others, since one activation is left out."""

    name = "skipped_layer"

    def change_step(self, step: Step, model: NumPyModel) -> Step:
        (skipped,) = [layer for layer in model.spec.layers if layer.name == "encoder.0.block.1.activation"]
        model.module.layers[skipped.name] = Identity(skipped, model.rounding)
        return step


class Remembers(Outside):
    """Computes its step once and gives the same answer ever after."""

    name = "remembers"

    def change_step(self, step: Step, model: NumPyModel) -> Step:
        known: list[dict[str, Any]] = []
        return lambda: known[0] if known else known.append(step()) or known[0]


class WrongLastImage(Outside):
    """The logits of the last image of a batch are those of the first."""

    name = "wrong_last_image"

    def change_step(self, step: Step, model: NumPyModel) -> Step:
        def changed() -> dict[str, Any]:
            outputs = step()
            outputs["logits"][-1] = outputs["logits"][0]
            return outputs

        return changed


class WrongLater(Outside):
    """Right at its first call, and wrong in every later one, as a replayed program might be."""

    name = "wrong_later"

    def change_step(self, step: Step, model: NumPyModel) -> Step:
        calls: list[int] = []

        def changed() -> dict[str, Any]:
            calls.append(1)
            outputs = step()
            return outputs if len(calls) == 1 else {name: 1.01 * values for name, values in outputs.items()}

        return changed


class SaysTF32(Outside):
    """Its switches say that products are computed in another precision than was asked for."""

    name = "says_tf32"

    def build(self, spec: UNetSpec, execution: Execution = Execution(), recipe: Recipe = Recipe()) -> NumPyModel:
        model = super().build(spec, execution, recipe)
        model.effective_precision = lambda: "tf32"
        return model


class NotANumber(Outside):
    name = "not_a_number"

    def change_step(self, step: Step, model: NumPyModel) -> Step:
        return lambda: {name: values * np.nan for name, values in step().items()}


class OutOfMemory(Outside):
    """Asks for more than there is, so that the error is a real one."""

    name = "out_of_memory"

    def change_step(self, step: Step, model: NumPyModel) -> Step:
        return lambda: {"logits": np.empty(2**58)}


class Raises(Outside):
    name = "raises"

    def change_step(self, step: Step, model: NumPyModel) -> Step:
        raise RuntimeError("compilation\nfailed")


class KilledInTheMiddle(Outside):
    """Passes the gate, and is killed while it is timed."""

    name = "killed_in_the_middle"

    def change_step(self, step: Step, model: NumPyModel) -> Step:
        calls: list[int] = []

        def counted() -> dict[str, Any]:
            calls.append(1)
            if len(calls) > 2:
                os.kill(os.getpid(), signal.SIGKILL)
            return step()

        return counted


class Exits(Outside):
    """Ends as a C++ library does that calls abort's milder sibling."""

    name = "exits"

    def change_step(self, step: Step, model: NumPyModel) -> Step:
        print("fatal: no kernel image", file=sys.stderr, flush=True)
        os._exit(3)


class Hangs(Outside):
    """Never answers, and has started a child that would outlive it."""

    name = "hangs"

    def change_step(self, step: Step, model: NumPyModel) -> Step:
        child = subprocess.Popen(["sleep", "1000"])
        with open(os.environ["TANDEM_TEST_PIDS"], "w") as file:
            file.write(f"{os.getpid()} {child.pid}")
        time.sleep(1000)
        return step


class Talkative(Outside):
    """Prints to stdout from Python and from below it, which must not corrupt the protocol."""

    name = "talkative"

    def change_step(self, step: Step, model: NumPyModel) -> Step:
        def talking() -> dict[str, Any]:
            print("{not json")
            os.write(1, b"neither is this\n")
            return step()

        return talking
