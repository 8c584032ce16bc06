"""What a call computes that no spec can say, though a spec has a word for its kind of layer."""

from __future__ import annotations

from backends.trace import Event

from .differences import NORMS, POOLS, words


def unsaid(event: Event) -> str:
    """What it has, in words, for instance "4 groups"; "" where a spec can say all of it."""
    settings, kind = event.settings, event.kind
    if settings.get("groups", 1) != 1 and kind in ("conv", "transposed_conv"):
        return f"{settings['groups']} groups"
    if kind in ("transposed_conv", "max_pool") and max(settings["dilation"]) > 1:
        return f"a dilation of {words(settings['dilation'])}"
    if kind in POOLS and settings["rounding"] == "ceil":
        return "sizes rounded up (ceil_mode)"
    if kind == "average_pool" and any(settings["padding"]):
        return f"a padding of {words(settings['padding'])}"
    if kind in NORMS and kind != "instance_norm" and not settings["affine"]:
        return "no scale and shift"
    if kind in NORMS and settings.get("running_statistics", kind == "batch_norm") != (kind == "batch_norm"):
        return "running statistics" if kind == "instance_norm" else "no running statistics"
    return f"a {settings['computed'][0]} that is computed from other tensors" if "computed" in settings else ""
