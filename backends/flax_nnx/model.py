"""The Flax NNX backend: JAX's engine, with a network of Flax NNX."""

from __future__ import annotations

from shared_specs import UNetSpec

from ..jax_engine.backend import JaxBackend
from ..jax_engine.precision import Numerics
from .capabilities import CAPABILITIES
from .network import Network


class FlaxNNX(JaxBackend):
    name = "flax_nnx"
    capabilities = CAPABILITIES
    packages = ("jax", "jaxlib", "flax", "optax")

    def network(self, spec: UNetSpec, numerics: Numerics) -> Network:
        return Network(spec, numerics)
