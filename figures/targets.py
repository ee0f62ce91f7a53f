"""One bandit, every objective: the induced targets as stacked bars, the most conservative first."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Colormap

from figures.style import INK, QUIET, new_axes, size

SIZE = size(2, 0.52)
_BAR, _GAP = 0.8, 0.45  # height of a bar, extra space between different targets
_SAME = 5  # digits of the effective temperature to which equal targets agree


def _rows(frame: pd.DataFrame) -> pd.DataFrame:
    """One row per objective with its height `y` (downwards); the behavior is above, at 0."""
    rows = frame.drop_duplicates("objective").reset_index(drop=True)
    rounded = rows["effective_temperature"].map(lambda x: float(f"{x:.{_SAME}g}"))
    rows["group"] = (rounded != rounded.shift()).cumsum()
    rows["y"] = np.arange(1, len(rows) + 1) + _GAP * rows["group"]
    return rows


def _bar(ax: Axes, y: float, policy: np.ndarray, shade: np.ndarray, colors: Colormap) -> None:
    left = 0.0
    for probability, level in zip(policy, shade, strict=True):
        face = colors(level)
        ax.barh(y, probability, _BAR, left=left, color=face, edgecolor="white", linewidth=0.5)
        if probability >= 0.045:
            ink = "white" if np.dot(face[:3], (0.299, 0.587, 0.114)) < 0.55 else INK
            text = f"{probability:.2f}".removeprefix("0")
            ax.text(left + probability / 2, y, text, ha="center", va="center_baseline", color=ink, fontsize="x-small")
        left += probability


def _columns(ax: Axes, y: float, temperature: str, value: str, setting: str) -> None:
    """Texts right of a bar, at fixed distances in points, so that the layout can make room for them."""
    for x, text, color in ((6, temperature, INK), (40, value, INK), (74, setting, QUIET)):
        ax.annotate(
            text,
            (1.0, y),
            xytext=(x, 0),
            textcoords="offset points",
            va="center_baseline",
            fontsize="small",
            color=color,
            annotation_clip=False,
        )


def plot_targets(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Stacked bars of `analysis.targets.targets`: one bar per objective, one segment per action, darker is worse.

    Parameters
    ----------
    frame : pandas.DataFrame
        As `analysis.targets.targets` returns it, in the order to draw.
    ax : matplotlib.axes.Axes, optional
        Where to draw; axes of a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes

    Examples
    --------
    >>> from analysis.targets import targets
    >>> plot_targets(targets(objectives=["kimi", "nominal"])).get_xlabel()
    'probability of each action'
    """
    ax = new_axes(SIZE) if ax is None else ax
    rows = _rows(frame)
    first = frame[frame["objective"] == rows["objective"][0]]
    behavior, reward = first["behavior"].to_numpy(), first["reward"].to_numpy()
    span = float(np.ptp(reward)) or 1.0
    shade, colors = 0.08 + 0.84 * (reward - reward.min()) / span, mpl.colormaps["cividis"]

    _bar(ax, 0.0, behavior, shade, colors)
    columns = rows[["objective", "y", "effective_temperature", "value", "setting"]]
    for name, y, temperature, value, setting in columns.itertuples(index=False, name=None):
        _bar(ax, y, frame.loc[frame["objective"] == name, "policy"].to_numpy(), shade, colors)
        _columns(ax, y, f"{temperature:.3f}", f"{value:.3f}", setting)
    _columns(ax, 0.0, "∞", f"{behavior @ reward:.3f}", "")
    _columns(ax, -0.95, r"$\beta_{\mathrm{eff}}$", r"$E_\pi[r]$", "besides β")
    centres = np.cumsum(behavior) - behavior / 2
    for x, value in zip(centres, reward, strict=True):
        ax.text(x, -0.95, f"r = {value:g}", ha="center", va="center_baseline", fontsize="small")

    ax.set_yticks([0.0, *rows["y"]], ["behavior μ", *rows["objective"]])
    ax.set_ylim(float(rows["y"].max()) + 0.7, -1.4)
    ax.set_xlim(0.0, 1.0)
    ax.set_xlabel("probability of each action")
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    return ax


PANELS = {"A": plot_targets}
