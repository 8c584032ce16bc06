"""`tandem list`: the networks of the zoo and the backends that are here."""

from __future__ import annotations

import re

from rich.padding import Padding
from rich.text import Text

import backends
from shared_specs import UNetSpec, load_spec, spec_names
from shared_specs.cost import total_cost
from shared_specs.shapes import Axes, size_label

from ..console import Output, plain_table
from ..units import counted
from .show import usual_size


def run(json_path: str | None = None, sources: bool = False) -> int:
    """Print the zoo, or with `sources` where each network comes from, in full."""
    output = Output(json_path)
    specs = [load_spec(name) for name in spec_names()]
    sizes = {spec.name: usual_size(spec) for spec in specs}
    if sources:
        for spec in specs:
            _print_source(spec, output)
    else:
        _print_table(specs, sizes, output)
    output.write("list", {"specs": [_row(spec, sizes[spec.name]) for spec in specs], "backends": _backends()})
    return 0


def _print_table(specs: list[UNetSpec], sizes: dict[str, Axes], output: Output) -> None:
    columns = ("name", "parameters", "FLOPs", "of one image", "in → out", "source")
    table = plain_table("", *columns, right=("parameters", "FLOPs"))
    for spec in specs:
        table.add_row(
            spec.name,
            f"{spec.parameter_count:,}",
            counted(_flops(spec, sizes[spec.name])),
            size_label(sizes[spec.name]),
            f"{spec.in_channels} → {spec.out_channels}",
            short_source(spec),
        )
    output.print(table)
    output.print("tandem list --sources: titles, sources in full, licences and citations.", style="dim")
    output.print(f"Backends here: {', '.join(backends.available()) or 'none'}; each builds every network above.")
    for name in backends.names():
        reason = backends.missing(name)
        if reason:
            output.print(f"Not here: {reason}")


def _print_source(spec: UNetSpec, output: Output) -> None:
    output.print(f"{spec.name}: {spec.title}", style="bold")
    for what, text in (("source", spec.source), ("licence", spec.licence), ("cite", spec.citation)):
        if text:
            output.print(Padding(Text(f"{what}: {text}"), (0, 0, 0, 4)))


def short_source(spec: UNetSpec) -> str:
    """The paper, or the package or repository, of a network: "arXiv 1505.04597", "monai 1.5.1"."""
    paper = re.search(r"arXiv \d+\.\d+", spec.source)
    return paper[0] if paper else spec.source.partition(", ")[0]


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
