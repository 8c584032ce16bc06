"""Draw the losses of the training examples in one picture.

python examples/plot_loss_curves.py pytorch.json flax_nnx.json --output losses.svg
"""

from __future__ import annotations

import argparse
import json
from html import escape
from pathlib import Path

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 860, 420, 60, 20, 40, 45
COLOURS = ("#d2491b", "#0b6fb8", "#2f7d32", "#a6307a")
DASHES = ("none", "9 7", "3 5", "12 4 2 4")  # curves that are the same lie upon each other: the dashes show both

STYLE = """
text { font: 13px system-ui, sans-serif; fill: #57606a } .end { text-anchor: end } .middle { text-anchor: middle }
.grid { stroke: #8c959f; stroke-opacity: .25 } polyline { fill: none; stroke-width: 2.5 }
@media (prefers-color-scheme: dark) { text { fill: #9198a1 } }
"""


def svg(curves: dict[str, list[float]]) -> str:
    """The picture: losses over steps, the axis from the smallest to the largest."""
    steps = max(map(len, curves.values()))
    smallest, largest = min(map(min, curves.values())), max(map(max, curves.values()))

    def x(step: float) -> float:
        return round(LEFT + (step - 1) / max(steps - 1, 1) * (WIDTH - LEFT - RIGHT), 1)

    def y(loss: float) -> float:
        return round(HEIGHT - BOTTOM - (loss - smallest) / (largest - smallest or 1) * (HEIGHT - BOTTOM - TOP), 1)

    parts = [text(LEFT + (WIDTH - LEFT - RIGHT) / 2, HEIGHT - 8, "step", "middle")]
    for tick in (0, 0.25, 0.5, 0.75, 1):
        loss, step = smallest + tick * (largest - smallest), round(1 + tick * (steps - 1))
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(loss)}" y2="{y(loss)}"/>')
        parts.append(text(LEFT - 8, y(loss) + 4, f"{loss:.3g}", "end"))
        parts.append(text(x(step), HEIGHT - BOTTOM + 18, str(step), "middle"))
    for number, (name, losses) in enumerate(curves.items()):
        line = f'stroke="{COLOURS[number % 4]}" stroke-dasharray="{DASHES[number % 4]}"'
        points = " ".join(f"{x(step)},{y(loss)}" for step, loss in enumerate(losses, 1))
        parts.append(f'<polyline {line} points="{points}"/>')
        parts.append(f'<polyline {line} points="{LEFT + 190 * number},18 {LEFT + 40 + 190 * number},18"/>')
        parts.append(text(LEFT + 48 + 190 * number, 22, f"{name}, last {losses[-1]:.4f}"))
    size = f'width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size}>\n<style>{STYLE}</style>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def text(x: float, y: float, words: str, kind: str = "") -> str:
    return f'<text x="{x}" y="{y}" class="{kind}">{escape(words)}</text>'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", help="what the training examples wrote with --losses")
    parser.add_argument("--output", default="losses.svg", help="the picture, an SVG")
    arguments = parser.parse_args()

    runs = [json.loads(Path(file).read_text(encoding="utf-8")) for file in arguments.files]
    Path(arguments.output).write_text(svg({run["framework"]: run["losses"] for run in runs}), encoding="utf-8")
    print(f"wrote {arguments.output}")


if __name__ == "__main__":
    main()
