"""Move a PyTorch U-Net's weights to Flax, and prove that the two networks are the same.

python examples/port_weights.py --narrow 8
"""

from __future__ import annotations

import argparse

import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx

import backends
from backends import Execution, flax_nnx, pytorch
from backends.flax_nnx import UNet as FlaxUNet
from backends.pytorch import UNet as PyTorchUNet
from parity import compare_models
from shared_specs import load_spec


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--narrow", type=int, default=8, help="divide every width by this")
    spec = load_spec("unet_bn_same").narrow(parser.parse_args().narrow)

    # The module that is ported: here a fresh one; yours would come with load_state_dict().
    torch.manual_seed(0)
    module = PyTorchUNet(spec)

    # An ordinary Flax module with these weights, for a training loop of your own.
    ported = FlaxUNet(spec, rngs=nnx.Rngs(0))
    flax_nnx.load_weights(ported, spec, pytorch.read_weights(module, spec))

    # The proof is in float64, where no real difference hides in rounding.
    source = backends.get("pytorch").build(spec, Execution(precision="float64"))
    source.load_weights(pytorch.read_weights(module, spec))
    target = backends.get("flax_nnx").build(spec, Execution(precision="float64"))
    target.load_weights(flax_nnx.read_weights(ported, spec))
    verdict = compare_models(source, target, probes=("structure", "forward", "activations"))
    print(verdict)
    if not verdict.equal:
        raise SystemExit(1)

    images = np.random.default_rng(0).normal(size=(1, spec.in_channels, 32, 48)).astype(np.float32)
    module.eval()
    ported.eval()
    with torch.no_grad():
        logits = module(torch.from_numpy(images)).numpy()
    ported_logits = np.asarray(ported(jnp.asarray(images.transpose(0, 2, 3, 1)))).transpose(0, 3, 1, 2)
    print(f"in float32, the logits of the two modules differ by at most {np.abs(logits - ported_logits).max():.1e}")


if __name__ == "__main__":
    main()
