"""One style: sizes of a two-column paper, a color-blind-safe palette, one fixed look for each objective.

Nothing here touches matplotlib's global state: a figure is made and saved inside `context()`.

Seaborn draws what it computes from the rows of a frame: means with their standard errors over seeds, empirical
distribution functions, grouped bars, points by objective and size, an annotated heat map of categories. Matplotlib
draws the rest, because seaborn does not fit there:

- Intervals that a frame already holds as a column (a standard error, a quantile). Seaborn estimates intervals from
  single observations, and the studies keep a summary of thousands of them.
- Maps over temperatures. `seaborn.heatmap` places cells at 0, 1, 2, ...; contours, boundaries and published settings
  need the temperatures themselves, on logarithmic axes.
- Points spread within a row. The jitter of `seaborn.stripplot` is random, and a rerun must give the same bytes.
- Curves named beside themselves. Seaborn labels curves in a legend only.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from tueplots import figsizes

INK = "#222222"
QUIET = "#767676"
RC: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 7.5,
    "axes.titlesize": 8,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 7.5,
    "axes.linewidth": 0.6,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "text.color": INK,
    "text.usetex": False,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "lines.linewidth": 1.4,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.5,
    "figure.dpi": 100,
    "savefig.dpi": 300,
    "savefig.facecolor": "white",
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "pessimism",
}


class Look(NamedTuple):
    """How an objective is drawn: never by color alone."""

    color: str
    linestyle: Any = "-"
    marker: str = "o"


# Okabe and Ito's palette with a yellow dark enough for lines on white, gray and brown. Objectives of one family share a
# color and differ in dash and marker, in this order; the first is drawn solid. Each family starts at the next marker,
# so that no two objectives share dash and marker, and those drawn solid differ in marker: in gray, too.
FAMILIES: dict[str, tuple[str, ...]] = {
    "#000000": ("nominal", "optimal_value", "ips", "awr", "brac", "awac", "kl_regularized"),
    "#777777": ("tba", "rebel", "copg", "rloo", "tpo", "ipo"),
    "#0072B2": ("kimi", "std_normalized", "apa", "qrpo", "dro", "opmd"),
    "#D55E00": ("shifted_mean", "constant_baseline"),
    "#009E73": ("oapl", "a_star_po", "luffy", "chord"),
    "#56B4E9": ("asym_re", "reinforce", "opo", "topr", "roirl", "gpg"),
    "#CC79A7": ("ppo", "grpo", "dr_grpo", "dapo", "gspo", "cispo", "trpo", "truncated_is", "max_rl", "rloo_clipped"),
    "#E69F00": ("mixed_chi2_kl", "chi2", "cql", "cql_reference", "cql_huber", "divergence_augmented"),
    "#8F8600": ("dpo", "async_dpo", "chi_po"),
    "#8B4513": (
        *("log_smoothing", "weight_clipping", "propensity_clipping", "implicit_exploration"),
        *("exponential_smoothing", "log_smoothing_linear", "power_mean", "pevi", "pevi_kl", "empirical_likelihood_lcb"),
    ),
    "#44AA99": (
        *("kimi_k25", "dppo_tv", "dppo", "prime_ipo", "sapo", "vespo"),
        *("luspo", "gmpo", "reinforce_pp", "ppo_corrected"),
    ),
}
_DASHES: tuple[Any, ...] = (
    *("-", (0, (4, 1.5)), (0, (1, 1)), (0, (4, 1, 1, 1)), (0, (7, 2)), (0, (2, 1))),
    *((0, (5, 1, 1, 1, 1, 1)), (0, (3, 3)), (0, (8, 2, 2, 2)), (0, (1, 3)), (0, (1, 1, 3, 1))),
)
_MARKERS = ("o", "s", "^", "D", "v", "X", "P", "<", ">", "p", "h")
LOOKS: dict[str, Look] = {
    name: Look(color, _DASHES[i], _MARKERS[(family + i) % len(_MARKERS)])
    for family, (color, names) in enumerate(FAMILIES.items())
    for i, name in enumerate(names)
}
UNKNOWN = Look(QUIET, (0, (1, 1.5)), "o")


def look(objective: str) -> Look:
    """Color, dash and marker of an objective; quiet gray for one that has no entry.

    Parameters
    ----------
    objective : str
        Registry name.

    Returns
    -------
    Look
        Color, dash and marker.

    Examples
    --------
    >>> look("kimi").color
    '#0072B2'
    """
    return LOOKS.get(objective, UNKNOWN)


def seaborn_looks(objectives: Iterable[str], *, lines: bool = False) -> dict[str, Any]:
    """Looks as the arguments of a seaborn function whose hue and style are the objective.

    Parameters
    ----------
    objectives : iterable of str
        Registry names.
    lines : bool, default False
        Whether the function draws lines, which have dashes, too.

    Returns
    -------
    dict
        `hue` and `style`, both "objective"; `palette`, `markers` and, for lines, `dashes` by objective; no `legend`.

    Examples
    --------
    >>> seaborn_looks(["kimi"])["palette"]
    {'kimi': '#0072B2'}
    """
    looks = {name: look(name) for name in objectives}
    given: dict[str, Any] = {"hue": "objective", "style": "objective", "legend": False}
    given["palette"] = {name: style.color for name, style in looks.items()}
    given["markers"] = {name: style.marker for name, style in looks.items()}
    if lines:
        given["dashes"] = {name: "" if style.linestyle == "-" else style.linestyle[1] for name, style in looks.items()}
    return given


def size(columns: int = 1, height: float = 0.62) -> tuple[float, float]:
    """Width and height in inches of a figure over one or both columns; `height` is a share of the width.

    Parameters
    ----------
    columns : {1, 2}
        Columns of the paper that the figure spans.
    height : float
        Share of the width.

    Returns
    -------
    tuple of float
        Width and height.

    Examples
    --------
    >>> size(1, 0.5)
    (3.25, 1.625)
    """
    make = figsizes.icml2024_full if columns == 2 else figsizes.icml2024_half
    width, tall = make(ncols=1, height_to_width_ratio=height)["figure.figsize"]
    return float(width), float(tall)


@contextmanager
def context() -> Iterator[None]:
    """The style on top of matplotlib's own defaults, whatever the user's settings; they are back on leaving."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(RC)  # type: ignore[arg-type]
        yield


