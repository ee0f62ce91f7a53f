r"""The local minima of a squared loss over all completions of a prompt, and which of them a policy is nearest to.

In the negative regime all completions are on the branch W_0, or one is on W_-1 and takes the surplus mass
(docs/theory.md; arXiv 2605.28150). On W_0 the ratio depends on the reward alone: beside each candidate for W_-1 the
rest is a bandit of as many actions as there are rewards, which `pessimism.stationary_points` solves in no time.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

import pessimism as ps
from pessimism import divergences

Floats = NDArray[np.float64]


class Minimum(NamedTuple):
    """A local minimum: the completion on W_-1 (None: all on W_0) with its ratio, and the ratio at each reward."""

    action: int | None
    kappa: float
    loss: float
    ratio: float
    others: Floats

    def policy(self, behavior: Floats, reward: Floats) -> Floats:
        """Probabilities ``(N,)``."""
        ratio = self.others[np.unique(reward, return_inverse=True)[1]]
        if self.action is not None:
            ratio[self.action] = self.ratio
        return np.asarray(behavior * ratio)


def minima(behavior: Floats, reward: Floats, objective: ps.Objective) -> list[Minimum]:
    """Every local minimum over the simplex, lowest loss first.

    Parameters
    ----------
    behavior, reward : ``(N,)``, with few distinct rewards.
    objective : as `pessimism.stationary_points` takes it.

    Examples
    --------
    >>> found = minima(np.array([0.4, 0.3, 0.3]), np.array([0.0, 0.0, 1.0]), ps.ConstantBaseline(beta=0.5, value=3.0))
    >>> [m.action for m in found]
    [2, 1, 0]
    """
    levels, which = np.unique(reward, return_inverse=True)
    mass = np.bincount(which, behavior)
    found = [
        Minimum(None, point.kappa, point.loss, np.nan, np.exp(point.log_ratio))
        for point in ps.stationary_points(mass, levels, objective)
        if point.branch is None
    ]
    for action, (q, level) in enumerate(zip(behavior, which, strict=True)):
        rest = mass - np.where(np.arange(len(levels)) == level, q, 0.0)
        for point in ps.stationary_points(np.append(rest, q), np.append(levels, levels[level]), objective):
            if point.branch == len(levels):
                ratio = np.exp(point.log_ratio)
                found.append(Minimum(action, point.kappa, point.loss, float(ratio[-1]), ratio[:-1]))
    return sorted(found, key=lambda minimum: minimum.loss)


def nearest(found: list[Minimum], behavior: Floats, reward: Floats, policy: Floats) -> tuple[int, float]:
    """Place of the minimum nearest to a policy ``(N,)``, and its total variation from it.

    Examples
    --------
    >>> q, reward = np.array([0.4, 0.3, 0.3]), np.array([0.0, 0.0, 1.0])
    >>> found = minima(q, reward, ps.ConstantBaseline(beta=0.5, value=3.0))
    >>> nearest(found, q, reward, found[1].policy(q, reward))
    (1, 0.0)
    """
    apart = [float(divergences.total_variation(one.policy(behavior, reward), policy)) for one in found]
    place = int(np.argmin(apart))
    return place, apart[place]
