"""Pairs of modules in PyTorch and Flax that are the same network: by hand, and built from a spec."""

from __future__ import annotations

from typing import Any

from shared_specs import UNetSpec, initial_weights, load_spec

TORCH, FLAX = "TorchUNet (pytorch)", "FlaxUNet (flax_nnx)"


def pair(**changes: Any) -> tuple[Any, Any]:
    """A hand-written module in PyTorch and its port to Flax, with something changed in the port."""
    from tests.parity import ports

    if changes.get("norm"):
        changes["norm"] = getattr(ports.nnx, changes["norm"])
    for key in {"first", "make"} & set(changes):
        changes[key] = getattr(ports, changes[key])
    module = ports.trained()
    return module, ports.ported(module, **changes)


def of_two_levels(name: str) -> UNetSpec:
    return UNetSpec.model_validate(load_spec(name).model_dump() | {"widths": [4, 8]})


def built(spec: UNetSpec) -> tuple[Any, Any]:
    """Tandem's own modules of a spec, with the same weights."""
    from flax import nnx

    from backends import flax_nnx, pytorch

    module, flax = pytorch.UNet(spec), flax_nnx.UNet(spec, rngs=nnx.Rngs(0))
    weights = initial_weights(spec)
    pytorch.load_weights(module, spec, weights)
    flax_nnx.load_weights(flax, spec, weights)
    return module, flax


def adopted(module: Any) -> tuple[Any, UNetSpec]:
    """Tandem's Flax module of the network that a module in PyTorch is, with its weights; and the spec."""
    from flax import nnx

    import parity
    from backends import flax_nnx

    adoption = parity.adopt(module, backends=[])
    assert adoption.spec is not None
    flax = flax_nnx.UNet(adoption.spec, rngs=nnx.Rngs(0))
    flax_nnx.load_weights(flax, adoption.spec, adoption.weights)
    return flax, adoption.spec
