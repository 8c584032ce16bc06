"""Find each layer of a spec in the trace of a user's module, along the maps that they read, and say what differs."""

from __future__ import annotations

from collections.abc import Sequence

from backends.trace import Event, Trace
from shared_specs import UNetSpec
from shared_specs.layout import Layer

from .differences import ACTIVATIONS, Difference, differences, is_kind, is_of_family, name_of, words
from .found import ALWAYS_ON, WHOLE_CHANNELS, Match
from .joins import Join, joins

LOOK_AHEAD = 12
"""Layers that are tried where two calls could be the same layer: a residual block's convolution and its shortcut."""

MOST_EXTRA = 4
"""Calls that may stand between two layers of the spec and are still told as additional ones."""

CALLS = {"merge": ("cat", "add"), "sum": ("add",)}
"""Kinds of events that a layer's kind may be."""


class _Parted(Exception):
    """From here on the two are different networks."""


def match(spec: UNetSpec, trace: Trace) -> Match:
    """Match a spec's layers to a module's calls by the maps that they read, by kind and by shape.

    Args:
        spec: what the module is to be.
        trace: of the module, as the tracer writes it.
    """
    walk = _Walk(spec, trace.simplified())
    try:
        for number in range(len(walk.layers)):
            walk.step(number)
        walk.end()
        walk.match.complete = True
    except _Parted:
        pass
    return walk.match


