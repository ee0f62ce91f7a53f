r"""Actor-critic systems that stay near the data: around the behavior itself (AWAC), or around an estimate of it (BRAC).

In a bandit both induce an exponential tilt of the reward. What differs is the policy that is tilted, so that all the
excess conservatism of the second comes from its reference; :mod:`pessimism.contrib.gaussian` shows how far that goes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from array_api_compat import array_namespace

from pessimism import baselines
from pessimism.arrays import Array
from pessimism.closed_forms import tilts
from pessimism.core.objective import MeanBaseline, Objective, log_behavior_ratio

if TYPE_CHECKING:
    from pessimism.core.bandit import Bandit
    from pessimism.core.solution import Solution


@dataclass(frozen=True)
class AWAC(Objective):
    """Advantage-weighted actor-critic (AWAC): maximum likelihood weighted by exp(A/beta), mean weight 1.

    The loss of a sample is ``-exp((r - V*_beta)/beta) u``. It induces the nominal target around the behavior itself,
    mu exp(r/beta)/Z, without an estimate of the behavior.

    Parameters
    ----------
    beta : float or array_like, default 1.0
        Temperature, or weight of the penalty, in units of the advantage; > 0. The default is d3rlpy's lambda.

    Notes
    -----
    The problem is max E_pi[A] subject to KL(pi || mu) <= eps, projected by forward KL. The weights are those of
    d3rlpy's code, a softmax over the batch times its size, which is baseline V*_beta; the paper's, the value of the
    policy, only scales the loss. Here the batch is the group of one context. Over several contexts that softmax gives
    those with larger advantages more say, which changes no context's target but their compromise under shared
    parameters. Unlike AWR there is no cap.

    References
    ----------
    .. [1] arXiv 2006.09359.

    Examples
    --------
    >>> import pessimism as ps
    >>> ps.induced_target([0.5, 0.5], [0.0, 1.0], AWAC(beta=1.0)).policy.round(4)
    array([0.2689, 0.7311])
    """

    name: ClassVar[str] = "awac"
    title: ClassVar[str] = "Advantage-weighted actor-critic"
    short: ClassVar[str] = "AWAC"
    paper: ClassVar[str] = "2006.09359"
    formula: ClassVar[str] = "-exp((r - V*)/beta) u, the weights of mean 1"
    induces: ClassVar[str] = "nominal, mu exp(r/beta)/Z"
    subtracts: ClassVar[str] = "V*_beta"
    reference_policy: ClassVar[Literal["behavior", "initial", "none"]] = "none"
    sweeps: ClassVar[tuple[str, ...]] = ("beta",)

    beta: float = 1.0

    def __post_init__(self) -> None:
        self.require_positive("beta")

    def baseline_parts(self, reward: Array, weights: Array | None = None) -> tuple[Array, Array]:
        """Optimal value V*_beta, with which the weights have mean 1."""
        return baselines.optimal_value_parts(reward, self.beta, weights)

    def score_weight(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Score weight g = exp(A/beta), at most 1/mu; actions without probability are not weighted."""
        xp = array_namespace(advantage)
        exponent = advantage / self.beta
        if weights is not None:
            exponent = xp.where(weights > 0, exponent, xp.zeros_like(exponent))
        return xp.exp(exponent) + xp.zeros_like(log_ratio)

    def loss(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Loss: -exp(A/beta) log pi, up to a constant of the policy."""
        return -self.score_weight(log_ratio, advantage, weights) * log_ratio

    def closed_form(self, bandit: Bandit, advantage: Array, *, unseen: bool) -> Solution | None:
        """Nominal target."""
        return tilts.nominal(bandit, advantage, self.beta)


@dataclass(frozen=True)
class BRAC(MeanBaseline):
    """Behavior-regularized actor-critic (BRAC) with a KL to an estimate of the behavior.

    It maximizes E_pi[r] - beta KL(pi || mu_hat); the loss of a sample is ``-rho A + beta (rho u - rho + 1)`` with
    rho = pi/mu and u = log(pi/mu_hat). mu_hat is a policy cloned from the data, given as ``reference`` (without one the
    clone is perfect). It induces the nominal target around the clone, mu_hat exp(r/beta)/Z on the actions seen.

    Parameters
    ----------
    beta : float or array_like, default 1.0
        Temperature, or weight of the penalty, in units of the advantage; > 0. The default is the released code's
        alpha; the paper tunes it per task.

    Notes
    -----
    The data's own policy cancels: an estimate that is too narrow is conservatism that no temperature shows. The
    importance weight pi/mu stands for the actor's own samples, whose expectation it is. Value penalty and policy
    regularization are one in a bandit.

    References
    ----------
    .. [1] arXiv 1911.11361.

    Examples
    --------
    >>> import pessimism as ps
    >>> narrow = ps.induced_target([0.6, 0.4], [0.0, 1.0], BRAC(beta=0.5), reference=[0.99, 0.01])
    >>> narrow.policy.round(4)
    array([0.9305, 0.0695])
    """

    name: ClassVar[str] = "brac"
    title: ClassVar[str] = "Behavior-regularized actor-critic"
    short: ClassVar[str] = "BRAC"
    paper: ClassVar[str] = "1911.11361"
    formula: ClassVar[str] = "-rho A + beta (rho u - rho + 1), rho = pi/mu, u = log(pi/mu_hat)"
    induces: ClassVar[str] = "nominal around the estimated behavior, mu_hat exp(r/beta)/Z"
    takes_reference: ClassVar[bool] = True
    takes_share: ClassVar[bool] = True
    sweeps: ClassVar[tuple[str, ...]] = ("beta",)

    beta: float = 1.0

    def __post_init__(self) -> None:
        self.require_positive("beta")

    def score_weight(
        self, log_ratio: Array, advantage: Array, weights: Array | None = None, *, log_share: Array | None = None
    ) -> Array:
        """Score weight g = rho (A - beta u), rho = pi/mu."""
        return _ratio(log_ratio, log_share) * (advantage - self.beta * log_ratio)

    def loss(
        self, log_ratio: Array, advantage: Array, weights: Array | None = None, *, log_share: Array | None = None
    ) -> Array:
        """Loss: -rho A + beta (rho u - rho + 1)."""
        return self.beta - _ratio(log_ratio, log_share) * (advantage + self.beta * (1.0 - log_ratio))

    def closed_form(self, bandit: Bandit, advantage: Array, *, unseen: bool) -> Solution | None:
        """Nominal target around the reference."""
        return tilts.nominal(bandit, advantage, self.beta)


def _ratio(log_ratio: Array, log_share: Array | None) -> Array:
    """Ratio pi/mu from log(pi/mu_hat) and log(mu_hat/mu)."""
    xp = array_namespace(log_ratio)
    return xp.exp(log_behavior_ratio(log_ratio, log_share))
