"""What a record tells of the process's environment: all that can change a time, and no folder of anybody's machine."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

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


class Function:
    restype: Any = None

    def __call__(self) -> int:
        return 91002


def test_cudnn_is_told_as_it_was_loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    maps, loaded = tmp_path / "maps", list[str]()
    maps.write_text(
        "7f00-7f10 r-xp 00000000 fd:00 1  /usr/lib/libc.so.6\n"
        "7f20-7f30 rw-p 00000000 00:00 0 \n"
        "7f30-7f40 r-xp 00000000 fd:00 2  /a b/nvidia/cudnn/lib/libcudnn.so.9\n"
    )

    def load(path: str) -> Any:
        loaded.append(path)
        return SimpleNamespace(cudnnGetVersion=Function())

    monkeypatch.setattr(introspection, "MAPPED_FILES", maps)
    monkeypatch.setattr(introspection.ctypes, "CDLL", load)
    assert introspection.loaded_versions() == {"cudnn": "91002"}
    assert loaded == ["/a b/nvidia/cudnn/lib/libcudnn.so.9"]


@pytest.mark.parametrize("content", [None, "7f30-7f40 r-xp 00000000 fd:00 2  /gone/libcudnn.so.9\n", ""])
def test_without_cudnn_none_is_told(content: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "maps").write_text(content)
    monkeypatch.setattr(introspection, "MAPPED_FILES", tmp_path / "maps")
    assert introspection.loaded_versions() == {}
