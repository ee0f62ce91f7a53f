"""A figure on disk: pictures, its data and its parameters side by side, byte for byte the same on a rerun."""

from __future__ import annotations

import io
import json
import platform
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

import pessimism as ps
from analysis.work import ROOT
from pessimism.files import write

FORMATS = ("pdf", "svg", "png")
# What would differ between two runs of the same code on the same data.
_UNDATED: dict[str, dict[str, Any]] = {
    "pdf": {"CreationDate": None, "ModDate": None},
    "svg": {"Date": None},
    "png": {},
}
_DISTRIBUTIONS = ("numpy", "scipy", "pandas", "matplotlib", "seaborn")


def versions() -> dict[str, str]:
    """This package, Python and the libraries a figure depends on.

    Returns
    -------
    dict of str to str
        Version by name.

    Examples
    --------
    >>> sorted(versions())
    ['matplotlib', 'numpy', 'pandas', 'pessimism', 'python', 'scipy', 'seaborn']
    """
    ours = {"pessimism": ps.__version__, "python": platform.python_version()}
    return ours | {name: version(name) for name in _DISTRIBUTIONS}


def check(formats: Sequence[str]) -> None:
    """Raise ``ValueError`` unless all formats are known.

    Parameters
    ----------
    formats : sequence of str
        Names of file formats.

    Examples
    --------
    >>> check(["pdf"])
    """
    unknown = [name for name in formats if name not in FORMATS]
    if unknown:
        raise ValueError(f"format {unknown[0]!r} is not one of {', '.join(FORMATS)}")


def described(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as they go into a file: a path inside this checkout is named from its root.

    Parameters
    ----------
    parameters : mapping
        Parameters of a study by name.

    Returns
    -------
    dict
        The same with paths as text.

    Examples
    --------
    >>> described({"beta": 0.1, "logs": ROOT / "examples" / "log.csv"})
    {'beta': 0.1, 'logs': 'examples/log.csv'}
    """
    return {name: _named(value) if isinstance(value, Path) else value for name, value in parameters.items()}


def _named(path: Path) -> str:
    return (path.relative_to(ROOT) if path.is_relative_to(ROOT) else path).as_posix()


def picture(figure: Figure, name: str) -> bytes:
    """Draw a figure in a format.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        The figure.
    name : str
        One of pdf, svg, png.

    Returns
    -------
    bytes
        What the file holds.
    """
    drawn = io.BytesIO()
    figure.savefig(drawn, format=name, metadata=_UNDATED[name])
    return drawn.getvalue()


def save(
    figure: Figure,
    frame: pd.DataFrame,
    parameters: Mapping[str, Any],
    stem: Path,
    formats: Sequence[str] = FORMATS,
    about: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Write `stem`.pdf, .svg, .png (as `formats` asks), .csv (the frame) and .json (parameters, versions, `about`).

    Call it inside `figures.style.context()`, which fixes fonts, resolution and the ids inside an svg.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        The picture.
    frame : pandas.DataFrame
        Its data.
    parameters : mapping
        The parameters that made the data.
    stem : pathlib.Path
        Path of the files without their endings.
    formats : sequence of str
        Some of pdf, svg, png; all by default.
    about : mapping, optional
        Further entries of the json file.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    ValueError
        If a format is not one of pdf, svg, png.
    pessimism.files.NotWrittenError
        If a file cannot be written: then none is.
    """
    check(formats)
    stem.parent.mkdir(parents=True, exist_ok=True)
    written = [stem.with_suffix(f".{name}") for name in (*formats, "csv", "json")]
    said = {"figure": stem.name, "parameters": described(parameters), "versions": versions(), **(about or {})}
    text = json.dumps(said, indent=2, allow_nan=False) + "\n"
    fills: list[Callable[[Path], object]] = [
        *(partial(Path.write_bytes, data=picture(figure, name)) for name in formats),
        lambda part: frame.to_csv(part, index=False, lineterminator="\n"),
        lambda part: part.write_text(text, encoding="utf-8"),
    ]
    write(dict(zip(written, fills, strict=True)))
    return written
