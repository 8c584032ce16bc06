"""A file is the old one or the new one, never half of either."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from shared_specs import TandemError, files
from shared_specs.files import check_regular, check_writable, folder_written_whole, write_atomically, written_whole


def test_writes_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"first")
    write_atomically(str(path), b"second")
    assert path.read_bytes() == b"second"
    assert list(tmp_path.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file(step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os if step == "fsync" else Path, step, fail)
    with pytest.raises(TandemError, match="No space left on device"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interruption_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "file", b"new")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("where", [".", "absent/file", "a_file/below"])
def test_check_writable_refuses_what_cannot_be_written(where: str, tmp_path: Path) -> None:
    (tmp_path / "a_file").touch()
    with pytest.raises(TandemError, match="name a file in a writable folder that exists"):
        check_writable(tmp_path / where)


def test_an_error_without_a_number_says_what_it_says(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with pytest.raises(TandemError) as error, written_whole(path):
        raise OSError("the archive is closed")
    assert str(error.value) == f"{path}: cannot be written (the archive is closed); name a path in a writable folder"


def test_a_path_that_cannot_be_looked_up_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As links in a circle, or a folder that may not be entered, which root may."""

    def fail(*_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "x")

    monkeypatch.setattr(Path, "resolve", fail)
    with pytest.raises(TandemError) as error:
        check_writable("folder/file")
    reason = f"[Errno {errno.EACCES}] Permission denied: 'x'"
    assert (
        str(error.value) == f"folder/file: cannot be written ({reason}); name a file in a writable folder that exists"
    )


def test_a_path_is_named_as_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TandemError) as error:
        check_writable("absent/file")
    assert str(error.value) == "absent/file: cannot be written; name a file in a writable folder that exists"


def test_what_is_read_is_not_overwritten(tmp_path: Path) -> None:
    given, other, link = tmp_path / "given", tmp_path / "other", tmp_path / "link"
    given.touch()
    other.touch()
    link.symlink_to(given)
    check_writable(other, [tmp_path / "absent", given])
    check_writable(tmp_path / "new", [given])
    for inputs in ([given], [str(given)], [other, link]):
        with pytest.raises(TandemError) as error:
            check_writable(given, inputs)
        message = f"{given}: is read by this command and would be overwritten; name another file to write"
        assert str(error.value) == message


@pytest.mark.parametrize("name", ["new", "a_file"])
def test_check_writable_takes_what_can_and_touches_nothing(name: str, tmp_path: Path) -> None:
    (tmp_path / "a_file").write_bytes(b"old")
    check_writable(tmp_path / name)
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("a_file", b"old")]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are POSIX's")
@pytest.mark.parametrize("write", [check_writable, partial(write_atomically, content=b"new")])
def test_what_is_no_file_is_never_replaced(write: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(TandemError, match="no regular file"):
        write(path)
    assert path.is_fifo()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are POSIX's")
def test_only_files_and_folders_are_read(tmp_path: Path) -> None:
    pipe, link, file = tmp_path / "pipe", tmp_path / "link", tmp_path / "file"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    file.touch()
    for path in (file, tmp_path, tmp_path / "absent"):
        check_regular(path)
    for path in (pipe, link):
        with pytest.raises(TandemError) as error:
            check_regular(path)
        assert str(error.value) == f"{path}: cannot be read (it is no regular file); copy it into one first"


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    link, target = tmp_path / "link", tmp_path / "folder" / "target"
    link.symlink_to(target)
    check_writable(link)
    write_atomically(link, b"new")
    assert link.is_symlink() and target.read_bytes() == b"new"


@pytest.mark.parametrize("interrupted", ["old", "new"], ids=["after_the_first_rename", "in_the_second_rename"])
def test_an_interruption_leaves_the_old_folder(
    interrupted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, rename = tmp_path / "folder", Path.rename
    folder.mkdir()
    (folder / "file").write_bytes(b"old")
    once = [interrupted]

    def interrupts(self: Path, target: Path) -> Path:
        if once and once[0] == "new" and self.name == "new":
            once.clear()
            raise KeyboardInterrupt
        moved = rename(self, target)
        if once and once[0] == "old" and Path(target).name == "old":
            once.clear()
            raise KeyboardInterrupt
        return moved

    monkeypatch.setattr(files, "exchanged", lambda *_: False)  # as where two folders cannot change places in one step
    monkeypatch.setattr(Path, "rename", interrupts)
    with pytest.raises(KeyboardInterrupt), folder_written_whole(folder) as made:
        made.mkdir()
    assert (folder / "file").read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("at_once", [True, False], ids=["in_one_step", "in_two"])
def test_a_folder_takes_the_place_of_another(at_once: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not at_once:
        monkeypatch.setattr(files, "exchanged", lambda *_: False)
    folder = tmp_path / "folder"
    for content in (b"old", b"new"):
        with folder_written_whole(folder) as made:
            made.mkdir()
            (made / "file").write_bytes(content)
        assert (folder / "file").read_bytes() == content
        assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.skipif(sys.platform != "linux", reason="renameat2 is Linux's")
def test_two_folders_change_places(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.write_bytes(b"other")
    assert files.exchanged(one, other)
    assert other.is_dir() and one.read_bytes() == b"other"
    assert not files.exchanged(one, tmp_path / "absent")


@pytest.mark.skipif(sys.platform != "linux", reason="renameat2 is Linux's")
def test_two_folders_change_places_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("one").mkdir()
    Path("other").touch()
    assert files.exchanged(Path("one"), Path("other"))
    assert Path("one").is_file() and Path("other").is_dir()


@pytest.mark.parametrize("lacks", ["Linux", "renameat2"])
def test_where_the_system_has_no_such_step_nothing_is_done(
    lacks: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.touch()
    with monkeypatch.context() as patch:
        if lacks == "Linux":
            patch.setattr(sys, "platform", "darwin")
        else:
            patch.setattr(files.ctypes, "CDLL", lambda _: object())
        assert not files.exchanged(one, other)
    assert one.is_dir() and other.is_file()


@pytest.mark.skipif(sys.platform != "linux", reason="renameat2 is Linux's")
def test_a_folder_that_another_process_makes_meanwhile_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, rename = tmp_path / "folder", Path.rename

    def made_meanwhile(self: Path, target: Path) -> Path:
        folder.mkdir()
        (folder / "file").write_bytes(b"of another")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", made_meanwhile)
    with folder_written_whole(folder) as made:
        made.mkdir()
        (made / "file").write_bytes(b"ours")
    assert (folder / "file").read_bytes() == b"ours"
    assert list(tmp_path.iterdir()) == [folder]
