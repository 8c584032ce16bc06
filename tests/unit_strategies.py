"""Random tables of a unit: convolution, norm, activation, order, shortcut, and units around the up-sampling."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

EPSILONS = st.sampled_from([1e-5, 1e-3])


@st.composite
def convolutions(draw: st.DrawFn, dimensions: int, keeps_size: bool) -> dict[str, Any]:
    conv = {
        "stride": 1,
        "padding_mode": draw(st.sampled_from(["zeros", "reflect", "replicate", "circular"])),
        "bias": draw(st.booleans()),
    }
    return conv | draw(windows(dimensions, keeps_size))


@st.composite
def windows(draw: st.DrawFn, dimensions: int, keeps_size: bool) -> dict[str, Any]:
    """Kernel, padding and dilation, one number each or one for each axis."""
    if not keeps_size:
        kernel = draw(st.sampled_from([2, 3, [2, *[3] * (dimensions - 1)]]))
        return {"kernel": kernel, "padding": 0, "dilation": 1}
    kinds = [
        {"kernel": 1, "padding": 0, "dilation": 1},
        {"kernel": 3, "padding": 1, "dilation": 1},
        {"kernel": 3, "padding": 2, "dilation": 2},
        {"kernel": [1, *[3] * (dimensions - 1)], "padding": [0, *[1] * (dimensions - 1)], "dilation": 1},
        {"kernel": 3, "padding": [*[1] * (dimensions - 1), 2], "dilation": [*[1] * (dimensions - 1), 2]},
    ]
    return draw(st.sampled_from(kinds))


@st.composite
def norms(draw: st.DrawFn, even: bool) -> dict[str, Any]:
    """Any norm; with two groups where all widths are even."""
    kind = draw(st.sampled_from(["none", "batch", "instance", "group", "layer"]))
    if kind == "group":
        return {"kind": kind, "epsilon": draw(EPSILONS), "groups": draw(st.integers(1, 2)) if even else 1}
    if kind == "layer":
        return {"kind": kind, "epsilon": draw(EPSILONS)}
    return draw(norms_of_one([kind]))


@st.composite
def norms_of_one(draw: st.DrawFn, kinds: tuple[str, ...] | list[str] = ("none", "batch", "instance")) -> dict[str, Any]:
    """A norm that leaves something of a map with a single channel."""
    kind = draw(st.sampled_from(kinds))
    match kind:
        case "batch":
            momentum, estimator = draw(st.sampled_from([0.1, 0.3])), draw(st.sampled_from(["unbiased", "biased"]))
            return {"kind": kind, "epsilon": draw(EPSILONS), "momentum": momentum, "running_variance": estimator}
        case "instance":
            return {"kind": kind, "epsilon": draw(EPSILONS), "affine": draw(st.booleans())}
        case _:
            return {"kind": kind}


ACTIVATIONS = [
    {"kind": "relu"},
    {"kind": "leaky_relu", "slope": 0.1},
    {"kind": "prelu", "slopes": "one"},
    {"kind": "prelu", "slopes": "per_channel"},
    {"kind": "elu", "alpha": 0.7},
    {"kind": "gelu", "approximation": "none"},
    {"kind": "gelu", "approximation": "tanh"},
    {"kind": "silu"},
    {"kind": "tanh"},
    {"kind": "sigmoid"},
    {"kind": "identity"},
]


def activations() -> st.SearchStrategy[dict[str, Any]]:
    return st.sampled_from(ACTIVATIONS).map(dict)


@st.composite
def orders(draw: st.DrawFn, norm: dict[str, Any], has_dropout: bool, ends_with_activation: bool) -> list[str]:
    steps = ["conv"] + ["norm"] * (norm["kind"] != "none") + ["dropout"] * has_dropout
    if ends_with_activation:
        return [*draw(st.permutations(steps)), "activation"]
    return draw(st.permutations([*steps, "activation"]))


@st.composite
def residuals(draw: st.DrawFn, count: int, norm: dict[str, Any]) -> dict[str, Any]:
    kernel, padding = draw(st.sampled_from([(1, 0), (3, 1)]))
    stem = draw(st.integers(0, count - 1))
    return {
        "span": draw(st.sampled_from([1, count - stem])),
        "stem": stem,
        "last_activation": draw(st.sampled_from(["before_sum", "after_sum"])),
        "stride_by": draw(st.sampled_from(["average_pool", "conv"])),
        "kernel": kernel,
        "padding": padding,
        "bias": draw(st.booleans()),
        "norm": norm["kind"] != "none" and draw(st.booleans()),
    }


def up_widths() -> st.SearchStrategy[str]:
    return st.sampled_from(["half", "same", "skip", "decoder"])


@st.composite
def up_units(draw: st.DrawFn, dimensions: int, keeps_size: bool) -> dict[str, Any]:
    norm = draw(norms_of_one())
    steps = draw(st.permutations(["conv", "activation"] + ["norm"] * (norm["kind"] != "none")))
    size = draw(windows(dimensions, keeps_size=True).filter(lambda size: size["dilation"] == 1))
    if not keeps_size and draw(st.booleans()):
        size = {"kernel": 2, "padding": 0, "dilation": 1}
    return {
        "kernel": size["kernel"],
        "padding": size["padding"],
        "padding_mode": draw(st.sampled_from(["zeros", "reflect", "replicate", "circular"])),
        "bias": draw(st.booleans()),
        "width": draw(up_widths()),
        "order": steps[: draw(st.integers(1, len(steps)))],
        "norm": norm,
        "activation": draw(activations()),
    }


@st.composite
def changes(draw: st.DrawFn, values: dict[str, Any], even: bool, keeps_size: bool) -> dict[str, Any]:
    """An override's tables for the units of a block: another kind, or some keys of the same kind."""
    residual, before = values.get("residual"), values["norm"]
    topics = ["norm", "order", "activation", "conv", "dropout"] + ["residual"] * (residual is not None)
    match draw(st.sampled_from([*topics, "convolutions"] if keeps_size else topics)):
        case "norm" if before["kind"] != "none" and draw(st.booleans()):
            return {"norm": {"epsilon": 1e-2}}
        case "norm" if before["kind"] != "none":
            after = draw(norms_of_one(["batch", "instance"]))
            return {"norm": after}
        case "norm" | "order":
            late = residual is not None and residual["last_activation"] == "after_sum"
            order = draw(orders({"kind": "none"}, False, late))
            return {"block": {"order": order}} | ({} if residual else {"norm": {"kind": "none"}})
        case "activation":
            return {"activation": draw(activations())}
        case "conv":
            return {"conv": draw(windows(values["dimensions"], keeps_size)) | {"bias": draw(st.booleans())}}
        case "dropout":
            order = [step for step in values["block"]["order"] if step != "dropout"]
            return {"dropout": {"rate": 0.1}, "block": {"order": ["dropout", *order]}}
        case "residual":
            return {"residual": {"bias": not residual["bias"], "stride_by": "conv"}}
        case _:
            return {"block": {"convolutions": values["block"]["convolutions"] * draw(st.integers(1, 2))}}
