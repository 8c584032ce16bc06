"""`--slurm KEY=VALUE`, read and checked; and what machines of one kind are."""

from __future__ import annotations

import pytest

from benchmarks.machine import Gpu, Machine, differences
from benchmarks.slurm_options import DEFAULT_LIMIT_MIN, SlurmOptions, minutes
from shared_specs import TandemError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90", 90),
        ("90:30", 91),
        ("1:30:00", 90),
        ("0:00:01", 1),
        ("2-00", 2 * 24 * 60),
        ("1-02:03", 24 * 60 + 123),
        ("1-02:03:04", 24 * 60 + 124),
    ],
)
def test_times_are_read_as_slurm_reads_them(text: str, expected: int) -> None:
    assert minutes(text) == expected


def test_what_was_not_given_has_a_default() -> None:
    parameters = SlurmOptions.read([]).parameters()
    assert (parameters["exclusive"], parameters["time"], parameters["nodes"]) == (True, DEFAULT_LIMIT_MIN, 1)
    assert "gpus_per_node" not in parameters


def test_a_gpu_is_asked_for_where_the_cells_need_one() -> None:
    assert SlurmOptions.read([]).parameters(on_gpu=True)["gpus_per_node"] == 1
    assert "gpus_per_node" not in SlurmOptions.read(["gres=gpu:a100:1"]).parameters(on_gpu=True)


def test_nodes_can_be_shared() -> None:
    assert "exclusive" not in SlurmOptions.read(["exclusive=no"]).parameters()
    assert SlurmOptions.read(["exclusive=user"]).parameters()["exclusive"] == "user"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("partition", "expected KEY=VALUE"),
        ("partion=gpu", "did you mean partition"),
        ("partition=", "expected a word"),
        ("time=soon", "expected minutes, or Slurm's HH:MM:SS"),
        ("time=0", "at least a minute"),
        ("gpus=0", "a whole number above 0"),
        ("cpus=many", "a whole number above 0"),
        ("mem=lots", "for instance 64G"),
        ("exclusive=maybe", "yes, no or user"),
        ("partition=gpu\n#SBATCH --account=theirs", "expected a word"),
    ],
)
def test_bad_options_are_one_line(given: str, words: str) -> None:
    with pytest.raises(TandemError, match="--slurm") as caught:
        SlurmOptions.read([given])
    assert words in str(caught.value)


def test_an_option_given_twice_is_refused() -> None:
    with pytest.raises(TandemError, match="got mem twice"):
        SlurmOptions.read(["mem=1G", "mem=2G"])


def machine(memory_bytes: int, gpu_bytes: int = 80 * 2**30) -> Machine:
    gpu = Gpu(name="NVIDIA H100", memory_bytes=gpu_bytes, driver="1")
    return Machine(
        cpu="x", logical_cores=2, usable_cores=2, memory_bytes=memory_bytes, system="s", python="p", gpus=(gpu,)
    )


def test_nodes_of_one_type_differ_by_little_memory() -> None:
    some, other = machine(251 * 2**30), machine(251 * 2**30 + 2**26, 80 * 2**30 + 2**20)
    assert some.kind == other.kind and differences(some, other) == ""
    assert "memory_bytes" in differences(some, machine(503 * 2**30))


SIZES_GIB = ((15.4, 15.6), (30.5, 31.3), (62.45, 62.55), (93.9, 94.2), (187.4, 188.6), (251.4, 251.6), (376.2, 377.5))
SIZES_GIB += ((502.9, 504.1), (1006, 1010), (1510, 1512), (59.9, 60.1), (63.9, 64.1), (39.4, 40), (79.2, 80))
"""What machines of one type show."""


@pytest.mark.parametrize(("low_gib", "high_gib"), SIZES_GIB)
def test_no_boundary_lies_near_a_usual_size(low_gib: float, high_gib: float) -> None:
    low, high = (machine(int(gib * 2**30), int(gib * 2**30)) for gib in (low_gib, high_gib))
    assert low.kind == high.kind and hash(low.kind) == hash(high.kind)


def test_nodes_with_other_modules_are_of_other_kinds() -> None:
    sizes_gib = (8, 12, 16, 24, 32, 48, 64, 80, 96, 112, 128, 192, 256, 384, 512, 768, 1024)
    kinds = [machine(int(0.98 * gib * 2**30)).kind for gib in sizes_gib]
    assert [kind.memory_bytes / 2**30 for kind in kinds] == list(sizes_gib)
