"""`tandem list`: the networks of the zoo and the backends that are here."""

from __future__ import annotations

import backends
from shared_specs import UNetSpec, load_spec, spec_names
from shared_specs.cost import total_cost
from shared_specs.shapes import Axes, size_label

from ..console import Output, plain_table
from ..units import counted
from .show import usual_size


def run(json_path: str | None = None) -> int:
    """Print the zoo."""
    output = Output(json_path)
    specs = [load_spec(name) for name in spec_names()]
    sizes = {spec.name: usual_size(spec) for spec in specs}
    columns = ("name", "parameters", "FLOPs", "of one image", "in → out")
    table = plain_table("", *columns, right=("parameters", "FLOPs"))
    for spec in specs:
        table.add_row(
            spec.name,
            f"{spec.parameter_count:,}",
            counted(_flops(spec, sizes[spec.name])),
            size_label(sizes[spec.name]),
            f"{spec.in_channels} → {spec.out_channels}",
        )
    output.print(table)
    for spec in specs:
        licence = f" ({spec.licence})" if spec.licence else ""
        output.print(f"{spec.name}: {spec.title}; {spec.source}{licence}", style="dim")
    output.print(f"Backends here: {', '.join(backends.available()) or 'none'}; each builds every network above.")
    for name in backends.names():
        reason = backends.missing(name)
        if reason:
            output.print(f"Not here: {reason}")
    output.write("list", {"specs": [_row(spec, sizes[spec.name]) for spec in specs], "backends": _backends()})
    return 0


def _flops(spec: UNetSpec, size: Axes) -> int:
    return total_cost(spec, (1, spec.in_channels, *size)).forward_flops


def _row(spec: UNetSpec, size: Axes) -> dict[str, object]:
    return {
        "name": spec.name,
        "title": spec.title,
        "source": spec.source,
        "citation": spec.citation,
        "licence": spec.licence,
        "dimensions": spec.dimensions,
        "parameters": spec.parameter_count,
        "size": list(size),
        "forward_flops": _flops(spec, size),
        "in_channels": spec.in_channels,
        "out_channels": spec.out_channels,
        "widths": list(spec.widths),
        "norm": spec.norm.kind,
        "fingerprint": spec.fingerprint,
    }


def _backends() -> dict[str, object]:
    return {
        name: {"available": not backends.missing(name), "missing": backends.missing(name)} for name in backends.names()
    }
