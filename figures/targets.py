"""One bandit, every objective: the induced targets as stacked bars with what they cost, the most conservative first."""

from __future__ import annotations

import textwrap
from functools import partial

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.ticker import MaxNLocator

from analysis.names import display_name
from figures.style import INK, QUIET, new_axes, size

SIZE = size(2, 1.2)
MOSAIC = "AAAABCDE"
_BAR = 0.78  # height of a bar
_WIDE, _LINE = 40, 0.7  # letters to a line of names; height of each further line
_MANY, _NONE = "‡", "†"
# Column, title and unit of each panel of dots.
_DOTS = {
    "B": ("kl", r"KL($\pi\,\|\,\mu$)", "nats"),
    "C": ("chi_square", r"$\chi^2(\pi\,\|\,\mu)$", ""),
    "D": ("value", r"$E_\pi[r]$", "reward"),
    "E": ("max_ratio", r"max $w$", ""),
}


def _marked(name: str, beta: float, status: str) -> str:
    name = display_name(name).replace(" ", "\N{NO-BREAK SPACE}")
    return name + (_NONE if np.isnan(beta) else "") + (_MANY if status == "set_valued" else "")


def _rows(frame: pd.DataFrame) -> pd.DataFrame:
    """One row per target with its `names` and height `y` (downwards, taller for more names); the behavior is at 0."""
    objectives = frame.drop_duplicates("objective")
    marks = [_marked(*row) for row in objectives[["objective", "beta", "status"]].itertuples(index=False, name=None)]
    names = pd.Series(marks).groupby(objectives["target"].to_numpy()).agg(", ".join)
    rows = objectives.drop_duplicates("target").reset_index(drop=True)
    rows["names"] = [
        "\n".join(textwrap.wrap(text, _WIDE, break_on_hyphens=False)) for text in names.loc[rows["target"]]
    ]
    tall = 1 + _LINE * rows["names"].str.count("\n")
    rows["y"] = 0.7 + tall.cumsum() - tall / 2
    return rows


def _limits(ax: Axes, rows: pd.DataFrame) -> None:
    """The same heights in every panel, so that rows go through."""
    ax.set_ylim(float(rows["y"].max()) + 0.8, -1.1)
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)


def _bar(ax: Axes, y: float, policy: np.ndarray, shade: np.ndarray, colors: Colormap) -> None:
    left = 0.0
    for probability, level in zip(policy, shade, strict=True):
        face = colors(level)
        ax.barh(y, probability, _BAR, left=left, color=face, edgecolor="white", linewidth=0.5)
        if probability >= 0.1:
            ink = "white" if np.dot(face[:3], (0.299, 0.587, 0.114)) < 0.55 else INK
            text = f"{probability:.2f}".removeprefix("0")
            ax.text(left + probability / 2, y, text, ha="center", va="center_baseline", color=ink, fontsize=6)
        left += probability


def _beside(ax: Axes, y: float, text: str) -> None:
    """Text right of a bar, at a fixed distance in points, so that the layout can make room for it."""
    ax.annotate(
        text,
        (1.0, y),
        xytext=(4, 0),
        textcoords="offset points",
        va="center_baseline",
        fontsize="small",
        annotation_clip=False,
    )


