"""`tandem adopt`: a user's own PyTorch module as a spec, with its weights and the proof."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import json
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.text import Text

import backends
import parity
from backends import checkpoints, trace
from parity.adoption.adoption import YOURS
from parity.adoption.differences import told
from shared_specs import ShapeError, TandemError, load_spec, save_weights
from shared_specs.catalog import ZOO
from shared_specs.errors import one_line
from shared_specs.files import check_writable, write_atomically
from shared_specs.toml import table, to_toml

from .. import selections
from ..console import Output, plain_table, progress, say_note
from ..verdict_tables import difference_report, measurement_table, verdict_table

FILES = {"spec": "spec.toml", "keymap": "keymap.toml", "weights": "weights.safetensors"}
"""What is written into the folder."""


@dataclass(frozen=True)
class Request:
    """What `tandem adopt` was asked for, as typed."""

    target: str
    spec: str | None = None
    checkpoint: str | None = None
    input_shape: str | None = None
    backends: Sequence[str] | None = None
    seed: int = 0
    output: str | None = None


def run(request: Request, json_path: str | None = None, verbose: bool = False) -> int:
    """Adopt, print, write, and return 0 where the module is the spec, 1 where it is not."""
    given = [path for path in (request.spec, request.checkpoint) if path is not None]
    output = Output(json_path, given)
    folder = None if request.output is None else _folder(request.output, given)
    spec = None if request.spec is None else load_spec(request.spec)
    shape = input_shape(request.input_shape)
    if request.checkpoint is not None and not request.checkpoint.endswith(".safetensors"):
        checkpoints.look("pytorch", Path(request.checkpoint))
    names, left_out = selections.backend_names(request.backends)
    for reason in left_out:
        say_note(reason)
    with contextlib.redirect_stdout(sys.stderr), progress(request.target) as tell:  # the user's code may print
        module = module_of(request.target)
        try:
            for remark in () if request.checkpoint is None else trace.load_state(module, request.checkpoint):
                say_note(f"{request.checkpoint}: {remark}")
            adoption = parity.adopt(module, spec, shape, names, request.seed, tell)
        except trace.NoImagesError as error:
            raise TandemError(f"{request.target}: {error}, with --input-shape N,C,H,W") from error
        except trace.TraceError as error:
            raise TandemError(f"{request.target}: {error}") from error
    if adoption.equal and folder is not None:
        _ = adoption.checkpoint  # before anything is said, as names can be such that no key map holds them
    show(adoption, output, verbose)
    files = {}
    if adoption.equal and folder is not None:
        files = write(adoption, folder)
        output.print(*loading(adoption, files))
        if request.checkpoint is None:
            say_note("the weights are those that the factory made; --checkpoint FILE loads trained ones first")
    elif adoption.equal:
        output.print("Nothing was written; --output DIR writes the spec, its key map and the weights.", style="dim")
    output.write("adopt", {**json.loads(adoption.to_json()), "files": files})
    return 0 if adoption.equal else 1


def module_of(target: str) -> Any:
    """What the factory `package.module:factory` returns; the current folder is importable.

    Raises:
        TandemError: where it cannot be imported, is not there, or raises.
    """
    name, colon, attribute = target.partition(":")
    if not (colon and name and attribute):
        raise TandemError(f"got {target!r}, expected PACKAGE.MODULE:FACTORY, for instance my_package.my_unet:UNet")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(name)
    except ModuleNotFoundError as error:
        lacking = name if error.name is None else error.name
        raise TandemError(
            f"{target}: no module named {lacking!r} can be imported from {here}; install it, or go to its folder"
        ) from error
    except Exception as error:  # the user's own code may raise anything
        raise TandemError(f"{target}: importing {name} raises {_raised(error)}") from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            near = difflib.get_close_matches(part, dir(found), n=2, cutoff=0.5)
            meant = f"; did you mean {' or '.join(near)}?" if near else ""
            raise TandemError(f"{target}: {name} has no {part!r}{meant}")
        found = getattr(found, part)
    if hasattr(found, "state_dict") and not isinstance(found, type):
        return found  # a module that is there already
    if not callable(found):
        raise TandemError(f"{target}: is {type(found).__name__!r}, expected a class or function that makes a module")
    try:
        return found()
    except Exception as error:
        raise TandemError(
            f"{target}: calling it without arguments raises {_raised(error)}; "
            "name a function that makes the module without any"
        ) from error


def _raised(error: Exception) -> str:
    return f"{type(error).__name__}: {one_line(str(error))}" if str(error) else type(error).__name__


def input_shape(text: str | None) -> list[int] | None:
    """ "2,3,64,96" or "2x3x64x96" as numbers. Raises ShapeError."""
    if text is None:
        return None
    parts = re.split(r"[,x]", text.replace(" ", ""))
    if len(parts) not in (4, 5) or not all(re.fullmatch(r"[1-9]\d{0,5}", part) for part in parts):
        raise ShapeError(f"--input-shape: got {text!r}, expected N,C,H,W or N,C,D,H,W, for instance 2,3,64,96")
    return [int(part) for part in parts]


def _folder(path: str, inputs: Sequence[str]) -> Path:
    """The folder to write to, found to be writable before any work. It is made by `write`."""
    folder = Path(path)
    try:
        there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    except OSError as error:  # a name too long, or a folder that may not be entered
        raise TandemError(f"{folder}: cannot be made ({error.strerror}); name another with --output") from error
    if not there.is_dir() or not os.access(there, os.W_OK):
        reason = "is no folder" if not there.is_dir() else "is not writable"
        raise TandemError(f"{folder}: cannot be made ({there} {reason}); name another with --output")
    for name in FILES.values() if folder.exists() else ():
        check_writable(folder / name, inputs)
    held = [name for name in FILES.values() if (folder / name).exists()]
    if held:
        raise TandemError(f"{folder}: holds {', '.join(held)} of an earlier run, which stay; name another folder")
    return folder


def write(adoption: parity.Adoption, folder: Path) -> dict[str, str]:
    """The spec with its key map, the key map alone, and the weights; by what they are."""
    assert adoption.spec is not None
    paths = {what: folder / name for what, name in FILES.items()}
    spec = adoption.spec.model_copy(update={"checkpoint": adoption.checkpoint})
    keymap = adoption.checkpoint.model_dump(mode="json", exclude_defaults=True)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TandemError(f"{folder}: cannot be made ({error.strerror}); name another with --output") from error
    write_atomically(paths["spec"], to_toml(spec).encode())
    write_atomically(paths["keymap"], ("\n".join(table("checkpoint", keymap, inline=False)) + "\n").encode())
    save_weights(paths["weights"], adoption.weights, spec)
    return {what: str(path) for what, path in paths.items()}


def show(adoption: parity.Adoption, output: Output, verbose: bool) -> None:
    """Print what the module is, what was assumed, and the verdict."""
    spec = adoption.spec
    if spec is None:
        output.print(f"{adoption.module}: no spec could be inferred.", style="bold red")
        near = f"; of the zoo, {adoption.nearest_told}" if adoption.nearest else ""
        advice = [adoption.advice] if adoption.advice else []
        if near or not advice:
            advice.append(f"give the spec that it is to be with --spec{near}")
        if near:
            advice.append(f"to write one, copy {ZOO / adoption.nearest[0]}.toml and change it")
        output.print(" ".join(f"{words[0].upper()}{words[1:]}." for words in (adoption.reason, *advice)))
        return
    origin = "inferred from the trace" if adoption.inferred else "as given"
    output.print(
        f"{adoption.module} as {spec.name}: the spec {origin}, {spec.parameter_count:,} parameters", style="bold"
    )
    if adoption.inferred:
        output.print(f"widths {list(spec.widths)}, {spec.in_channels} channels in, {spec.out_channels} out")
    for words in adoption.assumed:
        output.print(f"assumed: {words}", style="yellow")
    for words in adoption.unused:
        output.print(words, style="yellow")
    if verbose:
        output.print(keys_table(adoption))
    if adoption.verdict is not None:
        output.print(verdict_table(adoption.verdict))
        if verbose:
            output.print(measurement_table("Every quantity", list(adoption.verdict.measurements)))
    output.print(*conclusion(adoption, verbose))


def keys_table(adoption: parity.Adoption) -> RenderableType:
    rows = plain_table("", "yours", "canonical")
    for name, key in adoption.keys.items():
        rows.add_row(key, name)
    return rows


def conclusion(adoption: parity.Adoption, verbose: bool) -> list[RenderableType]:
    """The answer, with the first place where the two part."""
    assert adoption.spec is not None
    if adoption.equal:
        return [Text(f"Equal: {YOURS} is {adoption.spec.name}, to within the noise of rounding.", "bold green")]
    parts: list[RenderableType] = [Text(f"Different: {YOURS} is not {adoption.spec.name}.", "bold red")]
    first, *others = told(adoption.differences, verbose) or [adoption.first_difference]
    parts.append(Text.assemble(("First: ", "bold"), first))
    parts += [Text(f"  then {difference}") for difference in others]
    if not verbose and len(others) + 1 < len(adoption.differences):
        parts.append(Text("--verbose prints every one", "dim"))
    if adoption.match is not None and not adoption.match.complete:
        parts.append(Text("What comes after it was not compared.", "dim"))
    if adoption.verdict is not None and not adoption.verdict.equal and (verbose or not adoption.differences):
        parts.append(difference_report(adoption.verdict, every=verbose))
    return parts


def loading(adoption: parity.Adoption, files: dict[str, str]) -> list[RenderableType]:
    """What was written, and how Flax loads it."""
    parts: list[RenderableType] = [Text(f"wrote {', '.join(files.values())}")]
    if backends.missing("flax_nnx") is None:
        parts.append(Text(f"The Flax model with these weights:\n\n{flax_lines(files)}"))
    return parts


def flax_lines(files: dict[str, str]) -> str:
    """Python that loads the weights into a Flax module: imports, and two lines."""
    return f"""\
    from flax import nnx
    from backends import flax_nnx
    from shared_specs import load_spec, load_weights

    model = flax_nnx.UNet(spec := load_spec({files["spec"]!r}), rngs=nnx.Rngs(0))
    flax_nnx.load_weights(model, spec, load_weights({files["weights"]!r}, spec))
"""
