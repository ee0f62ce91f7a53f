"""How results show themselves: numbers and shares in text, and a small table for notebooks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from pessimism.messages import plain


def short(value: Any) -> str:
    """Any value as text: real numbers with four significant digits, long arrays by their ends.

    Parameters
    ----------
    value : object
        What to show.

    Returns
    -------
    str
        One line.

    Examples
    --------
    >>> short(0.123456), short(12), short("kimi"), short(np.array([0.25, 0.75]))
    ('0.1235', '12', 'kimi', '[0.25 0.75]')
    """
    if isinstance(value, np.ndarray) and value.ndim:
        return np.array2string(value, precision=4, threshold=8, max_line_width=1000)
    real = isinstance(value, float | np.floating) or (isinstance(value, np.ndarray) and value.dtype.kind == "f")
    return f"{float(value):.4g}" if real else " ".join(str(value).split())  # an objective may hold arrays


def as_call(name: str, facts: Iterable[tuple[str, Any]]) -> str:
    """Name and facts as in a call, a fact without a label by its value alone.

    Parameters
    ----------
    name : str
        Name of the class.
    facts : iterable of pairs
        Label and value of each fact.

    Returns
    -------
    str
        One line.

    Examples
    --------
    >>> as_call("Trajectory", [("", "kimi(beta=0.1)"), ("status", "converged")])
    'Trajectory(kimi(beta=0.1), status=converged)'
    """
    return f"{name}({', '.join(f'{label}={short(value)}' if label else short(value) for label, value in facts)})"


def shares(values: Any) -> str:
    """Share of each distinct value of an array, the largest first.

    Parameters
    ----------
    values : array_like
        Strings, such as the regimes of a batch.

    Returns
    -------
    str
        One value and its share in percent after the other; a share that rounds to 0 or 100 without being it says so.

    Examples
    --------
    >>> shares(["positive", "negative", "positive"])
    'positive 67%, negative 33%'
    >>> shares(["converged"])
    'converged 100%'
    >>> shares(["positive"] * 999 + ["negative"])
    'positive >99%, negative <1%'
    """
    names, counts = np.unique(np.ravel(values), return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return ", ".join(f"{names[i]} {_percent(int(counts[i]), int(counts.sum()))}" for i in order)


def _percent(count: int, total: int) -> str:
    rounded = round(100 * count / total)
    if count < total and rounded == 100:
        return ">99%"
    return "<1%" if rounded == 0 else f"{rounded}%"


def median(values: Any) -> str:
    """Median of an array in four significant digits, nan left out; "nan" where nothing is left.

    Parameters
    ----------
    values : array_like
        Numbers.

    Returns
    -------
    str
        The median.

    Examples
    --------
    >>> median([1.0, float("nan"), 2.0])
    '1.5'
    >>> median([])
    'nan'
    """
    known = np.ravel(np.asarray(values, dtype=np.float64))
    known = known[~np.isnan(known)]
    return short(float(np.median(known))) if known.size else "nan"


def html_table(rows: Iterable[Sequence[Any]], header: Sequence[Any] = (), caption: str = "") -> str:
    """Lay out rows as an HTML table; every text is escaped.

    Parameters
    ----------
    rows : iterable of sequences
        The cells of each row; the first cell is the heading of the row. Real numbers get four significant digits.
    header : sequence, optional
        Headings of the columns, one for each cell of a row.
    caption : str, optional
        One line above the table.

    Returns
    -------
    str
        A ``<table>`` element, for the method ``_repr_html_`` of a result.

    Examples
    --------
    >>> html_table([("regime", "positive"), ("kappa", 0.123456)])
    '<table><tr><th>regime</th><td>positive</td></tr><tr><th>kappa</th><td>0.1235</td></tr></table>'
    >>> html_table([], header=["a < b"], caption="none")
    '<table><caption>none</caption><tr><th>a &lt; b</th></tr></table>'
    """
    head = "".join(f"<th>{_cell(name)}</th>" for name in header)
    lines = [f"<th>{_cell(first)}</th>" + "".join(f"<td>{_cell(cell)}</td>" for cell in rest) for first, *rest in rows]
    top = f"<caption>{_cell(caption)}</caption>" if caption else ""
    return f"<table>{top}{''.join(f'<tr>{line}</tr>' for line in [head, *lines] if line)}</table>"


def _cell(value: Any) -> str:
    return escape(short(value))


def table_lines(columns: Mapping[str, Sequence[Any]], digits: int = 4) -> list[str]:
    """Lay out columns in lines below their names, texts to the left, numbers to the right with so many digits."""
    laid_out = []
    for name, values in columns.items():
        cells = [name, *(_entry(value, digits) for value in values)]
        width = max(map(len, cells))
        left = any(isinstance(value, str) for value in values)
        laid_out.append([cell.ljust(width) if left else cell.rjust(width) for cell in cells])
    return [" ".join(line).rstrip() for line in zip(*laid_out, strict=True)]


def undefined(value: Any) -> bool:
    """Whether a cell of a table has nothing to show."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def _entry(value: Any, digits: int) -> str:
    if undefined(value):
        return "-"
    return f"{value:.{digits}g}" if isinstance(value, float) else plain(str(value))
