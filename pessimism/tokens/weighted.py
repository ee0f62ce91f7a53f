r"""Importance weights with a KL penalty at a prefix whose completions have unequal weights m.

:math:`M_a w_a (\bar A_a - \beta u_a) = \lambda w_a` gives :math:`u_a = \bar A_a/\beta - \lambda/(\beta M_a)`, M the
mean weight below a token: a tilt whose temperature differs by token; docs/theory.md.
"""

from __future__ import annotations

import numpy as np

from pessimism.arrays import Floats
from pessimism.closed_forms.separable import normalizing_multiplier


def tilt_of_weights(nu: Floats, weight: Floats, advantage: Floats, beta: float) -> tuple[Floats, Floats]:
    """Log-ratios ``(N, K)`` to the reference, and the multiplier ``(N,)`` that makes them a policy.

    Parameters
    ----------
    nu : ndarray, shape (N, K)
        Probabilities of the reference.
    weight, advantage : ndarray, shape (N, K)
        Mean weights M > 0 and mean advantages.
    beta : float
        Temperature.

    Returns
    -------
    log_ratio : ndarray, shape (N, K)
        Log-ratios.
    multiplier : ndarray, shape (N,)
        Multiplier lam.
    """
    pull = weight * advantage
    unit = np.max(np.abs(pull), axis=-1) + beta * np.max(weight, axis=-1)

    def log_ratio(lam: Floats, row: np.ndarray) -> Floats:
        return np.asarray((pull[row] - lam[:, None]) / (beta * weight[row]))

    def mass(lam: Floats, row: np.ndarray) -> Floats:  # lam in units of each row
        return np.asarray(np.sum(nu[row] * np.exp(log_ratio(lam * unit[row], row)), axis=-1))

    low, high = np.min(pull, axis=-1) / unit, np.max(pull, axis=-1) / unit
    lam = unit * normalizing_multiplier(mass, low - 1e-12, high + 1e-12)
    return log_ratio(lam, np.arange(len(lam))), lam
