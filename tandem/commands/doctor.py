"""`tandem doctor`: which backends, devices and precisions work here, and what to install for the rest."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

import backends
from backends.contract import PHASES, PRECISIONS
from backends.registry import BUILT_IN
from benchmarks.machine import Machine, this_machine

from ..console import Output, plain_table, progress, version
from ..examination import NOT_TRIED, Examination, examine
from ..surroundings import extras, folders, missing_extras, tools
from ..units import NOTHING, sized

FEWEST = 2
"""Backends that have to work for there to be anything to compare."""


def run(json_path: str | None = None) -> int:
    """Examine, print, and return 0 where at least two backends work, else 1."""
    output = Output(json_path)
    with progress("tandem doctor") as tell, ThreadPoolExecutor(1) as beside:
        tell("each backend builds and runs a tiny network, in a process of its own")
        asked = beside.submit(this_machine)  # the driver may be slow to answer
        examinations = examine(backends.names())
        machine = asked.result()
    has_gpu = bool(machine.gpus)
    content = {
        "healthy": sum(examination.works for examination in examinations) >= FEWEST,
        "backends": {examination.name: _keys(examination) for examination in examinations},
        "machine": machine,
        "available_memory_bytes": psutil.virtual_memory().available,
        "extras": extras(has_gpu),
        "tools": tools(has_gpu),
        "folders": folders(has_gpu),
    }
    show(content, examinations, machine, output)
    output.write("doctor", content)
    return 0 if content["healthy"] else 1


def show(content: dict[str, Any], examinations: Sequence[Examination], machine: Machine, output: Output) -> None:
    """Print all of it, the answer last."""
    output.print(f"tandem {version()}, {machine.python}, {machine.system}", style="bold")
    output.print(
        f"{machine.cpu}: {machine.usable_cores} of {machine.logical_cores} cores, "
        f"{sized(machine.memory_bytes)} of memory, {sized(content['available_memory_bytes'])} of it free"
    )
    for gpu in machine.gpus:
        output.print(f"{gpu.name}: {sized(gpu.memory_bytes)} of memory, driver {gpu.driver}")
    if not machine.gpus:
        output.print("No NVIDIA GPU found: neither NVML nor nvidia-smi names one.")
    output.print(backends_table(examinations))
    for line in problems(examinations):
        output.print(line, style="yellow")
    for line in what_they_lack(examinations):
        output.print(line, style="dim")
    output.print(found_table("Tools", content["tools"]))
    output.print(found_table("Folders", content["folders"]))
    lacking = missing_extras(content["extras"])
    if lacking:
        output.print("To get the rest:", style="bold")
    for extra in lacking:
        output.print(Padding(Text(f"{extra['purpose']} ({what_is_missing(extra)}):"), (0, 0, 0, 2)))
        output.print_command(extra["command"])
    output.print("")
    output.print(*conclusion(examinations))


def backends_table(examinations: Sequence[Examination]) -> Table:
    """One row for each backend and device, one column for each precision."""
    table = plain_table("", "backend", "device", *PRECISIONS, "versions", wrap=("versions",))
    for examination in examinations:
        versions = ", ".join(f"{name} {number}" for name, number in examination.versions.items())
        tried = {(trial["device"], trial["precision"]): trial for trial in examination.trials}
        devices = list(dict.fromkeys(device for device, _ in tried)) or [NOTHING]
        for device in devices:
            cells = [_cell(tried.get((device, precision))) for precision in PRECISIONS]
            table.add_row(examination.name, device, *cells, versions or _absent(examination))
            versions = " "
    return table


def _absent(examination: Examination) -> str:
    """In the place of versions: a plugin that is registered is installed, and fails for the reason that is told."""
    return (
        "not installed" if examination.name in BUILT_IN and backends.missing(examination.name) else "cannot be loaded"
    )


def _cell(trial: dict[str, Any] | None) -> Text:
    if trial is None:
        return Text(NOTHING, "dim")
    if trial["problem"] == NOT_TRIED:
        return Text("untried", "yellow")
    return Text("works", "green") if trial["works"] else Text("fails", "bold red")


def problems(examinations: Sequence[Examination]) -> list[str]:
    """Why what does not work does not."""
    found = []
    for examination in examinations:
        if examination.problem:
            found.append(f"{examination.name}: {examination.problem}")
        for trial in examination.trials:
            if not trial["works"]:
                found.append(f"{examination.name} in {trial['precision']} on {trial['device']}: {trial['problem']}")
    return found


def what_they_lack(examinations: Sequence[Examination]) -> list[str]:
    """What the backends that are here cannot do, whatever is installed."""
    said = []
    for examination in examinations:
        absent = [phase for phase in PHASES if phase not in examination.phases]
        if examination.phases and absent:
            note = f"{examination.note}: " if examination.note else ""
            said.append(f"{examination.name}: {note}it has {' and '.join(examination.phases)}, not {', '.join(absent)}")
    return said


def found_table(title: str, found: Sequence[dict[str, Any]]) -> Table:
    """Tools or folders, and what each is for."""
    table = plain_table(title, "", "found", "for", wrap=("found", "for"))
    for tool in found:
        table.add_row(tool["name"], tool["found"] or NOTHING, tool["purpose"])
    return table


def what_is_missing(extra: dict[str, Any]) -> str:
    """ "flax", or "flax 0.11 is older than >=0.12.6"."""
    return ", ".join(
        package["name"]
        if package["installed"] is None
        else f"{package['name']} {package['installed']} where {package['needed']} is needed"
        for package in extra["packages"]
        if not package["sufficient"]
    )


def conclusion(examinations: Sequence[Examination]) -> list[Text]:
    """The answer, and the command to go on with."""
    working = [examination.name for examination in examinations if examination.works]
    if len(working) >= FEWEST:
        return [
            Text(f"{len(working)} backends work here: {', '.join(working)}.", "bold green"),
            Text(
                "`tandem compare` says which is faster, `tandem check SPEC` whether they are the same network.", "dim"
            ),
        ]
    names = ", ".join(working) or "none"
    return [
        Text(f"Fewer than {FEWEST} backends work here ({names}), so that there is nothing to compare.", "bold red"),
        Text("Install one of those above, and run `tandem doctor` again.", "dim"),
    ]


def _keys(examination: Examination) -> dict[str, Any]:
    return {
        "works": examination.works,
        "problem": examination.problem,
        "versions": examination.versions,
        "devices": examination.devices,
        "tunings": examination.tunings,
        "phases": examination.phases,
        "note": examination.note,
        "trials": examination.trials,
    }