class _Walk:
    """Goes through the layers in order; each has its inputs found before it."""

    def __init__(self, spec: UNetSpec, trace: Trace, strict: bool = False):
        self.spec, self.trace, self.strict = spec, trace, strict
        has_deep = len(trace.outputs) > 1
        self.layers = [layer for layer in spec.layers if has_deep or not layer.is_deep]
        self.match = Match(spec, trace)
        self.used: set[int] = set()

    def step(self, number: int, look_ahead: int = LOOK_AHEAD) -> None:
        layer = self.layers[number]
        match layer.kind:
            case "identity":
                self.match.maps[layer.name] = self.match.maps[layer.inputs[0]]
            case "merge":
                self.take(layer, self.merge(layer))
            case "sum" | "multiply":
                self.take(layer, self.pair(layer))
            case "dropout":
                self.dropout(layer)
            case _:
                self.take(layer, self.single(number, look_ahead))

    def take(self, layer: Layer, event: Event | None) -> None:
        """This event is that layer; None is a layer that the module has not."""
        if event is None:
            self.match.maps[layer.name] = self.match.maps[layer.inputs[0]]
            return
        self.used.add(event.output)
        self.match.events[layer.name], self.match.maps[layer.name] = event, event.output
        if layer.kind not in CALLS and layer.kind != "multiply":
            for difference in differences(layer, event):
                self.differ(difference)

    def differ(self, difference: Difference) -> None:
        if self.strict:
            raise _Parted
        self.match.differences.append(difference)

    def part(self, layer: str, where: str, what: str, module: str, spec: str) -> _Parted:
        self.differ(Difference(layer, where, what, module, spec))
        return _Parted()

    def dropout(self, layer: Layer) -> None:
        here = self.match.maps[layer.inputs[0]]
        found = next((event for event in self.readers(here) if event.kind == "dropout"), None)
        self.take(layer, found)
        if found is None and layer.settings.rate:
            self.differ(Difference(layer.name, "", "dropout", "none", f"one of rate {words(layer.settings.rate)}"))

    def readers(self, number: int) -> list[Event]:
        return [event for event in self.trace.readers[number] if event.output not in self.used]

    def single(self, number: int, look_ahead: int) -> Event | None:
        """The event that is a layer of one input."""
        layer = self.layers[number]
        here = self.match.maps[layer.inputs[0]]
        readers = self.readers(here)
        found = [event for event in readers if is_kind(event, layer)]
        exact = [event for event in found if not differences(layer, event)]
        found = exact or found or [event for event in readers if is_of_family(event, layer.kind)]
        if not found:
            return self.astray(layer, here, readers)
        return max(found, key=lambda event: self.reach(number, event, look_ahead)) if len(found) > 1 else found[0]

    def reach(self, number: int, event: Event, look_ahead: int) -> int:
        """How many of the next layers are found without a difference if this event is that layer."""
        walk = _Walk(self.spec, self.trace, strict=True)
        walk.match.maps, walk.match.events, walk.used = dict(self.match.maps), {}, set(self.used)
        last = min(number + look_ahead, len(self.layers) - 1)
        try:
            walk.take(self.layers[number], event)
            for following in range(number + 1, last + 1):
                number = following
                walk.step(following, last - following)
        except _Parted:
            return number - last - 1
        return 0

    def astray(self, layer: Layer, here: int, readers: Sequence[Event]) -> Event | None:
        """Nothing of the layer's kind reads its input: is there a call too many, or one too few?"""
        extra = self.extra(layer, here)
        next_layers = [other for other in self.layers if layer.name in other.inputs]
        after = {kind for other in next_layers for kind in CALLS.get(other.kind, (other.kind,))}
        skipped = next((event for event in readers if event.kind in after), None)
        then = [event.kind for event in self.readers(extra[-1].output)] if extra else []
        if extra and skipped is not None and extra[0] is skipped and skipped.kind not in then:
            raise self.part(
                layer.name,
                str(skipped),
                "order",
                f"{name_of(skipped)} before {layer.kind}",
                f"{layer.kind} before {name_of(skipped)}",
            )
        if extra:
            *between, event = extra
            for call in between:
                self.additional(layer, call)
            if len(self.trace.readers[here]) == 1:  # so whoever else reads this layer reads what comes after
                self.match.maps[layer.inputs[0]] = between[-1].output
            return event
        if skipped is not None and (layer.kind in ACTIVATIONS or layer.kind.endswith("_norm")):
            self.differ(Difference(layer.name, "", layer.kind, "none", f"one before {skipped}"))
            return None
        if ".shortcut." in layer.name and not readers:
            where, what = self.places(self.trace.readers[here]), f"shortcut from {layer.inputs[0]}"
            raise self.part(layer.name, where, what, "none", layer.kind)
        raise self.part(layer.name, self.places(readers), "what follows", self.names(readers), layer.kind)

    def extra(self, layer: Layer, here: int) -> list[Event]:
        """The calls that stand between a layer's input and an event that is just like it, and that event at the end."""
        chains: list[list[Event]] = [[event] for event in self.readers(here)]
        for _ in range(MOST_EXTRA):
            longer = []
            for chain in chains:
                if len(set(chain[-1].inputs)) != 1:
                    continue
                for event in self.readers(chain[-1].output):
                    if is_kind(event, layer) and not differences(layer, event):
                        return [*chain, event]
                    longer.append([*chain, event])
            chains = longer
        return []

    def additional(self, layer: Layer, call: Event) -> None:
        if call.kind == "dropout":
            self.match.extra_dropouts.append((layer.inputs[0], call))
        rate = f" of rate {words(call.settings['rate'])}" if call.kind == "dropout" else ""
        rate += WHOLE_CHANNELS if call.settings.get("whole_channels") else ""
        rate += ALWAYS_ON if call.settings.get("training") else ""
        self.differ(Difference(layer.name, str(call), "before it an additional", f"{name_of(call)}{rate}", "none"))

    def pair(self, layer: Layer) -> Event:
        """The event that adds or multiplies two maps, in either order."""
        one, other = (self.match.maps[name] for name in layer.inputs)
        for event in self.readers(one):
            if event.kind in CALLS.get(layer.kind, (layer.kind,)) and set(event.inputs) == {one, other}:
                return event
        readers = self.readers(one) + [event for event in self.readers(other) if one not in event.inputs]
        wanted = f"the {layer.kind} of {layer.inputs[0]} and {layer.inputs[1]}"
        raise self.part(layer.name, self.places(readers), "what follows", self.names(readers), wanted)

    def merge(self, layer: Layer) -> Event:
        """The event that joins skips and the upsampled map, which may be cropped, padded or resized before."""
        *skips, upsampled = (self.match.maps[name] for name in layer.inputs)
        found = joins(self.trace, upsampled, skips, self.used)
        while not found and [event.kind for event in self.readers(upsampled)] == ["dropout"]:
            (dropout,) = self.readers(upsampled)
            self.additional(layer, dropout)
            self.match.maps[layer.inputs[-1]] = upsampled = dropout.output
            found = joins(self.trace, upsampled, skips, self.used)
        if not found:
            readers = self.readers(upsampled)
            wanted = f"a merge with {layer.inputs[0]}"
            raise self.part(layer.name, self.places(readers), "what follows", self.names(readers), wanted)
        join = found[0]
        self.compare(layer, join, skips, upsampled)
        return join.event

    def compare(self, layer: Layer, join: Join, skips: list[int], upsampled: int) -> None:
        where, ours = str(join.event), layer.settings
        kind = "concatenate" if join.event.kind == "cat" else "sum"
        if kind != ours.kind:
            raise self.part(layer.name, where, "kind", kind, ours.kind)
        strangers = [number for number in join.sources if number not in (*skips, upsampled)]
        if strangers or len(join.sources) != len(layer.inputs):
            theirs = " and ".join(self.map_name(number) for number in join.sources)
            self.differ(Difference(layer.name, where, "joins", theirs, " and ".join(layer.inputs)))
            return
        expected = [*skips, upsampled] if ours.order != ("upsampled", "skip") else [upsampled, *skips]
        if kind == "concatenate" and join.sources != expected:
            names = ["upsampled" if number == upsampled else "skip" for number in join.sources]
            wanted = ["upsampled" if number == upsampled else "skip" for number in expected]
            if names == wanted:
                names, wanted = ([self.map_name(number) for number in numbers] for numbers in (join.sources, expected))
            self.differ(Difference(layer.name, where, "order", ", ".join(names), ", ".join(wanted)))
        for what, theirs, spec in join.sizes(ours, skips, upsampled):
            self.differ(Difference(layer.name, where, what, theirs, spec))
        self.match.unseen += [f"{layer.name}: {unseen}" for unseen in join.unseen(ours)]

    def map_name(self, number: int) -> str:
        """A map's name in the spec, or the call that made it."""
        names = [name for name, known in self.match.maps.items() if known == number]
        return names[0] if names else str(self.trace.producers[number])

    def places(self, events: Sequence[Event]) -> str:
        return ", ".join(dict.fromkeys(event.owner for event in events if event.owner))

    def names(self, events: Sequence[Event]) -> str:
        return " and ".join(dict.fromkeys(name_of(event) for event in events)) or "nothing"

    def end(self) -> None:
        """After the last layer comes nothing, and no tensor serves twice."""
        names = (self.spec.logits, *self.spec.deep_logits)
        last = self.layers[-1].name
        logits, *deep = (self.match.maps[name] for name in names if name in self.match.maps)
        if logits in self.trace.outputs[1:]:
            place = self.trace.outputs.index(logits) + 1
            raise self.part(names[0], "", "place among the outputs", str(place), "1")
        if self.trace.outputs[0] != logits and self.trace.readers[logits]:
            readers = self.readers(logits)
            raise self.part(names[0], self.places(readers), "after it", self.names(readers), "the end of the network")
        theirs, ours = self.trace.outputs, (logits, *deep)
        if theirs[: len(ours)] != ours:
            outputs = [self.map_name(number) for number in theirs]
            raise self.part(last, "", "outputs", ", ".join(outputs), ", ".join(names))
        if len(ours) < len(names):
            raise self.part(names[1], "", "outputs in evaluation mode", "the logits alone", "the deeper heads as well")
        taken: dict[str, str] = {}
        for tensor, key in self.match.keys.items():
            if key in taken:
                layer = tensor.rpartition(".")[0]
                self.differ(Difference(layer, key, "tensor", f"the same as {taken[key]}", "its own"))
            taken.setdefault(key, tensor)