def plot_targets(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Stacked bars of `analysis.targets.targets`: one bar per target, one segment per action, darker is worse.

    Parameters
    ----------
    frame : pandas.DataFrame
        As `analysis.targets.targets` returns it, in the order to draw.
    ax : matplotlib.axes.Axes, optional
        Where to draw; axes of a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn into.

    Examples
    --------
    >>> from analysis.targets import targets
    >>> plot_targets(targets(objectives=["kimi", "nominal"])).get_xlabel()
    'probability'
    """
    ax = new_axes(SIZE) if ax is None else ax
    rows = _rows(frame)
    first = frame[frame["objective"] == rows["objective"][0]]
    behavior, reward = first["behavior"].to_numpy(), first["reward"].to_numpy()
    span = float(np.ptp(reward)) or 1.0
    shade, colors = 0.08 + 0.84 * (reward - reward.min()) / span, mpl.colormaps["cividis"]

    _bar(ax, 0.0, behavior, shade, colors)
    _beside(ax, 0.0, "∞")
    for name, y, warmth in rows[["objective", "y", "effective_temperature"]].itertuples(index=False, name=None):
        policy = frame.loc[frame["objective"] == name, "policy"].to_numpy()
        if np.isnan(policy).any():
            ax.text(0.01, y, "no target: the loss is unbounded", va="center_baseline", color=QUIET, fontsize="small")
            continue
        _bar(ax, y, policy, shade, colors)
        _beside(ax, y, f"{warmth:.0f}" if warmth >= 10 else f"{warmth:.3f}" if warmth > 0 else "0")
    ax.set_title("target π")
    ax.set_title(r"$\beta_{\mathrm{eff}}$", loc="right", x=1.14)
    ax.set_yticks(
        [-0.72, 0.0, *rows["y"]], ["reward", "behavior μ", *rows["names"]], fontsize="small", linespacing=1.05
    )
    _limits(ax, rows)
    ax.set_xlim(0.0, 1.0)
    ax.set_xticks([0.0, 0.5, 1.0], ["0", "0.5", "1"])
    ax.set_xlabel("probability")
    for x, value in zip(np.cumsum(behavior) - behavior / 2, reward, strict=True):
        ax.text(x, -0.72, f"{value:g}", ha="center", va="center_baseline", fontsize="small", color=QUIET)
    _explain(ax, rows)
    return ax


def _explain(ax: Axes, rows: pd.DataFrame) -> None:
    """What marks and lines mean."""
    said = {_NONE: "no temperature", _MANY: "one of many optima, the nearest to μ"}
    lines = [f"{mark} {what}" for mark, what in said.items() if rows["names"].str.contains(mark).any()]
    text = "\n".join([*lines, r"dashed: nominal at β. $\beta_{\mathrm{eff}}$ in units of reward"])
    ax.annotate(
        text,
        (0.0, 0.0),
        xycoords="axes fraction",
        xytext=(-8, -6),
        textcoords="offset points",
        ha="right",
        va="top",
        fontsize="small",
        color=QUIET,
        annotation_clip=False,
    )


def plot_dots(frame: pd.DataFrame, ax: Axes | None = None, panel: str = "B") -> Axes:
    """One measure of each target, in the rows of `plot_targets`; the dashed line is the nominal target.

    Parameters
    ----------
    frame : pandas.DataFrame
        As `analysis.targets.targets` returns it.
    ax : matplotlib.axes.Axes, optional
        Where to draw; axes of a new figure by default.
    panel : {"B", "C", "D", "E"}, default "B"
        The measure: "B" (KL), "C" (chi^2), "D" (value) or "E" (largest ratio).

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn into.

    Examples
    --------
    >>> from analysis.targets import targets
    >>> plot_dots(targets(objectives=["kimi", "nominal"]), panel="D").get_xlabel()
    'reward'
    """
    ax = new_axes(SIZE) if ax is None else ax
    column, title, unit = _DOTS[panel]
    rows = _rows(frame)
    first = frame[frame["objective"] == rows["objective"][0]]
    rest = {"kl": 0.0, "chi_square": 0.0, "max_ratio": 1.0, "value": float(first["behavior"] @ first["reward"])}
    ax.hlines([0.0, *rows["y"]], rest[column], [rest[column], *rows[column]], color=INK, linewidth=0.6)
    ax.plot([rest[column], *rows[column]], [0.0, *rows["y"]], "o", color=INK, markersize=2.8)
    nominal = _nominal(first)[column]
    ax.axvline(nominal, color=QUIET, linestyle=(0, (3, 2)), linewidth=0.8, zorder=0)
    ax.margins(x=0.1)
    low, high = ax.get_xlim()
    ax.set_xticks([x for x in MaxNLocator(2).tick_values(low, high) if low <= x <= high])
    ax.set_title(title, fontweight="normal", fontsize=7.5)
    ax.set_xlabel(unit)
    ax.set_yticks([])
    _limits(ax, rows)
    return ax


def _nominal(first: pd.DataFrame) -> dict[str, float]:
    """The measures of the nominal target, from the probabilities of one objective's rows."""
    nominal, behavior = first["nominal"].to_numpy(), first["behavior"].to_numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        w = nominal / behavior
        kl = np.where(nominal > 0, nominal * np.log(w), 0.0).sum()
    return {
        "kl": float(kl),
        "chi_square": float(behavior @ (w - 1) ** 2),
        "value": float(nominal @ first["reward"]),
        "max_ratio": float(w.max()),
    }


PANELS = {"A": plot_targets, **{letter: partial(plot_dots, panel=letter) for letter in _DOTS}}
