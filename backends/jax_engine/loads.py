"""Work that shows what JAX can reach on a device: a matrix product, a convolution and a copy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ..contract import Execution, Load, LoadSizes
from .precision import numerics


def loads(execution: Execution, sizes: LoadSizes) -> list[Load]:
    kind, _, index = execution.device.partition(":")
    device, how = jax.devices(kind)[int(index or 0)], numerics(execution)

    def random(*shape: int) -> jax.Array:
        return jax.device_put(jax.random.normal(jax.random.key(0), shape, jnp.float32).astype(how.dtype), device)

    def timed(run: Callable[..., jax.Array], *arguments: Any) -> Callable[[], None]:
        program = jax.jit(run)

        def once() -> None:
            with jax.enable_x64(execution.precision == "float64"):
                program(*arguments).block_until_ready()

        return once

    n, (batch, channels, side) = sizes.matrix, sizes.maps
    with jax.enable_x64(execution.precision == "float64"):
        left, right = random(n, n), random(n, n)
        maps, kernel = random(batch, side, side, channels), random(3, 3, channels, channels)
        source = jax.device_put(jnp.ones(sizes.copied_bytes // jnp.dtype(how.dtype).itemsize, how.dtype), device)

    def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), precision=how.precision
        )

    return [
        Load(
            "matrix product",
            timed(lambda a, b: jnp.matmul(a, b, precision=how.precision), left, right),
            flops=sizes.matrix_flops,
        ),
        Load("convolution", timed(convolve, maps, kernel), flops=sizes.convolution_flops),
        # Negation, since a plain copy is one that XLA leaves out.
        Load("copy", timed(jnp.negative, source), bytes_moved=2 * sizes.copied_bytes),
    ]
