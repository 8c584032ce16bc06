"""`tandem list`: the networks of the zoo, filtered and sorted, and the backends that are here."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

import backends
from backends import Capabilities
from backends.contract import PHASES, PRECISIONS
from shared_specs import TandemError, UNetSpec, load_spec, spec_names
from shared_specs.cost import total_cost
from shared_specs.shapes import Axes, size_label

from .. import selections
from ..console import Output, cut_to_fit, plain_table
from ..units import counted
from .show import usual_size


@dataclass(frozen=True)
class Request:
    """Which networks, as typed.

    Attributes:
        words: each has to occur in the name, the title or the source.
        dimensions, norm: of the networks that are listed.
        max_parameters, min_parameters: such as "10M".
        sort: one of SORTS.
    """

    words: Sequence[str] = ()
    dimensions: str | None = None
    norm: str | None = None
    max_parameters: str | None = None
    min_parameters: str | None = None
    sort: str = "name"
    sources: bool = False


@dataclass(frozen=True)
class Network:
    """A network of the zoo, with what is listed of it."""

    spec: UNetSpec

    @cached_property
    def size(self) -> Axes:
        return usual_size(self.spec)

    @cached_property
    def flops(self) -> int:
        """Of inference on one image of that size."""
        return total_cost(self.spec, (1, self.spec.in_channels, *self.size)).forward_flops

    @cached_property
    def norms(self) -> tuple[str, ...]:
        """The kinds of norm that occur in it, its own first; "none" where there is no norm at all."""
        kinds = [layer.kind.removesuffix("_norm") for layer in self.spec.layers if layer.kind.endswith("_norm")]
        return tuple(dict.fromkeys(sorted(kinds, key=lambda kind: kind != self.spec.norm.kind))) or ("none",)

    def holds(self, word: str) -> bool:
        """Whether the name, the title or the source has this in it, in letters of any case."""
        spec = self.spec
        return any(word.lower() in text.lower() for text in (spec.name, spec.title, spec.source))


SORTS: dict[str, Callable[[Network], Any]] = {
    "name": lambda network: network.spec.name,
    "parameters": lambda network: network.spec.parameter_count,
    "flops": lambda network: network.flops,
}
"""From small to large."""


def norms_of(zoo: Sequence[Network]) -> list[str]:
    """The kinds of norm that occur in these networks."""
    return sorted({norm for network in zoo for norm in network.norms})


def all_networks() -> list[Network]:
    return [Network(load_spec(name)) for name in spec_names()]


def all_norms() -> list[str]:
    """The kinds of norm that occur in the zoo."""
    return norms_of(all_networks())


def run(request: Request, json_path: str | None = None) -> int:
    """Print the networks, or with `sources` where each comes from, in full."""
    output = Output(json_path)
    zoo = all_networks()
    networks = choose(zoo, request)
    if not networks:
        output.print(f"None of the {len(zoo)} networks of the zoo is like that; `tandem list` shows them all.")
    elif request.sources:
        for network in networks:
            _print_source(network.spec, output)
    else:
        _print_networks(networks, len(zoo), output)
    output.write("list", {"specs": list(map(_row, networks)), "backends": _backends()})
    return 0


def choose(zoo: Sequence[Network], request: Request) -> list[Network]:
    """The networks that were asked for, in the order asked for.

    Raises:
        TandemError: for a value that no network could have, with those that there are.
    """
    dimensions = sorted({str(network.spec.dimensions) for network in zoo})
    norm = request.norm if request.norm is None else [request.norm]
    chosen_norms = selections.choose("norm", norm, norms_of(zoo))
    if request.dimensions is not None and request.dimensions not in dimensions:
        raise TandemError(f"--dimensions: got {request.dimensions!r}, expected {' or '.join(dimensions)}")
    sort = selections.one("order", request.sort, list(SORTS))
    most = parameter_count("--max-parameters", request.max_parameters)
    fewest = parameter_count("--min-parameters", request.min_parameters)
    found = [
        network
        for network in zoo
        if all(map(network.holds, request.words))
        and (chosen_norms is None or set(chosen_norms) & set(network.norms))
        and request.dimensions in (None, str(network.spec.dimensions))
        and (most is None or network.spec.parameter_count <= most)
        and (fewest is None or network.spec.parameter_count >= fewest)
    ]
    return sorted(found, key=SORTS[sort])


def parameter_count(option: str, text: str | None) -> float | None:
    """The number in "31044106", "10M" or "1.5k". Raises TandemError."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?|\.\d+) ?([kKmMgGbB]?)", text.strip().replace(",", ""))
    if match is None:
        raise TandemError(f"{option}: got {text!r}, expected a number, which may end in k, M or G, for instance 10M")
    return float(match[1]) * {"": 1, "k": 1e3, "m": 1e6, "g": 1e9, "b": 1e9}[match[2].lower()]


