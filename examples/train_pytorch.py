"""Train a U-Net in a plain PyTorch loop. Its twins, train_flax_nnx.py and train_flax_linen.py, have the same spec,
weights and batches.

plot_loss_curves.py draws the losses of all.

python examples/train_pytorch.py --steps 200 --losses pytorch.json
"""

from __future__ import annotations

import argparse

import torch
import torch.nn.functional as F
from photographs import batches, write_losses

from backends.pytorch import UNet
from shared_specs import UNetSpec, initial_weights, load_spec


def build(spec: UNetSpec) -> UNet:
    """The network with the seeded weights that all examples start from."""
    model = UNet(spec)
    weights = initial_weights(spec)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name in weights:  # all but batch norm's num_batches_tracked
                tensor.copy_(torch.from_numpy(weights[name]))
    return model


def train_step(
    model: UNet, optimizer: torch.optim.Optimizer, images: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    optimizer.zero_grad()
    loss = F.cross_entropy(model(images), labels)
    loss.backward()
    optimizer.step()
    return loss.detach()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--narrow", type=int, default=8, help="divide every width by this")
    parser.add_argument("--losses", metavar="FILE", help="write the loss of every step here")
    arguments = parser.parse_args()

    spec = load_spec("unet_bn_same").narrow(arguments.narrow)
    model = build(spec)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    model.train()
    losses = []
    for step, (images, labels) in enumerate(batches(spec, arguments.steps), start=1):
        # PyTorch's images are (N, C, H, W), as they come.
        loss = train_step(model, optimizer, torch.from_numpy(images), torch.from_numpy(labels))
        losses.append(loss.item())
        print(f"step {step:3}  loss {losses[-1]:.5f}")
    write_losses(arguments.losses, "pytorch", losses)


if __name__ == "__main__":
    main()
