"""`tandem list`: the networks of the zoo and the backends that are here."""

from __future__ import annotations

import backends
from shared_specs import UNetSpec, load_spec, spec_names

from ..console import Output, plain_table

UNEQUAL = {
    "error": "refused",
    "crop_skip": "cropped",
    "pad_upsampled": "padded",
    "resize_upsampled": "resized",
    None: "no skips",
}
"""What becomes of a skip and a decoder map of different sizes."""


def run(json_path: str | None = None) -> int:
    """Print the zoo."""
    output = Output(json_path)
    specs = [load_spec(name) for name in spec_names()]
    columns = ("name", "parameters", "in → out", "norm", "padding", "unequal sizes")
    table = plain_table("", *columns, right=("parameters", "padding"))
    for spec in specs:
        table.add_row(
            spec.name,
            f"{spec.parameter_count:,}",
            f"{spec.in_channels} → {spec.out_channels}",
            spec.norm.kind,
            str(spec.conv.padding),
            UNEQUAL[spec.merge.size_mismatch],
        )
    output.print(table)
    for spec in specs:
        output.print(f"{spec.name}: {spec.source}", style="dim")
    output.print(f"Backends here: {', '.join(backends.available()) or 'none'}; each builds every network above.")
    for name in backends.names():
        reason = backends.missing(name)
        if reason:
            output.print(f"Not here: {reason}")
    output.write("list", {"specs": [_row(spec) for spec in specs], "backends": _backends()})
    return 0


def _row(spec: UNetSpec) -> dict[str, object]:
    return {
        "name": spec.name,
        "title": spec.title,
        "source": spec.source,
        "parameters": spec.parameter_count,
        "in_channels": spec.in_channels,
        "out_channels": spec.out_channels,
        "widths": list(spec.widths),
        "norm": spec.norm.kind,
        "padding": spec.conv.padding,
        "size_mismatch": spec.merge.size_mismatch,
        "fingerprint": spec.fingerprint,
    }


def _backends() -> dict[str, object]:
    return {
        name: {"available": not backends.missing(name), "missing": backends.missing(name)} for name in backends.names()
    }
