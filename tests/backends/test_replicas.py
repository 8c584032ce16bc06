"""Groups of processes that train together: what they answer, how they fail, and that nothing is left of them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

import backends
from backends import BackendError, Execution
from backends.devices import usable_core_count
from backends.replicas import ReplicaFailure, ReplicaGroup
from backends.replicas.starts import free_port, port_was_taken
from parity import random_batch
from shared_specs import Recipe, ShapeError
from tests.backends.ranks import idle
from tests.conftest import small_variant

ROOT = Path(__file__).parent.parent.parent
OWN = Recipe(batch_statistics="per_replica")


def _ended(processes: set[psutil.Process]) -> bool:
    gone, alive = psutil.wait_procs(processes, timeout=10)
    return len(gone) == len(processes) and not alive


@pytest.mark.usefixtures("nothing_left")
def test_every_rank_answers_in_order_and_has_its_own_cores() -> None:
    large = np.arange(300_000.0)  # more than a pipe holds
    with idle(2) as group:
        places = group.ask("place")
        assert [place[:2] for place in places] == [(0, 2), (1, 2)]
        assert [found.sum() for found in group.ask("echo", value=large)] == [large.sum()] * 2
        assert group.ask("echo", [{"value": "a"}, {"value": "b"}]) == ["a", "b"]
    allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    share = len(allowed) // 2
    own = [allowed[:share], allowed[share : 2 * share]] if share else [allowed, allowed]
    assert [kept for _, _, kept, _ in places] == own
    assert {threads for *_, threads in places} == {str(max(1, usable_core_count() // 2))}


FAILURES: dict[str, tuple[str, dict, int, str, str]] = {
    "an exception": (
        "fail",
        {"rank": 1},
        1,
        "failed",
        r"^rank 1 of 2 replicas of numpy_reference: ValueError: what was wrong$",
    ),
    "memory": ("exhaust", {}, 0, "out_of_memory", r"^rank \d of 2 .*: MemoryError: of this rank$"),
    "the end": (
        "leave_early",
        {"rank": 1},
        1,
        "failed",
        r"^rank 1 of 2 .* ended during 'leave_early': .*good bye$",
    ),
    "a victim speaks first": (
        "fail_and_die",
        {"failing": 0, "dying": 1},
        1,
        "killed",
        r"^rank 1 of 2 .* was killed by SIGTERM during 'fail_and_die'$",
    ),
}


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("case", FAILURES.values(), ids=FAILURES)
def test_the_rank_that_fails_is_named(case: tuple[str, dict, int, str, str]) -> None:
    question, arguments, rank, status, message = case
    with idle() as group:
        with pytest.raises(ReplicaFailure, match=message) as failure:
            group.ask(question, **arguments)
        assert (failure.value.rank, failure.value.status) == (rank, status) or question == "exhaust"
        with pytest.raises(ReplicaFailure, match="are not running"):
            group.ask("place")


@pytest.mark.usefixtures("nothing_left")
def test_a_rank_that_hangs_is_named_with_its_place() -> None:
    with idle() as group, pytest.raises(ReplicaFailure) as failure:
        group.ask("sleep_on", time_limit_s=0.5, rank=1)
    assert (failure.value.rank, failure.value.status) == (1, "timed_out")
    assert "rank 1 of 2 replicas of numpy_reference gave no answer to 'sleep_on' within 0.5 s" in str(failure.value)
    assert "ranks.py" in str(failure.value) and "sleep_on" in str(failure.value)


@pytest.mark.usefixtures("nothing_left")
def test_a_stopped_rank_is_named_though_others_are_silent_too() -> None:
    # More than the socket holds: whoever sends it to a rank that does not read waits.
    large = np.zeros(4_000_000)
    with idle() as group:
        os.kill(group.pids[1], signal.SIGSTOP)
        with pytest.raises(ReplicaFailure, match=r"^rank 1 of 2 .* within 1 s \(its process is stopped\)"):
            group.ask("echo", time_limit_s=1, value=large)


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize(
    ("server", "message"),
    [
        ("backends.replicas.rank:Replica", "numpy_reference trains on one device only$"),
        ("no_such_module:Server", "ModuleNotFoundError: No module named"),
    ],
    ids=["one device only", "no such server"],
)
def test_a_server_that_cannot_start_is_one_line(server: str, message: str) -> None:
    with pytest.raises(ReplicaFailure, match=rf"^rank \d of 2 replicas of numpy_reference: {message}"):
        idle(server=server).__enter__()


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("times", [1, 2])
def test_a_port_that_was_taken_is_tried_once_more(tmp_path: Path, times: int) -> None:
    taken = tmp_path / "taken"
    taken.touch()
    group = idle(server="tests.backends.ranks:LateForPort", TAKEN=str(taken), TIMES=str(times))
    if times == 1:
        with group:
            assert [place[0] for place in group.ask("place")] == [0, 1]
    else:
        with (
            pytest.raises(ReplicaFailure, match=r"^rank 0 of 2 .*Failed to add port to server: 127\.0\.0\.1:\d+$"),
            group,
        ):
            pass
    addresses = taken.read_text().splitlines()
    assert len(set(addresses)) == len(addresses) == times  # another one each time


@pytest.mark.needs_backends("flax_nnx")
def test_a_port_in_use_is_refused_before_jax_crashes_on_it() -> None:
    from backends.jax_engine.data_parallel import check_port

    check_port(f"127.0.0.1:{free_port()}")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(
            BackendError, match=rf"^{address}, where the ranks were to meet: .*; run it again$"
        ) as error:
            check_port(address)
    assert port_was_taken(str(error.value))


@pytest.mark.usefixtures("nothing_left")
def test_an_error_of_the_caller_ends_them_too() -> None:
    group = idle()
    with pytest.raises(KeyboardInterrupt), group:
        _interrupted(group)


def _interrupted(group: ReplicaGroup) -> None:
    assert all(map(psutil.pid_exists, group.pids))
    raise KeyboardInterrupt


PARENT = """
import sys
from tests.backends.ranks import idle
with idle() as group:
    print(*group.pids, flush=True)
    group.ask("sleep_on", rank=0, sign=sys.argv[1], time_limit_s=600)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux kills a process with its parent")
