"""Where the clip of an objective takes hold: which log-ratios it leaves without a say, or without a change.

Asked of the score weight itself, so that it holds for every objective: what an advantage adds to the weight at a
log-ratio is g(u, 2A) - g(u, A), which a penalty on the policy has no part in. A clip or a mask makes it 0, a cap makes
it constant in u. A gate without an edge takes hold nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pessimism.arrays import Floats
from pessimism.core.objective import Objective

_LEAST = -700.0  # log-ratio below which the ratio is 0 in float64, so that no weight says anything
_NEAR = 1e-6  # of an edge: no log-probability of float32 is better known
_FLAT, _STEEP = 1e-4, 1e-2
_GRID = np.linspace(-20.0, 20.0, 801)
_JUMP = 1e-6  # part of its value at the behavior that a weight has before an edge


@dataclass(frozen=True)
class Clip:
    """The clip, cap or mask of an objective.

    Attributes
    ----------
    objective : Objective
        The objective.
    rising, falling : bool
        Whether the say of a positive advantage, and of a negative one, has a bound at which it is held.
    """

    objective: Objective
    rising: bool
    falling: bool

    def touches(self, log_ratio: Floats, advantage: Floats, weights: Floats | None = None) -> NDArray[np.bool_]:
        """Say where it takes hold.

        Parameters
        ----------
        log_ratio : ndarray, shape (..., K)
            Log-ratios log(policy / behavior), of completions or of tokens.
        advantage : ndarray, shape (..., K)
            Advantages.
        weights : ndarray, shape (..., K), optional
            Probabilities under the behavior, for objectives that take them.

        Returns
        -------
        ndarray of bool, shape (..., K)
            Whether the advantage has no say there, or the say that it has is held at a bound. An advantage of 0 has no
            say anywhere, and is not touched.

        Examples
        --------
        >>> import pessimism as ps
        >>> clip_of(ps.PPO()).touches(np.log([0.7, 0.9, 1.3]), np.ones(3)).tolist()
        [False, False, True]
        """
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            none = _say(self.objective, log_ratio, advantage, weights) == 0.0
            held = np.where(advantage > 0, self.rising, self.falling)
            if held.any():
                held &= _slope(self.objective, log_ratio, advantage, weights) < _FLAT
        return np.asarray((none | held) & (advantage != 0.0) & (log_ratio > _LEAST))

    def of_tokens(self, log_ratio: Floats, probability: Floats) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Say which tokens ``(T,)`` it touches where the advantage is positive, and which where it is negative."""
        weights, ones = probability if self.objective.takes_propensity else None, np.ones_like(log_ratio)
        return self.touches(log_ratio, ones, weights), self.touches(log_ratio, -ones, weights)


def _say(objective: Objective, log_ratio: Floats, advantage: Floats, weights: Floats | None) -> Floats:
    more, less = (objective.score_weight(log_ratio, factor * advantage, weights) for factor in (2.0, 1.0))
    return np.asarray(more - less)


def _slope(objective: Objective, log_ratio: Floats, advantage: Floats, weights: Floats | None) -> Floats:
    """How much the say changes with the log-ratio, in parts of itself: 0 on both sides of what is beyond an edge."""
    here, *near = (_say(objective, log_ratio + side, advantage, weights) for side in (0.0, _NEAR, -_NEAR))
    return np.asarray(np.max([np.abs(other - here) for other in near], axis=0) / (_NEAR * np.abs(here)))


def clip_of(objective: Objective) -> Clip | None:
    """Find the clip, cap or mask of an objective, by its weights at log-ratios between -20 and 20.

    Parameters
    ----------
    objective : Objective
        The objective.

    Returns
    -------
    Clip or None
        None where no edge is found, or the weight of a completion depends on the log-ratios of others.

    Examples
    --------
    >>> import pessimism as ps
    >>> [name for name in ("grpo", "cispo", "kimi", "reinforce") if clip_of(ps.objectives()[name]())]
    ['grpo', 'cispo']
    """
    if objective.coupled:
        return None
    given = [np.full_like(_GRID, p) for p in (0.5, 0.01)] if objective.takes_propensity else [None]
    capped, edges = dict.fromkeys((1.0, -1.0), False), False
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for sign in capped:
            for weights in given:
                advantage = np.full_like(_GRID, sign)
                says = np.abs(_say(objective, _GRID, advantage, weights))
                slope = _slope(objective, _GRID, advantage, weights)
                # Far out a smooth gate, too, is 0 or flat in float64, but not beside where it counts and changes.
                counts, changes, flat = says > _JUMP * says[len(says) // 2], slope > _STEEP, slope < _FLAT
                for left, right in (slice(None, -1), slice(1, None)), (slice(1, None), slice(None, -1)):
                    edges |= bool(np.any(counts[left] & (says[right] == 0.0)))
                    capped[sign] |= bool(np.any(counts[left] & changes[left] & flat[right]))
    return Clip(objective, capped[1.0], capped[-1.0]) if edges or any(capped.values()) else None
