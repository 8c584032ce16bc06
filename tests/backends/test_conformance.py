"""The conformance suite passes what conforms, and of what does not it names the step, and what to do."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import backends
from backends import registry
from backends.conformance import networks
from backends.conformance.steps import FAILED, NOT_TRIED, PASSED, Failure, Outcome, Outcomes, sentence
from tests.conformance_runs import conform, forget

from .stand_ins import NAME

ROOT = Path(__file__).parents[2]

PARITY = "backends/conformance/test_3_parity.py"
EXECUTIONS = "backends/conformance/test_5_executions.py"
ELSEWHERE = ("--deselect", f"{EXECUTIONS}::test_tuning[compile", "--deselect", f"{EXECUTIONS}::test_replicas")
"""Tunings that compile a step in minutes, which `make full` has, and replicas, which have tests of their own."""


@pytest.fixture(autouse=True)
def _fresh_registry() -> Iterator[None]:
    forget()
    yield
    forget()


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Registers the backend `stand_in` at a target, and what it is to say of itself without being loaded."""

    def register(target: str, declaration: str | None = None) -> None:
        points = {registry.GROUP: [EntryPoint(NAME, target, registry.GROUP)], registry.CAPABILITIES_GROUP: []}
        if declaration is not None:
            points[registry.CAPABILITIES_GROUP] = [EntryPoint(NAME, declaration, registry.CAPABILITIES_GROUP)]
        monkeypatch.setattr(registry, "entry_points", lambda group: points[group])
        forget()

    return register


@pytest.mark.parametrize("name", [name for name in backends.names() if name != "numpy_reference"])
def test_built_in_backends_conform(name: str) -> None:
    if reason := backends.missing(name):
        pytest.skip(reason)
    code, said = conform("--backend", name, *ELSEWHERE)
    assert code == 0, said[-3_000:]
    passed, asked = re.findall(r"^(\d+) of (\d+) steps$", said, re.MULTILINE)[0]
    assert passed == asked
    assert int(passed) > 40


@pytest.mark.full
@pytest.mark.needs_backends("pytorch")
def test_tunings_that_compile_for_minutes_conform() -> None:
    code, said = conform("--backend", "pytorch", "-k", "not network")
    assert code == 0, said[-3_000:]


