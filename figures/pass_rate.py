"""The implicit curriculum: effective temperature, change of logit p in a round, first step, against pass rate."""

from __future__ import annotations

import textwrap
from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator

from analysis.names import display_name, display_names
from figures.labels import label_curves
from figures.style import QUIET, look, new_axes, seaborn_looks, size, times

SIZE = size(2, 0.98)
MOSAIC = "AB\nAB\nCD"
_LIMITS = (0.12, 16.0)
_OTHER_REWARD = ("qrpo", "tpo")  # their temperature is one of the reward's quantile or standard score
_CLIPPED = ("ppo", "dr_grpo", "grpo", "dapo", "gspo")
# Curves of which a part is shared: named at their end, so far from it in points, on this side of the text.
_ENDS = {
    "ppo": ((26.0, 6.0), "right"),
    "dapo": ((-12.0, -3.0), "right"),
    "grpo": ((-2.0, -10.0), "right"),
    "gspo": ((-10.0, -14.0), "right"),
}
_DIVIDED = ("kimi", "dr_grpo", "std_normalized", "grpo")


def _curves(frame: pd.DataFrame, column: str, names: Collection[str] | None = None) -> dict[str, list[str]]:
    """Objectives by the first of those with the same curve, but for the eps of a standard deviation."""
    curve = frame[frame["kind"] == "curve"]
    table = curve.pivot(index="pass_rate", columns="objective", values=column)
    groups: dict[str, list[str]] = {}
    for name in curve["objective"].unique():
        if (names is not None and name not in names) or not np.isfinite(table[name]).any():
            continue
        same = (known for known in groups if np.allclose(table[known], table[name], rtol=3e-3, atol=0.0))
        groups.setdefault(next(same, str(name)), []).append(str(name))
    return groups


def _plot(ax: Axes, frame: pd.DataFrame, column: str, groups: dict[str, list[str]], *, joined: bool) -> None:
    """One curve for each group, named by its first objective or, `joined`, by all; in `_ENDS`, where it ends."""
    colors = {}
    for name, alike in groups.items():
        curve = frame[(frame["kind"] == "curve") & (frame["objective"] == name)]
        style, label = look(name), display_names(alike if joined else [name])
        ax.plot(curve["pass_rate"], curve[column], color=style.color, linestyle=style.linestyle, label=label)
        if joined and name in _ENDS:
            (dx, dy), side = _ENDS[name]
            last = curve[np.isfinite(curve[column])].iloc[-1]
            end = (float(last["pass_rate"]), float(last[column]))
            ax.annotate(label, end, (dx, dy), textcoords="offset points", ha=side, va="baseline", color=style.color)
        else:
            colors[label] = style.color
    ax.set_xlim(0.0, 1.0)
    ax.set_xlabel("pass rate p of the behavior policy")
    ax.grid(axis="y")
    ax.set_ylim(ax.get_ylim())
    label_curves(ax, colors)


def _say(ax: Axes, lines: list[str], x: float, y: float, width: int) -> None:
    """A quiet note in the corner that (x, y) is near to."""
    wrapped = [part for line in lines for part in textwrap.wrap(line, width)]
    ha, va = "left" if x < 0.5 else "right", "bottom" if y < 0.5 else "top"
    ax.text(x, y, "\n".join(wrapped), transform=ax.transAxes, ha=ha, va=va, color=QUIET, fontsize="small")


def _points(ax: Axes, points: pd.DataFrame) -> list[str]:
    """Logged groups, and what is to be said of them."""
    if points.empty:
        return []
    seen = points[points["pessimism_factor"].notna()]
    how: dict[str, Any] = {"s": 5 + 1.2 * seen["groups"], "linewidth": 0.5, "zorder": 3}
    looks = seaborn_looks(seen["objective"].unique())
    sns.scatterplot(seen, x="pass_rate", y="pessimism_factor", ax=ax, **how, **looks)
    one = points[points["objective"] == points["objective"].iloc[0]]
    silent = int(one.loc[one["pessimism_factor"].isna(), "groups"].sum())
    without = f"; {silent} more have equal rewards" if silent else ""
    return [f"points: {one['groups'].sum() - silent} logged groups{without}"]


