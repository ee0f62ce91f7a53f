"""Standard input in the place of a file: ``-`` on the command line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

LIMIT = 2**33  # bytes that are read at most
_PIECE = 2**20


@contextmanager
def readable(path: Path) -> Iterator[Path]:
    """Name the file to read: ``path``, or for ``-`` a copy of standard input, which goes at the end of the block.

    What is there is read as parquet, JSON lines, a JSON array or CSV, as its first characters say.

    Parameters
    ----------
    path : Path
        The file that was asked for.

    Yields
    ------
    Path
        The file to read.

    Raises
    ------
    ValueError
        If there is more than `LIMIT` bytes; and those of the block, with "standard input" for the name of the copy.
    """
    if str(path) != "-":
        yield path
        return
    with TemporaryDirectory(prefix="pessimism-") as folder:
        copy = _copied(Path(folder))
        try:
            yield copy
        except ValueError as error:
            raise ValueError(str(error).replace(str(copy), "standard input")) from None


@contextmanager
def readable_log(paths: list[Path]) -> Iterator[Path | list[Path]]:
    """Name the files of a log to read, as :func:`readable` does for one: the one path, or the list of several."""
    with ExitStack() as stack:
        found = [stack.enter_context(readable(path)) for path in paths]
        yield found[0] if len(found) == 1 else found


def _copied(folder: Path) -> Path:
    source, size = sys.stdin.buffer, 0
    piece = source.read(_PIECE)
    copy = folder / f"standard_input{_suffix(piece)}"
    with copy.open("wb") as file:
        while piece:
            size += len(piece)
            if size > LIMIT:
                raise ValueError(f"standard input: more than {LIMIT >> 30} GiB, the most that is read")
            file.write(piece)
            piece = source.read(_PIECE)
    return copy


def _suffix(beginning: bytes) -> str:
    if beginning.startswith(b"PAR1"):
        return ".parquet"
    kinds = {b"{": ".jsonl", b"[": ".json"}
    return kinds.get(beginning.lstrip(b"\xef\xbb\xbf \t\r\n")[:1], ".csv")
