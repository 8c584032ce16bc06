"""The U-Net as an ordinary equinox.Module."""

from typing import Any

import equinox as eqx
import jax

from shared_specs import UNetSpec
from shared_specs.layout import IMAGES

from .layers import KINDS


class UNet(eqx.Module):
    """A U-Net built from a spec. Maps one image (C, H, W) or (C, D, H, W) to logits (classes, H', W').

    Like any stateful module it is made with `eqx.nn.make_with_state(UNet)(spec, key=key)`, and run on a batch by
    `jax.vmap(model, in_axes=(0, None), out_axes=(0, None), axis_name="batch")(images, state)`.

    Attributes:
        layers: by the canonical name of the spec, so `layers["encoder.0.block.1.conv"].weight` is a kernel.
    """

    layers: dict[str, Any]
    spec: UNetSpec = eqx.field(static=True)

    def __init__(self, spec: UNetSpec, *, key: jax.Array):
        keys = jax.random.split(key, len(spec.layers))
        built = zip(spec.layers, keys, strict=True)
        self.layers = {layer.name: KINDS[layer.kind](layer, spec.dimensions, own) for layer, own in built}
        self.spec = spec

    def __call__(
        self, image: jax.Array, state: eqx.nn.State, *, key: jax.Array | None = None
    ) -> tuple[jax.Array, eqx.nn.State]:
        """The logits, and the running statistics afterwards. Without a key there is no dropout."""
        maps, state = self.maps(image, state, key=key)
        return maps[self.spec.logits], state

    def maps(
        self, image: jax.Array, state: eqx.nn.State, *, key: jax.Array | None = None, deep: bool = False
    ) -> tuple[dict[str, jax.Array], eqx.nn.State]:
        """Every layer's output by its name; with `deep` also those that serve deep supervision alone."""
        maps = {IMAGES: image}
        for layer in self.spec.layers:
            if layer.is_deep and not deep:
                continue
            module, inputs = self.layers[layer.name], [maps[name] for name in layer.inputs]
            if isinstance(module, eqx.nn.StatefulLayer):
                maps[layer.name], state = module(*inputs, state)
            elif isinstance(module, eqx.nn.Dropout):
                key, own = (None, None) if key is None else jax.random.split(key)
                maps[layer.name] = module(*inputs, key=own, inference=True if own is None else None)
            else:
                maps[layer.name] = module(*inputs)
        return maps, state
