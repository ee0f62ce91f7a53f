"""Smoothing kernels, their nodes of integration, and the bandwidth rule."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.polynomial.hermite_e import hermegauss
from numpy.polynomial.legendre import leggauss

from pessimism.evaluation.checks import FloatArray

_NODES = 32  # exact for polynomials of degree 61 under the Gaussian kernel; on each half of [-1, 1] under the others


def gaussian(u: FloatArray) -> FloatArray:
    """Standard normal density."""
    density: FloatArray = np.exp(-(u**2) / 2.0) / np.sqrt(2.0 * np.pi)
    return density


def epanechnikov(u: FloatArray) -> FloatArray:
    """0.75 (1 - u^2) on [-1, 1]."""
    return np.where(np.abs(u) <= 1.0, 0.75 * (1.0 - u**2), 0.0)


def triangular(u: FloatArray) -> FloatArray:
    """1 - abs(u) on [-1, 1]."""
    return np.maximum(1.0 - np.abs(u), 0.0)


def cosine(u: FloatArray) -> FloatArray:
    """(pi / 4) cos(pi u / 2) on [-1, 1]."""
    return np.where(np.abs(u) <= 1.0, np.pi / 4.0 * np.cos(np.pi * u / 2.0), 0.0)


KERNELS: dict[str, Callable[[FloatArray], FloatArray]] = {
    "gaussian": gaussian,
    "epanechnikov": epanechnikov,
    "triangular": triangular,
    "cosine": cosine,
}


def quadrature(kernel: str) -> tuple[FloatArray, FloatArray]:
    """Nodes u and weights with sum weights f(u) = integral of K(u) f(u).

    Examples
    --------
    >>> u, weights = quadrature("epanechnikov")
    >>> round(float(weights @ u**2), 12)
    0.2
    """
    if kernel == "gaussian":
        nodes, weights = hermegauss(_NODES)
        return nodes, weights / np.sqrt(2.0 * np.pi)
    nodes, weights = leggauss(_NODES)
    halves = np.concatenate([(nodes - 1.0) / 2.0, (nodes + 1.0) / 2.0])
    return halves, np.concatenate([weights, weights]) / 2.0 * KERNELS[kernel](halves)


def rate_bandwidth(action: FloatArray) -> float:
    """Bandwidth sd(action) n^(-1/5), in the unit of the actions: the rate is the theory's, the sd makes it a length.

    Raises
    ------
    ValueError
        All actions are equal.

    Examples
    --------
    >>> round(rate_bandwidth(np.array([0.0, 1.0] * 16)), 6)
    0.254
    """
    spread = float(action.std(ddof=1)) if len(action) > 1 else 0.0
    if spread == 0.0:
        raise ValueError("bandwidth must be given: the logged actions do not vary")
    return float(spread * len(action) ** -0.2)
