"""Every trap on which ports of U-Nets between frameworks have failed: the fact, and that we do not fall for it."""

from __future__ import annotations

import numpy as np
import pytest

import backends
import parity
from backends.contract import Execution
from parity import check, random_batch
from shared_specs import load_spec
from shared_specs.layout import Pool

pytestmark = pytest.mark.needs_backends("pytorch", "flax_nnx")
FLOAT64 = Execution(precision="float64")
LAYER = "encoder.0.block.0.norm"


def statistics_after_one_batch(backend: str, spec) -> np.ndarray:
    batch = random_batch(spec)
    model = backends.get(backend).build(spec, FLOAT64)
    model.loss_and_gradients(batch.images, batch.labels)
    return model.read_tensor(f"{LAYER}.running_var")


@pytest.mark.parametrize("kept", ["biased", "unbiased"])
def test_running_variance_is_the_estimator_that_the_spec_names(backend_name, variant, kept):
    spec = variant(norm__running_variance=kept, norm__momentum=1.0)
    batch = random_batch(spec)
    model = backends.get(backend_name).build(spec, FLOAT64)
    maps = model.activations(batch.images)["encoder.0.block.0.conv"]
    expected = maps.var(axis=(0, 2, 3), ddof=0 if kept == "biased" else 1)
    np.testing.assert_allclose(statistics_after_one_batch(backend_name, spec), expected, rtol=1e-10)


def test_momentum_is_the_weight_of_the_new_batch(backend_name, variant):
    old = backends.get(backend_name).build(variant(), FLOAT64).read_tensor(f"{LAYER}.running_var")
    new = statistics_after_one_batch(backend_name, variant(norm__momentum=1.0))
    mixed = statistics_after_one_batch(backend_name, variant(norm__momentum=0.25))
    np.testing.assert_allclose(mixed, 0.75 * old + 0.25 * new, rtol=1e-12)


def test_flax_batch_norm_means_the_other_momentum_and_the_biased_variance():
    from flax import nnx

    layer = nnx.BatchNorm(1, momentum=0.9, rngs=nnx.Rngs(0))
    layer(np.asarray([[0.0], [2.0]], np.float32))
    np.testing.assert_allclose(layer.var[...], 0.9 * 1 + 0.1 * 1.0, rtol=1e-6)  # biased: 1, unbiased: 2


@pytest.mark.parametrize(("kernel", "padding"), [(2, 0), (4, 1), (3, 0)])
def test_transposed_convolution_flips_its_kernel_in_every_backend(variant, kernel, padding):
    spec = variant(
        up__kernel=kernel, up__padding=padding, merge__size_mismatch="crop_skip", merge__odd_difference="floor"
    )
    if kernel == 3:  # one pixel more than the skip: pad it away in the encoder instead
        padded = {"size_mismatch": "pad_upsampled", "odd_difference": "floor", "padding_mode": "zeros"}
        spec = variant(up__kernel=3, up__padding=1, **{f"merge__{key}": value for key, value in padded.items()})
    verdict = check(spec, probes=["forward", "activations", "gradients"])
    assert verdict.equal, verdict.first_difference


def test_flax_conv_transpose_does_not_flip_by_default():
    import torch
    from flax import nnx

    weight = np.random.default_rng(0).normal(size=(2, 3, 2, 2)).astype(np.float32)
    x = np.random.default_rng(1).normal(size=(1, 2, 4, 5)).astype(np.float32)
    expected = torch.nn.functional.conv_transpose2d(torch.tensor(x), torch.tensor(weight), stride=2).numpy()
    results = {}
    for transpose_kernel, axes in ((False, (2, 3, 0, 1)), (True, (2, 3, 1, 0))):
        layer = nnx.ConvTranspose(
            2, 3, (2, 2), (2, 2), padding="VALID", use_bias=False, transpose_kernel=transpose_kernel, rngs=nnx.Rngs(0)
        )
        layer.kernel[...] = weight.transpose(axes)
        results[transpose_kernel] = np.asarray(layer(x.transpose(0, 2, 3, 1))).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(results[True], expected, rtol=1e-4, atol=1e-5)
    assert np.abs(results[False] - expected).max() > 0.1


def test_same_padding_is_not_padding_one_and_is_not_used(variant):
    import jax
    import torch
    from flax import nnx

    from backends.flax_nnx.layers import Conv

    x = np.random.default_rng(0).normal(size=(1, 1, 6, 6)).astype(np.float32)
    weight = np.random.default_rng(1).normal(size=(1, 1, 3, 3)).astype(np.float32)
    padded = torch.nn.functional.conv2d(torch.tensor(x), torch.tensor(weight), stride=2, padding=1).numpy()
    same = jax.lax.conv_general_dilated(x, weight, (2, 2), "SAME")
    assert np.abs(np.asarray(same) - padded).max() > 0.1

    model = backends.get("flax_nnx").build(variant(conv__kernel=5, conv__padding=2), FLOAT64)
    module = nnx.merge(model.network.graph, model.network.abstract)
    convolutions = [node for _, node in nnx.iter_modules(module) if isinstance(node, Conv)]
    assert len(convolutions) == 11
    assert {node.settings.padding for node in convolutions} == {(2, 2), (0, 0)}


