"""Decoupled temperatures: curvature, leak and pessimism factor over beta1 and beta2, the published pairs marked."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.patheffects import withStroke
from matplotlib.ticker import LogLocator, NullLocator

from analysis.names import display_name
from figures.style import INK, look, new_axes, size

SIZE = size(2, 0.4)
MOSAIC = "ABC"
_SAMPLING = {"oapl": "off-policy", "a_star_po": "on-policy"}  # as published
_HALO = [withStroke(linewidth=1.8, foreground="white")]
_PAPER = {"boxstyle": "square,pad=0.1", "facecolor": "white", "linewidth": 0}
_WARM, _LOST = "YlOrBr", "Greys"


def _map(frame: pd.DataFrame, column: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Temperatures beta1 and beta2, and the values of a column over both: beta2 downwards."""
    table = frame[frame["kind"] == "grid"].pivot(index="beta2", columns="beta1", values=column)
    return table.columns.to_numpy(dtype=float), table.index.to_numpy(dtype=float), table.to_numpy(dtype=float)


def _edges(beta: np.ndarray) -> np.ndarray:
    """Edges of the cells around the temperatures, half-way in the logarithm."""
    middle = np.sqrt(beta[:-1] * beta[1:])
    return np.concatenate([beta[:1] ** 2 / middle[:1], middle, beta[-1:] ** 2 / middle[-1:]])


def _shade(ax: Axes, frame: pd.DataFrame, column: str, norm: Normalize, colors: str, keep: np.ndarray) -> None:
    beta1, beta2, values = _map(frame, column)
    ax.pcolormesh(_edges(beta1), _edges(beta2), np.where(keep, values, np.nan), norm=norm, cmap=colors)


def _contours(
    ax: Axes, frame: pd.DataFrame, column: str, levels: list[float], line: tuple[str, float], to: str
) -> None:
    """Contours, each named where it crosses the `line`, ("beta1" or "beta2", its value), if it does."""
    beta1, beta2, values = _map(frame, column)
    axis, at = line
    place = int(np.abs(np.log((beta1 if axis == "beta1" else beta2) / at)).argmin())
    along, other = (values[:, place], beta2) if axis == "beta1" else (values[place], beta1)
    for level in levels:
        if not np.nanmin(values) < level < np.nanmax(values):
            continue
        ax.contour(beta1, beta2, values, levels=[level], colors=INK, linewidths=0.6)
        cross = np.flatnonzero(np.diff((along > level).astype(int)) != 0)
        if cross.size:
            at_once = slice(cross[-1], cross[-1] + 2)
            order = np.argsort(along[at_once])
            met = float(np.interp(level, along[at_once][order], other[at_once][order]))
            x, y = (beta1[place], met) if axis == "beta1" else (met, beta2[place])
            upright = 90 if axis == "beta2" else 0
            ax.text(x, y, to % level, fontsize=6, ha="center", va="center", rotation=upright, bbox=_PAPER)


def _finish(ax: Axes, frame: pd.DataFrame, title: str, sampling: str) -> None:
    """The boundary, the published pairs (filled if that is how they sample) and the axes."""
    beta1, beta2, _ = _map(frame, "kappa")
    ax.plot(beta1, beta1, color=INK, linewidth=1.2)
    published = frame[frame["kind"] == "published"].sort_values("beta1")
    rows = published[["objective", "beta1", "beta2"]].itertuples(index=False, name=None)
    for place, (name, x, y) in enumerate(rows):
        style, side = look(name), -1 if place == 0 else 1
        face = style.color if _SAMPLING[name] == sampling else "white"
        ax.plot([x], [y], style.marker, color=face, markeredgecolor=style.color, markersize=4.5, label=name)
        ax.annotate(
            display_name(name),
            (x, y),
            xytext=(5 * side, 0),
            textcoords="offset points",
            ha="right" if side < 0 else "left",
            va="center_baseline",
            fontsize=6.5,
            path_effects=_HALO,
        )
    ax.set(xscale="log", yscale="log", xlim=(beta1[0], beta1[-1]), ylim=(beta2[0], beta2[-1]))
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(LogLocator(numticks=7))
        axis.set_minor_locator(NullLocator())
    ax.set_xlabel(r"$\beta_1$ of $V^*$ (reward)")
    ax.set_ylabel(r"$\beta_2$ of the regression (reward)")
    ax.set_title(title)


