"""The Linen module as a user has it: its variables, training in a plain loop, and its Orbax folders beside NNX's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends import checkpoints
from shared_specs import UNetSpec, WeightsError, initial_weights

Variant = Callable[..., UNetSpec]

pytestmark = pytest.mark.needs_backends("flax_linen", "flax_nnx")


def variables_of(spec: UNetSpec) -> Any:
    """As a user makes them, in one compiled program."""
    import jax
    import jax.numpy as jnp

    from backends.flax_linen import UNet

    return jax.jit(UNet(spec).init)(jax.random.key(0), jnp.ones((2, 16, 24, spec.in_channels)))


def paths(tree: Any) -> set[str]:
    import jax

    return {".".join(key.key for key in path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)}


def bits(weights: dict[str, np.ndarray]) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    return {name: (values.dtype.name, values.shape, values.tobytes()) for name, values in weights.items()}


def test_trains_in_a_plain_loop(variant: Variant) -> None:
    import jax
    import optax

    from backends.flax_linen import UNet

    spec = variant()
    model, variables = UNet(spec), variables_of(spec)
    images = jax.random.normal(jax.random.key(0), (2, 16, 24, 3))
    labels = jax.random.randint(jax.random.key(1), (2, 16, 24), 0, 10)
    optimizer = optax.sgd(0.1)

    @jax.jit
    def step(parameters: Any, statistics: Any, state: Any) -> Any:
        def loss(parameters: Any) -> Any:
            held = {"params": parameters, "batch_stats": statistics}
            logits, moved = model.apply(held, images, train=True, mutable=["batch_stats"])
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), moved["batch_stats"]

        (value, moved), gradients = jax.value_and_grad(loss, has_aux=True)(parameters)
        updates, state = optimizer.update(gradients, state, parameters)
        return optax.apply_updates(parameters, updates), moved, state, value

    parameters, statistics = variables["params"], variables["batch_stats"]
    state, losses = optimizer.init(parameters), []
    for _ in range(8):
        parameters, statistics, state, value = step(parameters, statistics, state)
        losses.append(float(value))
    assert losses[-1] < losses[0]
    moved = jax.tree.map(lambda one, other: not np.array_equal(one, other), statistics, variables["batch_stats"])
    assert all(jax.tree.leaves(moved))


def test_paths_of_variables_are_the_canonical_names(spec: UNetSpec) -> None:
    import jax
    import jax.numpy as jnp

    from backends.flax_linen import UNet
    from backends.flax_linen.weights import native
    from shared_specs.shapes import smallest_input

    images = jax.ShapeDtypeStruct((1, *(smallest_input(spec),) * 2, spec.in_channels), jnp.float32)
    variables = jax.eval_shape(UNet(spec).init, jax.random.key(0), images)
    assert paths(variables) == {".".join(native(tensor)) for tensor in spec.tensors}
    assert ".".join(native(spec.tensors[0])) == "params.encoder.0.block.0.conv.kernel"


def test_init_makes_the_heads_that_only_training_has(variant: Variant) -> None:
    spec = variant(deep_supervision={"levels": [1], "weights": [1.0, 0.5]})
    assert "deep_head" in variables_of(spec)["params"]


def test_parameters_are_counted_where_no_square_images_fit(variant: Variant) -> None:
    """Heights have to be even and widths odd: the first block takes a column away, and there is no crop."""
    import backends
    from shared_specs import ShapeError
    from shared_specs.shapes import feature_shapes, smallest_input

    narrower = {"part": "encoder", "levels": [0], "conv": {"kernel": (1, 2), "padding": 0}}
    spec = variant(widths=[4, 8], block__convolutions=1, override=[narrower])
    with pytest.raises(ShapeError, match="no square input"):
        smallest_input(spec)
    model = backends.get("flax_linen").build(spec)
    assert model.parameter_count() == spec.parameter_count
    images = np.random.default_rng(0).normal(size=(2, 3, 8, 9))
    assert model.forward(images).shape == feature_shapes(spec, images.shape)[spec.logits]


def test_dropout_runs_in_training_and_never_in_a_model(variant: Variant) -> None:
    import jax
    import jax.numpy as jnp

    import backends
    from backends.flax_linen import UNet

    spec = variant(dropout={"rate": 0.5}, block__order=["conv", "norm", "activation", "dropout"])
    model, variables, images = UNet(spec), variables_of(spec), jnp.ones((2, 16, 24, 3))

    @jax.jit
    def train(key: Any) -> Any:
        return model.apply(variables, images, train=True, mutable=["batch_stats"], rngs={"dropout": key})[0]

    one, again, other = train(jax.random.key(0)), train(jax.random.key(0)), train(jax.random.key(1))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)
    evaluate = jax.jit(lambda images: model.apply(variables, images))
    np.testing.assert_array_equal(evaluate(images), evaluate(images))

    steps = [
        backends.get("flax_linen").build(spec).loss_and_gradients(np.ones((2, 3, 16, 24)), np.zeros((2, 16, 24), int))
        for spec in (spec, variant())
    ]
    assert steps[0].loss == steps[1].loss


def test_canonical_weights_go_in_and_out_of_variables(variant: Variant) -> None:
    from backends import flax_linen

    spec = variant()
    weights, fresh = initial_weights(spec, seed=2, dtype=np.float32), variables_of(spec)
    before = bits(flax_linen.read_weights(fresh, spec))
    variables = flax_linen.load_weights(fresh, spec, weights)
    assert bits(flax_linen.read_weights(variables, spec)) == bits(weights)
    assert bits(flax_linen.read_weights(fresh, spec)) == before
    with pytest.raises(WeightsError, match=r"missing head\.bias"):
        flax_linen.load_weights(fresh, spec, {name: values for name, values in weights.items() if name != "head.bias"})


# -------------------------------------------------------------------------------------------------- Orbax's folders

NETWORKS: dict[str, dict[str, Any]] = {
    "2d": {},
    "3d": {"dimensions": 3},
    "prelu, no statistics": {
        "norm": {"kind": "none"},
        "block__order": ["conv", "activation"],
        "activation": {"kind": "prelu", "slopes": "per_channel"},
    },
    "dropout": {"dropout": {"rate": 0.1}, "block__order": ["conv", "norm", "dropout", "activation"]},
}


@pytest.mark.parametrize("changes", NETWORKS.values(), ids=NETWORKS)
def test_nnx_to_linen_and_back_to_the_last_bit(tmp_path: Path, variant: Variant, changes: dict[str, Any]) -> None:
    """Each folder is recognised for what it is, and the last has the bytes of the first."""
    spec = variant(**changes)
    weights = initial_weights(spec, dtype=np.float32)
    weights[spec.tensors[0].name].ravel()[:3] = [
        -0.0,
        np.finfo(np.float32).smallest_subnormal,
        np.finfo(np.float32).max,
    ]
    checkpoints.get("flax_nnx").write(tmp_path / "0", spec, weights)
    chain = ("flax_nnx", "flax_linen", "flax_nnx")
    for number, (source, target) in enumerate(zip(chain, chain[1:], strict=False)):
        path = tmp_path / str(number)
        assert checkpoints.format_of_folder(path) == source
        assert [checkpoints.get(name).is_checkpoint(path) for name in (source, target)] == [True, False]
        read = checkpoints.get(source).to_canonical(spec, checkpoints.get(source).read(path).tensors)
        checkpoints.get(target).write(tmp_path / str(number + 1), spec, read)
    first, last = (checkpoints.get("flax_nnx").read(tmp_path / name).tensors for name in ("0", "2"))
    assert bits(first) == bits(last)
    assert bits(checkpoints.get("flax_nnx").to_canonical(spec, last)) == bits(weights)


def as_train_state(variables: Any) -> Any:
    """As `flax.training.train_state.TrainState` is saved that has the statistics beside the parameters."""
    import optax

    return {**variables, "opt_state": optax.adam(1e-3).init(variables["params"]), "step": 3}


SAVED: dict[str, tuple[Callable[[Any], Any], tuple[str, ...]]] = {
    "variables": (lambda variables: variables, ()),
    "training state": (as_train_state, ("left out beside the variables: opt_state, step",)),
    "variables as parameters": (
        lambda variables: {"params": variables, "step": 3},
        ("left out beside the variables: step",),
    ),
    "in a state": (
        lambda variables: {"state": as_train_state(variables), "epoch": 1},
        ("taken from 'state', leaving epoch",),
    ),
}


@pytest.mark.parametrize(("tree", "remarks"), SAVED.values(), ids=SAVED)
def test_what_users_save_is_read(
    tmp_path: Path, variant: Variant, tree: Callable[[Any], Any], remarks: tuple[str, ...]
) -> None:
    import orbax.checkpoint as ocp

    from backends import flax_linen

    spec = variant()
    variables = variables_of(spec)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "x", tree(variables))
    assert checkpoints.format_of_folder(tmp_path / "x") == "flax_linen"
    found = checkpoints.get("flax_linen").read(tmp_path / "x")
    canonical = checkpoints.get("flax_linen").to_canonical(spec, found.tensors)
    assert bits(canonical) == bits(flax_linen.read_weights(variables, spec))
    assert found.remarks[: len(remarks)] == remarks


def test_orbax_restores_what_is_written(tmp_path: Path, variant: Variant) -> None:
    import orbax.checkpoint as ocp

    from backends import flax_linen

    spec = variant()
    weights = initial_weights(spec, dtype=np.float32)
    checkpoints.get("flax_linen").write(tmp_path / "x", spec, weights)
    with ocp.StandardCheckpointer() as checkpointer:
        restored = checkpointer.restore(tmp_path / "x", variables_of(spec))
    assert bits(flax_linen.read_weights(restored, spec)) == bits(weights)


def test_what_the_module_has_no_place_for_keeps_a_name(variant: Variant) -> None:
    values = np.zeros((3, 3))
    found = checkpoints.get("flax_linen").to_canonical(
        variant(), {"params.head.kernel": values, "params.Conv_0.kernel": values, "batch_stats.head.mean": values}
    )
    of_the_variables = [f"{name} of the Linen variables" for name in ("params.Conv_0.kernel", "batch_stats.head.mean")]
    assert list(found) == ["head.weight", *of_the_variables]


@pytest.mark.parametrize(
    "content", [b"{", b"[]", b'{"tree_metadata": {"(1": 0}}', b'{"tree_metadata": 3}', b"\xff", b""], ids=repr
)
def test_a_folder_that_says_nonsense_is_none_of_linen(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "_METADATA").write_bytes(content)
    assert checkpoints.format_of_folder(tmp_path) == "flax_nnx"
    assert not checkpoints.get("flax_linen").is_checkpoint(tmp_path)


def test_folders_are_told_apart_without_a_framework(tmp_path: Path) -> None:
    import subprocess
    import sys

    (tmp_path / "_METADATA").write_text("{\"tree_metadata\": {\"('params', 'head', 'kernel')\": {}}}")
    code = f"""
import sys
from pathlib import Path
from backends import checkpoints
assert checkpoints.format_of_folder(Path({str(tmp_path)!r})) == "flax_linen"
assert not {{"jax", "flax", "orbax"}} & set(sys.modules)
"""
    root = Path(checkpoints.__file__).parents[1]
    ended = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
