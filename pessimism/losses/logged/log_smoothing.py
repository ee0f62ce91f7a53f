r"""Logarithmic smoothing of importance weights, by itself and linear in the policy (arXiv 2405.14335)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from array_api_compat import array_namespace

from pessimism.arrays import Array, to_numpy
from pessimism.core.objective import propensities
from pessimism.losses.logged.base import MomentObjective, ShrunkReward
from pessimism.losses.logged.water_filling import water_filling

if TYPE_CHECKING:
    from pessimism.core.bandit import Bandit
    from pessimism.core.solution import Solution


@dataclass(frozen=True)
class LogSmoothing(MomentObjective):
    """Logarithmic smoothing (LS) of importance weights, without a penalty.

    It maximizes E_mu[log(1 + lam w R) / lam]; the loss of a sample is ``-log(1 + lam w R)/lam``. The logarithm flattens
    large ratios, so that a target exists without a KL: at Bernoulli rewards of mean r it induces
    pi = (mu/lam) (r/nu - 1)_+, with nu normalizing.

    Parameters
    ----------
    lam : float, default 0.1
        Strength of log(1 + lam x)/lam, which flattens the weighted rewards x; > 0. The published ones are 1/sqrt(n)
        and sqrt(2 log(2 m/delta)/n); the default is the former at n = 100.
    second_moment : float or array_like, shape (..., K), optional
        E[R^2] of each action, one number for each. Without it the rewards are means of 0 or 1 (Bernoulli).

    Notes
    -----
    As lam tends to 0 the target tends to the greedy policy; as lam tends to infinity, to mu r / E[r]. There is no
    temperature. The logarithm sees the whole reward, hence ``second_moment``: R is E[R^2]/r or 0. E[R^2] = r^2 is the
    deterministic reward, (mu/lam) (1/nu - 1/r)_+. Rewards must be in [0, 1], or >= 0 with second moments.

    References
    ----------
    .. [1] arXiv 2405.14335.

    Examples
    --------
    >>> import pessimism as ps
    >>> ps.induced_target([0.5, 0.5], [0.2, 0.8], LogSmoothing(lam=1.0)).policy.round(4)
    array([0., 1.])
    >>> ps.induced_target([0.5, 0.5], [0.2, 0.8], LogSmoothing(lam=10.0)).policy.round(4)
    array([0.17, 0.83])
    """

    name: ClassVar[str] = "log_smoothing"
    title: ClassVar[str] = "Logarithmic smoothing"
    short: ClassVar[str] = "log smoothing"
    paper: ClassVar[str] = "2405.14335"
    formula: ClassVar[str] = "-log(1 + lam w R)/lam"
    induces: ClassVar[str] = "water-filling, (mu/lam) (r/nu - 1)_+ for Bernoulli rewards, nu normalizing"
    temperature_field: ClassVar[str | None] = None

    lam: float = 0.1
    second_moment: float | tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        self.require_positive("lam")
        self.require_at_least(0, "second_moment")

    @property
    def coupled(self) -> bool:  # type: ignore[override]
        """Whether second moments are given: they belong to actions by their place, which only a whole group shows."""
        return self.second_moment is not None

    def advantage(self, reward: Array, weights: Array | None = None) -> Array:
        """The mean reward itself."""
        return self.means(reward, weights)

    def score_weight(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Score weight g = E[w R / (1 + lam w R)]."""
        w = array_namespace(log_ratio).exp(log_ratio)
        _, size = self.two_points(advantage)
        return w * advantage / (1.0 + self.lam * w * size)

    def loss(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Loss: -E log(1 + lam w R) / lam."""
        xp = array_namespace(log_ratio)
        chance, size = self.two_points(advantage)
        return -chance / self.lam * xp.log1p(self.lam * size * xp.exp(log_ratio))

    def closed_form(self, bandit: Bandit, advantage: Array, *, unseen: bool) -> Solution | None:
        """Water filling: w = (r t - 1)_+ / (lam c), linear in the level t = 1/nu, c the size of the reward."""
        mean = to_numpy(advantage)
        _, size = self.two_points(mean)

        def gap(reward: Array, anchor: Array) -> Array:
            return (anchor - reward) / reward / anchor

        slope = mean / (self.lam * size)
        return water_filling(bandit, self, advantage, slope, gap, lambda t, anchor: anchor / (1.0 + t * anchor))


@dataclass(frozen=True)
class LogSmoothingLinear(ShrunkReward, MomentObjective):
    """Logarithmic smoothing that is linear in the policy (LS-LIN), the form that PAC-Bayesian learning needs.

    It maximizes E_mu[(w / lam) mu log(1 + lam R / mu)] - beta KL(pi || mu); the loss of a sample is
    ``-(w mu/lam) log(1 + lam R/mu) + beta (w log w - w + 1)``. It induces the target that is nominal in the reward
    (mu/lam) E log(1 + lam R/mu): for Bernoulli rewards of mean r that is s r, s = (mu/lam) log(1 + lam/mu).

    Parameters
    ----------
    lam : float, default 0.1
        Strength of log(1 + lam x)/lam, which flattens the weighted rewards x; > 0. The published ones are 2/sqrt(n)
        and 1/sqrt(n); the default is the latter at n = 100.
    beta : float or array_like, default 0.1
        Weight of the explicit KL to the behavior, in units of the reward; > 0.
    second_moment : float or array_like, shape (..., K), optional
        E[R^2] of each action, one number for each. Without it the rewards are means of 0 or 1 (Bernoulli).

    Notes
    -----
    The system's own temperature lives in parameter space, 1 / (lam n). The logarithm sees the whole reward, hence
    ``second_moment``: R is E[R^2]/r or 0. Rewards must be in [0, 1], or >= 0 with second moments.

    References
    ----------
    .. [1] arXiv 2405.14335.

    Examples
    --------
    >>> import pessimism as ps
    >>> target = ps.induced_target([0.8, 0.2], [0.0, 1.0], LogSmoothingLinear(lam=0.5, beta=0.5))
    >>> target.policy.round(4), target.nominal.round(4)
    (array([0.5949, 0.4051]), array([0.3512, 0.6488]))
    """

    name: ClassVar[str] = "log_smoothing_linear"
    title: ClassVar[str] = "Logarithmic smoothing, linear in the policy"
    short: ClassVar[str] = "linear log smoothing"
    paper: ClassVar[str] = "2405.14335"
    formula: ClassVar[str] = "-(w mu/lam) log(1 + lam R/mu) + beta (w log w - w + 1)"
    induces: ClassVar[str] = "nominal in a shrunk reward: mu exp(s r/beta)/Z, s = (mu/lam) log(1 + lam/mu) if Bernoulli"

    lam: float = 0.1
    beta: float = 0.1
    second_moment: float | tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        self.require_positive("lam", "beta")
        self.require_at_least(0, "second_moment")

    def advantage(self, reward: Array, weights: Array | None = None) -> Array:
        """Expected reward (mu/lam) E log(1 + lam R/mu)."""
        return self.shrunk(self.means(reward, weights), propensities(reward, weights))

    def shrunk(self, reward: Array, propensity: Array) -> Array:
        """Expected reward (mu/lam) E log(1 + lam R/mu)."""
        xp = array_namespace(reward)
        chance, size = self.two_points(reward)
        positive = xp.where(propensity > 0, propensity, xp.ones_like(propensity))
        return chance * propensity / self.lam * xp.log1p(self.lam * size / positive)
