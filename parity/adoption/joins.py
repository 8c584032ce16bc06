"""Where a module joins a skip with the upsampled map, and how it makes their sizes equal before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from backends.trace import Event, Trace
from shared_specs.tables import Merge

from .differences import words

ADJUSTMENTS = ("crop", "pad", "nearest", "linear")
"""Calls that may change a map's size on its way into a merge."""

ROUNDINGS = ("half_to_even", "floor", "all_after")


@dataclass(frozen=True)
class Join:
    """A concatenation or a sum.

    Attributes:
        sources: the maps that are joined, in the order of the call, before any crop, pad or resize.
        adjustments: of each source, the calls on its way here.
        differences: of the sizes (skip minus upsampled map), by axis.
    """

    event: Event
    sources: list[int]
    adjustments: list[list[Event]]
    differences: tuple[int, ...]

    def mismatch(self, upsampled: int) -> tuple[str, Event | None]:
        """How sizes are made equal, in the words of `tables.Merge`, and the call that does it."""
        for source, events in zip(self.sources, self.adjustments, strict=True):
            for event in events:
                verb = {"crop": "crop", "pad": "pad"}.get(event.kind, "resize")
                return f"{verb}_{'upsampled' if source == upsampled else 'skip'}", event
        return "error", None

    def sizes(self, ours: Merge, skips: Sequence[int], upsampled: int) -> Iterator[tuple[str, str, str]]:
        """What differs in how sizes are made equal: what, the module's value, the spec's."""
        theirs, event = self.mismatch(upsampled)
        if event is None or not any(self.differences):
            return  # equal sizes show nothing, see `unseen`
        if theirs != ours.size_mismatch:
            yield "size_mismatch", theirs, str(ours.size_mismatch)
        elif theirs == "resize_upsampled":
            if (resize := resize_words(event)) != ours.resize:
                yield "resize", resize, str(ours.resize)
        else:
            expected = tuple(ours.margin(difference) for difference in self.differences)
            if event.settings["before"] != expected:
                verb = "cropped" if theirs == "crop_skip" else "padded"
                yield f"rows {verb} before the map", words(event.settings["before"]), words(expected)
            if theirs == "pad_upsampled" and pad_words(event) != ours.padding_mode:
                yield "padding mode", pad_words(event), str(ours.padding_mode)

    def unseen(self, ours: Merge) -> list[str]:
        """What these sizes could not show."""
        if not any(self.differences):
            if ours.size_mismatch == "error":
                return []
            return [f"sizes were equal, so that size_mismatch = {ours.size_mismatch!r} could not be seen"]
        if ours.odd_difference is not None and len(self.roundings()) > 1:
            rows = words(self.differences)
            return [f"a difference of {rows} rows cannot show odd_difference = {ours.odd_difference!r}"]
        return []

    def roundings(self) -> list[str]:
        """The roundings of an odd difference that would crop or pad as this join does."""
        events = [event for events in self.adjustments for event in events if event.kind in ("crop", "pad")]
        if not events:
            return list(ROUNDINGS)
        before = events[0].settings["before"]
        return [r for r in ROUNDINGS if before == tuple(_margin(r, rows) for rows in self.differences)]


def _margin(rounding: str, rows: int) -> int:
    merge = Merge.model_construct(kind="sum", size_mismatch="crop_skip", odd_difference=rounding)
    return merge.margin(rows)


def resize_words(event: Event) -> str:
    """As of `tables.Merge.resize`."""
    return "linear_align_corners" if event.settings.get("align_corners") else event.kind


def pad_words(event: Event) -> str:
    """As of `tables.Merge.padding_mode`."""
    value = event.settings["value"]
    return f"{event.settings['mode']} of value {words(value)}" if value else event.settings["mode"]


def joins(trace: Trace, upsampled: int, skips: Sequence[int], used: set[int] = frozenset()) -> list[Join]:  # pyright: ignore[reportArgumentType]
    """The concatenations and sums that an upsampled map goes into, those with the expected skips first."""
    found: list[Join] = []
    reached, fresh = {upsampled}, [upsampled]
    while fresh:
        for event in trace.readers[fresh.pop()]:
            if event.kind in ("cat", "add") and event.output not in used:
                found.append(join_of(trace, event, upsampled, skips))
            elif event.kind in ADJUSTMENTS and event.output not in reached:
                reached.add(event.output)
                fresh.append(event.output)
    return sorted(found, key=lambda join: -len(set(join.sources) & {upsampled, *skips}))


def join_of(trace: Trace, event: Event, upsampled: int, skips: Sequence[int]) -> Join:
    """A concatenation or a sum, with its inputs followed back to these maps through what only changes sizes."""
    sources, adjustments = [], []
    for number in event.inputs:
        chain: list[Event] = []
        while number not in (upsampled, *skips):
            producer = trace.producers.get(number)
            if producer is None or producer.kind not in ADJUSTMENTS:
                break
            chain.insert(0, producer)
            number = producer.inputs[0]
        sources.append(number)
        adjustments.append(chain)
    skip = next((number for number in sources if number != upsampled), upsampled)
    sizes = zip(trace.shapes[skip][2:], trace.shapes[upsampled][2:], strict=True)
    return Join(event, sources, adjustments, tuple(a - b for a, b in sizes))
