"""Work that is done once: results kept on disk by their parameters and by the code that made them."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, partial
from pathlib import Path
from typing import Any

import joblib
from tqdm import tqdm

from analysis import entries
from analysis.entries import Types
from analysis.imports import modules, reached
from pessimism import files
from pessimism.console import deaf
from pessimism.messages import one_line

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / "results" / "cache"
_SAID = 2000  # characters of the arguments that an entry shows to who looks into it
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


def kept(function: Callable[..., Any], folder: Path | None = CACHE, types: Types = ()) -> Callable[..., Any]:
    """Make a function read its results from a folder where it ran before with the same arguments and the same code.

    Parameters
    ----------
    function : callable
        At the top level of a module; its arguments can be pickled, its result is as `analysis.entries.packed` takes it.
    folder : Path, optional
        Where results are kept, in a subfolder named by `source_hash`; None keeps nothing.
    types : sequence of type
        The named tuples in its result.

    Returns
    -------
    callable
        The function with this memory. An entry that is damaged is made again, which a line on stderr says, as it says
        that one cannot be written. What is returned is what the entry says, in the first call, too.

    Examples
    --------
    >>> kept(max, None)(1, 2)
    2
    """
    if folder is None:
        return function
    return partial(_recalled, function, folder, types)


def _recalled(function: Callable[..., Any], folder: Path, types: Types, *arguments: Any, **named: Any) -> Any:
    """Call a function, or read what it returned before."""
    name = f"{_module_of(function)[0]}.{function.__qualname__}"
    made_of = {"function": name, "code": source_hash(function), "arguments": str(joblib.hash((arguments, named)))}
    path = folder / made_of["code"] / name / made_of["arguments"]
    try:
        return entries.unpacked(path.read_bytes(), made_of, types)
    except FileNotFoundError:
        pass
    except (entries.DamagedError, OSError) as error:
        print(f"{path} cannot be used ({one_line(error)}): made again", file=sys.stderr)
    entry = entries.packed(function(*arguments, **named), made_of, types, repr((arguments, named))[:_SAID])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write({path: lambda part: part.write_bytes(entry)})
    except OSError as error:
        print(f"not kept: {error}", file=sys.stderr)
    return entries.unpacked(entry, made_of, types)


def each(
    function: Callable[..., Any],
    settings: Iterable[tuple[Any, ...]],
    *,
    desc: str,
    jobs: int | None = None,
    types: Types = (),
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
    types : sequence of type
        As `kept` takes it.

    Returns
    -------
    list
        Results in the order of the settings.

    Notes
    -----
    Results are kept in the folder that `kept_in` names, by default `CACHE`.
    """
    one, work = kept(function, _FOLDER.get(), types), list(settings)
    with deaf():  # the processes begin here, and a Ctrl-C is for this one to hear
        found = joblib.Parallel(n_jobs=_JOBS.get() if jobs is None else jobs, return_as="generator")(
            joblib.delayed(one)(*setting) for setting in work
        )
    bar = tqdm(found, total=len(work), desc=desc, delay=2, leave=False, disable=not sys.stderr.isatty())
    return list(bar)