def _print_networks(networks: Sequence[Network], of: int, output: Output) -> None:
    table = zoo_table(networks)
    output.print(table if output.fits(table) else zoo_table(networks, compact=True))
    if len(networks) < of:
        output.print(f"{len(networks)} of the {of} networks of the zoo.", style="dim")
    output.print("tandem list --sources: titles, sources in full, licences and citations.", style="dim")
    here = backends.available()
    output.print(backends_table(here) if here else "No backend is here.")
    for name in backends.names():
        reason = backends.missing(name)
        if reason:
            output.print(f"Not here: {reason}")


def backends_table(names: Sequence[str]) -> Table:
    """One row a backend, with what it can do of what any of these can: "all", or which."""
    able = {name: backends.capabilities(name) for name in names}
    devices = tuple(dict.fromkeys(device for can in able.values() for device in can.devices))
    table = plain_table("Backends here", "backend", "phases", "precisions", "devices", "replicas", "")
    for name, can in able.items():
        table.add_row(
            name,
            some_or_all(can.phases, PHASES),
            some_or_all(can.precisions, PRECISIONS),
            some_or_all(can.devices, devices),
            "yes" if can.replicas else "no",
            can.note,
        )
    return table


def some_or_all(of: Sequence[str], known: Sequence[str]) -> str:
    """ "all", or those that there are, in the usual order."""
    return "all" if set(known) <= set(of) else ", ".join(name for name in known if name in of) or "none"


def zoo_table(networks: Sequence[Network], compact: bool = False) -> Table:
    """One row a network; compact with shorter numbers, and without the channels."""
    if compact:
        columns = ("name", "params", "FLOPs", "of one image", "source")
        table = plain_table("", *columns, right=("params", "FLOPs"), cut=("source",))
    else:
        columns = ("name", "parameters", "FLOPs", "of one image", "in → out", "source")
        table = plain_table("", *columns, right=("parameters", "FLOPs"))
    for network in networks:
        spec = network.spec
        table.add_row(
            spec.name,
            counted(spec.parameter_count) if compact else f"{spec.parameter_count:,}",
            counted(network.flops),
            size_label(network.size),
            *([] if compact else [f"{spec.in_channels} → {spec.out_channels}"]),
            short_source(spec).removeprefix("github.com/" if compact else ""),
        )
    return cut_to_fit(table)


def _print_source(spec: UNetSpec, output: Output) -> None:
    output.print(f"{spec.name}: {spec.title}", style="bold")
    for what, text in (("source", spec.source), ("licence", spec.licence), ("cite", spec.citation)):
        if text:
            output.print(Padding(Text(f"{what}: {text}"), (0, 0, 0, 4)))


def short_source(spec: UNetSpec) -> str:
    """The paper, or the package or repository, of a network: "arXiv 1505.04597", "monai 1.5.1"."""
    paper = re.search(r"arXiv \d+\.\d+", spec.source)
    return paper[0] if paper else spec.source.partition(", ")[0]


def _row(network: Network) -> dict[str, object]:
    spec = network.spec
    return {
        "name": spec.name,
        "title": spec.title,
        "source": spec.source,
        "citation": spec.citation,
        "licence": spec.licence,
        "dimensions": spec.dimensions,
        "parameters": spec.parameter_count,
        "size": network.size,
        "forward_flops": network.flops,
        "in_channels": spec.in_channels,
        "out_channels": spec.out_channels,
        "widths": spec.widths,
        "norm": spec.norm.kind,
        "norms": network.norms,
        "fingerprint": spec.fingerprint,
    }


def _backends() -> dict[str, object]:
    return {name: _backend(name) for name in backends.names()}


def _backend(name: str) -> dict[str, object]:
    reason = backends.missing(name)
    try:
        can = backends.capabilities(name)
    except backends.BackendError:  # a plugin may fail at saying even that; `missing` has the reason
        can = Capabilities((), (), (), ())
    return {
        "available": reason is None,
        "missing": reason,
        "phases": can.phases,
        "precisions": can.precisions,
        "tunings": can.tunings,
        "devices": can.devices,
        "replicas": can.replicas,
        "note": can.note,
    }
