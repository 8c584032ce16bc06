"""Whether a module is the one that a spec describes: a copy would miss what else it holds, and Flax takes any shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from shared_specs import UNetSpec, WeightsError
from shared_specs.checkpoints import listed
from shared_specs.layout import Tensor


def check_fits(
    spec: UNetSpec,
    held: Mapping[str, tuple[int, ...]],
    native_name: Callable[[Tensor], str],
    to_native: Callable[[Tensor, np.ndarray], np.ndarray],
) -> None:
    """Refuse a module that has not the spec's tensors, and no others.

    Args:
        held: the shapes of what the module holds, by its own names.
        native_name, to_native: what a canonical tensor is called there, and how it is laid out.

    Raises:
        WeightsError: naming what the module lacks, what it has in another shape, and what it has beside.
    """
    expected = {native_name(tensor): to_native(tensor, np.empty(tensor.shape)).shape for tensor in spec.tensors}
    lacking = [f"{name} {shape}" for name, shape in expected.items() if name not in held]
    misshapen = [
        f"{name} is {held[name]}, expected {shape}"
        for name, shape in expected.items()
        if name in held and held[name] != shape
    ]
    beside = [name for name in held if name not in expected]
    if lacking or misshapen or beside:
        problems = [f"it lacks {listed(lacking)}" if lacking else "", listed(misshapen)]
        problems += [f"it has {listed(beside)} beside" if beside else ""]
        said = "; ".join(filter(None, problems))
        raise WeightsError(f"the module was not built from {spec.name}: {said}; give the spec that it was built from")
