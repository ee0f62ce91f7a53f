"""One process at a time in a folder or file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from pessimism.messages import reason


@contextmanager
def alone(lock: Path, what: str) -> Iterator[None]:
    """Hold a lock inside a `with` block, so that no other process works in the same place; it ends with its process.

    Parameters
    ----------
    lock : Path
        File of the lock.
    what : str
        Name of the place, for error messages.

    Yields
    ------
    None
        Nothing.

    Raises
    ------
    ValueError
        If another process holds the lock.
    OSError
        If the file cannot be written.
    """
    held = FileLock(lock)
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        held.acquire(timeout=0)
    except Timeout:
        raise ValueError(f"{what} is being written by another process: wait, or name another") from None
    except OSError as error:
        raise OSError(f"{what} cannot be written ({reason(error)})") from error
    try:
        yield
    finally:
        held.release()