def plot_with_error(ax: Axes, rows: pd.DataFrame, x: str, color: str, label: str) -> None:
    """A curve of `improvement` against the column `x`, in a band of two of its standard errors either way."""
    low, high = (rows["improvement"] + side * 2 * rows["standard_error"] for side in (-1, 1))
    ax.fill_between(rows[x], low, high, color=color, alpha=0.2, linewidth=0)
    ax.plot(rows[x], rows["improvement"], color=color, label=label)


def new_axes(figsize: tuple[float, float] | None = None) -> Axes:
    """Axes of a figure of their own, outside pyplot, so that nothing stays registered.

    Parameters
    ----------
    figsize : tuple of float, optional
        Width and height in inches.

    Returns
    -------
    matplotlib.axes.Axes
        The only axes of a new figure.

    Examples
    --------
    >>> new_axes((3.0, 2.0)).figure.get_size_inches().tolist()
    [3.0, 2.0]
    """
    axes: Axes = Figure(figsize=figsize, layout="constrained").subplots()
    return axes


def page(ax: Axes) -> Figure:
    """The whole figure that axes belong to, also from inside a subfigure.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Axes of a figure.

    Returns
    -------
    matplotlib.figure.Figure
        The figure itself.

    Examples
    --------
    >>> type(page(new_axes())).__name__
    'Figure'
    """
    figure = ax.get_figure(root=True)
    if figure is None:
        raise ValueError("the axes belong to no figure")
    return figure


def panel(ax: Axes | None, size: tuple[float, float], mosaic: str) -> Axes:
    r"""The axes given, or new ones of the size of a panel in a figure of `size` with this mosaic.

    Parameters
    ----------
    ax : matplotlib.axes.Axes, optional
        Returned as they are if given.
    size : tuple of float
        Width and height of the whole figure in inches.
    mosaic : str
        Rows of letters, as of a `Sheet`.

    Returns
    -------
    matplotlib.axes.Axes
        Where the panel is drawn.

    Examples
    --------
    >>> panel(None, (6.0, 4.0), "AB\nCD").figure.get_size_inches().tolist()
    [3.0, 2.0]
    """
    rows = mosaic.split("\n")
    return new_axes((size[0] / len(rows[0]), size[1] / len(rows))) if ax is None else ax


def times(value: float, _: float = 0.0) -> str:
    """A tick of an axis of factors.

    Parameters
    ----------
    value : float
        The factor.
    _ : float
        Position of the tick, which matplotlib passes.

    Returns
    -------
    str
        The factor and a multiplication sign.

    Examples
    --------
    >>> times(0.5)
    '0.5×'
    """
    return f"{value:g}×"


def rollouts_color(n: int) -> str:
    """Color of n rollouts, the lighter the more, the same in every figure.

    Parameters
    ----------
    n : int
        Number of rollouts.

    Returns
    -------
    str
        Color as hexadecimal text.

    Examples
    --------
    >>> rollouts_color(16), rollouts_color(4096)
    ('#482475', '#22a884')
    """
    return mpl.colors.to_hex(mpl.colormaps["viridis"](0.35 + 0.33 * math.tanh(math.log2(n / 256) / 4)))
