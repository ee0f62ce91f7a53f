r"""Policy optimization with a divergence from the data's policy as an extra reward (Wang, Li, Xiong, Zhang, 2019)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from array_api_compat import array_namespace

from pessimism import baselines
from pessimism.arrays import Array, to_numpy
from pessimism.closed_forms import separable, tilts
from pessimism.core.objective import MeanBaseline, propensities, stop_gradient

if TYPE_CHECKING:
    from pessimism.core.bandit import Bandit
    from pessimism.core.solution import Solution


_DIVERGENCES = ("kl", "rkl", "inf", "hellinger", "entropy")
_SLACK = 1e-6  # of the bounds of the multiplier, beyond the rounding of a sum of probabilities


@dataclass(frozen=True)
class DivergenceAugmented(MeanBaseline):
    r"""Divergence-augmented policy optimization: policy gradient on A - beta D, D a divergence from the behavior.

    The loss of a sample is ``-w A + beta w sg[D]``: the divergence D is not differentiated. A fixed point has
    :math:`A - \beta D = s`, s normalizing. It induces, by ``divergence``,

    =============  =====================  =======================================
    divergence     D                      induced policy, s normalizing
    =============  =====================  =======================================
    ``kl``         log(pi/mu)             nominal, mu exp(A/beta)/Z
    ``rkl``        1 - mu/pi              mu beta/(s' - A), s' = s + beta
    ``inf``        mu^-1/2 - pi^-1/2      (mu^-1/2 - (A - s)/beta)^-2
    ``hellinger``  1 - (mu/pi)^1/2        mu/(1 - (A - s)/beta)^2
    ``entropy``    log pi                 exp(A/beta)/Z on the support of mu
    =============  =====================  =======================================

    Parameters
    ----------
    beta : float, default 0.5
        Temperature, or weight of the penalty, in units of the advantage; > 0. The default is one of the published
        runs (1 and 0.1 are the others).
    divergence : {"kl", "rkl", "inf", "hellinger", "entropy"}, default "kl"
        Penalty D: log w (kl), 1 - 1/w (rkl), implicit normalization (inf), Hellinger's distance, or log pi (entropy).
    normalize : bool, default True
        Whether the advantage r - E[r] is divided by its root mean square on the group, as published. Then beta counts
        in units of the spread of the rewards, and equal rewards have advantage 0.

    Notes
    -----
    Each D but the logarithms falls to minus infinity at pi = 0 and is bounded above: no action loses all its mass, and
    the best takes all that beta leaves it. Near the behavior rKL is nominal at beta, Hellinger's distance at beta/2,
    and INF (the implicitly normalized forecaster) moves the ratios of frequent actions more than those of rare ones.
    The entropy, which is in the released code alone, knows no behavior: a large beta leads to the uniform policy. The
    code's TV, D = (mu/2) sign(pi/mu - 1), is left out: it jumps at the behavior itself.

    Left out of the released code (lns/dapo) are the 1e-4 that it adds to the root mean square, which it takes over the
    batch; its sum of D along a trajectory, which a bandit does not have; and its clips of exponents, without effect
    while ratios stay within e^-10 and e^10 (kl, entropy), e^-3 and e^3 (rkl), e^-6 and e^6 (hellinger), and
    probabilities above e^-6 (inf). Beyond, D is constant, and actions can lose or take all the mass. This is the DAPO
    of NeurIPS 2019, no relation of the clipped objective of 2025.

    References
    ----------
    .. [1] arXiv 2501.15034.

    Examples
    --------
    >>> import pessimism as ps
    >>> problem = [0.5, 0.3, 0.2], [0.0, 0.5, 1.0]
    >>> ps.induced_target(*problem, DivergenceAugmented(beta=0.5, normalize=False)).policy.round(4)
    array([0.179 , 0.2919, 0.5291])
    >>> ps.induced_target(*problem, DivergenceAugmented(beta=0.5, divergence="rkl", normalize=False)).policy.round(4)
    array([0.2125, 0.2217, 0.5659])
    """

    name: ClassVar[str] = "divergence_augmented"
    title: ClassVar[str] = "Divergence-augmented policy optimization"
    short: ClassVar[str] = "divergence-augmented"
    paper: ClassVar[str] = "2501.15034"
    formula: ClassVar[str] = "-w A + beta w sg[D], D = log w, 1 - 1/w, mu^-1/2 - pi^-1/2, 1 - w^-1/2 or log pi"
    induces: ClassVar[str] = (
        "kl: nominal; rkl: w = beta/(s - A); hellinger: w = (1 - (A - s)/beta)^-2; inf: alike in pi; "
        "entropy: exp(A/beta)/Z"
    )
    takes_propensity: ClassVar[bool] = True

    beta: float = 0.5
    divergence: Literal["kl", "rkl", "inf", "hellinger", "entropy"] = "kl"
    normalize: bool = True

    def __post_init__(self) -> None:
        self.require_positive("beta")
        self.require_choice("divergence", _DIVERGENCES)
        if not isinstance(self.normalize, bool | np.bool_):
            raise ValueError(f"{self.name}: normalize must be True or False, got {self.normalize!r}")

    def advantage(self, reward: Array, weights: Array | None = None) -> Array:
        """Reward minus its mean, divided by its root mean square if ``normalize``."""
        advantage = super().advantage(reward, weights)
        if not self.normalize:
            return advantage
        xp = array_namespace(reward)
        size = baselines.root_mean_square(advantage, weights)[..., None]
        return advantage / xp.where(size > 0, size, xp.ones_like(size))

    def _over_ratio(self, log_ratio: Array, weights: Array | None) -> Array:
        """Product w D, which stays finite as w falls to 0."""
        xp = array_namespace(log_ratio)
        if self.divergence == "kl":
            return xp.exp(log_ratio) * log_ratio
        if self.divergence == "entropy":
            return xp.exp(log_ratio) * (log_ratio + xp.log(_known(log_ratio, weights)))
        if self.divergence == "rkl":
            return xp.expm1(log_ratio)
        return xp.exp(0.5 * log_ratio) * xp.expm1(0.5 * log_ratio) * self._unit(log_ratio, weights)

    def _unit(self, log_ratio: Array, weights: Array | None) -> Array:
        """Factor in front of 1 - w^(-1/2): mu^(-1/2) for inf, 1 at actions without probability."""
        xp = array_namespace(log_ratio)
        if self.divergence == "hellinger":
            return xp.ones_like(log_ratio)
        return 1.0 / xp.sqrt(_known(log_ratio, weights))

    def score_weight(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Score weight g = w (A - beta D)."""
        xp = array_namespace(log_ratio)
        return xp.exp(log_ratio) * advantage - self.beta * self._over_ratio(log_ratio, weights)

    def loss(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Loss: -w A + beta w D, D not differentiated."""
        xp = array_namespace(log_ratio)
        at = stop_gradient(log_ratio)
        return xp.exp(log_ratio) * (self.beta * xp.exp(-at) * self._over_ratio(at, weights) - advantage)

    def closed_form(self, bandit: Bandit, advantage: Array, *, unseen: bool) -> Solution | None:
        """Nominal for KL, and from the uniform policy for the entropy; every other D is inverted, t unknown.

        unit w^(-1/power) of an action is best_unit t plus how far its A/beta - unit is below the best; s is what they
        have in common, A - beta D.
        """
        from scipy.optimize import elementwise

        if self.divergence == "kl":
            return tilts.nominal(bandit, advantage, self.beta)
        if self.divergence == "entropy":
            own = advantage - self.beta * bandit.masked(bandit.log_behavior, 0.0)
            u = to_numpy(tilts.nominal(bandit, own, self.beta).log_ratio)
            return separable.wrap(bandit, self, advantage, u, np.full(len(u), np.nan))
        q, host = to_numpy(bandit.behavior), to_numpy(advantage)
        seen = q > 0
        power = 1.0 if self.divergence == "rkl" else 2.0
        unit = self._unit(q, q) if self.divergence == "inf" else np.ones_like(q)
        best = np.argmax(np.where(seen, host - self.beta * unit, -np.inf), axis=-1, keepdims=True)
        best_q, best_unit, best_a = (np.take_along_axis(a, best, axis=-1) for a in (q, unit, host))
        # Differences of advantages first: ties and near ties keep their digits.
        loss = np.where(seen, (best_a - host) / self.beta, 0.0)
        gap = np.where(seen, loss + (unit - best_unit), 0.0)

        def log_ratio(log_t: Array, row: Array) -> Array:
            # unit w^(-1/power) = best_unit t + gap: by its difference from the unit where w is near 1.
            x = log_t[:, None]
            change = (best_unit[row] * np.expm1(x) + loss[row]) / unit[row]
            far = np.log((best_unit[row] * np.exp(x) + gap[row]) / unit[row])
            return -power * np.where(change > -0.5, np.log1p(np.maximum(change, -0.5)), far)

        def excess(log_t: Array, row: Array) -> Array:
            row = row.astype(int)
            return np.sum(q[row] * np.expm1(log_ratio(log_t, row)), axis=-1)

        # The best action alone has mass 1 at the lower end; all together have at most 1 at the upper.
        low = np.log(best_q[:, 0]) / power
        high = np.zeros(len(q))
        if self.divergence == "inf":
            high = 0.5 * np.log(seen.sum(axis=-1)) - np.log(best_unit[:, 0])
        rows = np.arange(len(q), dtype=float)
        log_t = elementwise.find_root(excess, (low - _SLACK, high + _SLACK), args=(rows,)).x
        lam = best_a[:, 0] + self.beta * best_unit[:, 0] * np.expm1(log_t)
        return separable.wrap(bandit, self, advantage, log_ratio(log_t, np.arange(len(q))), lam)


def _known(x: Array, weights: Array | None) -> Array:
    """Behavior mu in the shape of x, 1 at actions without probability."""
    mu = propensities(x, weights)
    xp = array_namespace(mu)
    return xp.where(mu > 0, mu, xp.ones_like(mu))
