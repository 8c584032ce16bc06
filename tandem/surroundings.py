"""What is installed around Tandem, for `tandem doctor`: extras, tools and folders. Imports none of it."""

from __future__ import annotations

import getpass
import os
import re
import shlex
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

from .examination import ROOT

PURPOSES = {
    "torch": "the PyTorch backend",
    "flax": "the Flax backend",
    "onnx": "the ONNX Runtime backend, for inference",
    "cuda": "JAX on an NVIDIA GPU, and the GPU's energy and clocks",
    "report": "the HTML report",
    "cluster": "tandem bench --cluster",
    "test": "tandem bench, and the project's own tests",
    "peers": "other people's U-Nets, to be timed beside ours",
}
"""The extras that a user may want; those for work on the project itself are left out."""

REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)(\[(?P<extras>[\w,-]+)\])?\s*\(?(?P<needed>[^;)]*)\)?(;.*)?$")
OF_EXTRA = re.compile(r"extra\s*==\s*['\"]([\w-]+)['\"]")


def extras(has_gpu: bool) -> list[dict[str, Any]]:
    """The extras of the project with their packages, and what installs each here."""
    known = requirements()
    names = [name for name in PURPOSES if known.get(name) and (has_gpu or name != "cuda")]
    found = []
    for name in names:
        packages = [package for text in known[name] if (package := _package(text)) is not None]
        complete = all(package["sufficient"] for package in packages)
        found.append(
            {
                "name": name,
                "purpose": PURPOSES[name],
                "complete": complete,
                "command": install_command(name),
                "packages": packages,
            }
        )
    return found


def requirements() -> dict[str, list[str]]:
    """The requirements of each extra: those of the checkout, else those of what is installed."""
    project = ROOT / "pyproject.toml"
    if project.exists():
        return tomllib.loads(project.read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    found: dict[str, list[str]] = {}
    for text in requires("tandem") or []:
        if (extra := OF_EXTRA.search(text)) is not None:
            found.setdefault(extra[1], []).append(text)
    return found


def _package(text: str) -> dict[str, Any] | None:
    """A requirement and what is installed of it; None for one on another extra of ours."""
    match = REQUIREMENT.match(text)
    if match is None or match["name"] == "tandem":
        return None
    name, needed = match["name"], match["needed"].strip()
    if match["extras"]:  # of JAX, whose extras are plugins of that name
        name = f"{name}-{match['extras']}-plugin"
    installed = installed_version(name)
    return {
        "name": name,
        "installed": installed,
        "needed": needed,
        "sufficient": installed is not None and is_enough(installed, needed),
    }


def installed_version(distribution: str) -> str | None:
    """The version of a distribution, asked without importing it."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def is_enough(installed: str, needed: str) -> bool:
    """Whether a version is at least the one that ">=" asks for; any other requirement is pip's business."""
    least = re.match(r">=\s*([\d.]+)", needed)
    return least is None or _numbers(installed) >= _numbers(least[1])


def _numbers(text: str) -> list[int]:
    release = re.match(r"\d+(\.\d+)*", text)
    numbers = [int(number) for number in release[0].split(".")] if release else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return numbers


def install_command(extra: str) -> str:
    """The command that installs an extra for the Python that runs here, to be copied as it is."""
    python = Path(sys.executable)
    on_path = shutil.which(python.name)
    program = python.name if on_path is not None and Path(on_path) == python else shlex.quote(str(python))
    if not (ROOT / "pyproject.toml").exists():
        return f"{program} -m pip install {shlex.quote(f'tandem[{extra}]')}"
    checkout = "." if Path.cwd() == ROOT else str(ROOT)
    return f"{program} -m pip install -e {shlex.quote(f'{checkout}[{extra}]')}"


def tools(has_gpu: bool) -> list[dict[str, Any]]:
    """Programs and packages that are used where they are there."""
    compiler = next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)
    found = [
        _tool("git", shutil.which("git"), "the commit in records, by which interrupted runs go on"),
        _tool("C++ compiler", compiler, "torch.compile on a CPU, which --tuning tuned uses"),
        _tool("plotly", installed_version("plotly"), "report.html, beside report.md"),
        _tool("pytest-benchmark", installed_version("pytest-benchmark"), "tandem bench"),
    ]
    if has_gpu:
        found.append(_tool("nvidia-ml-py", installed_version("nvidia-ml-py"), "energy and clocks of the GPU"))
    return found


def folders(has_gpu: bool) -> list[dict[str, Any]]:
    """Where caches and results are; those that are not there yet are made by whoever needs them."""
    home, temporary = Path.home(), Path(tempfile.gettempdir())
    inductor = os.environ.get("TORCHINDUCTOR_CACHE_DIR", str(temporary / f"torchinductor_{_user()}"))
    found = [
        _folder("torch.compile", inductor, "what PyTorch has compiled; TORCHINDUCTOR_CACHE_DIR moves it"),
        _folder(
            "JAX compilation",
            os.environ.get("JAX_COMPILATION_CACHE_DIR"),
            "what JAX has compiled, where JAX_COMPILATION_CACHE_DIR names a folder; else each process compiles anew",
        ),
        _folder("temporary files", str(temporary), "what workers say; TMPDIR moves it"),
        _folder("results", str(Path.cwd() / "out"), "reports and records of tandem compare; --output moves it"),
    ]
    if has_gpu:
        cuda = os.environ.get("CUDA_CACHE_PATH", str(home / ".nv" / "ComputeCache"))
        found.append(_folder("CUDA kernels", cuda, "what the driver has compiled; CUDA_CACHE_PATH moves it"))
    return found


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name
        return str(os.getuid())


def _tool(name: str, found: str | None, purpose: str) -> dict[str, Any]:
    return {"name": name, "found": found, "purpose": purpose}


def _folder(name: str, path: str | None, purpose: str) -> dict[str, Any]:
    return _tool(name, path if path is not None and Path(path).is_dir() else None, purpose)


def missing_extras(found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that lack a package."""
    return [extra for extra in found if not extra["complete"]]