def _say(ax: Axes, text: str) -> None:
    ax.text(0.05, 0.95, text, transform=ax.transAxes, va="top", fontsize=6.5)


def _sides(frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Where mass is kept (beta1 >= beta2), and where it leaks."""
    beta1, beta2, _ = _map(frame, "kappa")
    kept = beta1[None] >= beta2[:, None]
    return kept, ~kept


def plot_kappa(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Curvature of `analysis.decoupled.decoupled` below the boundary beta1 = beta2, the mass that leaks above it.

    Parameters
    ----------
    frame : pandas.DataFrame
        As `analysis.decoupled.decoupled` returns it.
    ax : matplotlib.axes.Axes, optional
        Where to draw; axes of a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn into.

    Examples
    --------
    >>> from analysis.decoupled import decoupled
    >>> plot_kappa(decoupled(n=5)).get_xscale()
    'log'
    """
    ax = new_axes(SIZE) if ax is None else ax
    kept, lost = _sides(frame)
    _shade(ax, frame, "kappa", LogNorm(1e-3, 1e7), _WARM, kept)
    _shade(ax, frame, "leak", Normalize(0.0, 2.0), _LOST, lost)
    _contours(ax, frame, "kappa", [0.1], ("beta1", 3.2), "κ=%g")  # right of the boundary
    _contours(ax, frame, "kappa", [1.0, 10.0, 100.0, 1e3], ("beta1", 2.2), "κ=%g")
    _contours(ax, frame, "leak", [0.1, 0.3, 0.6], ("beta1", 2e-3), "leak %g")
    _finish(ax, frame, "off-policy: κ and leak", "off-policy")
    return ax


def plot_factor(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Pessimism factor on off-policy data; where mass leaks, what stays is nominal at beta2 and there is none.

    Parameters
    ----------
    frame : pandas.DataFrame
        As `analysis.decoupled.decoupled` returns it.
    ax : matplotlib.axes.Axes, optional
        Where to draw; axes of a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn into.

    Examples
    --------
    >>> from analysis.decoupled import decoupled
    >>> plot_factor(decoupled(n=5)).get_yscale()
    'log'
    """
    ax = new_axes(SIZE) if ax is None else ax
    kept, lost = _sides(frame)
    _shade(ax, frame, "pessimism_factor", LogNorm(1.0, 8.0), _WARM, kept)
    _shade(ax, frame, "leak", Normalize(0.0, 2.0), _LOST, lost)
    # Names of neighbors at two heights, as one would cover the other's line.
    _contours(ax, frame, "pessimism_factor", [1.1, 2.0, 3.0, 6.0], ("beta2", 4e-3), "%g×")
    _contours(ax, frame, "pessimism_factor", [1.5, 2.5, 4.0], ("beta2", 2.5e-2), "%g×")
    _say(ax, "mass leaks, the rest\nis nominal at β₂")
    _finish(ax, frame, r"off-policy: $\beta_{\mathrm{eff}}\,/\,\beta_2$", "off-policy")
    return ax


def plot_on_policy(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Pessimism factor on on-policy data: the color says how flat it is.

    Parameters
    ----------
    frame : pandas.DataFrame
        As `analysis.decoupled.decoupled` returns it.
    ax : matplotlib.axes.Axes, optional
        Where to draw; axes of a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn into.

    Examples
    --------
    >>> from analysis.decoupled import decoupled
    >>> plot_on_policy(decoupled(n=5)).texts[0].get_text().splitlines()[0]
    '1× everywhere:'
    """
    ax = new_axes(SIZE) if ax is None else ax
    everywhere = np.ones_like(_sides(frame)[0])
    values = _map(frame, "on_policy_factor")[2]
    _shade(ax, frame, "on_policy_factor", LogNorm(1.0 - 1e-6, 8.0), _WARM, everywhere)
    low, high = f"{values.min():.6g}", f"{values.max():.6g}"
    said = f"{low}× everywhere" if low == high else f"{low}× to {high}×"
    _say(ax, f"{said}:\nnominal at β₂, no leak\n(filled marks: sampling\nas published)")
    _finish(ax, frame, r"on-policy: $\beta_{\mathrm{eff}}\,/\,\beta_2$", "on-policy")
    return ax


PANELS = {"A": plot_kappa, "B": plot_factor, "C": plot_on_policy}
