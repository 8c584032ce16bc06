"""No time without parity: a cell whose fingerprint strays from the reference gets no throughput."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

import backends
from backends.processes import free_memory_limit_bytes
from parity.batches import telling_size
from parity.noise_floor import distance
from shared_specs import SpecError, TandemError
from shared_specs.cost import total_cost

from . import fingerprint
from .cell import Cell
from .process import WorkerFailure, WorkerProcess
from .records import Gate
from .reference import Reference, check_room, compute, no_room, replicas_apart

NUMPY, FRAMEWORK = "numpy_reference", "pytorch"
"""Whose reference judges a small cell, and whose a large one."""

NUMPY_FLOPS = 6e9
"""Of one step, up to which NumPy computes the reference. In float32 that takes it 39 steps, about a minute on a core;
the default cells of a CPU have 5e9. Beyond, each hundredfold would take hours."""

TIME_LIMIT_S = 3600.0
"""For the process that computes one reference."""

LIKE_FLOORS = 2.0
"""How far, as a factor, a framework's floors may lie from NumPy's, in the median over quantities. Each is estimated
from a few re-runs, so that one alone may be off by chance."""


@dataclass
class References:
    """The references of a run, each computed once or found not to be had, by the parent, never by a timed process."""

    _known: dict[tuple[object, ...], Reference | Exception] = field(default_factory=dict)
    _proven: set[tuple[object, ...]] = field(default_factory=set)

    def has(self, cell: Cell) -> bool:
        return key_of(cell) in self._known

    def get(self, cell: Cell) -> Reference:
        """The reference of this cell at its exact shape: NumPy's where the cell is small, else PyTorch's.

        Raises:
            TandemError: where it would not fit into the memory that is free, or could not be computed or proven.
        """
        key = key_of(cell)
        if key not in self._known:
            by_numpy = is_small(cell) or backends.missing(FRAMEWORK) is not None
            try:
                if not is_small(cell) and replicas_apart(cell) > 1:
                    raise TandemError(
                        "that of replicas with batch statistics of their own is NumPy's, and would take hours for this "
                        "cell; take --batch-statistics global, or a smaller batch or size"
                    )
                self._known[key] = _by_numpy(cell) if by_numpy else self._by_framework(cell)
            except (TandemError, MemoryError) as error:
                self._known[key] = error  # each attempt may take an hour: one is enough for all records
        known = self._known[key]
        if isinstance(known, Exception):
            raise known
        return known

    def _by_framework(self, cell: Cell) -> Reference:
        """Of a process of its own, on the cell's device, once that has shown on a small cell that it is right."""
        small = proof_cell(cell)
        proof = (cell.device, *key_of(small))
        expected = None if proof in self._proven else _by_numpy(small)
        limit = free_memory_limit_bytes()
        with WorkerProcess(TIME_LIMIT_S, "benchmarks.reference", memory_limit_bytes=limit) as worker:
            try:
                if expected is not None:
                    check_proof(expected, _ask(worker, small))
                    self._proven.add(proof)
                return _ask(worker, cell)
            except WorkerFailure as failure:
                if failure.status != "out_of_memory":
                    raise
                raise no_room(f"the PyTorch reference ran out of memory on {cell.device} ({failure})") from failure


def judge(reference: Reference | None, candidate: Mapping[str, Sequence[float]]) -> Gate:
    """The verdict on a fingerprint: the distance of its worst quantity, in floors."""
    assert reference is not None
    worst, farthest = "", 0.0
    for name, values in reference.quantities.items():
        given = np.asarray(candidate.get(name, []), np.float64)
        here = distance(given, values, reference.floors[name])
        if here > farthest or not worst:
            worst, farthest = name, here
    unexpected = sorted(candidate.keys() - reference.quantities.keys())
    if unexpected:
        worst, farthest = unexpected[0], np.inf
    return Gate(
        comparable=farthest <= reference.limit,
        distance=farthest,
        quantity=worst,
        limit=reference.limit,
        reference=reference.by,
    )


def is_small(cell: Cell) -> bool:
    """Whether NumPy computes its reference within about a minute."""
    batch = cell.batch if cell.phase != "forward" else len(fingerprint.ends(cell.batch))
    shape = (batch, *cell.images_shape[1:])
    flops, _ = total_cost(cell.network, shape).of_phase(cell.phase)
    return flops <= NUMPY_FLOPS * replicas_apart(cell)  # nobody else computes these, so they may take some minutes


def proof_cell(cell: Cell) -> Cell:
    """What a framework's reference must compute as NumPy does before it is believed of this cell.

    The same network, phase and recipe in float64, where every real difference is enormous, on two small images of
    unequal sides, and narrowed as far as needed for NumPy to be quick.
    """
    size = telling_size(cell.network)
    small = cell.model_copy(update={"size": size, "batch": 2, "precision": "float64"})
    while not is_small(small):
        narrower = Cell.model_validate(small.model_dump() | {"narrow": 2 * small.narrow})  # a copy has the old network
        try:
            if narrower.network.parameter_count == small.network.parameter_count:
                break
        except SpecError:  # its widths cannot be divided further
            break
        small = narrower
    return small


def check_proof(expected: Reference, given: Reference) -> None:
    """Refuse a framework's reference that is not NumPy's within the noise of float64. Raises TandemError."""
    verdict = judge(expected, {name: values.tolist() for name, values in given.quantities.items()})
    if not verdict.comparable:
        raise TandemError(
            f"that of {given.by} is not that of {expected.by} on a small cell: {verdict.quantity} lies "
            f"{verdict.distance:.3g} noise floors away; run `tandem check` to find the first difference"
        )
    ratio = statistics.median(given.floors[name] / floor for name, floor in expected.floors.items() if floor > 0)
    if not 1 / LIKE_FLOORS <= ratio <= LIKE_FLOORS:
        raise TandemError(
            f"the noise floors of {given.by} are {ratio:.3g} times those of {expected.by} on a small cell, "
            f"expected about as large (a factor of {LIKE_FLOORS:g})"
        )


def _ask(worker: WorkerProcess, cell: Cell) -> Reference:
    answer = worker.ask("reference", cell=cell.model_dump(mode="json"), by=FRAMEWORK)
    return Reference.from_json(answer)


def _by_numpy(cell: Cell) -> Reference:
    check_room(cell, NUMPY)
    return compute(cell, NUMPY)


def key_of(cell: Cell) -> tuple[object, ...]:
    """What decides on a cell's reference: cells of one key share it."""
    recipe = cell.recipe.model_copy(update={"batch_statistics": "global"})
    what = (cell.network.fingerprint, cell.images_shape, cell.precision, cell.seed, cell.phase, recipe)
    return what if (apart := replicas_apart(cell)) == 1 else (*what, apart)
