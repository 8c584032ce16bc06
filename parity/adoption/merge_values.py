"""The merges of a traced U-Net as tables of a spec, and what their sizes could not show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .joins import ROUNDINGS, Join, pad_words, resize_words
from .path import NotInferred
from .spec_values import Values, words_of


def merge_tables(joins: Mapping[int, Join | None], resized: Sequence[int]) -> tuple[dict[int, Values], list[str]]:
    """The table of each level, and what was assumed, in words.

    Args:
        joins: of each level of the decoder; None where it has no merge.
        resized: levels whose up-sampling makes the size of the skip, so that no two sizes can differ.

    Raises:
        NotInferred: where sizes are made equal in a way that a spec has no word for.
    """
    assumed: list[str] = []
    known = [join for join in joins.values() if join is not None]
    roundings = [r for r in ROUNDINGS if all(r in join.roundings() for join in known)]
    adjusts = {join.mismatch(upsampled_of(join))[0] for join in known}
    if adjusts == {"error"} and any(join is not None and level not in resized for level, join in joins.items()):
        assumed.append("merge.size_mismatch = 'error': all sizes that were traced are equal")
    merges: dict[int, Values] = {}
    for level, join in joins.items():
        if join is None:
            merges[level] = {"kind": "none"}
            continue
        if len(join.sources) != 2:
            what = f"{join.event} joins {len(join.sources)} maps, as nested networks do; a plain U-Net joins two"
            raise NotInferred(what, branches="nested")
        upsampled = upsampled_of(join)
        values: Values = {"kind": "concatenate" if join.event.kind == "cat" else "sum"}
        if values["kind"] == "concatenate":
            values["order"] = ["upsampled" if source == upsampled else "skip" for source in join.sources]
        mismatch, event = join.mismatch(upsampled)
        if mismatch == "error" and len(adjusts) > 1:  # as on the other levels, where sizes differed
            mismatch, event = next(j.mismatch(upsampled_of(j)) for j in known if j.adjustments != [[], []])
        values["size_mismatch"] = mismatch
        if mismatch not in ("error", "crop_skip", "pad_upsampled", "resize_upsampled"):
            raise NotInferred(f"{join.event}: {mismatch.replace('_', ' the ')} map, for which a spec has no word")
        if mismatch in ("crop_skip", "pad_upsampled"):
            if not roundings:
                raise NotInferred(f"{join.event}: its margins follow no rounding that a spec has")
            values["odd_difference"] = "floor" if "floor" in roundings else roundings[0]
        if mismatch == "pad_upsampled" and event is not None:
            values["padding_mode"] = pad_words(event)
        if mismatch == "resize_upsampled" and event is not None:
            values["resize"] = resize_words(event)
        merges[level] = values
    if len(roundings) > 1 and any("odd_difference" in values for values in merges.values()):
        assumed.append(f"merge.odd_difference = 'floor': the sizes that were traced fit {words_of(roundings)}")
    return merges, assumed


def upsampled_of(join: Join) -> int:
    """Of the maps that are joined, the one that was made last."""
    return max(join.sources)
