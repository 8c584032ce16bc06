"""What a record tells of the process's environment: all that can change a time, and no folder of anybody's machine."""

from __future__ import annotations

import pytest

from benchmarks import introspection


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("2", "2"),
        ("glibc.malloc.hugetlb=1", "glibc.malloc.hugetlb=1"),
        ("--xla_dump_to=/home/me/dump --xla_cpu_x=1", "--xla_dump_to=dump --xla_cpu_x=1"),
        ("/home/me/.cache/jax", "jax"),
        ("/usr/lib/a.so:/home/me/b.so", "a.so:b.so"),
    ],
)
def test_paths_are_told_without_their_folders(value: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XLA_FLAGS", value)
    monkeypatch.setenv("MY_OWN_SECRET", value)
    found = introspection.environment()
    assert found["XLA_FLAGS"] == told
    assert "MY_OWN_SECRET" not in found
