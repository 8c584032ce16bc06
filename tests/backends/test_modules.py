"""The networks are ordinary modules of their frameworks, usable in a training loop without the rest of Tandem."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest

from shared_specs import UNetSpec, WeightsError, initial_weights


@pytest.mark.needs_backends("pytorch")
def test_pytorch_unet_trains_in_a_plain_loop(variant):
    import torch

    from backends.pytorch import UNet

    torch.manual_seed(0)
    spec = variant()
    module = UNet(spec)
    assert isinstance(module, torch.nn.Module)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    images, labels = torch.randn(2, 3, 16, 24), torch.randint(0, 10, (2, 16, 24))
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(module(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


@pytest.mark.needs_backends("pytorch")
def test_pytorch_state_dict_is_the_canonical_weights(spec):
    from backends.pytorch import UNet

    state = {name: tuple(value.shape) for name, value in UNet(spec).state_dict().items()}
    counters = {name for name in state if name.endswith("num_batches_tracked")}
    assert {name: shape for name, shape in state.items() if name not in counters} == {
        tensor.name: tensor.shape for tensor in spec.tensors
    }


@pytest.mark.needs_backends("flax_nnx")
def test_flax_unet_trains_in_a_plain_loop(variant):
    import jax
    import optax
    from flax import nnx

    from backends.flax_nnx import UNet

    model = UNet(variant(), rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.sgd(0.1), wrt=nnx.Param)
    images = jax.random.normal(jax.random.key(0), (2, 16, 24, 3))
    labels = jax.random.randint(jax.random.key(1), (2, 16, 24), 0, 10)

    @nnx.jit
    def step(model, optimizer):
        def loss(model):
            return optax.softmax_cross_entropy_with_integer_labels(model(images), labels).mean()

        value, gradients = nnx.value_and_grad(loss)(model)
        optimizer.update(model, gradients)
        return value

    model.train()
    losses = [float(step(model, optimizer)) for _ in range(8)]
    assert losses[-1] < losses[0]
    model.eval()
    assert model.encoder[0].block[0].norm.use_running_average
    assert not np.array_equal(model(images), np.zeros(1))


@pytest.mark.needs_backends("pytorch", "flax_nnx")
def test_canonical_weights_go_in_and_out_of_plain_modules(variant):
    import jax.numpy as jnp
    import torch
    from flax import nnx

    from backends import flax_nnx, pytorch

    spec = variant()
    weights = initial_weights(spec, seed=2, dtype=np.float32)
    module, ported = pytorch.UNet(spec).eval(), flax_nnx.UNet(spec, rngs=nnx.Rngs(0))
    pytorch.load_weights(module, spec, weights)
    flax_nnx.load_weights(ported, spec, pytorch.read_weights(module, spec))
    for name, values in flax_nnx.read_weights(ported, spec).items():
        np.testing.assert_array_equal(values, weights[name], err_msg=name)
    ported.eval()
    images = np.random.default_rng(0).normal(size=(1, 3, 16, 24)).astype(np.float32)
    logits = np.asarray(ported(jnp.asarray(images.transpose(0, 2, 3, 1)))).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(logits, module(torch.from_numpy(images)).detach(), rtol=1e-3, atol=1e-4)
    for load, target in ((pytorch.load_weights, module), (flax_nnx.load_weights, ported)):
        with pytest.raises(WeightsError, match=r"missing head\.bias"):
            load(target, spec, {name: values * 2 for name, values in weights.items() if name != "head.bias"})
    np.testing.assert_array_equal(pytorch.read_weights(module, spec)["head.weight"], weights["head.weight"])


OTHER_NETWORKS = {
    "wider": ({"widths": (5, 10, 20)}, "expected"),
    "with slopes": ({"activation": {"kind": "prelu", "slopes": "per_channel"}}, "it lacks"),
    "without norms": ({"norm": {"kind": "none"}, "block__order": ["conv", "activation"]}, "beside"),
}
"""What the spec that is given has and the module has not, or the other way round, and a word of the refusal."""


def fresh(backend_name: str, spec: UNetSpec) -> tuple[Any, ModuleType]:
    """A module built from the spec, and what copies weights."""
    if backend_name == "pytorch":
        from backends import pytorch

        return pytorch.UNet(spec), pytorch
    import jax
    import jax.numpy as jnp
    from flax import nnx

    from backends import flax_linen, flax_nnx

    if backend_name == "flax_nnx":
        return flax_nnx.UNet(spec, rngs=nnx.Rngs(0)), flax_nnx
    return flax_linen.UNet(spec).init(jax.random.key(0), jnp.zeros((1, 16, 16, 3))), flax_linen


@pytest.mark.parametrize("backend_name", ["pytorch", "flax_nnx", "flax_linen"])
@pytest.mark.parametrize("case", OTHER_NETWORKS)
def test_weights_go_neither_in_nor_out_of_a_module_of_another_spec(backend_name: str, case: str, variant) -> None:
    """Of the two Flax ones, the first would take arrays of any shape; all would leave alone what the spec has not."""
    changes, words = OTHER_NETWORKS[case]
    spec, other = variant(), variant(**changes)
    module, package = fresh(backend_name, spec)
    before = package.read_weights(module, spec)
    with pytest.raises(WeightsError, match=f"the module was not built from variant: .*{words}.*; give the spec"):
        package.load_weights(module, other, initial_weights(other))
    with pytest.raises(WeightsError, match=words):
        package.read_weights(module, other)
    for name, values in package.read_weights(module, spec).items():
        np.testing.assert_array_equal(values, before[name], err_msg=name)


@pytest.mark.needs_backends("pytorch")
def test_canonical_weights_go_into_a_module_that_torch_compile_wraps(variant) -> None:
    import torch

    from backends import pytorch

    spec = variant()
    weights = initial_weights(spec, seed=2, dtype=np.float32)
    module = torch.compile(pytorch.UNet(spec))
    pytorch.load_weights(module, spec, weights)
    for name, values in pytorch.read_weights(module, spec).items():
        np.testing.assert_array_equal(values, weights[name], err_msg=name)


@pytest.mark.needs_backends("flax_nnx")
def test_flax_paths_are_the_canonical_names(spec):
    from flax import nnx

    from backends.flax_nnx import UNet
    from backends.flax_nnx.weights import LEAVES

    module = nnx.eval_shape(lambda: UNet(spec, rngs=nnx.Rngs(0)))
    paths = {".".join(map(str, path)) for path, _ in nnx.to_flat_state(nnx.state(module, (nnx.Param, nnx.BatchStat)))}
    assert paths == {f"{tensor.name.rpartition('.')[0]}.{LEAVES[tensor.leaf][0]}" for tensor in spec.tensors}


@pytest.mark.needs_backends("flax_nnx")
def test_flax_dropout_runs_in_a_plain_loop_and_never_in_a_model(variant):
    import jax.numpy as jnp
    from flax import nnx

    import backends
    from backends.flax_nnx import UNet

    with_dropout = variant(dropout={"rate": 0.5}, block__order=["conv", "norm", "activation", "dropout"])
    module = nnx.jit(lambda: UNet(with_dropout, rngs=nnx.Rngs(0)))()
    forward = nnx.jit(lambda module, images: module(images))
    images = jnp.ones((2, 16, 24, 3))
    module.train()
    assert not np.array_equal(forward(module, images), forward(module, images))
    module.eval()
    np.testing.assert_array_equal(forward(module, images), forward(module, images))

    steps = [
        backends.get("flax_nnx").build(spec).loss_and_gradients(np.ones((2, 3, 16, 24)), np.zeros((2, 16, 24), int))
        for spec in (with_dropout, variant())
    ]
    assert steps[0].loss == steps[1].loss


@pytest.mark.needs_backends("flax_nnx")
def test_flax_levels_without_layers_leave_gaps_in_the_tree():
    from flax import nnx

    from backends.flax_nnx.unet import Branch, hang, layer_at

    layers = {name: Branch() for name in ("decoder.2.up", "decoder.0.block.0.conv", "head")}
    tree = hang(nnx.Module(), layers)
    assert [layer_at(tree, name) for name in layers] == list(layers.values())
    assert len(layer_at(tree, "decoder")) == 3


@pytest.mark.needs_backends("flax_nnx")
def test_float64_does_not_leak_into_the_process(variant):
    import jax
    import jax.numpy as jnp

    import backends
    from backends.contract import Execution

    spec = variant()
    model = backends.get("flax_nnx").build(spec, Execution(precision="float64"))
    images, labels = np.ones((2, 3, 16, 24)), np.zeros((2, 16, 24), int)
    assert model.forward(images).dtype == np.float64
    model.train_step(images, labels)
    model.program("train_step", images, labels)()
    assert not jax.config.jax_enable_x64
    assert jnp.ones(1).dtype == jnp.float32
    narrow = backends.get("flax_nnx").build(spec, Execution(precision="float32"))
    narrow.load_weights(initial_weights(spec))
    assert narrow.forward(images).dtype == np.float32
    assert all(values.dtype == np.float32 for values in narrow.weights().values())
