"""Canonical weights: seeded initial values, and safetensors files that say which spec they belong to."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from .errors import SpecError, WeightsError, one_line
from .files import check_regular, written_whole

if TYPE_CHECKING:
    from .layout import Tensor
    from .schema import UNetSpec

Weights = Mapping[str, np.ndarray]

DTYPES = ("float64", "float32", "float16")
"""What weights may come in: what NumPy and safetensors both have."""

FLOATS = ("F64", "F32", "F16")
"""The same in safetensors' words."""

CONVERT = "tandem convert makes canonical weights of the checkpoints of PyTorch and Flax"
"""What to do with a file that holds weights and is none of ours."""

MOST_NARROW = 64
"""The largest divisor of widths that is looked for where a file is of another width."""


def initial_weights(spec: UNetSpec, seed: int = 0, dtype: type[np.floating] = np.float64) -> dict[str, np.ndarray]:
    """Seeded weights in which nothing is degenerate: no zero bias, no unit scale, no fresh running statistics.

    Convolutions are drawn from He's normal distribution (He et al. 2015, arXiv 1502.01852). Each tensor has a
    generator of its own, seeded with its name, so that a tensor's values do not depend on the other layers.
    """
    return {tensor.name: _draw(tensor.leaf, tensor.name, tensor.shape, seed).astype(dtype) for tensor in spec.tensors}


def _draw(leaf: str, name: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    random = np.random.default_rng([seed, zlib.crc32(name.encode())])
    if leaf in ("norm.weight", "norm.running_var"):
        return random.uniform(0.5, 1.5, shape)
    if leaf == "activation.weight":
        return random.uniform(0.1, 0.4, shape)
    if leaf == "norm.running_mean" or leaf.endswith(".bias"):
        return random.normal(0.0, 0.1, shape)
    fan_in = shape[0] if leaf == "up.weight" else int(np.prod(shape[1:]))
    gain = 1.0 if leaf in ("up.weight", "head.weight") else 2.0
    return random.normal(0.0, np.sqrt(gain / fan_in), shape)


def check_weights(spec: UNetSpec, weights: Weights, origin: str = "weights") -> None:
    """Refuse weights that are not the spec's.

    Raises:
        WeightsError: listing every missing, unexpected, misshapen and non-finite tensor at once.
    """
    expected = {tensor.name: tensor for tensor in spec.tensors}
    problems = [f"missing {name} {tensor.shape}" for name, tensor in expected.items() if name not in weights]
    problems += [f"unexpected {name}" for name in weights if name not in expected]
    for name in expected.keys() & weights.keys():
        problem = problem_of(name, np.asarray(weights[name]), expected[name])
        problems += [] if problem is None else [problem]
    if problems:
        raise WeightsError(f"{origin}: not weights of {spec.name}: {'; '.join(sorted(problems))}")


def problem_of(label: str, values: np.ndarray, tensor: Tensor) -> str | None:
    """What keeps values from being those of a canonical tensor, in words that begin with the label; None if nothing."""
    if values.shape != tensor.shape:
        return f"{label} is {values.shape}, expected {tensor.shape}"
    if values.dtype.name not in DTYPES:
        return f"{label} has dtype {values.dtype}, expected one of {', '.join(DTYPES)}"
    if not np.isfinite(values).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(values))[0])
        return f"{label} has {values[where]} at {where}, expected finite values"
    if tensor.leaf == "norm.running_var" and (values < 0).any():
        return f"{label} has a negative variance"
    return None


def save_weights(path: str | Path, weights: Weights, spec: UNetSpec) -> None:
    """Write canonical weights and their spec to a safetensors file, whole or not at all.

    Raises:
        WeightsError: where the weights are not the spec's.
        TandemError: where the file cannot be written.
    """
    check_weights(spec, weights)
    # safetensors stores the memory of a transposed view under the view's shape:
    # write C-contiguous arrays only.
    arrays = {name: np.ascontiguousarray(weights[name]) for name in (tensor.name for tensor in spec.tensors)}
    metadata = {"format": "tandem", "spec": spec.model_dump_json(), "spec_fingerprint": spec.fingerprint}
    with written_whole(path) as file:
        save_file(arrays, file.name, metadata=metadata)  # without a second copy of the weights in memory


