"""The plugin under `examples/`: a distribution of its own, installed as a user installs it, conforms."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = pytest.mark.needs_backends("flax_nnx")  # for JAX and Optax

ROOT = Path(__file__).parents[2]
PLUGIN = ROOT / "examples" / "tandem-equinox"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PYTHONPATH with the plugin, by pip; where what builds it is missing, as pip would have left it."""
    pytest.importorskip("equinox", reason="the plugin is of Equinox; see the extra `test`")
    folder = tmp_path_factory.mktemp("installed")
    if find_spec("hatchling") is None:
        lay_out(folder)
        return folder
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--target", str(folder)]
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", *options, str(PLUGIN)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
    return folder


def lay_out(folder: Path) -> None:
    """The package, and beside it what its pyproject.toml says of it."""
    project = tomllib.loads((PLUGIN / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    shutil.copytree(PLUGIN / "tandem_equinox", folder / "tandem_equinox")
    about = folder / f"tandem_equinox-{project['version']}.dist-info"
    about.mkdir()
    text = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (about / "METADATA").write_text(text, encoding="utf-8")
    groups = [
        "\n".join([f"[{group}]", *(f"{name} = {target}" for name, target in points.items())])
        for group, points in project["entry-points"].items()
    ]
    (about / "entry_points.txt").write_text("\n".join(groups), encoding="utf-8")


def test_it_is_found_and_conforms(installed: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "--pyargs", "backends.conformance", "--backend", "equinox"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    environment["PYTHONPATH"] = f"{ROOT}{os.pathsep}{installed}"
    result = subprocess.run(
        [*command, "-q", "-p", "tandem.pytest_plugin", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, result.stdout[-3_000:] + result.stderr[-3_000:]
    passed, asked = re.findall(r"^(\d+) of (\d+) steps$", result.stdout, re.MULTILINE)[0]
    assert passed == asked
    assert int(passed) > 40
    assert "left out    precision[bfloat16]: equinox has no precision 'bfloat16'" in result.stdout


def test_its_module_works_in_a_loop_of_a_users_own(installed: Path) -> None:
    (block,) = re.findall(r"^```python\n(.*?)^```$", (PLUGIN / "README.md").read_text(encoding="utf-8"), re.M | re.S)
    moved = "jax.numpy.abs(state.get(model.layers['encoder.0.block.0.norm'].statistics)[0]).sum() > 0"
    code = f"{block}\nprint(logits.shape, {moved})\n"
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{installed}"}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300)
    assert result.stdout == "(2, 10, 32, 32) True\n", result.stderr[-2_000:]


def test_it_is_under_300_lines() -> None:
    files = sorted((PLUGIN / "tandem_equinox").glob("*.py"))
    assert len(files) == 5
    assert sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files) < 300
