"""Names in a checkpoint of the original implementation, and the canonical names that they stand for.

A spec file's `[checkpoint]` table holds the patterns. A pattern's two sides say the same in two languages:

    "down_{i}.convs.conv_{j}.conv.*" = "encoder.{i}.block.{j}.conv.*"
    "upcat_{i}.upsample.deconv.*" = "decoder.{i-1}.up.*"

`{i}` stands for a number; `{i+2}`, `{i-1}`, `{2i+1}` and `{5-i}` are computed from it. A final `*` is the rest of the
name. The patterns are read from right to left: each canonical tensor of the spec gets its key by the first pattern
whose right side fits. So what a tensor is comes from the spec alone, and a key that belongs to no tensor is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from .channels import channel_orders
from .errors import SpecError, WeightsError
from .patterns import pattern, translated
from .tables import Table
from .weights import problem_of

if TYPE_CHECKING:
    from .schema import UNetSpec

Weights = Mapping[str, np.ndarray]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Patterns = Annotated[dict[Name, Name], Field(max_length=400)]


CANONICAL = "canonical"


class Checkpoint(Table):
    """How the state dict of the original implementation is named.

    Attributes:
        scheme: a short name for this way of naming.
        merge_order: of the original. Where the spec's differs, the channels of what reads a merge are permuted.
        ignore: keys that are no tensors of the network; `*` matches anything.
        keys: pattern of the original's key to that of the canonical name.
        aliases: pattern of a key that is another name of the tensor on the right, and must be equal to it.
    """

    scheme: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)]
    merge_order: Annotated[tuple[Literal["skip", "upsampled"], ...], Field(strict=False)] | None = None
    ignore: Annotated[tuple[Name, ...], Field(strict=False, max_length=100)] = ()
    keys: Patterns
    aliases: Patterns = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.scheme == CANONICAL:
            raise ValueError(f"scheme: got {CANONICAL!r}, which names our own way of naming; take another word")
        if self.merge_order is not None and sorted(self.merge_order) != ["skip", "upsampled"]:
            got = list(self.merge_order)
            raise ValueError(f'merge_order: got {got}, expected "skip" and "upsampled", once each')
        for table, patterns in (("keys", self.keys), ("aliases", self.aliases)):
            for left, right in patterns.items():
                try:
                    a, b = pattern(left), pattern(right)
                except ValueError as error:
                    raise ValueError(f"{table}: {error}") from error
                if a.numbers != b.numbers or a.has_rest != b.has_rest:
                    raise ValueError(
                        f"{table}: got {left!r} = {right!r}, expected the same {{names}} and * on both sides"
                    )
        return self

    def __hash__(self) -> int:  # pydantic's own cannot hash a dict
        return hash(self.model_dump_json())


def original_keys(spec: UNetSpec) -> dict[str, str]:
    """The original's key of each canonical tensor, in the order of the spec.

    Raises:
        SpecError: where the spec has no key map, or its patterns leave a tensor out or give two the same key.
    """
    checkpoint, found, problems = _checkpoint(spec), dict[str, str](), list[str]()
    taken: dict[str, str] = {}
    for tensor in spec.tensors:
        fits = (translated(tensor.name, right, left) for left, right in checkpoint.keys.items())
        key = next((fit for fit in fits if fit is not None), None)
        if key is None:
            problems.append(f"no pattern gives {tensor.name}")
        elif key in taken:
            problems.append(f"{key} would be {taken[key]} and {tensor.name}")
        else:
            found[tensor.name], taken[key] = key, tensor.name
    if problems:
        raise SpecError(f"{spec.name}: checkpoint.keys: {'; '.join(problems)}")
    return found


def aliases_of(spec: UNetSpec, key: str) -> list[str]:
    """The other names of the original's tensor, those of its aliases included."""
    return _aliases(key, list(_checkpoint(spec).aliases.items()))


MOST_ALIASES = 64
"""Other names of one tensor. A pattern that feeds itself, such as "a.*" = "*", would give names without end."""


