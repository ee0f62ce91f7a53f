"""Regression of the log-ratio on the quantile of the reward, whose partition function is known in advance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from array_api_compat import array_namespace

from pessimism.arrays import Array
from pessimism.losses.regression import SquaredRegression


@dataclass(frozen=True)
class QRPO(SquaredRegression):
    """Quantile reward policy optimization (QRPO): regression on the quantile of the reward.

    The loss of a sample is ``(beta u - (R - beta log Z))^2``. q = P(r' <= r) is the quantile of the reward under the
    *reference* (the initial policy), and R = q or log q. Z is that of a quantile which is uniform on [0, 1]:
    Z = beta (e^{1/beta} - 1) for q, beta/(1 + beta) for log q. It induces the Lambert target,
    log w + kappa w = (R - beta log Z)/beta, which tends to the nominal one where no reward is frequent.

    Parameters
    ----------
    beta : float, default 0.003
        Temperature, or weight of the penalty, in units of the advantage; > 0. The advantage is in units of R.
    transform : {"identity", "log"}, default "log"
        What is regressed on: the quantile of the reward (``"identity"``) or its logarithm (``"log"``).

    Notes
    -----
    A reward with finitely many values has quantiles that are larger than uniform ones, so that Z is too small and kappa
    is positive: next to nothing where every value is rarer than beta, but of the order of m log(m/beta) where the best
    value has mass m. On 0/1 rewards the published beta is far below any pass rate: the target is conservative by much
    more than the penalty of the formula.

    The paper estimates q with 1 to 20 samples of the reference: for ``"identity"`` that is noise around the same
    expected advantage, for ``"log"`` it is not. The defaults are those of the repository, which for ``"identity"``
    takes log Z = log beta + 1/beta, the same at such a beta. u is summed over tokens. The paper's third transform, the
    normal quantile of q with log Z = 1/(2 beta^2), is left out: the best of finitely many actions has q = 1, hence an
    infinite R and no advantage.

    References
    ----------
    .. [1] arXiv 2507.08068.

    Examples
    --------
    >>> import pessimism as ps
    >>> target = ps.induced_target([0.5, 0.5], [0.0, 1.0], QRPO(beta=0.5, transform="identity"))
    >>> target.advantage.round(4), float(target.kappa.round(4))
    (array([-0.0807,  0.4193]), 0.4023)
    """

    name: ClassVar[str] = "qrpo"
    title: ClassVar[str] = "Quantile reward policy optimization"
    short: ClassVar[str] = "QRPO"
    paper: ClassVar[str] = "2507.08068"
    formula: ClassVar[str] = "(beta u - (R - beta log Z))^2, R the quantile of r or its logarithm"
    induces: ClassVar[str] = "Lambert, log w + kappa w = (R - beta log Z)/beta; kappa -> 0 where no reward is frequent"
    subtracts: ClassVar[str] = "beta log Z, from the quantile under the reference"
    reference_policy: ClassVar[Literal["behavior", "initial", "none"]] = "initial"
    baseline_under_reference: ClassVar[bool] = True
    sweeps: ClassVar[tuple[str, ...]] = ()
    no_advantage_because: ClassVar[str] = "it takes the quantile of a reward"

    beta: float = 0.003
    transform: Literal["identity", "log"] = "log"

    def __post_init__(self) -> None:
        self.require_positive("beta")
        self.require_choice("transform", ("identity", "log"))

    @property
    def log_partition(self) -> float:
        """Logarithm of E[exp(R/beta)] for a uniform quantile."""
        rate = 1.0 / self.beta
        if self.transform == "log":
            return -math.log1p(rate)
        if rate < 1.0:
            return math.log(math.expm1(rate) / rate)
        return rate + math.log1p(-math.exp(-rate)) - math.log(rate)

    def baseline(self, reward: Array, weights: Array | None = None) -> Array:
        """Always nan: there is no baseline in units of the reward."""
        xp = array_namespace(reward)
        return xp.full_like(reward[..., 0], xp.nan)

    def advantage(self, reward: Array, weights: Array | None = None) -> Array:
        """Transformed quantile minus beta log Z; an action without mass counts as the next one that has some."""
        xp = array_namespace(reward)
        no_larger = xp.astype(reward[..., None, :] <= reward[..., :, None], reward.dtype)
        if weights is None:
            quantile = xp.mean(no_larger, axis=-1)
        else:
            quantile = xp.sum(no_larger * weights[..., None, :], axis=-1)
        quantile = quantile + 0.0 * reward  # a step function: autograd should see a derivative of zero
        if self.transform == "identity":
            return quantile - self.beta * self.log_partition
        # Below every reward of the reference there is no quantile to take a logarithm of: the lowest one instead.
        lowest = xp.min(xp.where(quantile > 0, quantile, xp.ones_like(quantile)), axis=-1, keepdims=True)
        return xp.log(xp.maximum(quantile, lowest)) - self.beta * self.log_partition