def load_weights(path: str | Path, spec: UNetSpec) -> dict[str, np.ndarray]:
    """Read canonical weights from a safetensors file.

    Raises:
        WeightsError: where the file is none, is truncated, belongs to another spec, or `check_weights` refuses it.
    """
    path = Path(path)
    with opened(path) as file:
        check_metadata(path, file.metadata() or {}, spec)
        kinds = kinds_in(file)
        foreign = [f"{name} as {kind}" for name, kind in kinds.items() if kind not in FLOATS]
        if foreign:
            counters = all(name.endswith(".num_batches_tracked") for name in kinds if kinds[name] not in FLOATS)
            advice = CONVERT if counters else f"save it as one of {', '.join(DTYPES)}"
            raise WeightsError(f"{path}: holds {', '.join(foreign)}; {advice}")
        weights = {name: file.get_tensor(name) for name in kinds}
    check_weights(spec, weights, origin=str(path))
    return weights


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """A safetensors file, open. Raises WeightsError where it is none, is truncated or cannot be read."""
    try:
        check_regular(path)
        path.open("rb").close()  # safetensors' own words for a missing file or a folder are no help
        with safe_open(path, framework="numpy") as file:
            _check_names(path)
            yield file
    except OSError as error:
        reason = error.strerror or one_line(str(error))
        advice = f"; {CONVERT}" if path.is_dir() else ""
        raise WeightsError(f"{path}: cannot be read ({reason}); expected a safetensors file{advice}") from error
    except (SafetensorError, ValueError) as error:
        if _begins_like_another(path):
            raise WeightsError(f"{path}: is no safetensors file; {CONVERT}") from error
        raise WeightsError(f"{path}: is no whole safetensors file ({one_line(str(error))}); save it again") from error


def _begins_like_another(path: Path) -> bool:
    """Whether a file is one of torch.save, a zip file or a pickle."""
    with path.open("rb") as file:
        start = file.read(9)  # of safetensors: how long its JSON is, and how that begins
    return start[8:] != b"{" and start.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x04", b"\x80\x05"))


def _check_names(path: Path) -> None:
    """Refuse two tensors of one name, of which safetensors takes the last. Raises WeightsError."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            raise WeightsError(f"{path}: names {next(n for n in names if names.count(n) > 1)!r} twice; save it again")
        return found

    with path.open("rb") as file:
        json.loads(file.read(int.from_bytes(file.read(8), "little")), object_pairs_hook=once)


def kinds_in(file: Any) -> dict[str, str]:
    """What each tensor's elements are, in the file's own words.

    Asked of the file, as NumPy has a bfloat16 where some framework has been imported, and none elsewhere.
    """
    return {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118 - not a mapping


def check_metadata(path: Path, metadata: Mapping[str, str], spec: UNetSpec) -> None:
    """Refuse a file that says it belongs to another spec. Raises WeightsError."""
    found = metadata.get("spec_fingerprint")
    if found in (None, spec.fingerprint):
        return
    divisor = _divisor(spec, found)
    what_to_do = f"give --narrow {divisor}" if divisor else "name the spec that they were saved with"
    raise WeightsError(
        f"{path}: holds weights of another spec ({_spec_in(metadata)}), "
        f"expected {spec.name} of widths {list(spec.widths)}; {what_to_do}"
    )


def _divisor(spec: UNetSpec, fingerprint: str) -> int | None:
    """By what the widths of the spec are to be divided so that it has this fingerprint, if it is that."""
    for divisor in range(2, MOST_NARROW + 1):
        with suppress(SpecError):
            if spec.narrow(divisor).fingerprint == fingerprint:
                return divisor
    return None


def _spec_in(metadata: Mapping[str, str]) -> str:
    try:
        values = json.loads(metadata["spec"])
        return one_line(f"{values['name']} of widths {values['widths']}")
    except (KeyError, TypeError, ValueError, RecursionError):
        return "one that the file does not name"