def plot_pass_rate(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Curves and logged prompt groups of `analysis.pass_rate.pass_rate`, in units of each objective's temperature.

    Parameters
    ----------
    frame : pandas.DataFrame
        As `analysis.pass_rate.pass_rate` returns it.
    ax : matplotlib.axes.Axes, optional
        Where to draw; axes of a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn into.

    Examples
    --------
    >>> from analysis.pass_rate import pass_rate
    >>> plot_pass_rate(pass_rate(logs=None, n=19)).get_xlabel()
    'pass rate p of the behavior policy'
    """
    ax = new_axes(SIZE) if ax is None else ax
    curve = frame[frame["kind"] == "curve"]
    shown = set(curve["objective"]) - {*_OTHER_REWARD, *_CLIPPED}
    groups = _curves(frame, "pessimism_factor", shown)
    said = _points(ax, frame[frame["kind"] == "group"])
    ax.set_yscale("log", base=2)
    ax.set_ylim(*_LIMITS)
    ax.yaxis.set_major_locator(FixedLocator([2.0**k for k in range(-3, 5)]))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(times)
    _plot(ax, frame, "pessimism_factor", groups, joined=False)
    said += [f"{display_name(first)}: also {display_names(alike)}" for first, (_, *alike) in groups.items() if alike]
    _say(ax, said, 0.02, 0.02, 52)
    ax.set_title("effective temperature")
    ax.set_ylabel(r"effective / stated, $\beta_{\mathrm{eff}}\,/\,\beta$")
    return ax


def _round(ax: Axes, low: float, high: float, title: str) -> None:
    ax.set_yscale("log")
    ax.set_ylim(low, high)
    ax.set_title(title)
    ax.set_ylabel(r"change of logit p, $\log(w_+/w_-)$")


def plot_regressions(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Change of logit p in one round of training to convergence, of the objectives with a temperature and no clip.

    Parameters
    ----------
    frame : pandas.DataFrame
        As `analysis.pass_rate.pass_rate` returns it.
    ax : matplotlib.axes.Axes, optional
        Where to draw; axes of a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn into.

    Examples
    --------
    >>> from analysis.pass_rate import pass_rate
    >>> plot_regressions(pass_rate(logs=None, n=9)).get_yscale()
    'log'
    """
    ax = new_axes(SIZE) if ax is None else ax
    curve = frame[(frame["kind"] == "curve") & frame["pessimism_factor"].notna()]
    shown = set(curve["objective"]) - {*_CLIPPED, "awr"}  # AWR's is in the panel of the temperatures; no room here
    _round(ax, 0.4, 2e3, "one round: with a temperature")
    _plot(ax, frame, "logit_change", _curves(frame, "logit_change", shown), joined=False)
    settings = curve.drop_duplicates("objective").set_index("objective")["setting"]
    said = [
        f"{display_name(name)} ({settings[name].partition('(')[2]}" for name in ("kimi", "oapl") if name in settings
    ]
    _say(ax, said, 0.98, 0.02, 60)
    return ax


def plot_clipped(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """The same of objectives with a clip: the optimum nearest to the behavior; what leaves nothing failing is listed.

    Parameters
    ----------
    frame : pandas.DataFrame
        As `analysis.pass_rate.pass_rate` returns it.
    ax : matplotlib.axes.Axes, optional
        Where to draw; axes of a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn into.

    Examples
    --------
    >>> from analysis.pass_rate import pass_rate
    >>> plot_clipped(pass_rate(logs=None, n=9)).get_yscale()
    'log'
    """
    ax = new_axes(SIZE) if ax is None else ax
    curve = frame[frame["kind"] == "curve"]
    _round(ax, 3e-4, 1e3, "one round: clipped or greedy")
    _plot(ax, frame, "logit_change", _curves(frame, "logit_change", _CLIPPED), joined=True)
    gone = curve[np.isinf(curve["logit_change"])].groupby("objective", sort=False)["pass_rate"].agg(["min", "size"])
    whole = curve["pass_rate"].nunique()
    always = [display_name(name) for name in gone.index[gone["size"] == whole]]
    later = [
        f"{display_name(name)} from p = {least:.2f}" for name, least in gone.loc[gone["size"] < whole, "min"].items()
    ]
    _say(ax, [f"∞, nothing failing is left: {', '.join(always + later)}"], 0.02, 0.98, 62)
    return ax


def plot_first_step(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """First gradient step of logit p at the behavior, with the standard deviation divided out and without.

    Parameters
    ----------
    frame : pandas.DataFrame
        As `analysis.pass_rate.pass_rate` returns it.
    ax : matplotlib.axes.Axes, optional
        Where to draw; axes of a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn into.

    Examples
    --------
    >>> from analysis.pass_rate import pass_rate
    >>> plot_first_step(pass_rate(logs=None, n=9)).get_title()
    'first step: what the std changes'
    """
    ax = new_axes(SIZE) if ax is None else ax
    most = frame.groupby("objective")["first_step"].transform("max")
    relative = frame.assign(first_step=frame["first_step"] / most)
    ax.set_ylim(0.0, 1.12)
    _plot(ax, relative, "first_step", _curves(relative, "first_step", _DIVIDED), joined=True)
    ax.set_title("first step: what the std changes")
    ax.set_ylabel("gradient of logit p / its largest")
    return ax


PANELS = {"A": plot_pass_rate, "B": plot_regressions, "C": plot_clipped, "D": plot_first_step}