def _aliases(key: str, patterns: list[tuple[str, str]]) -> list[str]:
    found = [key]
    for name in found:  # which grows: an alias may have aliases
        for left, right in patterns:
            alias = translated(name, right, left)
            if alias is not None and alias not in found:
                found.append(alias)
        if len(found) > 1 + MOST_ALIASES:  # the name itself is there too
            raise SpecError(
                f"checkpoint.aliases: give {key} more than {MOST_ALIASES} other names, for instance {found[-1]}; "
                "let no alias fit its own right side"
            )
    return found[1:]


def to_canonical(spec: UNetSpec, tensors: Weights, origin: str = "checkpoint") -> dict[str, np.ndarray]:
    """The original's state dict as canonical weights. Nothing is copied but what the order of a merge permutes.

    Of a tensor with aliases any name will do, and all that are there must be equal: some writers keep only one.

    Raises:
        SpecError: where the spec's key map does not cover the spec.
        WeightsError: listing all that is missing, unexpected, misshapen, not finite or unlike its alias.
    """
    keys, orders = original_keys(spec), channel_orders(spec, _checkpoint(spec).merge_order)
    problems: list[str] = []
    known: set[str] = set()
    weights: dict[str, np.ndarray] = {}
    for tensor in spec.tensors:
        names = [keys[tensor.name], *aliases_of(spec, keys[tensor.name])]
        known.update(names)
        present = [name for name in names if name in tensors]
        if not present:
            problems.append(f"missing {names[0]} {tensor.shape}, which is {tensor.name}")
            continue
        values = np.asarray(tensors[present[0]])
        wrong = problem_of(present[0], values, tensor)
        if wrong is not None:
            problems.append(wrong)
        for name in present[1:]:
            other = np.asarray(tensors[name])
            if other is not values and not np.array_equal(other, values, equal_nan=other.dtype.kind == "f"):
                problems.append(f"{name} differs from {present[0]}, of which it is another name")
        if wrong is None:
            weights[tensor.name] = permuted(values, orders.get(tensor.name))
    problems += [_unexpected(spec, key, keys) for key in tensors if key not in known and not is_ignored(spec, key)]
    if problems:
        raise WeightsError(
            f"{origin}: no {_checkpoint(spec).scheme} weights of {spec.name}: {'; '.join(sorted(problems))}"
        )
    return weights


def from_canonical(spec: UNetSpec, weights: Weights) -> dict[str, np.ndarray]:
    """Canonical weights as the original's state dict, aliases included. Ignored keys are not made up.

    Raises:
        SpecError: where the spec's key map does not cover the spec.
    """
    orders = channel_orders(spec, _checkpoint(spec).merge_order)
    inverses = {name: (axis, np.argsort(order)) for name, (axis, order) in orders.items()}
    found: dict[str, np.ndarray] = {}
    for name, key in original_keys(spec).items():
        values = permuted(np.asarray(weights[name]), inverses.get(name))
        found |= dict.fromkeys((key, *aliases_of(spec, key)), values)
    return found


def permuted(values: np.ndarray, order: tuple[int, np.ndarray] | None) -> np.ndarray:
    """The tensor with its channels in another order, along an axis."""
    if order is None:
        return values
    axis, channels = order
    return values.take(channels, axis)


def _checkpoint(spec: UNetSpec) -> Checkpoint:
    if spec.checkpoint is None:
        raise SpecError(
            f"{spec.name}: has no [checkpoint] table, which says how the original names its tensors; add it"
        )
    return spec.checkpoint


def is_ignored(spec: UNetSpec, key: str) -> bool:
    """Whether a key of the original is known to be no tensor of the network."""
    return any(fnmatchcase(key, literal_but_stars(text)) for text in _checkpoint(spec).ignore)


def literal_but_stars(text: str) -> str:
    """A pattern for fnmatch in which `*` alone is special."""
    return re.sub(r"([\[?])", r"[\1]", text)


def _unexpected(spec: UNetSpec, key: str, keys: Mapping[str, str]) -> str:
    """Why a key is none of the original's."""
    means = _first(translated(key, left, right) for left, right in _checkpoint(spec).keys.items())
    if means is None:
        return f"unexpected {key}, which no pattern fits"
    if means in keys:
        return f"unexpected {key}, which would be {means}, as {keys[means]} is"
    return f"unexpected {key}, which would be {means}, and the network has no such tensor"


def _first(names: Iterable[str | None]) -> str | None:
    return next((name for name in names if name is not None), None)
