"""A file is the old one or the new one, whole, and one line says what could not be written."""

from __future__ import annotations

import errno
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pessimism import files
from pessimism.files import NotWrittenError


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """No file can grow beyond a size, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def content(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def odd(folder: Path) -> dict[str, tuple[Path, str]]:
    """What is no regular file -> its path and what is said of it."""
    (folder / "folder").mkdir()
    os.mkfifo(folder / "fifo")
    (folder / "link to fifo").symlink_to("fifo")
    (folder / "dangling").symlink_to("nowhere\x1b[2J")
    (folder / "loop").symlink_to("loop")
    with socket.socket(socket.AF_UNIX) as bound:
        before = Path.cwd()
        os.chdir(folder)  # the name of a socket must be short
        try:
            bound.bind("socket")
        finally:
            os.chdir(before)
    return {
        "folder": (folder / "folder", "is a folder, not a regular file"),
        "fifo": (folder / "fifo", "is a pipe, not a regular file"),
        "link": (folder / "link to fifo", "is a pipe, not a regular file"),
        "device": (Path("/dev/zero"), "is a device, not a regular file"),
        "socket": (folder / "socket", "is a socket, not a regular file"),
        "dangling": (folder / "dangling", r"is a link to nowhere\x1b[2J, which is not there"),
        "loop": (folder / "loop", "cannot be read (Too many levels of symbolic links)"),
        "none": (folder / "none", "no such file"),
        "NUL": (folder / "a\0b", "cannot be read (embedded null byte)"),
    }


@pytest.mark.parametrize("refuse", [files.require_regular, lambda path: files.read_small(path, 10)])
def test_what_is_no_regular_file_is_refused_at_once(refuse: Callable[[Path], object], tmp_path: Path) -> None:
    for path, said in odd(tmp_path).values():
        with pytest.raises(ValueError, match=re.escape(f"{path}: {said}") + r"\Z"):
            refuse(path)


def test_regular_files_and_links_to_them_are_taken(tmp_path: Path) -> None:
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_bytes(b"0123456789")
    link.symlink_to("file")
    for path in (file, link):
        files.require_regular(path)
        assert files.read_small(path, 10) == b"0123456789"
        with pytest.raises(ValueError, match=re.escape(f"{path}: has more than 9 bytes, ")):
            files.read_small(path, 9)


def test_a_small_file_may_come_from_a_command(tmp_path: Path) -> None:
    script = "from pathlib import Path; import sys; from pessimism.files import read_small; "
    script += "print(read_small(Path(sys.argv[1]), 10))"

    def handed(command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", f'"$0" -c "$1" <({command})', sys.executable, script],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert handed("printf abc").stdout == "b'abc'\n"
    assert "has more than 10 bytes" in handed("yes").stderr  # which never ends


def test_files_take_their_places_together(tmp_path: Path) -> None:
    a, b = tmp_path / "a.csv", tmp_path / "b"
    a.write_text("old")

    def last(part: Path) -> None:
        assert (part.parent, part.suffix) == (tmp_path, "")
        assert a.read_text() == "old"
        part.write_text("B")

    files.write({a: lambda part: part.write_text(part.suffix), b: last})
    assert content(tmp_path) == {"a.csv": ".csv", "b": "B"}


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), OSError("[Errno 28]\nNo space")])
@pytest.mark.parametrize("there", [True, False])
def test_a_file_that_fails_leaves_all(error: OSError, there: bool, tmp_path: Path) -> None:
    for name in ("a", "b") if there else ():
        (tmp_path / name).write_text("old")
    before = content(tmp_path)

    def full(part: Path) -> None:
        part.write_text("half")
        raise error

    said = f"{tmp_path / 'b'} cannot be written ({error.strerror or '[Errno 28] No space'})"
    with pytest.raises(NotWrittenError, match=f"^{re.escape(said)}$"):
        files.write({tmp_path / "a": lambda part: part.write_text("new"), tmp_path / "b": full})
    assert content(tmp_path) == before


@pytest.mark.parametrize("raised", [ValueError("no JSON"), KeyboardInterrupt()])
def test_what_is_no_fault_of_the_disk_leaves_the_file_too(raised: BaseException, tmp_path: Path) -> None:
    files.write_text(tmp_path / "a", "old")

    def stopped(part: Path) -> None:
        part.write_text("half")
        raise raised

    with pytest.raises(type(raised)):
        files.write({tmp_path / "a": stopped})
    assert content(tmp_path) == {"a": "old"}


def test_a_disk_that_takes_no_more(tmp_path: Path) -> None:
    files.write_text(tmp_path / "a", "old")
    said = f"^{re.escape(str(tmp_path / 'a'))} cannot be written \\(File too large\\)$"
    with files_of_at_most(1000), pytest.raises(NotWrittenError, match=said):
        files.write_text(tmp_path / "a", "x" * 1001)
    with files_of_at_most(1000), pytest.raises(NotWrittenError, match=said):
        files.append(tmp_path / "a", "x" * 998)
    with files_of_at_most(1000), pytest.raises(NotWrittenError, match=r"b cannot be written \(File too large\)"):
        files.append(tmp_path / "b", "x" * 1001)
    assert content(tmp_path) == {"a": "old"}
    files.append(tmp_path / "a", "er")
    files.append(tmp_path / "new", "ö")
    assert content(tmp_path) == {"a": "older", "new": "ö"}


def test_a_rename_or_a_disk_that_fails_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    for name in ("replace", "fsync"):
        monkeypatch.setattr(os, name, fails)
        with pytest.raises(NotWrittenError, match=r"a cannot be written \(Input/output error\)$"):
            files.write_text(tmp_path / "a", "new")
        monkeypatch.undo()
        assert content(tmp_path) == {}


def test_what_is_on_the_disk_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the rename: a machine that stops must not leave an empty file under the name."""
    done, sync, replace = [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (done.append("sync"), sync(handle)))
    monkeypatch.setattr(os, "replace", lambda *paths: (done.append("replace"), replace(*paths)))
    files.write_text(tmp_path / "a", "x")
    files.append(tmp_path / "a", "y")
    files.sync(tmp_path)
    assert done == ["sync", "replace", "sync", "sync"]


