"""What panels of several figures share: axes of their own size, and one color for each number of rollouts."""

from __future__ import annotations

import math

import matplotlib as mpl
from matplotlib.axes import Axes

from figures.style import new_axes


def panel(ax: Axes | None, size: tuple[float, float], mosaic: str) -> Axes:
    r"""The axes given, or new ones of the size of a panel in a figure of `size` with this mosaic.

    Examples
    --------
    >>> panel(None, (6.0, 4.0), "AB\nCD").figure.get_size_inches().tolist()
    [3.0, 2.0]
    """
    rows = mosaic.split("\n")
    return new_axes((size[0] / len(rows[0]), size[1] / len(rows))) if ax is None else ax


def times(value: float, _: float = 0.0) -> str:
    """A tick of an axis of factors.

    Examples
    --------
    >>> times(0.5)
    '0.5×'
    """
    return f"{value:g}×"


def rollouts_color(n: int) -> str:
    """Color of n rollouts, the lighter the more, the same in every figure.

    Examples
    --------
    >>> rollouts_color(16), rollouts_color(4096)
    ('#482475', '#22a884')
    """
    return mpl.colors.to_hex(mpl.colormaps["viridis"](0.35 + 0.33 * math.tanh(math.log2(n / 256) / 4)))
