"""What a group of replicas may take: time to start, memory, devices; and that it leaves a GPU to whoever needs it."""

from __future__ import annotations

import multiprocessing
import os
import queue
from pathlib import Path

import psutil
import pytest

import backends
import parity
from backends import BackendError, Execution, contract, registry
from backends.devices import too_few_for
from backends.replicas import ReplicaFailure, ReplicaGroup
from backends.replicas.calls import Arrived, Rank, ask_all
from benchmarks import device_scaling, machine
from parity import replicas as probe
from shared_specs import Recipe, TandemError
from tests.backends.ranks import idle
from tests.conftest import small_variant

ROOT = Path(__file__).parent.parent.parent
MIB = 2**20
PREALLOCATE = "XLA_PYTHON_CLIENT_PREALLOCATE"
pytestmark = pytest.mark.usefixtures("nothing_left")


# ---------------------------------------------------------------------------------------------------------- the start

STUCK = {
    "stopped before it runs": ("os.kill(os.getpid(), signal.SIGSTOP)", "its process is stopped"),
    "stopped within the handshake": (
        "connection.answer_challenge = lambda *_: os.kill(os.getpid(), signal.SIGSTOP)",
        "its process is stopped",
    ),
    "hangs within the handshake": ("connection.answer_challenge = lambda *_: time.sleep(600)", "rank 0 is at .*, line"),
    "hangs before it calls": ("time.sleep(600)", "rank 0 has not begun"),
}
"""What goes on in rank 0 when Python starts, and what is said of it."""


def sick(folder: Path, what: str, time_limit_s: float = 20.0) -> ReplicaGroup:
    """A group of which Python runs some lines at the start of rank 0."""
    lines = ["import os, signal, time", "from multiprocessing import connection", 'if os.environ.get("RANK") == "0":']
    (folder / "sitecustomize.py").write_text("\n".join([*lines, f"    {what}"]))
    return idle(time_limit_s=time_limit_s, PYTHONPATH=os.pathsep.join([str(folder), str(ROOT)]))


@pytest.mark.parametrize("case", STUCK.values(), ids=STUCK)
def test_a_rank_that_does_not_get_through_the_handshake_is_named(tmp_path: Path, case: tuple[str, str]) -> None:
    what, said = case
    group = sick(tmp_path, what, time_limit_s=2.0)
    message = rf"^rank 0 of 2 replicas of numpy_reference gave no answer to 'start' within 2 s \(.*{said}.*\); all of"
    with pytest.raises(ReplicaFailure, match=message) as failure:
        group.__enter__()
    assert (failure.value.rank, failure.value.status) == (0, "timed_out")


def test_a_rank_that_ends_before_it_calls_is_named(tmp_path: Path) -> None:
    group = sick(tmp_path, 'print("good bye", flush=True); os._exit(3)')
    with pytest.raises(ReplicaFailure, match=r"^rank 0 of 2 .* did not start: good bye") as failure:
        group.__enter__()
    assert (failure.value.rank, failure.value.status) == (0, "failed")


def test_who_calls_without_the_secret_is_no_rank(tmp_path: Path) -> None:
    """It hangs up, and the group fails by its own rank, which is missing."""
    stranger = "connection.answer_challenge = lambda line, key: connection.Connection.send_bytes(line, b'guessed')"
    with pytest.raises(ReplicaFailure, match=r"^rank 0 of 2 replicas of numpy_reference"):
        sick(tmp_path, stranger, time_limit_s=5.0).__enter__()


# ------------------------------------------------------------------------------------------------------------- memory


def test_a_rank_that_takes_more_than_is_free_is_named() -> None:
    with idle() as group:
        held = sum(psutil.Process(pid).memory_info().rss for pid in group.pids)
        assert group.ask("take", rank=1, megabytes=384, hold_s=0.3) == [0, 384 * MIB]  # as much as is free here
        group.memory_limit_bytes = held + 128 * MIB
        message = (
            r"^rank 1 of 2 .* held 0\.\d GiB, and all of them more than the 0\.\d GiB that were free, during 'take'$"
        )
        with pytest.raises(ReplicaFailure, match=message) as failure:
            group.ask("take", rank=1, megabytes=384, hold_s=600)
    assert (failure.value.rank, failure.value.status) == (1, "out_of_memory")


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (MemoryError("Unable to allocate 9 GiB"), "out_of_memory", "MemoryError: Unable to"),
        (TypeError("no"), "failed", "no"),
    ],
    ids=["memory", "pickle"],
)
def test_a_question_that_cannot_be_sent_is_no_rank_that_hangs(error: Exception, status: str, words: str) -> None:
    """It would be waited for until the time is over."""

    class Unsendable:
        def __reduce__(self) -> str:
            raise error

    ours, theirs = multiprocessing.Pipe()
    arrived: Arrived = queue.SimpleQueue()
    with ours, theirs:
        for thread in ask_all([Rank(1, ours, psutil.Process())], [Unsendable()], arrived):
            thread.join(10)
    number, answer = arrived.get(timeout=0)
    assert number == 1 and answer is not None
    assert answer["status"] == status and words in answer["message"]