@pytest.mark.usefixtures("interrupts_heard")
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM], ids=lambda sent: sent.name)
def test_ranks_die_with_their_parent(tmp_path: Path, sent: signal.Signals) -> None:
    """One of them at work, so that it does not see the connection end."""
    asleep = tmp_path / "asleep"
    command = [sys.executable, "-c", PARENT, str(asleep)]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, text=True)
    assert parent.stdout is not None
    with parent:
        ranks = {psutil.Process(int(pid)) for pid in parent.stdout.readline().split()}
        assert len(ranks) == 2
        while not asleep.exists() and parent.poll() is None:
            time.sleep(0.01)
        parent.send_signal(sent)
        parent.wait(timeout=20)
        assert _ended(ranks)


@pytest.mark.parametrize("count", [3, 5])
def test_a_batch_that_does_not_divide_is_refused(count: int) -> None:
    spec = small_variant()
    batch = random_batch(spec, count=count)
    with pytest.raises(
        ShapeError, match=rf"^variant: a batch of {count} images does not divide among 2 replicas; take"
    ):
        backends.get("numpy_reference").build_replicas(spec, OWN, 2).check_step(batch.images, batch.labels)


def test_a_norm_that_would_see_one_value_a_replica_is_refused() -> None:
    spec = small_variant()
    batch = random_batch(spec, count=2, size=(4, 4))  # one pixel at the lowest level
    backends.get("numpy_reference").build_replicas(spec, Recipe(), 2).check_step(batch.images, batch.labels)
    with pytest.raises(ShapeError, match="sees one value a channel, which has no variance; take a larger batch or"):
        backends.get("numpy_reference").build_replicas(spec, OWN, 2).check_step(batch.images, batch.labels)


LOST = [
    pytest.param(name, sent, marks=[pytest.mark.needs_backends(name), *marks], id=f"{name}-{sent.name}")
    for name, sent, marks in (
        ("pytorch", signal.SIGKILL, []),
        ("flax_nnx", signal.SIGSTOP, []),
        ("pytorch", signal.SIGSTOP, [pytest.mark.full]),
        ("flax_nnx", signal.SIGKILL, [pytest.mark.full]),
    )
]
"""Each way and each engine once by default: a group takes seconds to start."""


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize(("name", "sent"), LOST)
def test_a_rank_that_is_lost_in_a_step_of_the_engine_is_named(name: str, sent: signal.Signals) -> None:
    """The other one waits for it in a collective operation."""
    spec = small_variant(widths=[2, 4])
    batch = random_batch(spec, count=2)
    rank = 1 if sent == signal.SIGKILL else 0
    with ReplicaGroup(name, 2, time_limit_s=120) as group:
        model = group.build(spec, Execution(precision="float64"), OWN)
        model.train_step(batch.images, batch.labels)
        os.kill(group.pids[rank], sent)
        group.time_limit_s = 2
        with pytest.raises(ReplicaFailure) as failure:
            model.train_step(batch.images, batch.labels)
    assert failure.value.rank == rank
    assert failure.value.status == {signal.SIGKILL: "killed", signal.SIGSTOP: "timed_out"}[sent]
    assert "SIGKILL" in str(failure.value) or "its process is stopped" in str(failure.value)
