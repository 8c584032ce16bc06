"""Train a U-Net in a plain Flax Linen loop. Its twins, train_flax_nnx.py and train_pytorch.py, have the same spec,
weights and batches.

plot_loss_curves.py draws the losses of all.

python examples/train_flax_linen.py --steps 200 --losses flax_linen.json
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from photographs import batches, write_losses

from backends.flax_linen import UNet, load_weights
from shared_specs import UNetSpec, initial_weights, load_spec


def build(spec: UNetSpec) -> tuple[UNet, dict[str, Any]]:
    """The network and its variables, with the seeded weights that all examples start from."""
    model = UNet(spec)
    fresh = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 64, 64, spec.in_channels)))
    return model, load_weights(fresh, spec, initial_weights(spec))


def training_step(model: UNet, optimizer: optax.GradientTransformation) -> Callable[..., Any]:
    @jax.jit
    def step(variables: dict[str, Any], state: Any, images: jax.Array, labels: jax.Array) -> Any:
        def loss_of(parameters: Any) -> tuple[jax.Array, Any]:
            held = {**variables, "params": parameters}
            # What batch norm keeps moves in training: Linen returns it beside the logits.
            logits, moved = model.apply(held, images, train=True, mutable=["batch_stats"])
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), moved

        (loss, moved), gradients = jax.value_and_grad(loss_of, has_aux=True)(variables["params"])
        updates, state = optimizer.update(gradients, state, variables["params"])
        return {"params": optax.apply_updates(variables["params"], updates), **moved}, state, loss

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--narrow", type=int, default=8, help="divide every width by this")
    parser.add_argument("--losses", metavar="FILE", help="write the loss of every step here")
    arguments = parser.parse_args()

    spec = load_spec("unet_bn_same").narrow(arguments.narrow)
    model, variables = build(spec)
    optimizer = optax.sgd(0.01, momentum=0.9)
    state, train_step = optimizer.init(variables["params"]), training_step(model, optimizer)
    losses = []
    for step, (images, labels) in enumerate(batches(spec, arguments.steps), start=1):
        # Flax's images are (N, H, W, C).
        images, labels = jnp.asarray(images.transpose(0, 2, 3, 1)), jnp.asarray(labels)
        variables, state, loss = train_step(variables, state, images, labels)
        losses.append(float(loss))
        print(f"step {step:3}  loss {losses[-1]:.5f}")
    write_losses(arguments.losses, "flax_linen", losses)


if __name__ == "__main__":
    main()