def test_what_ranks_share_counts_once() -> None:
    """The libraries of a framework are in the figure of every rank."""
    with idle() as group:
        memory = [psutil.Process(pid).memory_info() for pid in group.pids]
        own = sum(each.rss - each.shared for each in memory)
        assert min(each.shared for each in memory) > 4 * MIB
        group.memory_limit_bytes = own + max(each.shared for each in memory) + 2 * MIB
        assert group.ask("echo", value=1) == [1, 1]
        group.memory_limit_bytes = own
        with pytest.raises(ReplicaFailure, match=r"that were free, during 'echo'$"):
            group.ask("echo", value=1)


# ------------------------------------------------------------------------------------------------------------ devices


@pytest.mark.parametrize(
    ("replicas", "kind", "found", "sentence"),
    [
        (3, "cpu", 2, "each of which takes one core, and this machine has 2 cores; take 2 replicas"),
        (9, "cpu", 8, "each of which takes one core, and this machine has 8 cores; take 8 replicas or fewer"),
        (2, "cpu", 1, "each of which takes one core, and this machine has 1 core; take a machine with more cores"),
        (
            2,
            "cuda",
            0,
            "each of which takes one cuda device, and this machine has 0 cuda devices; "
            "take a machine with more cuda devices, or --device cpu",
        ),
    ],
)
def test_too_many_are_told_how_many_there_may_be(replicas: int, kind: str, found: int, sentence: str) -> None:
    assert too_few_for(replicas, kind, found) == f"got {replicas} replicas, {sentence}"
    assert too_few_for(max(found, 1), kind, max(found, 1)) is None


def test_a_check_and_a_timing_take_as_many_as_there_are_cores(
    backend_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One rule, and one sentence."""
    here = machine.this_machine().model_copy(update={"usable_cores": 3, "gpus": ()})
    monkeypatch.setattr(device_scaling.machine, "this_machine", lambda: here)
    monkeypatch.setattr(contract, "usable_core_count", lambda: 3)
    backend = backends.get(backend_name)
    backend.check_replicas(Execution("cpu"), 3)
    assert device_scaling.check_devices("cpu", 3) == 1
    with pytest.raises(BackendError) as of_check:
        backend.check_replicas(Execution("cpu"), 4)
    with pytest.raises(TandemError) as of_timing:
        device_scaling.check_devices("cpu", 4)
    assert str(of_check.value) == str(of_timing.value) == too_few_for(4, "cpu", 3)


def test_replicas_without_devices_are_refused(backend_name: str) -> None:
    backend = backends.get(backend_name)
    with pytest.raises(BackendError, match=r"^cpu:0 is one device, and replicas take one each; give cpu$"):
        backend.check_replicas(Execution("cpu:0"), 2)
    gpus = sum(name.startswith("cuda") for name in backend.devices())
    with pytest.raises(BackendError, match=rf"^got {gpus + 1} replicas, .* this machine has {gpus} cuda device"):
        backend.check_replicas(Execution("cuda"), gpus + 1)


# ------------------------------------------------------------------------------------------------- the memory of a GPU


class Seen(Exception):
    """Enough was seen."""


def test_ranks_of_a_check_leave_memory_of_the_gpu_to_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of all backends are there at once, and each of JAX's would take most of its GPU's."""
    monkeypatch.delenv(PREALLOCATE, raising=False)
    spec, batch, given = small_variant(widths=[2, 4]), parity.random_batch(small_variant(), count=2), dict[str, str]()

    def group(*_: object, environment: dict[str, str]) -> ReplicaGroup:
        given.update(environment)
        raise Seen

    monkeypatch.setattr(probe, "ReplicaGroup", group)
    execution, recipe = Execution(precision="float64"), Recipe(batch_statistics="per_replica")
    together = probe.Replicas(spec, [], execution, recipe, 2, batch, {})
    together.names = ["flax_nnx"]
    with pytest.raises(Seen):
        together.compare({}, execution=execution, seed=0, steps=1, on_progress=None)
    with idle(**given) as started:
        assert started.ask("variable", name=PREALLOCATE) == ["false", "false"]


def test_what_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PREALLOCATE, "true")
    assert probe.environment() == {}


@pytest.mark.needs_backends("pytorch")
def test_no_model_of_one_device_is_there_while_replicas_train(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be on the GPU of rank 0."""
    built: list[str] = []

    def compare(*_: object, **__: object) -> parity.Verdict:
        assert built == []
        raise Seen

    monkeypatch.setattr(probe.Replicas, "compare", compare)
    monkeypatch.setattr(type(registry.get("pytorch")), "build", lambda *_: built.append("pytorch"))
    monkeypatch.setattr(contract, "usable_core_count", lambda: 2)
    recipe = Recipe(batch_statistics="per_replica")
    with pytest.raises(Seen):
        parity.check(small_variant(), ["pytorch"], recipe=recipe, replicas=2)
