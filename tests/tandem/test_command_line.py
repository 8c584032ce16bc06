"""The shell's side of the command: help, exit codes, streams, JSON files, and what is imported when."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from typer.main import get_command

import shared_specs
from shared_specs import load_spec
from shared_specs.shapes import feature_shapes
from tandem import console
from tandem.cli import app
from tandem.commands import check

from .conftest import Run

ROOT = Path(__file__).parents[2]

COMMANDS = list(get_command(app).commands)  # pyright: ignore[reportAttributeAccessIssue]


def tandem(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """`python -m tandem` as a process of its own, from a plain checkout."""
    command = [sys.executable, "-m", "tandem", *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)


def test_module_runs_from_any_folder(tmp_path: Path) -> None:
    result = tandem("list", cwd=tmp_path)
    assert result.returncode == 0 and "unet_paper" in result.stdout
    assert result.stderr == ""


def test_script_says_errors_in_one_line(tmp_path: Path) -> None:
    result = tandem("show", "unet_papers", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: no spec is named 'unet_papers'") and result.stderr.count("\n") == 1


HEAVY = ("torch", "jax", "flax", "numpy", "PIL", "tifffile", "pytest")
"""pydantic is not among them: typer itself converts arguments with it."""


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["check", "--help"]], ids=" ".join)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = f"""
import sys
from tandem.cli import app
try:
    app({arguments})
except SystemExit as done:
    assert not done.code, done.code
print("LOADED", [name for name in {HEAVY} if name in sys.modules])
"""
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert result.stdout.splitlines()[-1] == "LOADED []", result.stdout + result.stderr


@pytest.mark.parametrize("arguments", [["list"], ["show", "unet_same"]], ids=" ".join)
def test_list_and_show_load_no_framework(arguments: list[str]) -> None:
    code = f"""
import sys
from tandem.cli import app
try:
    app({arguments})
except SystemExit as done:
    assert not done.code, done.code
print("LOADED", [name for name in ("torch", "jax", "flax") if name in sys.modules])
"""
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert result.stdout.splitlines()[-1] == "LOADED []", result.stdout + result.stderr


def test_reader_that_stops_reading_is_no_error() -> None:
    command = f"{sys.executable} -m tandem show unet_paper | head -1; echo ${{PIPESTATUS[0]}}"
    result = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert result.stderr == ""
    assert result.stdout.splitlines()[-1] in ("0", "141")  # 0 where all of it fitted into the pipe


def test_without_a_command_the_help_is_shown(run: Run) -> None:
    result = run()
    assert result.exit_code == 0
    assert all(command in result.stdout for command in ("list", "show", "check", "bench", "compare", "report"))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_json(run: Run, command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0 and "--json" in result.stdout


def test_interrupt_exits_with_130(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(check, "run", interrupt)
    result = run("check", "unet_same")
    assert (result.exit_code, result.stdout) == (130, "")
    assert result.stderr == "error: interrupted; no file is half-written\n"


@pytest.mark.usefixtures("interrupts_heard")
def test_an_interrupt_that_a_library_makes_an_error_of_exits_with_130(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pydantic does so while it builds a validator, which a command does when it begins."""

    def interrupt(*arguments: object) -> int:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise ValueError("no validator could be built") from None
        return 0

    monkeypatch.setattr(check, "run", interrupt)
    result = run("check", "unet_same")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert result.exit_code == 130
    assert result.stderr == "error: interrupted; no file is half-written\n"


def test_an_interrupted_process_ends_at_once() -> None:
    code = """
import atexit, sys
from tandem.commands import zoo
from tandem.cli import main
def interrupt(*arguments):
    raise KeyboardInterrupt
zoo.run = interrupt
atexit.register(print, "taken down")
sys.argv = ["tandem", "list"]
main()
"""
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout) == (130, "")
    assert result.stderr == "error: interrupted; no file is half-written\n"


