"""How far sound loss curves lie, and planted faults: `python -m docs.loss_curves` writes the tables of docs/curves.md.

For each setting every backend is trained as by `tandem curves`, and four more re-runs of the reference under noise.
Each re-run is judged as if it were a backend's curve, by every choice of three others.
"""

from __future__ import annotations

import os

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import skimage

import backends
from backends.contract import Execution, RoundingNoise
from docs.tables import replace, row, table
from parity import image_batch, train_curves
from parity.batches import Batch, brightness_classes
from parity.curves import RERUNS, STEPS, train
from parity.envelope import Curve, Curves, Judged, Rerun
from shared_specs import Recipe, UNetSpec, load_spec
from shared_specs.files import write_atomically
from tandem.commands.curves import SIZE
from tandem.images import read_image
from tandem.units import share

PAGE = Path(__file__).parent / "curves.md"
SEED, MORE = 0, 4

SETTINGS = (
    ("unet_bn_same", 16, "ihc.png", "sgd", "float64"),
    ("unet_bn_same", 16, "ihc.png", "sgd", "float32"),
    ("unet_bn_same", 16, "ihc.png", "sgd", "bfloat16"),
    ("unet_bn_same", 16, "ihc.png", "adam", "float32"),
    ("unet_same", 16, "retina.jpg", "adamw", "float32"),
    ("pytorch_unet_bilinear", 16, "coffee.png", "sgd", "float32"),
    ("monai_attention_unet", 8, "camera.png", "adam", "float32"),
)
"""Network, divisor of its widths, photograph of scikit-image's wheel, optimizer and precision."""

FAULTY = SETTINGS[:2]
"""Where the faults are planted."""


def main() -> None:
    sound, faults = [], {}
    for setting in SETTINGS:
        name, narrow, picture, optimizer, precision = setting
        spec, recipe, execution = (
            load_spec(name).narrow(narrow),
            Recipe.named(optimizer),
            Execution(precision=precision),
        )
        batch = photograph(spec, picture)
        record = train_curves(spec, execution=execution, recipe=recipe, seed=SEED, batch=batch, narrow=narrow)
        more = [rerun(spec, execution, recipe, batch, number) for number in range(MORE)]
        sound.append(sound_row(setting, record, max(judged.farthest for judged in left_out(record, more))))
        print(sound[-1], file=sys.stderr, flush=True)
        if setting in FAULTY:
            faults[precision] = dict(plant(spec, execution, batch, record))
            print(faults[precision], file=sys.stderr, flush=True)
    page = PAGE.read_text(encoding="utf-8")
    page = replace(page, "sound curves", sound_table(sound))
    page = replace(page, "faulty curves", fault_table(faults))
    write_atomically(PAGE, page.encode())


def photograph(spec: UNetSpec, picture: str) -> Batch:
    image = read_image(Path(skimage.__file__).parent / "data" / picture)
    return brightness_classes(spec, image_batch(spec, [image], SEED, SIZE[spec.dimensions]))


def rerun(spec: UNetSpec, execution: Execution, recipe: Recipe, batch: Batch, number: int) -> Rerun:
    """One more under noise of the precision."""
    seed = 1000 + number
    noise = RoundingNoise(execution.unit_roundoff, seed, long_run=True)
    reference: Any = backends.get("numpy_reference")
    losses = train(reference.build_noisy(spec, noise, recipe), batch, STEPS, SEED, lambda done: None)
    return Rerun(seed=seed, times=1, losses=losses)


def left_out(record: Curves, more: list[Rerun]) -> Iterator[Judged]:
    """Each re-run under noise of the precision, judged by every choice of as many others as a record has."""
    ours = [rerun for rerun in record.reruns if rerun.times == 1]
    others = tuple(rerun for rerun in record.reruns if rerun.times != 1)
    everyone = [*ours, *more]
    for judges in itertools.combinations(everyone, RERUNS):
        curves = tuple(Curve(backend=str(r.seed), losses=r.losses) for r in everyone if r not in judges)
        yield from record.model_copy(update={"reruns": (*judges, *others), "curves": curves}).judged


def plant(spec: UNetSpec, execution: Execution, batch: Batch, record: Curves) -> Iterator[tuple[str, Judged]]:
    """Faults of the PyTorch module and of its optimizer, planted from outside."""
    pytorch: Any = backends.get("pytorch")
    wrong_momentum = pytorch.build(spec, execution, Recipe.named("sgd", momentum=0.89))
    wrong_epsilon, coarse_epsilon, other_average = (pytorch.build(spec, execution, record.recipe) for _ in range(3))
    layer = "encoder.2.block.0.norm"
    wrong_epsilon.module.get_submodule(layer).eps = 1.0001e-5
    coarse_epsilon.module.get_submodule(layer).eps = 1e-3
    other_average.module.get_submodule(layer).momentum = 0.1001
    for name, model in {
        "momentum 0.89 for 0.9 in the optimizer": wrong_momentum,
        "epsilon 1.0001e-5 for 1e-5 in one layer": wrong_epsilon,
        "epsilon 1e-3 for 1e-5 in one layer": coarse_epsilon,
        "momentum 0.1001 for 0.1 in one layer's statistics": other_average,
    }.items():
        curve = Curve(backend=name, losses=train(model, batch, STEPS, SEED, lambda done: None))
        yield name, record.model_copy(update={"curves": (curve,)}).judged[0]


def sound_row(setting: tuple[Any, ...], record: Curves, farthest: float) -> list[str]:
    name, _, picture, optimizer, precision = setting
    found = {judged.backend: share(judged.farthest) for judged in record.judged}
    parted = f"{record.envelope[-1] / record.reference[-1]:.1e}"
    losses = f"{record.reference[0]:.3f} to {record.reference[-1]:.3f}"
    what = [f"`{name}`", picture, optimizer, precision, losses, parted, str(record.parted_at or "never")]
    return [*what, *(found.get(backend, "") for backend in ("pytorch", "flax_nnx")), share(farthest)]


def sound_table(rows: list[list[str]]) -> str:
    heads = ["network", "photograph", "optimizer", "precision", "loss", "re-runs part by", "by a tenth at step"]
    heads += ["pytorch", "flax_nnx", "re-runs"]
    return table(heads, [row(*cells) for cells in rows], right=5)


def fault_table(faults: dict[str, dict[str, Judged]]) -> str:
    heads = [f"{precision}, {what}" for precision in faults for what in ("leaves at step", "farthest")]
    body = []
    for name in next(iter(faults.values())):
        told = [found[name] for found in faults.values()]
        body.append(row(name, *(cell for j in told for cell in (str(j.left_at or "never"), share(j.farthest)))))
    return table(["fault in PyTorch", *heads], body, right=len(heads))


if __name__ == "__main__":
    main()
