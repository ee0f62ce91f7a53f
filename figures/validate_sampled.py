"""Kappa of a transformer trained on sampled groups: by prompt, in standard errors, and pooled."""

from __future__ import annotations

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from scipy.stats import norm

from analysis.names import display_name
from figures.style import INK, QUIET, look, panel, size

SIZE = size(2, 0.42)
MOSAIC = "ABC"


def _prompts(frame: pd.DataFrame) -> pd.DataFrame:
    rows = frame[frame["kind"] == "prompt"]
    return rows.assign(measured=rows["kappa"] + rows["gap"])


def plot_prompts(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Measured kappa of each prompt, with two standard errors, against the one predicted for the group size.

    Parameters
    ----------
    frame : pandas.DataFrame
        As `llm.validation.parts.sampled.sampled` returns it.
    ax : matplotlib.axes.Axes, optional
        Where to draw; axes of a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn into.
    """
    ax = panel(ax, SIZE, MOSAIC)
    rows = _prompts(frame)
    for name, part in rows.groupby("objective", sort=False):
        style, error = look(str(name)), 2 * part["error"]
        ax.errorbar(
            *(part["kappa"], part["measured"], error),
            fmt=style.marker,
            color=style.color,
            markersize=2.4,
            elinewidth=0.6,
            alpha=0.7,
            label=display_name(name),
        )
    ends = [min(rows["kappa"].min(), rows["measured"].min()), max(rows["kappa"].max(), rows["measured"].max())]
    ax.plot(ends, ends, color=INK, linewidth=0.6, zorder=0)
    ax.set_xlabel("κ predicted for groups of this size")
    ax.set_ylabel("κ measured, ± 2 errors")
    ax.set_title("By prompt")
    ax.legend(loc="upper left", fontsize=6.0, handletextpad=0.2, borderaxespad=0.2)
    return ax


def plot_errors(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Distribution of the gaps in standard errors beside the normal one. Parameters and result as `plot_prompts`."""
    ax = panel(ax, SIZE, MOSAIC)
    x = np.linspace(-4.0, 4.0, 201)
    ax.plot(x, norm.cdf(x), color=QUIET, linewidth=2.5, zorder=0)
    for name, part in _prompts(frame).groupby("objective", sort=False):
        style, z = look(str(name)), part["gap"] / part["error"]
        sns.ecdfplot(x=z, color=style.color, linestyle=style.linestyle, linewidth=1.0, ax=ax)
    ax.axvspan(-2.0, 2.0, color=QUIET, alpha=0.12, linewidth=0)
    ax.set_xlim(-4.0, 4.0)
    ax.set_ylim(0.0, 1.0)
    ax.set_xlabel("(measured − predicted) / error")
    ax.set_ylabel("share of prompts below")
    ax.set_title("Gaps; thick: normal")
    return ax


def plot_pooled(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Pooled kappa over its finite-group prediction (1), and where it would be for groups without end (|).

    An objective whose kappa is zero has no such factor and is left to the first panel. Parameters and result as
    `plot_prompts`.
    """
    ax = panel(ax, SIZE, MOSAIC)
    rows = frame[frame["kind"] == "pooled"]
    rows = rows[rows["kappa_population"] > 1e-6]
    names = rows["objective"].tolist()
    for place, row in enumerate(rows.to_dict("records")):
        style, x, error = look(row["objective"]), 1.0 + row["gap"] / row["kappa"], 2 * row["error"] / row["kappa"]
        ax.errorbar(x, place, xerr=error, fmt=style.marker, color=style.color, markersize=3.4, elinewidth=0.8)
        ax.plot(row["kappa_population"] / row["kappa"], place, "|", color=INK, markersize=9)
    ax.axvline(1.0, color=INK, linewidth=0.6, zorder=0)
    ax.axvspan(0.95, 1.05, color=QUIET, alpha=0.15, linewidth=0)
    ax.set_yticks(range(len(names)), [display_name(name) for name in names])
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel("κ / predicted; |: without groups")
    ax.set_title("Pooled; band: 5 %")
    return ax


PANELS = {"A": plot_prompts, "B": plot_errors, "C": plot_pooled}
