"""`tandem convert`: weights from one framework's file to another's, read back and proven."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import backends
import parity
from backends import Execution, checkpoints
from shared_specs import TandemError, UNetSpec, WeightsError, load_spec
from shared_specs.checkpoints import Checkpoint, listed
from shared_specs.files import check_writable
from shared_specs.naming import CANONICAL, taken_off
from shared_specs.schemes import Recognised, check_scheme, recognise
from shared_specs.weights import check_metadata

from .. import selections
from ..console import Output, progress
from ..units import sized
from ..verdict_tables import difference_report

PROBES = ("forward", "activations")
"""What tells whether weights arrived, beside their bits: all of them reach the logits in evaluation mode."""

TITLES = {
    "canonical": "canonical weights in safetensors",
    "pytorch": "a PyTorch state dict",
    "flax_nnx": "an Orbax checkpoint of the Flax NNX module",
    "flax_linen": "an Orbax checkpoint of the Flax Linen module",
}


@dataclass(frozen=True)
class Request:
    """What `tandem convert` was asked for, as typed."""

    source: str
    target: str
    spec: str
    narrow: int | None = None
    scheme: str | None = None
    to: str | None = None
    scheme_out: str | None = None
    check: bool = True


@dataclass(frozen=True)
class Plan:
    """All that was asked for, found to be possible before any of it is done."""

    spec: UNetSpec
    full: UNetSpec
    divisor: int
    source: Path
    source_format: str
    scheme: str | None
    target: Path
    target_format: str
    scheme_out: str
    check: bool


def run(request: Request, json_path: str | None = None) -> int:
    """Convert, print, and return 0; 1 where what was written is not what was read."""
    output = Output(json_path, [request.source, request.spec])
    chosen = plan(request, json_path)
    with progress(chosen.spec.name) as tell:
        tell(f"reading {chosen.source}")
        read = checkpoints.get(chosen.source_format).read(chosen.source)
        found = canonical(chosen, chosen.source, chosen.source_format, read, chosen.scheme)
        remarks = [*read.remarks, *taken_off(found.prefix, read.tensors)]
        output.print(f"{chosen.spec.name}: {selections.width_in_words(chosen.spec, chosen.divisor)}", style="bold")
        describe("Read", chosen.source, chosen.source_format, found.scheme, found.weights, remarks, output)
        tell(f"writing {chosen.target}")
        replaced = ["what was there before is replaced"] if chosen.target.exists() else []
        write(chosen, found.weights)
    describe("Wrote", chosen.target, chosen.target_format, chosen.scheme_out, found.weights, replaced, output)
    content = {
        "spec": chosen.spec.model_dump(mode="json"),
        "narrow": chosen.divisor,
        "source": {"path": str(chosen.source), "format": chosen.source_format, "scheme": found.scheme},
        "target": {"path": str(chosen.target), "format": chosen.target_format, "scheme": chosen.scheme_out},
        "remarks": remarks,
        "dtypes": dtypes(found.weights),
    }
    checked = check(chosen, found.weights, output) if chosen.check else None
    output.write("convert", content | {"check": checked})
    return 0 if checked is None or checked["equal"] else 1


def plan(request: Request, json_path: str | None = None) -> Plan:
    """Find out, before any work, whether all that was asked for can be done.

    Raises:
        TandemError: with one line on the first thing that cannot.
    """
    full = load_spec(request.spec)
    spec, divisor = selections.narrowed(full, request.narrow, default=1)
    source, target = Path(request.source), Path(request.target)
    source_format = format_of_source(source)
    checkpoints.look(source_format, source)
    target_format = format_of_target(target, request.to)
    scheme, scheme_out = request.scheme, request.scheme_out or CANONICAL
    for name in filter(None, (scheme, scheme_out)):
        check_scheme(spec, name)
    if source_format in checkpoints.FOLDERS and scheme not in (None, CANONICAL):
        raise TandemError(f"--from {scheme} is for files of the original; a Flax checkpoint is of our own module")
    if scheme_out != CANONICAL and target_format != "pytorch":
        raise TandemError(f"--scheme-out {scheme_out} goes with a PyTorch file; name OUT.pt, or leave it out")
    check_target(target, target_format, source, [request.spec, json_path or ""])
    checkpoints.get(source_format)
    return Plan(spec, full, divisor, source, source_format, scheme, target, target_format, scheme_out, request.check)


def format_of_source(path: Path) -> str:
    """The format of a file by its suffix or content, that of a folder by what Orbax says of it. Raises WeightsError."""
    if not path.exists():
        raise WeightsError(f"{path}: cannot be read (No such file or directory); expected a checkpoint")
    if path.is_dir():
        return checkpoints.format_of_folder(path)
    found = checkpoints.format_of_file(path)
    if found is None and (words := checkpoints.unread(path)) is not None:
        raise WeightsError(f"{path}: {words}")
    if found is None:
        raise WeightsError(f"{path}: has no suffix that tells its format; expected {formats_in_words()}")
    return found


def format_of_target(path: Path, to: str | None) -> str:
    """The format that was asked for, else the one that the path's suffix tells. Raises TandemError."""
    wanted = selections.one("format", to, list(checkpoints.FORMATS)) if to is not None else None
    suffix = path.suffix.lower()
    told = next((name for name, suffixes in checkpoints.SUFFIXES.items() if suffix in suffixes), None)
    if wanted and told and wanted != told:
        raise TandemError(f"{path}: --to {wanted} does not write {suffix} files; expected {format_in_words(wanted)}")
    if wanted:
        return wanted
    if told is None and suffix:
        raise TandemError(
            f"{path}: has no suffix that tells a format; name one with --to, or take {formats_in_words()}"
        )
    return told or checkpoints.FOLDERS[0]


