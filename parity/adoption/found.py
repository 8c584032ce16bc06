"""What of a spec was found in a module, and what the trace could not show of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from backends.trace import Event, Trace
from shared_specs import UNetSpec
from shared_specs.checkpoints import listed
from shared_specs.layout import IMAGES, Resize

from .differences import Difference, words

ALWAYS_ON = " in evaluation mode too"
"""Of a dropout that does not follow the mode."""

WHOLE_CHANNELS = " of whole channels"
"""Of a dropout that zeroes all of a channel, or nothing of it."""


@dataclass
class Match:
    """What of a spec was found in a module.

    Attributes:
        maps: the number of each layer's map in the trace.
        events: the call that is each layer; those that do nothing have none.
        differences: in order of execution.
        complete: whether every layer was found; else the last difference says where the search ended.
        unseen: what the sizes at a merge could not show, in words.
        extra_dropouts: those that the spec has not, each with the layer after which it stands.
    """

    spec: UNetSpec
    trace: Trace
    maps: dict[str, int] = field(default_factory=lambda: {IMAGES: 0})
    events: dict[str, Event] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)
    complete: bool = False
    unseen: list[str] = field(default_factory=list)
    extra_dropouts: list[tuple[str, Event]] = field(default_factory=list)

    @property
    def keys(self) -> dict[str, str]:
        """The module's key of each canonical tensor that was found, in the order of the spec."""
        found: dict[str, str] = {}
        for layer in self.spec.layers:
            parameters = self.events[layer.name].parameters if layer.name in self.events else {}
            for tensor in layer.tensors:
                leaf = tensor.name.rpartition(".")[2]
                if leaf in parameters:
                    found[tensor.name] = parameters[leaf]
        return found

    @property
    def unseen_throughout(self) -> list[str]:
        """What no merge showed, told of the first; what another merge showed is known."""
        merges = [layer for layer in self.spec.layers if layer.kind == "merge"]
        return self.unseen[:1] if len(self.unseen) == len(merges) else []

    @property
    def unseen_dropouts(self) -> list[str]:
        """Dropouts that are called as functions: a trace of evaluation mode shows them off, and not whether they go on.

        Told in one line.
        """
        calls = [self.events[layer.name] for layer in self.spec.layers if layer.name in self.events]
        places = dict.fromkeys(str(e) for e in calls if e.kind == "dropout" and not e.settings["follows_mode"])
        return [f"{', '.join(places)}: called as a function, on in training mode"] if places else []

    @property
    def unseen_roundings(self) -> list[str]:
        """Pools that round sizes up, where a spec rounds down and no size that was traced shows it; in one line."""
        calls = [self.events[layer.name] for layer in self.spec.layers if layer.name in self.events]
        places = [str(event) for event in calls if event.settings.get("rounding_unseen")]
        what = "ceil_mode rounds sizes up where the spec rounds down, which is the same at those that were traced"
        return [f"{listed(list(dict.fromkeys(places)))}: {what}"] if places else []

    @property
    def unseen_sizes(self) -> list[str]:
        """Maps that are resized to a size, which other images may show to be something else, as one trace cannot."""
        found: list[str] = []
        for layer in self.spec.layers:
            event = self.events.get(layer.name)
            if event is None or not isinstance(layer.settings, Resize) or event.kind not in ("nearest", "linear"):
                continue
            if event.settings["scale"] is None or layer.settings.scale is None:
                size, scale = words(self.trace.shapes[event.output][2:]), layer.settings.scale
                ours = "the size of the skip" if scale is None else f"{words(scale)} times the size before"
                found.append(f"{layer.name}: {size}, which {event} makes of these images, is {ours} for others too")
        return found

    @property
    def missing(self) -> list[str]:
        """Canonical tensors that the module has not."""
        return [tensor.name for tensor in self.spec.tensors if tensor.name not in self.keys]
