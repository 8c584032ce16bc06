"""Every precision, tuning and device that is declared is run, and what is not declared is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

import parity
from backends.contract import PRECISIONS, BackendError, Execution
from backends.devices import too_few_for, usable_core_count
from parity.probes import DATA_PARALLEL
from shared_specs import Recipe

from .steps import Failure, expect, needs
from .subject import Subject
from .test_4_programs import program_of, run_as_methods_do


@needs("network", "program")
@pytest.mark.parametrize("precision", PRECISIONS)
def test_precision(subject: Subject, precision: str) -> None:
    """On the first kind of device here that has it: tf32 needs a GPU."""
    on_first = Execution(subject.base.device, precision)
    here = dict.fromkeys(name.partition(":")[0] for name in subject.backend.devices())
    able = [kind for kind in here if subject.capabilities.lacks(Execution(kind, precision)) is None]
    if not able:
        pytest.skip(f"{subject.name} {subject.capabilities.lacks(on_first)}")
    execution = Execution(able[0], precision)
    compare(subject, execution)
    model = subject.model(execution=execution)
    program_of(subject, model, "forward")()
    expect(
        model.effective_precision() == precision,
        f"effective_precision() is {model.effective_precision()!r} where {precision!r} was asked for; read it back "
        "from what really runs, and set the framework's switches",
    )
    flags = model.flags()
    texts = all(isinstance(name, str) and isinstance(value, str) for name, value in flags.items())
    expect(texts, f"flags() is {flags}, expected the setting of each switch as text")


def compare(subject: Subject, execution: Execution) -> None:
    """Raises Failure where logits or gradients are not the reference's, within the noise of the precision."""
    subject.check("forward", execution=execution)
    if subject.trains():
        subject.check("gradients", execution=execution)


@needs("network", "program")
def test_tuning(subject: Subject, tuning: str) -> None:
    """On the smallest network, as some tunings compile for long; it has a norm to fold, and a convolution."""
    execution = Execution(subject.base.device, subject.base.precision, tuning)
    for phase in subject.capabilities.phases:
        run_as_methods_do(subject, phase, execution, "smallest")


@needs("network", "program")
def test_device(subject: Subject, device: str) -> None:
    here = [name for name in subject.backend.devices() if name.partition(":")[0] == device]
    if not here:
        pytest.skip(f"{subject.name} finds no {device} device here; run it again where there is one")
    execution = Execution(device, subject.base.precision)
    compare(subject, execution)
    for phase in subject.capabilities.phases:
        run_as_methods_do(subject, phase, execution)


@needs("network", "program")
def test_replicas(subject: Subject) -> None:
    """Two processes that train together compute what the reference's do, where that is declared."""
    if lacks := subject.capabilities.lacks(replicas=2):
        pytest.skip(f"{subject.name} {lacks}")
    spec, backend = subject.spec("smallest"), subject.backend
    if subject.base.device == "cpu" and (few := too_few_for(2, "cpu", usable_core_count())):
        pytest.skip(f"{few} to run this")
    recipes = [Recipe(batch_statistics=kind) for kind in ("per_replica", "global")]
    lacking = [backend.lacks_replicas(spec, subject.base, recipe) for recipe in recipes]
    able = [recipe for recipe, lacks in zip(recipes, lacking, strict=True) if lacks is None]
    expect(bool(able), f"it declares replicas, and {'; '.join(map(str, lacking))}; expected either kind of statistics")
    batch = subject.batch("smallest")
    for recipe in able:
        verdict = parity.check(spec, [subject.name], subject.base, [DATA_PARALLEL], recipe, batch=batch, replicas=2)
        kind = f"{recipe.batch_statistics} batch statistics"
        expect(verdict.equal, f"its replicas with {kind} are not the reference's: {verdict.first_difference}")


def refuses(subject: Subject, asked: Execution) -> None:
    """Raises Failure unless a backend refuses an execution in one line."""
    try:
        subject.backend.build(subject.spec("plain"), asked)
    except BackendError as error:
        expect("\n" not in str(error), f"refuses {asked} in several lines, expected one")
        return
    lacking = subject.capabilities.lacks(asked) or f"finds no device {asked.device!r} here"
    raise Failure(f"builds {asked}, although it {lacking}; begin build() with self.check_execution(execution)")


@needs("builds")
def test_refuses_other_precisions(subject: Subject, lacking_precision: str) -> None:
    refuses(subject, replace(subject.base, precision=lacking_precision))


@needs("builds")
def test_refuses_other_tunings(subject: Subject, lacking_tuning: str) -> None:
    refuses(subject, replace(subject.base, tuning=lacking_tuning))


@needs("builds")
def test_refuses_other_devices(subject: Subject, lacking_device: str) -> None:
    refuses(subject, replace(subject.base, device=lacking_device))
