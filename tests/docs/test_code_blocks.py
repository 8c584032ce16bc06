"""Every Python block of the documentation runs, and every command names things that exist."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
import types
from importlib.metadata import EntryPoint
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from typer.main import get_command

from backends import registry
from tandem.cli import app
from tandem.pytest_plugin import Parity
from tests.conformance_runs import conform, forget

from .pages import PAGES, ROOT, Block, blocks, read

PLUGIN = ROOT / "examples" / "tandem-equinox"
EXCERPT = "# tandem_equinox/"

WITH_PYTHON = [page for page in PAGES if blocks(page, "python")]
COMMANDS: Any = get_command(app)


def commands(page: str) -> list[str]:
    """The commands after each `$` of a page's console blocks, without their comments."""
    lines = [line for block in blocks(page, "console") for line in block.text.splitlines()]
    return [" ".join(shlex.split(line[2:], comments=True)) for line in lines if line.startswith("$ ")]


ALL_COMMANDS = [(page, command) for page in PAGES for command in commands(page)]


@pytest.mark.needs_backends("pytorch", "flax_nnx")
@pytest.mark.parametrize("page", WITH_PYTHON)
def test_python_blocks_run_in_order(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A block of TOML whose first line names a file is that file. A test among the blocks is run, too.

    What is an excerpt of the plugin is compared with it, and runs as part of it.
    """
    monkeypatch.chdir(tmp_path)  # what they write goes there
    if "tandem_equinox" in read(page):
        pytest.importorskip("equinox", reason="the guide's plugin is of Equinox; see the extra `test`")
        monkeypatch.syspath_prepend(PLUGIN)  # as if it were installed
    for block in blocks(page, "toml"):
        if named := re.match(r"# ([\w/]+\.toml)\n", block.text):
            (tmp_path / named[1]).write_text(block.text, encoding="utf-8")
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in [block for block in blocks(page, "python") if not block.text.startswith(EXCERPT)]:
        code = "\n" * block.line + block.text  # so that a traceback has the page's own line numbers
        exec(compile(code, str(ROOT / page), "exec"), names)
    assert len(names) > 2
    for name in [name for name in names if name.startswith("test_")]:
        names[name](Parity("float64"))


EXCERPTS = [(page, block) for page in WITH_PYTHON for block in blocks(page, "python") if block.text.startswith(EXCERPT)]


@pytest.mark.parametrize(("page", "block"), EXCERPTS, ids=[f"{page}:{block.line}" for page, block in EXCERPTS])
def test_what_names_a_file_of_the_plugin_is_part_of_it(page: str, block: Block) -> None:
    first, _, rest = block.text.partition("\n")
    assert rest.strip()
    assert rest in (PLUGIN / first.removeprefix("# ")).read_text(encoding="utf-8")


def test_the_guide_has_the_plugin_in_it_and_its_project() -> None:
    page = "docs/add_a_backend.md"
    assert {block.text.partition("\n")[0].rpartition("/")[2] for _, block in EXCERPTS} == {
        "capabilities.py",
        "layers.py",
        "unet.py",
        "backend.py",
    }
    (project,) = blocks(page, "toml")
    assert project.text in (PLUGIN / "pyproject.toml").read_text(encoding="utf-8")


def test_the_guides_skeleton_gets_as_far_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    if find_spec("equinox") is None:
        pytest.skip("the guide's plugin is of Equinox; see the extra `test`")
    page = "docs/add_a_backend.md"
    (shown,) = blocks(page, "text")
    module: Any = types.ModuleType("guides_skeleton")
    monkeypatch.syspath_prepend(PLUGIN)
    exec(next(block.text for block in blocks(page, "python") if "class Skeleton" in block.text), module.__dict__)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    targets = {
        registry.GROUP: f"{module.__name__}:Skeleton",
        registry.CAPABILITIES_GROUP: "tandem_equinox.capabilities:CAPABILITIES",
    }
    monkeypatch.setattr(registry, "entry_points", lambda group: [EntryPoint("equinox", targets[group], group)])
    forget()
    code, said = conform("--backend", "equinox")
    forget()
    assert code == 1
    assert shown.text in said


def test_a_broken_block_would_be_seen() -> None:
    assert len(WITH_PYTHON) >= 4
    assert all(block.text.strip() for page in WITH_PYTHON for block in blocks(page, "python"))
    assert sum(read(page).count("```python") for page in PAGES) == sum(len(blocks(page, "python")) for page in PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_every_block_is_run_or_checked_or_only_shown(page: str) -> None:
    """Python is run, the console is checked, TOML is read; what a program printed, which has no language, is shown."""
    languages = set(re.findall(r"^```(\w+)$", read(page), re.MULTILINE))
    assert languages <= {"python", "console", "toml", "text"}
    for block in blocks(page, "toml"):
        assert tomllib.loads(block.text), block.line


@pytest.mark.parametrize(("page", "command"), ALL_COMMANDS, ids=[command for _, command in ALL_COMMANDS])
def test_commands_and_their_options_exist(page: str, command: str) -> None:
    program, *words = re.sub(r"^(python3? -m |\.venv/bin/)", "", command).split()
    options = {word.partition("=")[0] for word in words if word.startswith("--")}
    if program == "tandem":
        name = next((word for word in words if not word.startswith("-")), None)
        chosen = COMMANDS if name is None else COMMANDS.commands[name]
        known = {option for parameter in chosen.params for option in (*parameter.opts, *parameter.secondary_opts)}
        assert options <= known | {"--help"}
    elif program == "make":
        targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        assert words[0] in targets
    elif program == "pytest":
        places = ("benchmarks/options.py", "tests/conftest.py", "tandem/pytest_plugin.py")
        sources = [ROOT / place for place in places]
        ours = set(re.findall(r'"(--[\w-]+)"', "".join(path.read_text(encoding="utf-8") for path in sources)))
        assert options <= ours | {"--benchmark-only", "--benchmark-json", "--benchmark-compare", "--pyargs"}
    else:
        assert program in ("docs.tables", "pip", "pre-commit", "git", "python", "source", "cd"), command


def run_example(name: str, *arguments: str) -> str:
    command = [sys.executable, str(ROOT / "examples" / name), *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr[-2_000:]
    return result.stdout


@pytest.mark.needs_backends("pytorch", "flax_nnx", "flax_linen")
def test_the_training_examples_print_the_same_losses_and_they_are_drawn(tmp_path: Path) -> None:
    pytest.importorskip("skimage", reason="the examples' photograph is scikit-image's; see the extra `test`")
    files = [tmp_path / f"{name}.json" for name in ("pytorch", "flax_nnx", "flax_linen")]
    losses = []
    for path in files:
        arguments = ("--steps", "2", "--narrow", "32", "--losses", str(path))
        printed = re.findall(r"loss (\S+)", run_example(f"train_{path.stem}.py", *arguments))
        run = json.loads(path.read_text(encoding="utf-8"))
        assert run["framework"] == path.stem
        assert [f"{loss:.5f}" for loss in run["losses"]] == printed
        losses.append(run["losses"])
    assert len(losses[0]) == 2
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert losses[0] == pytest.approx(losses[2], rel=1e-4)
    assert losses[0][0] != losses[0][1]
    run_example("plot_loss_curves.py", *map(str, files), "--output", str(tmp_path / "losses.svg"))
    picture = ElementTree.fromstring((tmp_path / "losses.svg").read_text(encoding="utf-8"))
    lines = [line.attrib["points"].split() for line in picture.iter() if line.tag.endswith("polyline")]
    curves = lines[::2]  # the others are those of the legend
    assert [len(points) for points in curves] == [2, 2, 2]
    heights = [float(point.partition(",")[2]) for point in curves[0]]
    assert (heights[0] < heights[1]) == (losses[0][0] > losses[0][1])  # a picture's y runs downward


@pytest.mark.needs_backends("pytorch", "flax_nnx")
def test_porting_example_proves_what_it_ports() -> None:
    printed = run_example("port_weights.py", "--narrow", "32")
    assert "\nequal\n" in printed
    difference = re.search(r"differ by at most (\S+)", printed)
    assert difference is not None
    assert float(difference[1]) < 1e-5


@pytest.mark.needs_backends("pytorch", "flax_nnx")
def test_adopting_example_runs() -> None:
    assert "equal" in run_example("adopt_your_unet.py")


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "examples").glob("*.py")))
def test_examples_are_short(name: str) -> None:
    assert len((ROOT / "examples" / name).read_text(encoding="utf-8").splitlines()) < 80
