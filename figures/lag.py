"""Lag: value, collapse, entropy and KL to the start against how old the data are, one curve an objective."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from analysis.lag import held, last, retuned
from figures.labels import label_ends
from figures.style import INK, QUIET, look, new_axes, size

SIZE = size(2, 0.74)
MOSAIC = "ABC\nDEF"
_ANOTHER = "share of prompts collapsed\non another than the best"


def _against_lag(rows: pd.DataFrame, column: str, ax: Axes | None, title: str, unit: str) -> Axes:
    """A curve of each objective over log2(1 + lag), which has a place for 0; crosses where runs ended early."""
    ax = new_axes((SIZE[0] / 3, SIZE[1] / 2)) if ax is None else ax
    ends, lags = {}, np.sort(rows["lag"].unique())
    for name, part in rows.groupby("objective", sort=False):
        part = part.sort_values("lag")
        x, how = np.log2(1.0 + part["lag"]), look(str(name))._asdict()
        ax.plot(x, part[column], linewidth=1.1, markersize=3, clip_on=False, label=str(name), **how)
        over = part["ended"] > 0
        if over.any():
            ax.plot(x[over], part.loc[over, column], "x", color=INK, markersize=4, zorder=3, clip_on=False)
        ends[str(name)] = float(part[column].iloc[-1])
    ax.set_xlim(-0.2, np.log2(1.0 + lags[-1]))
    ax.set_xticks(np.log2(1.0 + lags), [f"{lag:g}" for lag in lags])
    ax.set_xlabel(f"lag L, {rows['dynamics'].iloc[0]}")
    ax.set_ylabel(unit)
    ax.set_title(title, fontsize=7.5)
    ax.grid(axis="y")
    if column in ("premature", "entropy"):
        ax.set_ylim(bottom=min(0.0, -0.03 * float(rows[column].max())))
    if column == "premature":
        ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    label_ends(ax, ends)
    return ax


def plot_value(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Value after the last step at one learning rate for all of `analysis.lag`.

    Parameters
    ----------
    frame : pandas.DataFrame
        As `analysis.lag.lag` returns it.
    ax : matplotlib.axes.Axes, optional
        Where to draw; axes of a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn into.

    Examples
    --------
    >>> from analysis.lag import SMOKE, lag
    >>> plot_value(lag(**SMOKE)).get_xlabel()
    'lag L, steps'
    """
    rows = held(frame)
    title = f"Value, one rate for all ({rows['lr'].iloc[0]:g})"
    ax = _against_lag(rows, "value", ax, title, "expected reward")
    if (rows["ended"] > 0).any():
        said = "× some overflow"
        ax.text(0.03, 0.03, said, transform=ax.transAxes, va="bottom", color=QUIET, fontsize=6.0)
    return ax


def plot_retuned(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Value after the last step at the best rate for every objective and lag. Parameters and result as `plot_value`."""
    return _against_lag(retuned(frame), "value", ax, "Value, rate retuned", "expected reward")


def plot_premature(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Share of prompts collapsed on a completion that is not the best. Parameters and result as `plot_value`."""
    return _against_lag(held(frame), "premature", ax, "Premature collapse", _ANOTHER)


def plot_entropy(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Entropy after the last step. Parameters and result as `plot_value`."""
    return _against_lag(held(frame), "entropy", ax, "Entropy", "nats")


def plot_kl(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """KL of the policy to the start after the last step. Parameters and result as `plot_value`."""
    return _against_lag(held(frame), "kl", ax, "KL to the start", r"KL$(\pi\,\|\,\pi_0)$, nats")


def plot_rounds(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Value after the last round of training to convergence. Parameters and result as `plot_value`."""
    rows = last(frame, "rounds")
    title = f"Value, {rows['time'].iloc[0]} full rounds"
    return _against_lag(rows, "value", ax, title, "expected reward")


PANELS = {
    "A": plot_value,
    "B": plot_retuned,
    "C": plot_premature,
    "D": plot_entropy,
    "E": plot_kl,
    "F": plot_rounds,
}
