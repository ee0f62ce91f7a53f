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
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(lock, timeout=0):
            yield
    except Timeout:
        raise ValueError(f"{what} is being written by another process: wait, or name another") from None