def formats_in_words() -> str:
    """All formats with their suffixes."""
    folders = " or ".join(TITLES[name] for name in checkpoints.FOLDERS)
    return ", ".join([*map(format_in_words, checkpoints.SUFFIXES), f"a folder for {folders}"])


def format_in_words(name: str) -> str:
    """ ".pt or .pth for a PyTorch state dict", "a folder for an Orbax checkpoint of the Flax Linen module"."""
    where = "a folder" if name in checkpoints.FOLDERS else " or ".join(checkpoints.SUFFIXES[name])
    return f"{where} for {TITLES[name]}"


def check_target(path: Path, format_name: str, source: Path, others: list[str]) -> None:
    """Refuse a target that could not be written, or in whose place stands something else.

    Raises:
        TandemError: also where it is one of the files that are read.
    """
    if format_name not in checkpoints.FOLDERS:
        check_writable(path, [source, *filter(None, others)])
    else:
        inside = path.resolve()
        if inside == source.resolve() or inside in source.resolve().parents or source.resolve() in inside.parents:
            raise TandemError(f"{path}: is read by this command and would be overwritten; name another folder to write")
        if not inside.parent.is_dir() or not os.access(inside.parent, os.W_OK):
            raise TandemError(f"{path}: cannot be written; name a folder in a writable folder that exists")
    if any(other and Path(other).resolve() == path.resolve() for other in others):
        raise TandemError(f"{path}: is named twice; give each file a path of its own")
    module = checkpoints.get(format_name)
    if path.exists() and not module.is_checkpoint(path):
        raise TandemError(f"{path}: exists and is not {TITLES[format_name]}, so it is left as it is; name another path")


def canonical(chosen: Plan, path: Path, format_name: str, read: Checkpoint, scheme: str | None) -> Recognised:
    """The canonical weights in what was read. Raises WeightsError."""
    check_metadata(path, read.metadata, chosen.spec)
    own_weights = checkpoints.get(format_name).to_canonical
    return recognise(chosen.spec, read.tensors, own_weights, str(path), scheme, chosen.full)


def write(chosen: Plan, weights: dict[str, np.ndarray]) -> None:
    """Write the target, whole or not at all."""
    module = checkpoints.get(chosen.target_format)
    if chosen.scheme_out == CANONICAL:
        module.write(chosen.target, chosen.spec, weights)
    else:
        module.write_original(chosen.target, chosen.spec, weights)


def check(chosen: Plan, weights: dict[str, np.ndarray], output: Output) -> dict[str, Any]:
    """Read the target back, and compare its tensors and what its backend computes with the source's."""
    with progress(chosen.spec.name) as tell:
        tell(f"reading {chosen.target} back")
        read = checkpoints.get(chosen.target_format).read(chosen.target)
        arrived = canonical(chosen, chosen.target, chosen.target_format, read, chosen.scheme_out).weights
        changed = [name for name in weights if not identical(weights[name], arrived[name])]
        names = [checkpoints.BACKENDS[name] for name in (chosen.source_format, chosen.target_format)]
        models = [backends.get(name).build(chosen.spec, Execution(precision="float64")) for name in names]
        for model, held in zip(models, (weights, arrived), strict=True):
            model.load_weights(held)
        batch = parity.random_batch(chosen.spec, count=1)
        verdict = parity.compare_models(*models, probes=PROBES, batch=batch, on_progress=tell)
    equal = verdict.equal and not changed
    if changed:
        output.print(f"Different: read back, {listed(changed)} differ in bits from the source.", style="bold red")
    if not verdict.equal:
        output.print(difference_report(verdict))
    farthest = max(measurement.distance for measurement in verdict.measurements)
    if equal:
        output.print(
            f"Equal: read back, all {len(weights)} tensors are the source's to the last bit, and {names[0]} and "
            f"{names[1]} compute the same in float64, every layer within {farthest:.3g} noise floors.",
            style="bold green",
        )
    return {"equal": equal, "changed": changed, "backends": names, "verdict": json.loads(verdict.to_json())}


def identical(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two arrays have the same dtype, shape and bits: zeros have a sign."""
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    bits = f"u{one.dtype.itemsize}"
    return np.array_equal(np.ascontiguousarray(one).view(bits), np.ascontiguousarray(other).view(bits))


def describe(
    did: str,
    path: Path,
    format_name: str,
    scheme: str,
    weights: dict[str, np.ndarray],
    remarks: list[str],
    output: Output,
) -> None:
    """One line on a file, and one on each thing that its reader should know."""
    kinds = ", ".join(dtypes(weights))
    size = sized(sum(values.nbytes for values in weights.values()))
    names = "" if scheme == CANONICAL else f", names of {scheme}"
    output.print(f"{did:<6}{path}: {TITLES[format_name]}{names}, {len(weights)} tensors, {kinds}, {size}")
    for remark in remarks:
        output.print(f"      {remark}", style="dim")


def dtypes(weights: dict[str, np.ndarray]) -> dict[str, int]:
    """How many tensors there are of each dtype."""
    names = [values.dtype.name for values in weights.values()]
    return {name: names.count(name) for name in sorted(set(names))}
