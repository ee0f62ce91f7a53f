"""Work that is done once: results kept on disk by their parameters and by the code that made them."""

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

from analysis.imports import modules, reached

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / "results" / "cache"
_FOLDER: ContextVar[Path | None] = ContextVar("folder", default=CACHE)
_JOBS: ContextVar[int] = ContextVar("jobs", default=2)


@contextmanager
def kept_in(folder: Path | None, jobs: int = 2) -> Iterator[None]:
    """Set where `each` keeps its results, and in how many processes it works, inside a `with` block.

    Parameters
    ----------
    folder : Path or None
        Where results are kept; None keeps nothing.
    jobs : int, default 2
        Number of processes.

    Yields
    ------
    None
        Nothing; the setting before applies again after the block.

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
def source_hash(function: Callable[..., Any]) -> str:
    """Compute a fingerprint of the code that the results of a function depend on.

    That code is all of `pessimism/`, the module that the function is in, and whatever that module imports of
    `analysis/`, `figures/` and `llm/`, directly or through other modules, in functions too. Imports by a name that is
    made at run time (`importlib.import_module`) are not seen. The first answer stands as long as the process runs.

    Parameters
    ----------
    function : callable
        At the top level of a module.

    Returns
    -------
    str
        Sixteen hexadecimal digits.

    Examples
    --------
    >>> len(source_hash(source_hash))
    16
    """
    known = modules(ROOT, "analysis", "figures", "llm")
    name, path = _module_of(function)
    path = known.get(name, path)
    files = [*modules(ROOT, "pessimism").values()]
    if path is not None:
        files += {path, *(known[one] for one in reached(name, path, known))}
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _module_of(function: Callable[..., Any]) -> tuple[str, Path | None]:
    """Find the name of a function's module, as which `python -m` would run it, and its file unless it is built in."""
    module = sys.modules[function.__module__]
    file = getattr(module, "__file__", None)
    return getattr(module.__spec__, "name", module.__name__), None if file is None else Path(file)


def kept(function: Callable[..., Any], folder: Path | None = CACHE) -> Callable[..., Any]:
    """Make a function read its results from a folder where it ran before with the same arguments and the same code.

    Parameters
    ----------
    function : callable
        At the top level of a module; its arguments and its result can be pickled.
    folder : Path, optional
        Where results are kept, in a subfolder named by `source_hash`; None keeps nothing.

    Returns
    -------
    callable
        The function with this memory.

    Examples
    --------
    >>> kept(max, None)(1, 2)
    2
    """
    if folder is None:
        return function
    memory = Memory(folder / source_hash(function), verbose=0)
    return memory.cache(function)  # type: ignore[no-any-return]


def each(
    function: Callable[..., Any],
    settings: Iterable[tuple[Any, ...]],
    *,
    desc: str,
    jobs: int | None = None,
) -> list[Any]:
    """Call a function with each of many settings, in parallel, and keep every result as soon as it is there.

    A call that was interrupted goes on where it was when it is made again.

    Parameters
    ----------
    function : callable
        As `kept` takes it.
    settings : iterable of tuple
        Arguments of each call.
    desc : str
        Name of the progress bar, which is shown on a terminal.
    jobs : int, optional
        Number of processes; by default that of `kept_in`, which is 2 where nothing is set.

    Returns
    -------
    list
        Results in the order of the settings.

    Notes
    -----
    Results are kept in the folder that `kept_in` names, by default `CACHE`.
    """
    one, work = kept(function, _FOLDER.get()), list(settings)
    found = Parallel(n_jobs=_JOBS.get() if jobs is None else jobs, return_as="generator")(
        delayed(one)(*setting) for setting in work
    )
    bar = tqdm(found, total=len(work), desc=desc, delay=2, leave=False, disable=not sys.stderr.isatty())
    return list(bar)
