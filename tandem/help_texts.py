"""What `--help` shows beside what each command says of itself: the commands in order, and examples of each."""

from __future__ import annotations

import re

COMMANDS: dict[str, tuple[str, ...]] = {
    "Start here": ("doctor", "compare"),
    "Networks": ("list", "show"),
    "The same?": ("check", "curves", "adopt", "convert"),
    "How fast?": ("bench", "scale"),
    "Written up": ("report",),
}
"""The panels of `tandem --help`, with their commands."""

FIRST_STEPS = """\
[bold]First steps[/bold]
[dim]$[/dim] tandem doctor           [dim]# what works here, what to install for the rest[/dim]
[dim]$[/dim] tandem compare          [dim]# the same network everywhere? Which is faster?[/dim]
[dim]$[/dim] tandem COMMAND --help   [dim]# what a command takes, with examples[/dim]"""

EXAMPLES: dict[str, tuple[tuple[str, str], ...]] = {
    "doctor": (("tandem doctor", ""), ("tandem doctor --json here.json", "for a bug report")),
    "compare": (
        ("tandem compare", "unet_bn_same, at sizes that suit this machine"),
        ("tandem compare unet_paper --phase train_step --tuning default,tuned", ""),
        ("tandem compare my_net.toml --device cuda --batch 8 --output out/mine", ""),
    ),
    "list": (
        ("tandem list", ""),
        ("tandem list monai --dimensions 3", "those of MONAI in 3-D"),
        ("tandem list --norm instance --max-parameters 20M --sort flops", ""),
    ),
    "show": (
        ("tandem show unet_paper", ""),
        ("tandem show my_net.toml --size 199x207 --batch 8", ""),
        ("tandem show unet_paper unet_bn_same", "in what the two differ"),
    ),
    "check": (
        ("tandem check unet_bn_same", "float64, with all probes"),
        ("tandem check all --precision all", "the zoo, in three precisions"),
        ("tandem check my_net.toml --weights trained.safetensors --image retina.png", ""),
        ("tandem check unet_bn_same --replicas 2", "data parallel training, too"),
    ),
    "curves": (
        ("tandem curves unet_bn_same --image retina.png --output curves.json", ""),
        ("tandem curves my_net.toml --precision bfloat16 --steps 500", ""),
    ),
    "adopt": (
        ("tandem adopt my_package.my_unet:UNet", ""),
        ("tandem adopt my_package.my_unet:UNet --checkpoint unet.pth --output adopted", ""),
    ),
    "convert": (
        ("tandem convert unet.pth unet.safetensors --spec unet_bn_same", ""),
        ("tandem convert unet.pth unet_flax --spec my_net.toml", ""),
        ("tandem convert unet_flax unet_linen --to flax_linen --spec my_net.toml", ""),
        ("tandem convert unet_flax unet.pt --spec monai_unet --scheme-out monai", ""),
    ),
    "bench": (
        ("tandem bench unet_paper --phase forward", ""),
        ("tandem bench --tuning tuned --results out/monday", ""),
        ("tandem bench --tuning tuned --results out/monday --resume", "goes on"),
        ("tandem bench --results /shared/out --cluster slurm", "as jobs"),
    ),
    "scale": (
        ("tandem scale batch unet_bn_same --tuning tuned", "up to where memory ends"),
        ("tandem scale size unet_paper --most 600 --phase train_step", ""),
        ("tandem scale replicas unet_bn_same --most 2", "training over devices"),
    ),
    "report": (
        ("tandem report out/monday curves.json -o report.html", ""),
        ("tandem report out/after --against out/before -o report.html", ""),
        ("tandem report check.json benchmarks.json --format markdown", "on stdout"),
    ),
}
"""Of each command, what to type and what it is."""


def panel_of(command: str) -> str | None:
    """The panel of a command; None for one that is not listed, which gets typer's own."""
    return next((panel for panel, names in COMMANDS.items() if command in names), None)


def in_order(names: list[str]) -> list[str]:
    """The commands in the order of the panels, those that are not listed at the end."""
    known = [name for panel in COMMANDS.values() for name in panel]
    return sorted(names, key=lambda name: known.index(name) if name in known else len(known))


def epilog(command: str) -> str | None:
    """The examples of a command, as typer's markup."""
    examples = EXAMPLES.get(command)
    if examples is None:
        return None
    column = max((len(typed) for typed, words in examples if words), default=0)
    lines = [
        f"[dim]$[/dim] {typed:<{column}}   [dim]# {words}[/dim]" if words else f"[dim]$[/dim] {typed}"
        for typed, words in examples
    ]
    return "\n".join(["[bold]Examples[/bold]", *lines])


def unwrapped(text: str | None) -> str | None:
    """A docstring with each paragraph on one line, for the terminal to wrap."""
    return text and re.sub(r"(?<!\n)\n(?!\n)", " ", text)
