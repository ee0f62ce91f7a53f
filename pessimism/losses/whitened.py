"""REINFORCE++: PPO's clip with advantages that are whitened over the batch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from array_api_compat import array_namespace

from pessimism import baselines
from pessimism.arrays import Array
from pessimism.losses.clipped import Clipped, require_dual_clip


@dataclass(frozen=True)
class ReinforcePP(Clipped):
    r"""REINFORCE++: PPO's clip, with rewards that are whitened over the whole batch of prompts.

    The loss of a token is ``-min(w A, clip(w, 1 - eps_low, 1 + eps_high) A)`` with A = (r - V)/sqrt(var + eps), mean
    and variance being those of the batch: all problems of one call. Without a baseline V is the mean of the batch, so
    that on an easy prompt most completions have A > 0 and on a hard one most have A < 0; with ``baseline="group"``
    (REINFORCE++-baseline) each prompt's own mean goes first. It induces PPO's set of policies; where all A < 0, the
    lower clip for all actions but the best, which have the rest.

    Parameters
    ----------
    eps_low : float, default 0.2
        The ratio is clipped from below at 1 - eps_low; > 0.
    eps_high : float, default 0.2
        The ratio is clipped from above at 1 + eps_high; > 0.
    dual_clip : float, optional
        Ratio above which an action with A < 0 is not pushed down any more; > 1. See
        :class:`pessimism.losses.clipped.PPO`.
    baseline_of : {"batch", "group"}, default "batch"
        Whose mean reward is subtracted: that of the batch (REINFORCE++), or first that of the prompt's group
        (REINFORCE++-baseline).
    eps : float, default 1e-8
        Added to the variance before the advantage is divided by its root; > 0.

    Notes
    -----
    One problem alone is a batch of one prompt, in which both forms are one. The paper's KL penalty k1 stands in the
    reward and is taken at rollout, -beta log(mu/initial): a constant of each completion, to be added to its reward. In
    the frameworks every token counts once in mean and variance, so that long completions weigh more; here a completion
    is a token.

    References
    ----------
    .. [1] arXiv 2501.03262.

    Examples
    --------
    >>> import pessimism as ps
    >>> easy, hard = [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]
    >>> both = ps.induced_target([0.6, 0.3, 0.1], [easy, hard], "reinforce_pp")
    >>> both.advantage.round(2)
    array([[ 1.,  1., -1.],
           [-1., -1.,  1.]])
    """

    name: ClassVar[str] = "reinforce_pp"
    title: ClassVar[str] = "REINFORCE++"
    paper: ClassVar[str] = "2501.03262"
    formula: ClassVar[str] = "-min(w A, clip(w, 1 - eps_low, 1 + eps_high) A), A = (r - mean r)/sqrt(var r + eps)"
    induces: ClassVar[str] = "a set: w >= 1 + eps_high where A > 0, w <= 1 - eps_low where A < 0"
    subtracts: ClassVar[str] = "mean of r over the batch, or over the group first"

    baseline_of: Literal["batch", "group"] = "batch"
    eps: float = 1e-8

    def __post_init__(self) -> None:
        self.require_choice("baseline_of", ("batch", "group"))
        self.require_positive("eps_low", "eps_high", "eps")
        require_dual_clip(self)

    @property
    def over_batch(self) -> bool:
        """Always: the rewards are whitened over the batch."""
        return True

    def baseline_parts(self, reward: Array, weights: Array | None = None) -> tuple[Array, Array]:
        """Mean reward of the batch, or of each group."""
        anchor, rest = super().baseline_parts(reward, weights)
        if self.baseline_of == "group":
            return anchor, rest
        xp = array_namespace(reward)
        if 0 in anchor.shape:
            return anchor, rest
        first = xp.zeros_like(anchor) + xp.reshape(anchor, (-1,))[0] if anchor.shape != () else anchor
        return first, xp.zeros_like(rest) + xp.mean((anchor - first) + rest)

    def advantage(self, reward: Array, weights: Array | None = None) -> Array:
        """Advantages (r - mean) / sqrt(var + eps), the variance being that of what is divided, in the batch."""
        gap = super().advantage(reward, weights)
        if 0 in gap.shape:
            return gap
        xp, spread = array_namespace(gap), baselines.batch_standard_deviation(gap, weights)[..., None]
        return gap / xp.hypot(spread, xp.full_like(spread, math.sqrt(self.eps)))
