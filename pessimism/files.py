"""Files that are whole or not there: written beside their place, and renamed when they are on the disk."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

from pessimism.messages import cut, plain, reason

_KINDS = {
    "a folder": stat.S_ISDIR,
    "a pipe": stat.S_ISFIFO,
    "a device": lambda mode: stat.S_ISCHR(mode) or stat.S_ISBLK(mode),
    "a socket": stat.S_ISSOCK,
}


def require_regular(path: Path) -> None:
    """Refuse what is no regular file: a pipe would be waited for, and a device may never end.

    Parameters
    ----------
    path : Path
        The file, or a link to it.

    Raises
    ------
    ValueError
        In one line, if it is something else, or not there.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        said = (
            f"is a link to {plain(cut(os.readlink(path)))}, which is not there" if path.is_symlink() else "no such file"
        )
        raise ValueError(f"{path}: {said}") from None
    except (OSError, ValueError) as error:  # a loop of links, a name with a NUL
        raise ValueError(f"{path}: cannot be read ({reason(error)})") from None
    if not stat.S_ISREG(mode):
        kind = next((name for name, test in _KINDS.items() if test(mode)), "something else")
        raise ValueError(f"{path}: is {kind}, not a regular file")


def read_small(path: Path, most: int) -> bytes:
    """Read a file that a person has written: a regular one, or what a shell hands over as ``<(command)``.

    Parameters
    ----------
    path : Path
        The file.
    most : int
        Bytes that it may have; no more than that are read, whatever the file says of its size.

    Returns
    -------
    bytes
        Its content.

    Raises
    ------
    ValueError
        In one line, if it is another pipe, a device, not there, cannot be read or is too large.
    """
    if not _handed_over(path):
        require_regular(path)
    try:
        with path.open("rb") as file:
            found = file.read(most + 1)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({reason(error)})") from None
    if len(found) > most:
        raise ValueError(f"{path}: has more than {most} bytes, the most that is read of such a file")
    return found


def _handed_over(path: Path) -> bool:
    """Whether a path names a pipe that is open in this process already, so that opening it waits for nobody."""
    try:
        return path.parent in (Path("/dev/fd"), Path("/proc/self/fd")) and stat.S_ISFIFO(path.stat().st_mode)
    except OSError:
        return False


class NotWrittenError(OSError):
    """A file could not be written; the one that was there before is untouched, and nothing is left beside it."""


def write(fills: Mapping[Path, Callable[[Path], object]]) -> None:
    """Write files, all of them or none.

    Each is written to a file of another name in the same folder, and takes its place when all are on the disk: who
    reads meets the old file or the new one, and a full disk leaves the old one or none. A process that is killed may
    leave a hidden file ``.part-...`` behind, which nothing reads. What is there already keeps its mode, a link goes on
    pointing to where it did, and what is no file, such as ``/dev/stdout``, is written to directly.

    Parameters
    ----------
    fills : mapping of Path to callable
        For each file what writes its content to the path that it is called with, which ends like that of the file.

    Raises
    ------
    NotWrittenError
        In one line that names the file, if one cannot be written.
    """
    parts: dict[Path, Path] = {}
    try:
        for path, fill in fills.items():
            try:
                final = Path(os.path.realpath(path))
                if final.exists() and not final.is_file() and not final.is_dir():
                    fill(final)
                    continue
                parts[final] = part = final.with_name(f".part-{secrets.token_hex(8)}{final.suffix}")
                _begin(part, final)
                fill(part)
                sync(part)
            except OSError as error:
                raise _named(path, error) from error
        for final, part in parts.items():
            try:
                os.replace(part, final)
            except OSError as error:
                raise _named(final, error) from error
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)


def _begin(part: Path, final: Path) -> None:
    """Make an empty file with the mode that the written one shall have."""
    os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    if final.exists():
        with final.open("ab"):  # what could not be written in its place is not replaced either
            pass
        shutil.copymode(final, part)


def _named(path: Path, error: OSError) -> NotWrittenError:
    return NotWrittenError(f"{path} cannot be written ({reason(error)})")


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8, the whole of it or nothing.

    Parameters
    ----------
    path : Path
        The file.
    text : str
        Its content.

    Raises
    ------
    NotWrittenError
        In one line that names the file, if it cannot be written.
    """
    write({path: lambda part: part.write_text(text, encoding="utf-8")})


def append(path: Path, text: str) -> None:
    """Add a text in UTF-8 to the end of a file, the whole of it or nothing, and wait until it is on the disk.

    Parameters
    ----------
    path : Path
        The file; it is made if there is none.
    text : str
        What is added. A process that is killed may leave its beginning there.

    Raises
    ------
    NotWrittenError
        In one line that names the file, if it cannot be written.
    """
    try:
        new = not path.exists()
        with path.open("ab", buffering=0) as file:
            size, rest = file.tell(), text.encode()
            try:
                while rest:
                    rest = rest[file.write(rest) :]
                os.fsync(file.fileno())
            except OSError:
                file.truncate(size)
                if new:
                    path.unlink()
                raise
    except OSError as error:
        raise _named(path, error) from error


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
