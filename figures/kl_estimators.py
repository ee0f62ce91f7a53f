"""Where the twelve KL penalties lead, and how far from the nominal target."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from analysis.kl_estimators import named
from figures.labels import label_curves
from figures.style import INK, QUIET, new_axes, size, times

SIZE = size(2, 0.56)
MOSAIC = "AB\nAC"
_FACES = {
    "nominal": "#ededed",
    "other": "#A6CEE8",
    "fewer actions": "#E69F00",
    "one action": "#A34700",
    "no target": "#222222",
}
_COLORS = {"k1": "#000000", "k2": "#0072B2", "k3": "#D55E00"}
_LETTER, _WIDE = 4.2, 140.0  # widths in points: of a letter of a name, of panel A, about


def _rows(frame: pd.DataFrame) -> list[str]:
    """The combinations, those nearest to the nominal target first."""
    score = frame["leads_to"].map({"nominal": 0, "other": 1, "fewer actions": 2, "one action": 3, "no target": 4})
    return score.groupby(named(frame), sort=False).mean().round(9).sort_values(kind="stable").index.tolist()


def _edges(betas: np.ndarray) -> np.ndarray:
    """Borders between temperatures, halfway in the logarithm."""
    if len(betas) == 1:
        return np.array([betas[0] / 1.1, betas[0] * 1.1])
    middle = np.sqrt(betas[1:] * betas[:-1])
    return np.array([betas[0], *middle, betas[-1]])


def _runs(row: pd.DataFrame) -> Iterator[tuple[str, float, float]]:
    """Where a row leads, and from which to which border of temperature."""
    edges, kinds = _edges(row["beta"].to_numpy()), row["leads_to"].tolist()
    start = 0
    for i in range(1, len(kinds) + 1):
        if i == len(kinds) or kinds[i] != kinds[start]:
            yield kinds[start], float(edges[start]), float(edges[i])
            start = i


def _temperatures(ax: Axes, frame: pd.DataFrame) -> None:
    low, high = _edges(np.sort(frame["beta"].unique()))[[0, -1]]
    ax.set_xscale("log")
    ax.set_xlim(low, high)
    ax.xaxis.set_major_locator(FixedLocator([beta for beta in (0.01, 0.03, 0.1, 0.3, 1.0, 3.0) if low <= beta <= high]))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.set_xlabel("temperature β (units of reward)")


def plot_where(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """What each combination of `analysis.kl_estimators` leads to, a bar over the temperatures.

    Parameters
    ----------
    frame : pandas.DataFrame
        As `analysis.kl_estimators.kl_estimators` returns it.
    ax : matplotlib.axes.Axes, optional
        Where to draw; axes of a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn into.

    Examples
    --------
    >>> from analysis.kl_estimators import kl_estimators
    >>> plot_where(kl_estimators(low=0.1, high=0.1, n=1)).get_yticklabels()[0].get_text()
    'k1 in reward, on-policy'
    """
    ax = new_axes(SIZE) if ax is None else ax
    names, rows = _rows(frame), named(frame)
    _temperatures(ax, frame)
    whole = np.log(ax.get_xlim()[1] / ax.get_xlim()[0])
    for y, name in enumerate(names):
        for kind, low, high in _runs(frame[rows == name]):
            ax.barh(y, high - low, 0.84, left=low, color=_FACES[kind], edgecolor="white", linewidth=0.8)
            text = "another policy" if kind == "other" else kind
            if _LETTER * len(text) > _WIDE * np.log(high / low) / whole:
                continue
            ink = "white" if kind in ("one action", "no target") else INK
            ax.text(np.sqrt(low * high), y, text, ha="center", va="center_baseline", color=ink, fontsize="small")
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set_title("Where it leads", loc="left")
    return ax


def _kept(ax: Axes, frame: pd.DataFrame, column: str) -> dict[str, pd.Series]:
    """A curve for each combination that keeps all actions without being nominal; its values by its label."""
    other = frame[frame["leads_to"] == "other"]
    drawn = {}
    for name, rows in other.groupby(named(other), sort=False):
        estimator, placement, sampling = rows.iloc[0][["estimator", "placement", "sampling"]]
        label = f"{estimator} {placement}, {sampling.removesuffix('_policy')}"
        drawn[label] = rows.set_index("beta")[column].rename(str(name))
        dash = "-" if sampling == "on_policy" else "--"
        ax.plot(rows["beta"], rows[column], color=_color(label), linestyle=dash, label=label)
    return drawn


def _color(label: str) -> str:
    return _COLORS[label[:2]]


def _at_end(ax: Axes, curves: dict[str, pd.Series]) -> None:
    """Names right of curves that end close together, spread a little."""
    ranked = sorted(curves, key=lambda label: float(curves[label].iloc[-1]))
    for rank, label in enumerate(ranked):
        end, up = curves[label].iloc[[-1]], 3.0 * (rank - (len(ranked) - 1) / 2)
        style: dict[str, Any] = {"color": _color(label), "va": "center", "textcoords": "offset points"}
        ax.annotate(label, (end.index[0], end.iloc[0]), (4, up), annotation_clip=False, **style)


def plot_distance(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Total variation from the nominal target of the combinations that lead to another policy on all actions.

    Parameters
    ----------
    frame : pandas.DataFrame
        As `analysis.kl_estimators.kl_estimators` returns it.
    ax : matplotlib.axes.Axes, optional
        Where to draw; axes of a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn into.

    Examples
    --------
    >>> from analysis.kl_estimators import kl_estimators
    >>> plot_distance(kl_estimators(n=2)).get_ylabel()
    'total variation'
    """
    ax = new_axes(SIZE) if ax is None else ax
    _temperatures(ax, frame)
    top = frame.loc[frame["leads_to"] == "other", "tv"].max()
    ax.set_ylim(0.0, 1.25 * top if top > 0 else 1.0)
    label_curves(ax, {label: _color(label) for label in _kept(ax, frame, "tv")})
    ax.set_ylabel("total variation")
    ax.set_title("Other policies: distance from π*", loc="left")
    return ax


def plot_factor(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Effective over stated temperature of the same; below 1 they are bolder than the nominal target.

    Parameters
    ----------
    frame : pandas.DataFrame
        As `analysis.kl_estimators.kl_estimators` returns it.
    ax : matplotlib.axes.Axes, optional
        Where to draw; axes of a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn into.

    Examples
    --------
    >>> from analysis.kl_estimators import kl_estimators
    >>> plot_factor(kl_estimators(n=2)).get_yscale()
    'log'
    """
    ax = new_axes(SIZE) if ax is None else ax
    _temperatures(ax, frame)
    ax.set_yscale("log", base=2)
    factors = frame.loc[frame["leads_to"] == "other", "factor"]
    ax.set_ylim(min(0.45, 0.8 * factors.min()), max(2.5, 1.2 * factors.max()))
    ax.axhline(1.0, color=QUIET, linewidth=0.6, linestyle=":", zorder=1)
    ax.yaxis.set_major_locator(FixedLocator([0.25, 0.5, 1.0, 2.0, 4.0, 8.0]))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(times)
    _at_end(ax, _kept(ax, frame, "factor"))
    ax.set_ylabel(r"$\beta_{\mathrm{eff}}\,/\,\beta$")
    ax.set_title("Other policies: how warm", loc="left")
    return ax


PANELS = {"A": plot_where, "B": plot_distance, "C": plot_factor}
