"""What is said where frameworks computed with different numbers of threads."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from benchmarks import introspection, threads
from benchmarks.cell import Cell
from benchmarks.machine import Machine
from benchmarks.records import Record

MACHINE = Machine(cpu="x", logical_cores=2, usable_cores=2, memory_bytes=1, system="Linux", python="CPython")


def record(backend: str, device: str = "cpu", **values: Any) -> Record:
    """A process as if it had been timed."""
    cell = Cell(spec="unet_bn_same", backend=backend, phase="forward", size=(16, 32), batch=2, device=device)
    chosen: dict[str, Any] = {"spec_fingerprint": "x", "parameter_count": 1, "flops": 1, "bytes_moved": 1}
    return Record(cell=cell, replicate=1, status="ok", machine=MACHINE, **chosen | values)


TORCH: dict[str, Any] = {"backend": "pytorch", "versions": {"torch": "2.13"}}

JAX: dict[str, Any] = {"backend": "flax_nnx", "versions": {"jax": "0.10", "flax": "0.12"}}


def of_torch(count: int, **values: Any) -> Record:
    return record(**TORCH, threads={"torch": count, "usable_cores": 2}, **values)


def of_jax(count: int | None, **values: Any) -> Record:
    pool = {} if count is None else {"xla": count}
    return record(**JAX, threads=pool | {"usable_cores": 2}, **values)


def test_a_limit_that_one_of_them_heeds_is_named() -> None:
    environment = {"OMP_NUM_THREADS": "1"}
    said = threads.difference([of_torch(1, environment=environment), of_jax(2, environment=environment)])
    assert said == (
        "Threads differ: pytorch 1, flax_nnx 2; OMP_NUM_THREADS=1 limits PyTorch and not XLA. "
        "Unset what limits one alone, or keep all to the same cores (taskset)."
    )
    said = threads.difference([of_torch(2), of_jax(1, environment={"NPROC": "1"})])
    assert said is not None and "NPROC=1 limits XLA and not PyTorch" in said


def test_two_variables_that_limit_the_same_are_named_together() -> None:
    environment = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "2"}
    said = threads.difference([of_torch(1, environment=environment), of_jax(2, environment=environment)])
    assert said is not None and "; OMP_NUM_THREADS=1 and MKL_NUM_THREADS=2 limit PyTorch and not XLA." in said


def test_different_numbers_are_said_where_nothing_in_the_environment_tells_why() -> None:
    said = threads.difference([of_torch(1), of_jax(2)])
    assert said is not None and said.startswith("Threads differ: pytorch 1, flax_nnx 2. ")


def test_a_record_that_does_not_tell_is_believed_to_have_taken_every_core() -> None:
    said = threads.difference([of_torch(1, environment={"OMP_NUM_THREADS": "1"}), of_jax(None)])
    assert said is not None and "flax_nnx not recorded, of 2 usable cores; OMP_NUM_THREADS=1 limits" in said
    assert threads.difference([of_torch(2), of_jax(None)]) is None


@pytest.mark.parametrize(
    "records",
    [
        [of_torch(2), of_jax(2)],
        [of_torch(1, environment={"OMP_NUM_THREADS": "1"}), of_jax(1)],
        [of_torch(1)],
        [of_torch(1, device="cuda"), of_jax(2, device="cuda")],
        [record(**TORCH), record(**JAX)],
    ],
    ids=["alike", "limited alike", "one backend", "on a GPU", "nothing recorded"],
)
def test_nothing_is_said_where_nothing_differs(records: list[Record]) -> None:
    assert threads.difference(records) is None


def test_onnx_runtime_says_it_in_its_flags() -> None:
    values: dict[str, Any] = {"backend": "onnxruntime", "versions": {"torch": "2.13", "onnxruntime": "1.2"}}
    values |= {"threads": {"torch": 1, "usable_cores": 2}, "flags": {"onnxruntime.intra_op_num_threads": "2"}}
    assert threads.by_backend([record(**values)]) == {"onnxruntime": "2"}


def test_the_sentences_of_several_comparisons_come_once() -> None:
    pair = [of_torch(1), of_jax(2)]
    assert len(threads.differences([pair, pair, [of_torch(2), of_jax(2)]])) == 1


COUNT = """
import jax, jax.numpy as jnp
from benchmarks import introspection
jnp.ones(8).block_until_ready()
print(introspection.threads()["xla"])
"""


@pytest.mark.needs_backends("flax_nnx")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells the names of threads")
def test_the_threads_of_xla_are_counted_and_heed_what_is_said_that_they_heed() -> None:
    """Three, on a machine of any number of cores; `OMP_NUM_THREADS` is nothing to it."""
    environment = {"NPROC": "3", "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin", "JAX_PLATFORMS": "cpu"}
    told = subprocess.run([sys.executable, "-c", COUNT], env=environment, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "3"


def test_what_limits_threads_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in threads.VARIABLES:
        monkeypatch.setenv(name, "1")
    assert set(threads.VARIABLES) <= set(introspection.environment())
