"""A target by Lambert's function and a root finder."""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq
from scipy.special import lambertw

BETA = 0.1


def lambert(q: np.ndarray, reward: np.ndarray, shift: float) -> np.ndarray:
    """Target of one log by Lambert's function and a root finder."""
    x = (reward - q @ reward) / BETA + shift

    def ratio(kappa: float) -> np.ndarray:
        return np.real(lambertw(kappa * np.exp(x))) / kappa

    return q * ratio(brentq(lambda kappa: q @ ratio(kappa) - 1, 1e-6, 60.0, xtol=1e-14))
