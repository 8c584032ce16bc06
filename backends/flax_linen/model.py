"""The Flax Linen backend: JAX's engine, with a network of Flax Linen."""

from __future__ import annotations

from shared_specs import UNetSpec

from ..jax_engine.backend import JaxBackend
from ..jax_engine.precision import Numerics
from .capabilities import CAPABILITIES
from .network import Network


class FlaxLinen(JaxBackend):
    name = "flax_linen"
    capabilities = CAPABILITIES
    packages = ("jax", "jaxlib", "flax", "optax")

    def network(self, spec: UNetSpec, numerics: Numerics) -> Network:
        return Network(spec, numerics)
