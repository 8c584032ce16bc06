"""What a module did with its images, call by call, in no framework's terms: what a tracer writes and parity reads."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from shared_specs import Recipe, TandemError, UNetSpec

from . import registry
from .contract import Execution, Model

Shape = tuple[int, ...]

FRAMEWORK = "pytorch"
"""The backend whose modules can be traced."""

TRACER, ADOPTED = "backends.pytorch.adoption.tracing", "backends.pytorch.adoption.model"
STATE, IMAGES = "backends.pytorch.adoption.state", "backends.pytorch.adoption.images"
"""By name, so that whoever reads traces needs no framework."""


class TraceError(TandemError):
    """A module that cannot be imported, run or traced."""


class NoImagesError(TraceError):
    """A module that takes none of the sizes of images that were tried."""


@dataclass(frozen=True)
class Event:
    """One call that made a map from others.

    Attributes:
        kind: the spec's kind of layer where there is one ("conv", "relu", "max_pool" ...), else "cat", "add", "pad",
            "crop", "permute" or "identity" (nothing happens); "other" is what a spec has no word for.
        call: the function's own name, for instance "conv2d".
        owner: the module in which it was called, by its dotted name; "" is the traced module itself.
        inputs: the numbers of the maps that it reads.
        output: the number of the map that it makes.
        settings: its hyper-parameters, under the names of the spec. Of "other" at most "what": what it is, in words.
        parameters: the keys of the tensors that it reads, by leaf ("weight", "bias", "running_mean", "running_var").
    """

    kind: str
    call: str
    owner: str
    inputs: tuple[int, ...]
    output: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.call} ({self.owner})" if self.owner else self.call


@dataclass(frozen=True)
class Trace:
    """Every call in order of execution. Map 0 are the images.

    Attributes:
        module: the name of the module's class.
        events: the calls that read the images or what came of them.
        outputs: the maps that the module returned.
        shapes: of every map.
        state: the shape of every tensor in the state dict, by key.
        aliases: keys that are other names of a tensor, and the name under which events have it.
    """

    module: str
    events: tuple[Event, ...]
    outputs: tuple[int, ...]
    shapes: Mapping[int, Shape]
    state: Mapping[str, Shape]
    aliases: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def producers(self) -> dict[int, Event]:
        """The event that made each map."""
        return {event.output: event for event in self.events}

    @cached_property
    def readers(self) -> dict[int, list[Event]]:
        """The events that read each map."""
        found: dict[int, list[Event]] = {number: [] for number in self.shapes}
        for event in self.events:
            for number in dict.fromkeys(event.inputs):
                found[number].append(event)
        return found

    def unused(self) -> list[str]:
        """Keys of the state dict that no event read, batch counters and other names of what was read aside."""
        read = {key for event in self.events for key in event.parameters.values()}
        return [
            key
            for key in self.state
            if self.aliases.get(key, key) not in read and not key.endswith("num_batches_tracked")
        ]

    def simplified(self) -> Trace:
        """The same without calls that do nothing, and with what belongs together as one event.

        Padding before a convolution is part of it, as nn.Conv2d itself pads where its mode is not zeros. A layer norm
        between two permutations is one over channels. Concatenations of concatenations are one.
        """
        return _nested_cats(_channel_norms(_padded_convolutions(_without_identities(self))))


def _without_identities(trace: Trace) -> Trace:
    same: dict[int, int] = {}
    kept = []
    for event in trace.events:
        inputs = tuple(same.get(number, number) for number in event.inputs)
        if event.kind == "identity":
            same[event.output] = inputs[0]
        else:
            kept.append(replace(event, inputs=inputs))
    return replace(trace, events=tuple(kept), outputs=tuple(same.get(number, number) for number in trace.outputs))


def _padded_convolutions(trace: Trace) -> Trace:
    merged: dict[int, Event] = {}
    gone: set[int] = set()
    for event in trace.events:
        pad = trace.producers.get(event.inputs[0])
        if event.kind != "conv" or pad is None or pad.kind != "pad" or trace.readers[pad.output] != [event]:
            continue
        before, after, own = pad.settings["before"], pad.settings["after"], event.settings["padding"]
        if before != after or pad.settings["value"] or (any(own) and pad.settings["mode"] != "zeros"):
            continue
        padding = tuple(a + b for a, b in zip(before, own, strict=True))
        settings = {**event.settings, "padding": padding, "padding_mode": pad.settings["mode"]}
        merged[event.output] = replace(event, inputs=pad.inputs, settings=settings)
        gone.add(pad.output)
    return _rewritten(trace, merged, gone)


def _channel_norms(trace: Trace) -> Trace:
    merged: dict[int, Event] = {}
    gone: set[int] = set()
    for event in trace.events:
        if event.kind != "layer_norm":
            continue
        before, after = trace.producers.get(event.inputs[0]), trace.readers[event.output]
        axes = list(range(len(trace.shapes[event.output])))
        last, first = (0, *axes[2:], 1), (0, axes[-1], *axes[1:-1])
        is_over_channels = (
            before is not None
            and before.kind == "permute"
            and before.settings["axes"] == last
            and len(after) == 1
            and after[0].kind == "permute"
            and after[0].settings["axes"] == first
        )
        if is_over_channels and before is not None:
            merged[after[0].output] = replace(event, inputs=before.inputs, output=after[0].output)
            gone |= {before.output, event.output}
        else:
            merged[event.output] = replace(event, kind="other")
    return _rewritten(trace, merged, gone)


def _nested_cats(trace: Trace) -> Trace:
    merged: dict[int, Event] = {}
    gone: set[int] = set()
    for event in trace.events:
        if event.kind != "cat":
            continue
        inputs: list[int] = []
        for number in event.inputs:
            inner = merged.get(number) or trace.producers.get(number)
            if inner is not None and inner.kind == "cat" and trace.readers[number] == [event]:
                inputs += inner.inputs
                gone.add(number)
            else:
                inputs.append(number)
        merged[event.output] = replace(event, inputs=tuple(inputs))
    return _rewritten(trace, merged, gone)


def _rewritten(trace: Trace, merged: Mapping[int, Event], gone: set[int]) -> Trace:
    events = [merged.get(event.output, event) for event in trace.events if event.output not in gone]
    return replace(trace, events=tuple(events))


def trace(module: Any, images: Sequence[int] | np.ndarray, training: bool = False) -> Trace:
    """Run a module once, on a copy, and write down what it does.

    Args:
        module: a torch.nn.Module.
        images: (N, C, H, W), or their shape; then they are random.
        training: whether in training mode, else in that of evaluation.

    Raises:
        TraceError: where it is no module, cannot be copied, or fails on such images.
    """
    return _imported(TRACER).trace(module, images, training)


def read_state(module: Any) -> dict[str, np.ndarray]:
    """The module's state dict as NumPy, as copies."""
    return _imported(STATE).read_state(module)


