"""The key map of an adopted module: from its keys to canonical names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from pydantic import ValidationError

from shared_specs import SpecError, UNetSpec
from shared_specs.keymap import Checkpoint, original_keys
from shared_specs.problems import describe
from shared_specs.schemes import CANONICAL

MOST_IGNORED = 100
"""As `Checkpoint.ignore` takes."""

MOST_ALIASES = 150
"""Lines of other names that are written; a module with more has them ignored, as a spec file may not be so long."""


def key_map(
    spec: UNetSpec, module: str, keys: Mapping[str, str], ignored: Sequence[str], aliases: Mapping[str, str] = {}
) -> Checkpoint:
    """The `[checkpoint]` table of a module's spec.

    Args:
        spec: what the module is.
        module: the name of its class.
        keys: canonical tensor name to the module's key.
        ignored: the module's keys that the network has no use for.
        aliases: other names of the module's tensors.

    Raises:
        SpecError: where the module has names that no key map can hold.
    """
    others, rest = alias_lines(aliases, keys.values())
    if len(others) > MOST_ALIASES:
        others, rest = {}, list(aliases)
    ignored = (*ignored, *rest)
    scheme, ignored = scheme_of(module), collapsed(ignored, set(keys.values()))
    lines = patterns(spec, keys)
    if not _says(spec, scheme, lines, keys):
        lines = {key: name for name, key in keys.items()}
    values = {"scheme": scheme, "ignore": ignored, "keys": lines, "aliases": others}
    try:
        return Checkpoint.model_validate(values)
    except ValidationError as error:
        raise SpecError(f"{module}: no key map can be written of its names: {describe(error, values)}") from error


def scheme_of(module: str) -> str:
    """The name of a class as that of a way of naming, which begins with a letter or a digit and is not ours."""
    scheme = re.sub(r"[^A-Za-z0-9_.-]", "_", module)[:90]
    return scheme if re.match("[A-Za-z0-9]", scheme) and scheme != CANONICAL else f"own_{scheme.lstrip('_.-')}"


def alias_lines(aliases: Mapping[str, str], keys: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """Other names as a key map has them: one line for all tensors of a module, where all of them have such a name.

    Args:
        aliases: other name to the one that `keys` has.
        keys: those of the network's tensors; other names of what is no tensor of it are left out.

    Returns:
        The lines, and the names that no line can say without making up others.
    """
    taken = set(keys)
    wanted = {alias: name for alias, name in aliases.items() if name in taken}
    lines, known = dict[str, str](), set(taken)
    names = taken | wanted.keys()
    for alias, name in sorted(wanted.items(), key=lambda line: -_common_parts(*line)):
        for left, right in (_line(alias, name, wanted, taken), (alias, name)):
            grown = _grown(known, {**lines, left: right}, left, names) if alias not in known else set()
            if grown:
                lines[left], known = right, grown
    return lines, [alias for alias in wanted if alias not in known]


def _grown(known: Collection[str], lines: Mapping[str, str], added: str, names: Collection[str]) -> set[str]:
    """The names, with what a line that was added makes of them, and what every line makes of that.

    Nothing where that is a name that is not there, as of a line that feeds itself.
    """
    found = set(known)
    fresh = [made for name in known if (made := _made(name, added, lines[added]))]
    while fresh:
        name = fresh.pop()
        if name not in names:
            return set()
        if name not in found:
            found.add(name)
            fresh += [made for line in lines.items() if (made := _made(name, *line))]
    return found


def _common_parts(alias: str, name: str) -> int:
    """How many of their last parts are the same."""
    pairs = zip(reversed(alias.split(".")), reversed(name.split(".")), strict=False)
    return next((n for n, (one, other) in enumerate(pairs) if one != other), min(alias.count("."), name.count(".")) + 1)


def _line(alias: str, name: str, wanted: Mapping[str, str], taken: Collection[str]) -> tuple[str, str]:
    """The line that says the most of what is true: of a whole module as far up as all its tensors have such a name."""
    for parts in range(_common_parts(alias, name), 0, -1):
        rest = ".".join(name.split(".")[-parts:])
        left, right = alias.removesuffix(rest), name.removesuffix(rest)
        within = [key for key in taken if key.startswith(right)]
        if left and right and all(wanted.get(left + key.removeprefix(right)) == key for key in within):
            return f"{left}*", f"{right}*"
    return alias, name


def _made(name: str, left: str, right: str) -> str:
    """What a line makes of a name; "" where it does not fit."""
    if right.endswith("*"):
        start = right.removesuffix("*")
        return left.removesuffix("*") + name.removeprefix(start) if name.startswith(start) else ""
    return left if name == right else ""


def collapsed(ignored: Sequence[str], taken: Collection[str]) -> tuple[str, ...]:
    """As few patterns as a key map takes: by owner, the innermost that will do, where no tensor of use is there too."""
    found = tuple(ignored)
    for depth in range(max((key.count(".") for key in ignored), default=0), 0, -1):
        if len(found) <= MOST_IGNORED:
            break
        owners = {key: ".".join(key.split(".")[:depth]) + "." for key in ignored if key.count(".") >= depth}
        free = {key: owner for key, owner in owners.items() if not any(other.startswith(owner) for other in taken)}
        found = tuple(dict.fromkeys(f"{free[key]}*" if key in free else key for key in ignored))
    return found


def patterns(spec: UNetSpec, keys: Mapping[str, str]) -> dict[str, str]:
    """A key map's lines, from the module's keys to canonical names: one a layer where its tensors are named alike.

    The first line that fits a canonical name counts, so that those of single tensors come first, then those of the
    longest names.
    """
    owners = {
        layer.name: {_owner(name, keys[name]) for name in (tensor.name for tensor in layer.tensors) if name in keys}
        for layer in spec.layers
    }
    served = Counter(owner for found in owners.values() for owner in found)
    single: dict[str, str] = {}
    whole: dict[str, str] = {}
    for layer in spec.layers:
        found = owners[layer.name]
        owner = next(iter(found)) if len(found) == 1 else ""
        if owner and served[owner] == 1:
            whole[f"{owner}.*"] = f"{layer.name}.*"
        else:
            single |= {keys[tensor.name]: tensor.name for tensor in layer.tensors if tensor.name in keys}
    return single | dict(sorted(whole.items(), key=lambda line: -line[1].count(".")))


def _owner(name: str, key: str) -> str:
    """What holds a tensor in the module where its last name is the canonical one, else ""."""
    owner, _, native = key.rpartition(".")
    return owner if name.rpartition(".")[2] == native else ""


def _says(spec: UNetSpec, scheme: str, lines: Mapping[str, str], keys: Mapping[str, str]) -> bool:
    """Whether these lines give each tensor the key that was found."""
    try:
        checkpoint = Checkpoint(scheme=scheme, keys=dict(lines))
        return original_keys(spec.model_copy(update={"checkpoint": checkpoint})) == dict(keys)
    except (ValidationError, SpecError):
        return False
