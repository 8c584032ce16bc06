"""What the tab key offers, asked as shells ask: by environment variables, of a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from backends.contract import PHASES, PRECISIONS
from parity.probes import EVERY_PROBE
from shared_specs import spec_names
from shared_specs.catalog import ZOO
from tandem import completion

ROOT = Path(__file__).parents[2]

WATCHED = """
import atexit, sys
from tandem.cli import main
frameworks = ("torch", "jax", "flax")
atexit.register(lambda: print("loaded:", *[name for name in frameworks if name in sys.modules], file=sys.stderr))
main()
"""


def offered(typed: str, cwd: Path = ROOT) -> list[str]:
    """The completions of a line in bash, the last word of which is being typed; no framework may be loaded."""
    words = typed.split(" ")
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "_TANDEM_COMPLETE": "complete_bash",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(len(words) - 1),
    }
    done = subprocess.run(
        [sys.executable, "-c", WATCHED], cwd=cwd, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.stderr.strip() == "loaded:", done.stderr
    return done.stdout.split()


LINES = {
    "tandem sh": ["show"],
    "tandem show unet_bn": ["unet_bn_crop", "unet_bn_pad", "unet_bn_same"],
    "tandem check al": ["all"],
    "tandem show unet_paper unet_s": ["unet_same"],
    "tandem compare --precision float64,b": ["float64,bfloat16"],
    "tandem check unet_same --probe traj": ["trajectory"],
    "tandem compare --backends pytorch,fl": ["pytorch,flax_nnx", "pytorch,flax_linen"],
    "tandem list --norm in": ["instance"],
}


@pytest.mark.parametrize(("typed", "expected"), LINES.items(), ids=LINES)
def test_the_tab_key_offers_what_there_is(typed: str, expected: list[str]) -> None:
    assert offered(typed) == expected


def test_toml_files_are_offered_beside_the_zoo(tmp_path: Path) -> None:
    for name in ("unet_mine.toml", "unet_notes.txt", ".unet_hidden.toml"):
        (tmp_path / name).touch()
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets" / "deep.toml").touch()
    assert offered("tandem show unet_m", tmp_path) == ["unet_mine.toml"]
    assert offered("tandem show nets/d", tmp_path) == ["nets/deep.toml"]


def test_the_zoo_is_the_catalogues() -> None:
    assert completion.ZOO.resolve() == ZOO.resolve()
    assert completion.specs("")[: len(spec_names())] == spec_names()


def test_names_are_those_of_the_packages() -> None:
    assert (completion.precisions(), completion.phases(), completion.probes()) == (PRECISIONS, PHASES, EVERY_PROBE)
    assert completion.batch_statistics() == ("global", "per_replica")
    assert completion.devices() == ("cpu", "cuda")
    assert {"default", "tuned"} <= set(completion.tunings())
    assert completion.optimizers() == ["sgd", "adam", "adamw"]


def test_a_name_that_is_given_already_is_not_offered_again() -> None:
    assert completion.some_of(lambda: ["a1", "a2"])("a1,a") == ["a1,a2"]


def test_a_folder_that_cannot_be_read_offers_nothing() -> None:
    assert completion.a_spec("no/such/folder/x") == []


def test_bash_completion_is_installed(tmp_path: Path) -> None:
    (tmp_path / ".bashrc").write_text("# mine\n")
    environment = os.environ | {
        "HOME": str(tmp_path),
        "PYTHONPATH": str(ROOT),
        "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1",
    }
    done = subprocess.run(
        [sys.executable, "-m", "tandem", "--install-completion", "bash"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    script = tmp_path / ".bash_completions" / "tandem.sh"
    assert "_TANDEM_COMPLETE=complete_bash" in script.read_text()
    assert (tmp_path / ".bashrc").read_text().startswith("# mine\n")
    assert str(script) in (tmp_path / ".bashrc").read_text()