@pytest.mark.parametrize(("difference", "margin"), [(1, 0), (3, 2), (5, 2), (7, 4), (2, 1)])
def test_centre_crop_rounds_half_to_even_as_torchvision(difference, margin):
    merge = load_spec("unet_bn_crop").merge
    assert merge.margin(difference) == margin == int(round(difference / 2.0))


def test_the_crop_is_where_the_rounding_says(backend_name):
    spec = load_spec("unet_bn_crop").narrow(16)
    batch = random_batch(spec, count=1)
    activations = backends.get(backend_name).build(spec, FLOAT64).activations(batch.images)
    told_apart = 0
    for level in range(spec.levels - 1):
        skip, merged = activations[f"encoder.{level}.block.1.activation"], activations[f"decoder.{level}.merge"]
        rows, columns = (skip.shape[axis] - merged.shape[axis] for axis in (2, 3))
        top, left = int(round(rows / 2.0)), int(round(columns / 2.0))
        told_apart += (top != rows // 2) + (left != columns // 2)
        inner = skip[:, :, top : top + merged.shape[2], left : left + merged.shape[3]]
        np.testing.assert_array_equal(merged[:, : skip.shape[1]], inner)
    assert told_apart, "no difference of this batch tells the two roundings apart"


def test_group_norm_has_the_spec_epsilon_and_not_flax_default(variant):
    from flax import nnx

    spec = variant(norm={"kind": "group", "groups": 2, "epsilon": 1e-5})
    assert nnx.GroupNorm(4, 2, rngs=nnx.Rngs(0)).epsilon == 1e-6
    verdict = check(spec, probes=["activations", "gradients"])
    assert verdict.equal, verdict.first_difference
    with_default = backends.get("flax_nnx").build(
        variant(norm={"kind": "group", "groups": 2, "epsilon": 1e-6}), FLOAT64
    )
    from parity import compare_models

    reference = backends.get("numpy_reference").build(spec, FLOAT64)
    fault = compare_models(reference, with_default, probes=["activations"]).first_difference
    assert fault is not None
    assert fault.quantity == LAYER


@pytest.mark.parametrize("align_corners", [True, False])
def test_bilinear_aligns_corners_as_the_spec_says(variant, align_corners):
    spec = variant(up={"kind": "linear", "scale": 2, "align_corners": align_corners})
    verdict = check(spec, probes=["forward", "activations", "gradients"])
    assert verdict.equal, verdict.first_difference


def test_jax_resize_has_no_aligned_corners():
    import jax
    import torch

    x = np.arange(12, dtype=np.float32).reshape(1, 1, 3, 4)
    resized = np.asarray(jax.image.resize(x, (1, 1, 6, 8), "bilinear"))
    outcomes = {
        align: torch.nn.functional.interpolate(
            torch.tensor(x), scale_factor=2, mode="bilinear", align_corners=align
        ).numpy()
        for align in (True, False)
    }
    np.testing.assert_allclose(resized, outcomes[False], rtol=1e-5, atol=1e-5)
    assert np.abs(resized - outcomes[True]).max() > 0.1


def test_variance_does_not_cancel_in_float32():
    import jax.numpy as jnp
    from flax import nnx

    from backends.flax_nnx.layers import BatchNorm
    from backends.jax_engine.precision import Numerics

    x = (np.random.default_rng(0).normal(size=(2, 16, 16, 1)) + 3000.0).astype(np.float32)
    expected = (x.astype(np.float64) - x.mean(dtype=np.float64)) / x.astype(np.float64).std()
    ours = BatchNorm(load_spec("unet_bn_same").norm, 1, Numerics())
    fast = nnx.BatchNorm(1, rngs=nnx.Rngs(0))
    assert np.abs(np.asarray(ours(jnp.asarray(x))) - expected).max() < 2e-3
    assert np.abs(np.asarray(fast(jnp.asarray(x))) - expected).max() > 1e-2


def test_max_pool_takes_the_first_maximum_and_lets_nan_through():
    import jax
    import torch

    from backends.flax_nnx.resampling import MaxPool

    x = np.array([[1, 1, 0, 2], [1, 1, 2, 2], [0, np.nan, 5, 4], [3, 2, 4, 5]], np.float32)
    weight = np.array([[1, 10], [100, 1000]], np.float32)
    tensor = torch.tensor(x[None, None], requires_grad=True)
    pooled = torch.nn.functional.max_pool2d(tensor, 2)
    (pooled * torch.tensor(weight)).nan_to_num().sum().backward()
    pool = MaxPool(Pool(kernel=(2, 2), stride=(2, 2), padding=(0, 0)))

    def total(x):
        y = pool(x[None, :, :, None])[0, :, :, 0]
        return jax.numpy.nan_to_num(y * weight).sum(), y

    gradient, ours = jax.grad(total, has_aux=True)(jax.numpy.asarray(x))
    np.testing.assert_array_equal(ours, pooled.detach()[0, 0])
    np.testing.assert_array_equal(gradient, tensor.grad[0, 0])


def test_pytorch_float32_is_exact_whatever_the_user_set(variant):
    import torch

    from backends.pytorch.precision import ENGINES

    spec = variant()
    model = backends.get("pytorch").build(spec, Execution(precision="float32"))
    seen = []
    model.module.head.register_forward_hook(lambda *_: seen.append([engine.fp32_precision for engine in ENGINES]))
    before = torch.backends.cudnn.conv.fp32_precision, torch.backends.mkldnn.matmul.fp32_precision
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"
    try:
        batch = random_batch(spec)
        model.forward(batch.images)
        model.loss_and_gradients(batch.images, batch.labels)
        model.program("train_step", batch.images, batch.labels)()
        assert torch.backends.mkldnn.matmul.fp32_precision == "bf16"
    finally:
        torch.backends.mkldnn.matmul.fp32_precision = before[1]
    assert seen == [["ieee"] * len(ENGINES)] * 3
    assert set(model.flags().values()) == {"ieee", "torch.float32", "off", "False"}
    assert model.effective_precision() == "float32"
    assert (torch.backends.cudnn.conv.fp32_precision, torch.backends.mkldnn.matmul.fp32_precision) == before


@pytest.mark.parametrize(
    ("precision", "asked"), [("float64", "HIGHEST"), ("float32", "HIGHEST"), ("bfloat16", "HIGHEST")]
)
def test_flax_products_ask_for_the_precision(variant, precision, asked):
    spec = variant()
    model = backends.get("flax_nnx").build(spec, Execution(precision=precision))
    dtypes = {"float64": ("float64", "float64"), "float32": ("float32", "float32"), "bfloat16": ("float32", "bfloat16")}
    held, computes_in = dtypes[precision]
    flags = {"precision": asked, "computes_in": computes_in, "dtype": held, "devices": "1"}
    assert model.flags() == flags | {"jax_enable_x64": str(precision == "float64")}
    assert model.effective_precision() == precision


def test_flax_reads_its_precision_from_the_program():
    """A product that asks for less is told apart, whatever the flags say."""
    import jax

    from backends.jax_engine.precision import effective

    def program(precision):
        return lambda a, b: jax.jit(lambda a, b: jax.numpy.matmul(a, b, precision=precision))(a, b) @ b

    exact, x = jax.lax.Precision.HIGHEST, np.ones((2, 2), np.float32)
    with jax.default_matmul_precision("highest"):
        assert effective(jax.make_jaxpr(program(exact))(x, x).jaxpr) == "float32"
        assert effective(jax.make_jaxpr(program(None))(x, x).jaxpr) == "float32"
        assert effective(jax.make_jaxpr(program(jax.lax.Precision.HIGH))(x, x).jaxpr) == "float32 and tf32"
    assert effective(jax.make_jaxpr(lambda x: x + 1)(x).jaxpr) == "no products"


def test_flax_sums_bias_gradients_in_float32_beside_bfloat16(variant):
    """nnx.Conv adds its bias in the dtype of the maps; summed there, its gradient lies 76 floors away."""
    verdict = parity.check(variant(), ["flax_nnx"], Execution(precision="bfloat16"), "gradients")
    biases = [m.distance for m in verdict.measurements if m.quantity.endswith("conv.bias")]
    assert biases and max(biases) < 3


@pytest.mark.needs_backends("pytorch")
def test_the_gradients_of_a_layer_norm_are_not_summed_in_bfloat16() -> None:
    """PyTorch 2.13 on a CPU sums those of a bfloat16 map so; thousands of terms then add up to a quarter."""
    import torch

    from backends.pytorch.layers import ChannelNorm

    gradients = {}
    for dtype in (torch.bfloat16, torch.float32):
        maps = torch.randn((2, 4, 64, 64), generator=torch.Generator().manual_seed(0)).to(dtype)
        norm = ChannelNorm(4)
        (norm(maps).float() + 1).square().mean().backward()
        assert norm.weight.grad is not None
        gradients[dtype] = norm.weight.grad
    torch.testing.assert_close(gradients[torch.bfloat16], gradients[torch.float32], rtol=0.02, atol=0)
