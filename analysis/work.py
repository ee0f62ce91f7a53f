"""Work done once: results kept on disk by parameters and by the code that made them, pieces with progress."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any

from joblib import Memory, Parallel, delayed
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / "results" / "cache"
_FOLDER: ContextVar[Path | None] = ContextVar("folder", default=CACHE)
_JOBS: ContextVar[int] = ContextVar("jobs", default=2)


@contextmanager
def kept_in(folder: Path | None, jobs: int = 2) -> Iterator[None]:
    """Inside, the pieces of `each` are kept in this folder, and made by so many processes; None keeps nothing.

    Examples
    --------
    >>> with kept_in(None):
    ...     each(divmod, [(7, 2)], desc="quotients", jobs=1)
    [(3, 1)]
    """
    tokens = _FOLDER.set(folder), _JOBS.set(jobs)
    try:
        yield
    finally:
        _FOLDER.reset(tokens[0])
        _JOBS.reset(tokens[1])


@cache
def source_hash(*ours: str) -> str:
    """Fingerprint of the code that a result depends on: `pessimism/`, and the files named, or all of `analysis/`.

    A name without a folder is one of `analysis/`; others are relative to the checkout, as "llm/models/enumeration.py", or "llm/" for
    all modules in it.

    Examples
    --------
    >>> len(source_hash())
    16
    """
    named = [ROOT / (name if "/" in name else f"analysis/{name}") for name in ours]
    given = [file for path in named for file in (sorted(path.rglob("*.py")) if path.is_dir() else [path])]
    files = given or sorted((ROOT / "analysis").rglob("*.py"))
    digest = hashlib.sha256()
    for path in [*sorted((ROOT / "pessimism").rglob("*.py")), *files]:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def kept(function: Callable[..., Any], folder: Path | None = CACHE, *ours: str) -> Callable[..., Any]:
    """The function, its results read from `folder` where it ran before with these arguments and this code.

    Parameters
    ----------
    function : callable
        At the top level of a module; its arguments and its result can be pickled.
    folder : Path, optional
        Where results are kept; None keeps nothing.
    *ours : str
        Files that the results depend on, as `source_hash` takes them; all of `analysis/` by default.

    Examples
    --------
    >>> kept(max, None)(1, 2)
    2
    """
    if folder is None:
        return function
    memory = Memory(folder / source_hash(*ours), verbose=0)
    return memory.cache(function)  # type: ignore[no-any-return]


def each(
    function: Callable[..., Any],
    settings: Iterable[tuple[Any, ...]],
    *,
    desc: str,
    jobs: int | None = None,
    ours: tuple[str, ...] = (),
) -> list[Any]:
    """Results of `function(*setting)` for all settings, in their order, in parallel; what is finished is kept.

    An interrupted call goes on where it was. Progress is shown on a terminal. Results are kept in the folder that
    `kept_in` names, by default `CACHE`, and made by as many processes as it says, by default 2.
    """
    one, work = kept(function, _FOLDER.get(), *ours), list(settings)
    found = Parallel(n_jobs=_JOBS.get() if jobs is None else jobs, return_as="generator")(
        delayed(one)(*setting) for setting in work
    )
    bar = tqdm(found, total=len(work), desc=desc, delay=2, leave=False, disable=not sys.stderr.isatty())
    return list(bar)
