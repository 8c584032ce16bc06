"""Which cells are timed, at which sizes, and in which order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import product
from typing import Any

from backends.contract import PHASES, Capabilities
from shared_specs import ShapeError, UNetSpec, load_spec
from shared_specs.catalog import CORE
from shared_specs.shapes import Axes, feature_shapes, size_of, smallest_input

from . import contestants, machine
from .cell import Cell, CellError

CPU_SIZE, CPU_BATCH, CPU_NARROW, CPU_SPECS = 96, 2, 4, ("unet_bn_same",)
"""So that the default suite, three phases by two backends by three processes, ends within minutes on two cores."""

GPU_SIZES = {"unet_bn_same": 224, "unet_same": 512, "unet_bn_crop": 572, "unet_bn_pad": 572, "unet_paper": 572}
"""The inputs for which the networks were published, in pixels."""

GPU_BATCH, GPU_OTHER_SIZE = 8, 512

CPU_VOLUME, GPU_VOLUME = 32, 128
"""The side of 3-D images, in pixels."""


def parse_size(text: str | int | Sequence[int]) -> Axes:
    """The numbers in `96`, `"96"`, `"199x207"`, `"32x96x96"` or (199, 207). Raises CellError."""
    if isinstance(text, str):
        parts: list[Any] = text.lower().split("x")
    else:
        parts = [text] if isinstance(text, int) else [*text]
    try:
        size = tuple(int(part) for part in parts)
    except ValueError:
        size = ()
    if not 1 <= len(size) <= 3 or min(size) < 1:
        raise CellError(f"got the size {text!r}, expected pixels: one number or HEIGHTxWIDTH, for instance 199x207")
    return size


def default_cells(
    specs: Iterable[str] | None = None,
    backends: Iterable[str] | None = None,
    phases: Iterable[str] | None = None,
    device: str | None = None,
    batch: int | None = None,
    size: str | int | Sequence[int] | None = None,
    narrow: int | None = None,
    precisions: Iterable[str] = ("float32",),
    tunings: Iterable[str] = ("default",),
    seed: int = 0,
    devices: Sequence[str] | None = None,
) -> list[Cell]:
    """The cells to time: on a GPU where there is one, else on the CPU at sizes that suit it.

    A tuning that only some of the backends have is timed for those.

    Args:
        devices: those that there are, where the cells are timed on another machine.

    Raises:
        CellError, SpecError, ShapeError: where a name is unknown or a network cannot take the size.
    """
    device = device or machine.default_device()
    on_cpu = device == "cpu"
    chosen = list(backends or contestants.default())
    arms = _arms(chosen, list(tunings))
    cells = []
    for name in specs or (CPU_SPECS if on_cpu else CORE):
        divisor = narrow or (CPU_NARROW if on_cpu else 1)
        spec = load_spec(name)
        wanted = size_of(spec, parse_size(size)) if size is not None else _default_size(spec, name, on_cpu)
        for precision, phase, (backend, tuning) in product(precisions, phases or PHASES, arms):
            cell = Cell(
                spec=str(name),
                backend=backend,
                phase=phase,
                size=wanted,
                batch=batch or (CPU_BATCH if on_cpu else GPU_BATCH),
                narrow=divisor,
                tuning=tuning,
                precision=precision,
                device=device,
                seed=seed,
            )
            cell.check(devices)
            cells.append(cell)
    return cells


def check_supported(
    cells: Iterable[Cell], can: Callable[[str], Capabilities] = lambda name: contestants.capabilities(name)
) -> None:
    """Refuse cells of which the backends can do none.

    Args:
        can: what a backend can do, by name.

    Raises:
        CellError: with one thing for each backend that it lacks: of its execution where no phase would help.
    """
    lacking: dict[str, str] = {}
    for cell in cells:
        able = can(cell.backend)
        lacks = able.lacks(cell.execution) or able.lacks(cell.execution, cell.phase)
        if lacks is None:
            return
        lacking.setdefault(cell.backend, lacks)
    if lacking:
        raise CellError("; ".join(f"{backend} {lacks}" for backend, lacks in lacking.items()))


def _arms(backends: Sequence[str], tunings: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of a backend and a tuning that it has. Raises CellError for a name, or a tuning that none of them has."""
    for backend in backends:
        if reason := contestants.missing(backend):
            raise CellError(reason)
    has = {backend: contestants.capabilities(backend).tunings for backend in backends}
    for tuning in tunings:
        if not any(tuning in known for known in has.values()):
            known = dict.fromkeys(name for names in has.values() for name in names)
            raise CellError(f"no tuning of {', '.join(backends)} is named {tuning!r}; take one of {', '.join(known)}")
    return [(backend, tuning) for tuning in tunings for backend in backends if tuning in has[backend]]


def _default_size(spec: UNetSpec, name: str, on_cpu: bool) -> Axes:
    if spec.dimensions == 3:
        side = CPU_VOLUME if on_cpu else GPU_VOLUME
    else:
        side = CPU_SIZE if on_cpu else GPU_SIZES.get(name, GPU_OTHER_SIZE)
    try:
        feature_shapes(spec, (1, spec.in_channels, *size_of(spec, (side,))))
    except ShapeError:
        side = smallest_input(spec)
    return size_of(spec, (side,))


def interleave(cells: Sequence[Cell], replicates: int) -> list[tuple[Cell, int]]:
    """The order in which cells are timed: A-B-B-A-A-B within each group, so that a drift hits both alike.

    What a backend cannot do is there once, and not a process.

    Returns:
        Pairs of a cell and its replicate, counted from 1.
    """
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.group, []).append(cell)
    return [
        (cell, replicate)
        for group in groups.values()
        for replicate in range(1, replicates + 1)
        for cell in (group if replicate % 2 else reversed(group))
        if replicate == 1 or cell.lacks is None
    ]
