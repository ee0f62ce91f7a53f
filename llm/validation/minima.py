r"""The local minima of a squared loss over all completions of a prompt, and which of them a policy is nearest to.

In the negative regime all completions are on the branch W_0, or one is on W_-1 and takes the surplus mass
(docs/theory.md; arXiv 2605.28150). On W_0 the ratio depends on the reward alone: beside each candidate for W_-1 the
rest is a bandit of as many actions as there are rewards, which `pessimism.stationary_points` solves in no time.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

import pessimism as ps
from pessimism import divergences
from pessimism.arrays import Floats


class Minimum(NamedTuple):
    """A local minimum of a loss.

    Attributes
    ----------
    action : int or None
        The completion on W_-1; None where all are on W_0.
    kappa : float
        Its kappa.
    loss : float
        Its loss.
    ratio : float
        Ratio of the completion on W_-1.
    others : ndarray
        Ratio of the other completions at each distinct reward.
    """

    action: int | None
    kappa: float
    loss: float
    ratio: float
    others: Floats

    def policy(self, behavior: Floats, reward: Floats) -> Floats:
        """Compute the probabilities ``(N,)``."""
        ratio = self.others[np.unique(reward, return_inverse=True)[1]]
        if self.action is not None:
            ratio[self.action] = self.ratio
        return np.asarray(behavior * ratio)


def minima(behavior: Floats, reward: Floats, objective: ps.Objective) -> list[Minimum]:
    """Find every local minimum over the simplex.

    Parameters
    ----------
    behavior : ndarray, shape (N,)
        Probabilities of the behavior.
    reward : ndarray, shape (N,)
        Rewards, few of them distinct.
    objective : Objective
        As `pessimism.stationary_points` takes it.

    Returns
    -------
    list of Minimum
        The minima, lowest loss first.

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
    """Find the minimum nearest to a policy.

    Parameters
    ----------
    found : list of Minimum
        The minima.
    behavior : ndarray, shape (N,)
        Probabilities of the behavior.
    reward : ndarray, shape (N,)
        Rewards.
    policy : ndarray, shape (N,)
        Probabilities of the policy.

    Returns
    -------
    place : int
        Place of the minimum in the list.
    distance : float
        Total variation between it and the policy.

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
