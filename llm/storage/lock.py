"""One process at a time in a folder or file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def alone(lock: Path, what: str) -> Iterator[None]:
    """Inside, no other process holds this lock, which ends with the process that has it.

    Raises
    ------
    ValueError
        If another one does.
    OSError
        If it cannot be written.
    """
    held = FileLock(lock)
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        held.acquire(timeout=0)
    except Timeout:
        raise ValueError(f"{what} is being written by another process: wait, or name another") from None
    except OSError as error:
        raise OSError(f"{what} cannot be written ({error.strerror})") from error
    try:
        yield
    finally:
        held.release()
