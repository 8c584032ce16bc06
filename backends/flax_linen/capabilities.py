"""What Flax Linen can do here: all that the engine can. Loads no framework."""

from ..jax_engine.capabilities import CAPABILITIES

__all__ = ["CAPABILITIES"]
