"""Train a U-Net in a plain Flax NNX loop. Its twins, train_pytorch.py and train_flax_linen.py, have the same spec,
weights and batches.

plot_loss_curves.py draws the losses of all.

python examples/train_flax_nnx.py --steps 200 --losses flax_nnx.json
"""

from __future__ import annotations

import argparse

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from photographs import batches, write_losses

from backends.flax_nnx import UNet
from backends.flax_nnx.weights import native, to_native
from shared_specs import UNetSpec, initial_weights, load_spec


def build(spec: UNetSpec) -> UNet:
    """The network with the seeded weights that all examples start from."""
    model = UNet(spec, rngs=nnx.Rngs(0))
    weights = initial_weights(spec)
    for tensor in spec.tensors:
        native(model, tensor).set_value(jnp.asarray(to_native(tensor, weights[tensor.name]), jnp.float32))
    return model


@nnx.jit
def train_step(model: UNet, optimizer: nnx.Optimizer, images: jax.Array, labels: jax.Array) -> jax.Array:
    def loss_of(model: UNet) -> jax.Array:
        return optax.softmax_cross_entropy_with_integer_labels(model(images), labels).mean()

    loss, gradients = nnx.value_and_grad(loss_of)(model)
    optimizer.update(model, gradients)
    return loss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--narrow", type=int, default=8, help="divide every width by this")
    parser.add_argument("--losses", metavar="FILE", help="write the loss of every step here")
    arguments = parser.parse_args()

    spec = load_spec("unet_bn_same").narrow(arguments.narrow)
    model = build(spec)
    optimizer = nnx.Optimizer(model, optax.sgd(0.01, momentum=0.9), wrt=nnx.Param)
    model.train()
    losses = []
    for step, (images, labels) in enumerate(batches(spec, arguments.steps), start=1):
        # Flax's images are (N, H, W, C).
        loss = train_step(model, optimizer, jnp.asarray(images.transpose(0, 2, 3, 1)), jnp.asarray(labels))
        losses.append(float(loss))
        print(f"step {step:3}  loss {losses[-1]:.5f}")
    write_losses(arguments.losses, "flax_nnx", losses)


if __name__ == "__main__":
    main()