def load_state(module: Any, path: str) -> tuple[str, ...]:
    """Load a checkpoint's state dict, without running code of it, and return remarks on what was left out.

    Raises:
        WeightsError: where the file cannot be read.
        TraceError: where its tensors are not the module's.
    """
    return _imported(STATE).load_state(module, path)


def first_convolution(module: Any) -> tuple[int, int]:
    """Input channels and spatial dimensions of a module, after its first convolution. Raises TraceError."""
    return _imported(IMAGES).first_convolution(module)


def as_model(
    module: Any,
    spec: UNetSpec,
    keys: Mapping[str, str],
    maps: Mapping[str, int],
    execution: Execution = Execution(precision="float64"),
    recipe: Recipe = Recipe(),
) -> Model:
    """A copy of the module behind the contract of a model.

    Args:
        module: a torch.nn.Module.
        spec: the spec that it is to be.
        keys: canonical tensor name to key of the module's state dict.
        maps: layer name to the number of the map in the module's trace.
        execution: the copy computes in its precision; on a CPU.
        recipe: loss and optimizer.
    """
    return _imported(ADOPTED).AdoptedModel(module, spec, keys, maps, execution, recipe)


def _imported(name: str) -> Any:
    reason = registry.missing(FRAMEWORK)
    if reason:
        raise TraceError(reason)
    return importlib.import_module(name)