def test_it_runs_from_elsewhere_as_an_author_runs_it(tmp_path: Path) -> None:
    """With `--pyargs`, in a folder that is not ours, with no more than the plugin that comes with Tandem."""
    command = [sys.executable, "-m", "pytest", "--pyargs", "backends.conformance", "--backend", "numpy_reference"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    environment["PYTHONPATH"] = str(ROOT)
    result = subprocess.run(
        [*command, "-p", "tandem.pytest_plugin", "-p", "no:cacheprovider", "-p", "no:benchmark"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stdout[-3_000:] + result.stderr[-3_000:]
    assert re.search(
        r"^left out    precision\[float32\]: numpy_reference has no precision", result.stdout, re.MULTILINE
    )
    assert re.search(r"^\d\d of \d\d steps$", result.stdout, re.MULTILINE)


FAULTS = {
    "NoSuchClass": ("loads", r"backend stand_in cannot be loaded \(AttributeError: .*\); install it again"),
    "NoBackend": ("is a backend", "makes a NoBackend, expected a subclass of backends.contract.Backend"),
    "AnotherName": ("is a backend", "its name is 'another', expected 'stand_in', as its entry point says"),
    "UnknownPrecision": ("declares what it can do", "precisions has 'float8', expected some of float64, float32"),
    "NotAsItWasAsked": ("builds", "its model's execution is .*tuned.*, expected Execution"),
    "HeldInFloat32": ("weights come back bit for bit", r"encoder\.0\.block\.0\.conv\.weight comes back changed"),
    "TakesWhatFits": ("refuses weights that are not the specs[missing]", "expected WeightsError; call .*check_weights"),
    "CountsStatistics": ("counts its parameters", "norm statistics are no parameters"),
    "TakesAnyImages": ("refuses images[too small]", r"forward .*expected .*too small.*self\.check_images\(images\)"),
    "WrongEpsilon": ("forward", r"the first layer that differs: activations: encoder\.1\.block\.0\.norm: stand_in has"),
    "OutOfOrder": ("activations", r"has head at place 0, expected encoder\.0\.block\.0\.conv; go through spec\.layers"),
    "MovesInEvaluation": ("evaluation moves nothing", "forward gives other logits the second time"),
    "SharesWeights": ("shares no memory", r"when the caller changes the arrays of load_weights\(weights\)"),
    "TwiceTheGradient": ("gradients", r"gradient of head\.bias: stand_in has .* noise floors apart"),
    "WrongMomentum": ("statistics", r"encoder\.0\.block\.0\.norm\.running_mean: stand_in has"),
    "NoWeightDecay": ("optimizer[sgd]", r"encoder\.0\.block\.0\.conv\.weight: stand_in has"),
    "KeepsItsOptimizer": (
        "training is deterministic and loading forgets the optimizer",
        "begin with a fresh optimizer",
    ),
    "SharesGradients": ("training is deterministic and loading forgets the optimizer", "arrays of a StepResult"),
    "WithoutLayerNorm": (
        "network[norms and activations]",
        "BackendError: stand_in has no layer_norm, which variant has",
    ),
    "OneLogitIsOneClass": ("network[norms and activations]", r"gradients: loss: stand_in has 0"),
    "SaysItTrains": ("program[train_step]", "train_step: "),
    "SaysItOnlyInfers": ("refuses other phases[forward_backward]", "declares no phase 'forward_backward' and runs it"),
    "CompilesAgain": ("counts what it compiles", "the second call of a program compiles 1 more, expected none"),
    "TuningsAreTheSame": ("says what each tuning turns", "the tunings 'default' and .* turn the same knobs"),
    "SaysFloat32": ("precision[float32]", "effective_precision.. is 'float64' where 'float32' was asked for"),
    "BuildsAnything": ("refuses other precisions[float32]", r"builds .*float32.*self\.check_execution\(execution\)"),
}
"""By stand-in, the step that it fails first, and what is said."""


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_fails_its_step(fault: str, stand_in: Callable[..., None]) -> None:
    stand_in(f"tests.backends.stand_ins:{fault}")
    step, message = FAULTS[fault]
    # Which take longer than all the other steps, and are the reference's in every stand-in but the one without a layer.
    networks = () if step.startswith("network") else ("--deselect", f"{PARITY}::test_network")
    code, said = conform("--backend", NAME, "-x", *networks)
    assert code == 1, said[-2_000:]
    (line,) = [line for line in said.splitlines() if "; next: " in line]
    assert f"; next: {step}: " in line
    assert re.search(message, line), line
    assert "Traceback" not in said


def test_what_conforms_passes_under_any_name(stand_in: Callable[..., None]) -> None:
    stand_in("tests.backends.stand_ins:StandIn", "backends.numpy_reference.capabilities:CAPABILITIES")
    code, said = conform("--backend", NAME, "-k", "declar or builds or forward")
    assert code == 0, said[-2_000:]


def test_steps_that_need_one_that_failed_are_not_tried(stand_in: Callable[..., None]) -> None:
    stand_in("tests.backends.stand_ins:WrongEpsilon")
    code, said = conform("--backend", NAME)
    assert code == 1
    assert re.search(r"^failed      forward: .*encoder\.1\.block\.0\.norm", said, re.MULTILINE)
    assert said.count("\nfailed      ") == 1, "one thing to do"
    assert re.search(r"^not tried   activations, .* and \d+ more: forward failed first$", said, re.MULTILINE)


def test_a_declaration_that_says_something_else_is_a_lie(stand_in: Callable[..., None]) -> None:
    stand_in("tests.backends.stand_ins:SaysFloat32", "backends.numpy_reference.capabilities:CAPABILITIES")
    code, said = conform("--backend", NAME, "-x")
    assert code == 1
    assert re.search(r"; next: declares the same without its framework: the entry point in tandem\.capabilities", said)


def test_a_declaration_that_loads_the_backend_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an installed package, whose entry points are read in a process of their own."""
    about = tmp_path / "heavy_plugin-0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: heavy-plugin\nVersion: 0\n", encoding="utf-8")
    points = "[tandem.backends]\nheavy = heavy_plugin:Heavy\n[tandem.capabilities]\nheavy = heavy_plugin:CAPABILITIES\n"
    (about / "entry_points.txt").write_text(points, encoding="utf-8")
    code = (
        "from backends.numpy_reference.model import CAPABILITIES, NumPyReference\n\n\n"
        "class Heavy(NumPyReference):\n    name = 'heavy'\n"
    )
    (tmp_path / "heavy_plugin.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    forget()
    ended, said = conform("--backend", "heavy", "-x")
    assert ended == 1
    assert "to read its declaration loads heavy_plugin, expected a module that imports none of it" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--backend", "pytorhc"], "no backend is named 'pytorhc'; the nearest are pytorch"),
        (["--backend", "pytorch,flax_nnx"], "got pytorch and flax_nnx, expected the name of one backend"),
        ([], "got none, expected the name of one backend; take one of numpy_reference"),
    ],
    ids=["unknown", "several", "none"],
)
def test_a_backend_that_there_is_not_is_a_usage_error(arguments: list[str], message: str) -> None:
    code, said = conform(*arguments)
    assert code == pytest.ExitCode.USAGE_ERROR
    assert f"ERROR: --backend: {message}" in said
    assert "Traceback" not in said


def test_the_networks_have_every_kind_of_layer_in_2_d_and_what_knows_of_dimensions_in_3_d() -> None:
    from backends.numpy_reference.unet import KINDS

    specs = [networks.built(changes)[0] for changes in (networks.PLAIN, *networks.NETWORKS.values())]
    layers = [(spec.dimensions, layer.kind) for spec in specs for layer in spec.layers]
    kinds = {dimensions: {kind for found, kind in layers if found == dimensions} for dimensions in (2, 3)}
    assert kinds[2] == set(KINDS)
    spatial = {"conv", "transposed_conv", "max_pool", "average_pool", "nearest", "pixel_shuffle", "merge", "prelu"}
    assert kinds[3] >= spatial | {"batch_norm", "instance_norm", "group_norm", "layer_norm"}


def test_what_nobody_expected_is_said_in_one_line_with_its_place() -> None:
    try:
        {}["encoder.0"]
    except KeyError as error:
        said = sentence(error)
    assert re.fullmatch(
        r"KeyError: 'encoder\.0' \(test_conformance\.py, line \d+; --tb=long shows the way there\)", said
    )
    assert sentence(Failure("two\nlines")) == "two lines"


def test_the_cause_of_a_chain_is_its_first_failure() -> None:
    ended = [Outcome("loads", PASSED), Outcome("builds", FAILED, "why"), Outcome("forward", NOT_TRIED, cause="builds")]
    outcomes = Outcomes(ended)
    assert outcomes.blocking(("loads",)) is None
    assert outcomes.blocking(("loads", "forward")) == "builds"
    assert outcomes.summary()[-1] == "1 of 3 steps; next: builds: why"