def test_bugs_keep_their_traceback(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "run", lambda *arguments: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        run("check", "unet_same")


@pytest.mark.parametrize("command", ["show", "check", "bench", "scale", "compare"])
def test_help_on_size_names_the_third_dimension(run: Run, command: str) -> None:
    assert "DxHxW" in run(command, "--help").stdout


SIZES = {"unet_bn_same": 224, "unet_bn_crop": 572, "unet_bn_pad": 572, "unet_same": 224, "unet_paper": 572}


def test_show_agrees_with_the_layout(run: Run, spec_name: str) -> None:
    spec, side = load_spec(spec_name), SIZES[spec_name]
    content = json.loads(run("show", spec_name, "--json", "-").stdout)
    shapes = feature_shapes(spec, (1, spec.in_channels, side, side))
    assert {layer["name"]: tuple(layer["output_shape"]) for layer in content["layers"]} == shapes
    assert sum(layer["parameters"] for layer in content["layers"]) == spec.parameter_count
    assert sum(layer["forward_flops"] for layer in content["layers"]) == content["totals"]["forward_flops"]


def test_show_prints_every_layer(run: Run) -> None:
    lines = run("show", "unet_bn_same", "--size", "32x48", "--batch", "3").stdout.splitlines()
    for layer in load_spec("unet_bn_same").layers:
        assert [line for line in lines if line.split()[:2] == [layer.name, layer.kind]]
    assert any("Images, logits  (3, 3, 32, 48) → (3, 10, 32, 48)" in line for line in lines)
    assert any(line.startswith("Parameters      31,044,106 (118 MiB)") for line in lines)


def test_show_narrows(run: Run) -> None:
    content = json.loads(run("show", "unet_paper", "--narrow", "8", "--json", "-").stdout)
    assert content["spec"]["widths"] == [8, 16, 32, 64, 128]


def test_show_of_a_network_that_takes_no_usual_size(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "net.toml"
    text = (ROOT / "shared_specs/zoo/unet_paper.toml").read_text()
    path.write_text(text.replace('"crop_skip"', '"error"').replace("odd_difference", "# odd_difference"))
    result = run("show", path)
    assert result.exit_code == 2 and "no square input between" in result.stderr


@pytest.mark.parametrize("command", ["list", "show unet_bn_same"])
def test_tables_are_whole_on_a_narrow_terminal(run: Run, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tandem.console.WIDTH_OF_A_FILE", 40)
    monkeypatch.setenv("COLUMNS", "40")
    narrow = run(*command.split()).stdout
    monkeypatch.setenv("COLUMNS", "300")
    # Joined, since a word that is longer than the line is broken; a drawing has a width of its own.
    assert joined(narrow) == joined(run(*command.split()).stdout)


@pytest.mark.parametrize(("columns", "heads"), [(120, "kind"), (80, "memory"), (64, "FLOPs"), (56, "parameters")])
def test_a_terminal_gets_as_many_columns_as_it_has_room_for(
    run: Run, monkeypatch: pytest.MonkeyPatch, columns: int, heads: str
) -> None:
    order = ["layer", "output", "parameters", "FLOPs", "memory", "kind"]
    monkeypatch.setenv("TTY_COMPATIBLE", "1")  # as if it were a terminal
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = re.sub(r"\x1b\[[0-9;]*m", "", run("show", "unet_same").stdout).splitlines()
    (head,) = [line for line in lines if line.startswith(" layer ")]
    assert [word for word in order if word in head.split()] == order[: order.index(heads) + 1]
    table = lines[lines.index(head) : next(n for n, line in enumerate(lines) if line.startswith("Parameters"))]
    assert max(map(len, table)) <= columns


def joined(text: str) -> str:
    """What stands in the tables and below, without blanks."""
    return "".join(text[text.index("parameters") :].split())


@pytest.mark.parametrize("command", ["show", "check", "bench", "compare"])
def test_what_is_read_is_never_overwritten(refused: Callable[..., str], command: str, tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_bytes((Path(shared_specs.__file__).parent / "zoo" / "unet_bn_same.toml").read_bytes())
    before = path.read_bytes()
    assert "is read by this command and would be overwritten" in refused(command, path, "--json", path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(("name", "chosen"), [("records", []), ("a.md", []), ("a.json", ["--format", "markdown"])])
def test_a_report_never_overwrites_what_it_reads(
    refused: Callable[..., str], name: str, chosen: list[str], tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_text("{}")
    assert "would be overwritten" in refused("report", path, "--output", path, *chosen)
    assert path.read_text() == "{}"


def test_a_full_disk_is_told_in_one_line() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    with full.open("w") as stdout:
        ended = subprocess.run([sys.executable, "-m", "tandem", "list"], stdout=stdout, stderr=subprocess.PIPE)
    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 1 and b"No space left on device" in ended.stderr


def test_json_file_is_replaced_whole(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "list.json"
    path.write_text("before")
    assert run("list", "--json", path).exit_code == 0
    assert json.loads(path.read_text())["command"] == "list"
    assert [file.name for file in tmp_path.iterdir()] == ["list.json"]


def test_json_has_no_infinity() -> None:
    assert json.loads(console.to_json({"a": [float("inf"), float("nan"), 1.5]})) == {"a": ["inf", "nan", 1.5]}


@pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "pipe"])
def test_progress_is_a_spinner_on_a_terminal_and_plain_lines_elsewhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], terminal: bool
) -> None:
    def on_screen(stderr: bool = False) -> Console:
        return Console(stderr=stderr, force_terminal=terminal)

    monkeypatch.setattr(console, "console", on_screen)
    with console.progress("unet_same") as tell:
        tell("forward: pytorch")
    out, err = capsys.readouterr()
    assert out == ""
    assert "unet_same: forward: pytorch" in err
    assert (err == "progress: unet_same: forward: pytorch\n") != terminal


def test_text_that_looks_like_markup_is_kept(run: Run, twin: Callable[..., None], tmp_path: Path) -> None:
    twin()
    line = run("check", "unet_same", "--image", tmp_path / "[red]a[/red].png").stderr
    assert "[red]a[/red].png: cannot be read" in line
