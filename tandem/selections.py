"""What users type, made into what the packages take. Every refusal is one line that names what there is."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence

import backends
from shared_specs import ShapeError, SpecError, TandemError, UNetSpec, load_spec, spec_names
from shared_specs.cost import total_cost

CHECK_NARROW, MOST_NARROW = 8, 32
"""By how much `check` divides the widths unless told otherwise: by 8, every code path at 1/64 of the work, and by up to
32 where that is still much and no width becomes 1."""

MUCH_FLOPS = 200_000_000
"""Of a forward pass of two images: beyond, the reference takes minutes for all probes and re-runs."""


def split(values: Iterable[str] | None) -> list[str]:
    """Options that were repeated or joined with commas, in order and without repetitions."""
    parts = (part.strip() for value in values or () for part in value.split(","))
    return list(dict.fromkeys(part for part in parts if part))


def choose(what: str, values: Iterable[str] | None, known: Sequence[str]) -> list[str] | None:
    """The chosen ones of `known`, in its order; None where nothing was chosen, and all of them for "all".

    Raises:
        TandemError: naming the nearest of `known`.
    """
    chosen = split(values)
    if values and not chosen:
        raise TandemError(f"got no {what}, expected some of {', '.join(known)}")
    if "all" in chosen:
        return list(known)
    for value in chosen:
        if value not in known:
            near = difflib.get_close_matches(value, known, n=2, cutoff=0.5)
            meant = f"; did you mean {' or '.join(near)}?" if near else ""
            raise TandemError(f"no {what} is named {value!r}; take one of {', '.join(known)}{meant}")
    return [name for name in known if name in chosen] or None


def one(what: str, value: str, known: Sequence[str]) -> str:
    """The chosen one of `known`. Raises TandemError as `choose` does, and where it names several."""
    chosen = choose(what, [value], known) or []
    if len(chosen) != 1:
        raise TandemError(f"got the {what} {value!r}, expected one of {', '.join(known)}")
    return chosen[0]


def expand(names_or_paths: Sequence[str]) -> list[str]:
    """Names and paths as given, "all" made into every name of the zoo."""
    # A comma may be part of a path.
    return list(dict.fromkeys(n for given in names_or_paths for n in (spec_names() if given == "all" else [given])))


def specs(names_or_paths: Sequence[str]) -> list[UNetSpec]:
    """Specs by zoo name or path; "all" is the whole zoo.

    Raises:
        SpecError: as `load_spec` does, or where two different specs bear one name.
    """
    found: dict[str, UNetSpec] = {}
    for text in expand(names_or_paths):
        spec = load_spec(text)
        if found.setdefault(spec.name, spec) != spec:
            raise SpecError(f"{text}: two different specs are named {spec.name!r}; rename one")
    return list(found.values())


def narrowed_to_check(spec: UNetSpec) -> tuple[UNetSpec, int]:
    """The spec with its widths divided as far as a quick check needs, and by what."""
    from parity.batches import telling_size  # here, since `tandem show` has no need of parity and should be quick

    found, divisor = narrowed(spec, None, CHECK_NARROW)
    images = (2, spec.in_channels, *telling_size(spec))
    while divisor >= CHECK_NARROW and divisor < MOST_NARROW and total_cost(found, images).forward_flops > MUCH_FLOPS:
        narrower, twice = narrowed(spec, None, 2 * divisor)
        if twice == divisor or min(narrower.widths) == 1:
            break
        found, divisor = narrower, twice
    return found, divisor


def narrowed(spec: UNetSpec, narrow: int | None, default: int) -> tuple[UNetSpec, int]:
    """The spec with its widths divided and by what: by `narrow`, else by the largest of default, default/2 ... 1.

    Raises:
        SpecError: where `narrow` was asked for and does not divide every width.
    """
    if narrow is not None:
        return spec.narrow(narrow), narrow
    while default > 1:
        try:
            return spec.narrow(default), default
        except SpecError:
            default //= 2
    return spec, 1


def width_in_words(spec: UNetSpec, divisor: int) -> str:
    """ "full width" or "widths divided by 8", with the number of parameters."""
    words = "full width" if divisor == 1 else f"widths divided by {divisor}"
    return f"{words}, {spec.parameter_count:,} parameters"


def size(text: str | None) -> tuple[int, ...] | None:
    """A size in pixels: "224" for all axes, "199x207", height first, or "32x96x96", depth first. Raises ShapeError."""
    if text is None:
        return None
    match = re.fullmatch(r"\d{1,6}(?:[xX]\d{1,6}){0,2}", text.strip())
    values = tuple(int(value) for value in text.lower().split("x")) if match else (0,)
    if 0 in values:
        raise ShapeError(
            f"--size: got {text!r}, expected HEIGHTxWIDTH in pixels, for instance 199x207, "
            "in 3-D DEPTHxHEIGHTxWIDTH, or one number for all axes"
        )
    return values


def backend_names(values: Iterable[str] | None) -> tuple[list[str], list[str]]:
    """The backends to run, and why each one that was not asked for is left out.

    Raises:
        BackendError: where one was asked for that does not exist (with the nearest names) or that is not installed
            (with what to install), or where none is left.
    """
    chosen = choose("backend", values, backends.names())
    if chosen is not None:
        for name in chosen:
            reason = backends.missing(name)
            if reason:
                raise backends.BackendError(reason)
        return chosen, []
    reasons = [reason for name in backends.names() if (reason := backends.missing(name))]
    others = [name for name in backends.available() if name not in backends.default()]
    if others:
        reasons.append(f"not asked for: {', '.join(others)}; --backends all runs every backend")
    return backends.default(), reasons