def test_places_where_no_file_can_be(tmp_path: Path) -> None:
    for path, why in (
        (tmp_path / "none" / "a", "No such file or directory"),
        (tmp_path, "Is a directory"),
        (tmp_path / ("x" * 300), "File name too long"),
    ):
        with pytest.raises(NotWrittenError, match=f"^{re.escape(f'{path} cannot be written ({why})')}$"):
            files.write_text(path, "x")
    assert content(tmp_path) == {}


def test_modes_links_and_devices_stay(tmp_path: Path) -> None:
    path, link, pipe = tmp_path / "a", tmp_path / "link", tmp_path / "pipe"
    files.write_text(path, "old")
    plain = tmp_path / "plain"
    plain.touch()
    assert path.stat().st_mode == plain.stat().st_mode  # that of any new file, not a temporary one's
    path.chmod(0o640)
    link.symlink_to("a")
    files.write_text(link, "new")
    assert link.is_symlink()
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("new", 0o640)
    files.write_text(Path("/dev/null"), "x")
    assert Path("/dev/null").is_char_device()
    with pytest.raises(NotWrittenError, match=r"^/dev/full cannot be written \(No space left on device\)$"):
        files.write_text(Path("/dev/full"), "x")
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE, text=True) as reader:
        files.write_text(pipe, "through")
        assert reader.communicate(timeout=60)[0] == "through"
    assert pipe.is_fifo()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_file_that_is_read_only_stays(tmp_path: Path) -> None:
    files.write_text(tmp_path / "a", "old")
    (tmp_path / "a").chmod(0o444)
    with pytest.raises(NotWrittenError, match=r"a cannot be written \(Permission denied\)"):
        files.write_text(tmp_path / "a", "new")
    assert content(tmp_path) == {"a": "old"}


WRITER = """
import sys
from pathlib import Path
from pessimism import files
print("ready", flush=True)
for i in range(10**9):
    files.write_text(Path(sys.argv[1]), str(i % 10) * 100_000)
"""


def test_writers_that_are_killed_leave_whole_files(tmp_path: Path) -> None:
    """Two of them at once, in the same place."""
    path = tmp_path / "a"
    files.write_text(path, "7" * 100_000)
    command = [sys.executable, "-c", WRITER, str(path)]
    writers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for pause in (0.1, 0.13):
        for _ in range(50):
            text = path.read_text()
            assert text == text[:1] * 100_000
            time.sleep(pause / 50)
        writer = writers.pop()
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
    text = path.read_text()
    assert text == text[:1] * 100_000
    assert all(other.name.startswith(".part-") for other in tmp_path.iterdir() if other != path)
