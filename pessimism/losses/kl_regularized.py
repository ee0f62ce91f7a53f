r"""Policy gradient with a KL penalty: three estimators of the divergence, in the reward or in the loss.

With u = log(pi/nu) the estimators are k1 = u, k2 = u^2/2, k3 = e^-u - 1 + u. In the reward an estimator weighs
grad log pi; in the loss it is differentiated, which leaves k'(u). The twelve combinations have eight different targets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from array_api_compat import array_namespace

from pessimism.arrays import Array, to_numpy
from pessimism.closed_forms import separable, tilts
from pessimism.closed_forms.kl_estimators import K2, K3, stable_branch
from pessimism.closed_forms.tilts import greedy
from pessimism.core.bandit import Bandit
from pessimism.core.objective import MeanBaseline, log_behavior_ratio, stop_gradient

if TYPE_CHECKING:
    from pessimism.core.solution import Solution


_CHOICES = {"estimator": ("k1", "k2", "k3"), "placement": ("reward", "loss"), "sampling": ("on_policy", "off_policy")}


@dataclass(frozen=True)
class KLRegularized(MeanBaseline):
    """Policy gradient with a KL estimator, in the reward or in the loss, on-policy or off-policy.

    It aims at max E_pi[r] - beta KL(pi || nu), the nominal target. The loss of a sample is ``-w (A - beta sg[k(u)])``
    with the estimator k in the reward, and ``-w A + beta k(u)`` with k in the loss. On-policy the data follow pi;
    off-policy the policy gradient carries w = pi/behavior, while a penalty in the loss does not (as GRPO's). It
    induces, for one action per completion (token-level ratios are then the sequence's):

    =====================  ===================================================================================
    k1 reward              A - beta u = lam: nominal (on- and off-policy)
    k2 loss, on-policy     A - beta u = lam: nominal
    k3 loss, on-policy     A - beta (1 - e^-u) = lam: pi/nu = beta/(lam' - A), the penalty of KL(nu || pi)
    k1 loss, on-policy     E_pi[grad log pi] = 0, so no penalty at all: greedy
    k1 loss, off-policy    w A - beta: rewards distance from the behavior, unbounded; every vertex attracts
    k2, k3 reward          A - beta k(u) = lam has a rising side u < 0: actions that fall below their reference are
                           penalized for it and fall on (collapse)
    k2, k3 loss, off-pol.  A - beta k'(u)/w = lam, stable up to u = 1 and log 2 only; flatter than nominal
    =====================  ===================================================================================

    Parameters
    ----------
    estimator : {"k1", "k2", "k3"}, default "k1"
        Estimator of the KL: u (k1), u^2/2 (k2) or exp(-u) - 1 + u (k3).
    placement : {"reward", "loss"}, default "reward"
        Where the estimate of the KL stands: in the reward or in the loss.
    sampling : {"on_policy", "off_policy"}, default "on_policy"
        Who samples: the policy in training (``"on_policy"``) or the behavior (``"off_policy"``).
    beta : float, default 0.05
        Temperature, or weight of the penalty, in units of the advantage; > 0. The paper's best are 0.05 to 0.1
        on-policy, 0.005 off-policy; no defaults are published for the rest.

    Notes
    -----
    The last three rows have several fixed points: the target is the one that gradient flow from the reference reaches
    (``by_flow``), in closed form where all actions are on the stable branch. k1 in the loss diverges off-policy: the
    status is ``"no_target"`` where the flow prefers no policy.

    References
    ----------
    .. [1] arXiv 2512.21852.

    Examples
    --------
    >>> import pessimism as ps
    >>> for estimator, placement in (("k1", "reward"), ("k3", "loss"), ("k1", "loss")):
    ...     hyper = {"estimator": estimator, "placement": placement, "beta": 1.0}
    ...     print(ps.induced_target([0.5, 0.5], [0.0, 1.0], "kl_regularized", **hyper).policy.round(4))
    [0.2689 0.7311]
    [0.2929 0.7071]
    [0. 1.]
    """

    name: ClassVar[str] = "kl_regularized"
    title: ClassVar[str] = "Policy gradient with a KL estimator in reward or loss"
    short: ClassVar[str] = "KL-regularized"
    paper: ClassVar[str] = "2512.21852"
    formula: ClassVar[str] = "-w (A - beta sg[k(u)]) (reward) or -w A + beta k(u) (loss)"
    induces: ClassVar[str] = (
        "k1 reward, k2 loss on-policy: nominal; k3 loss: w = beta/(lam - A); k1 loss: greedy; or a flow"
    )
    reference_policy: ClassVar[Literal["behavior", "initial", "none"]] = "initial"
    level: ClassVar[Literal["sequence", "token"]] = "token"
    takes_reference: ClassVar[bool] = True
    takes_share: ClassVar[bool] = True

    estimator: Literal["k1", "k2", "k3"] = "k1"
    placement: Literal["reward", "loss"] = "reward"
    sampling: Literal["on_policy", "off_policy"] = "on_policy"
    beta: float = 0.05

    def __post_init__(self) -> None:
        self.require_positive("beta")
        for field, choices in _CHOICES.items():
            self.require_choice(field, choices)

    @property
    def on_policy(self) -> bool:
        """Whether the data follow the current policy."""
        return self.sampling == "on_policy"

    @property
    def by_flow(self) -> bool:
        """Whether fixed points are several: k2 and k3 in the reward, and every estimator in the loss on old data."""
        if self.placement == "reward":
            return self.estimator != "k1"
        return not self.on_policy

    def _value(self, u: Array) -> Array:
        """Estimator k(u)."""
        if self.estimator == "k1":
            return u
        return 0.5 * u * u if self.estimator == "k2" else array_namespace(u).expm1(-u) + u

    def _slope(self, u: Array) -> Array:
        """Derivative k'(u) of the estimator."""
        xp = array_namespace(u)
        if self.estimator == "k1":
            return xp.ones_like(u)
        return u if self.estimator == "k2" else -xp.expm1(-u)

    def _ratio(self, log_ratio: Array, log_share: Array | None) -> Array:
        """Ratio pi/behavior off-policy, one on-policy, where the data carry it."""
        xp = array_namespace(log_ratio)
        if self.on_policy:
            return xp.ones_like(log_ratio)
        return xp.exp(log_behavior_ratio(log_ratio, log_share))

    def score_weight(
        self, log_ratio: Array, advantage: Array, weights: Array | None = None, *, log_share: Array | None = None
    ) -> Array:
        """Score weight g = w (A - beta k(u)) in the reward, w A - beta k'(u) in the loss; w = 1 on-policy."""
        ratio = self._ratio(log_ratio, log_share)
        if self.placement == "reward":
            return ratio * (advantage - self.beta * self._value(log_ratio))
        return ratio * advantage - self.beta * self._slope(log_ratio)

    def loss(
        self, log_ratio: Array, advantage: Array, weights: Array | None = None, *, log_share: Array | None = None
    ) -> Array:
        """Loss: -w (A - beta sg[k(u)]) or -w A + beta k(u); on-policy u stands for w."""
        carrier = log_ratio if self.on_policy else self._ratio(log_ratio, log_share)
        if self.placement == "reward":
            return -carrier * (advantage - self.beta * self._value(stop_gradient(log_ratio)))
        return self.beta * self._value(log_ratio) - carrier * advantage

    def closed_form(self, bandit: Bandit, advantage: Array, *, unseen: bool) -> Solution | None:
        """Closed form of the combination; None where only the gradient flow tells."""
        if self.placement == "reward":
            return tilts.nominal(bandit, advantage, self.beta) if self.estimator == "k1" else None
        if not self.on_policy:
            penalty = {"k2": K2, "k3": K3}.get(self.estimator)
            return (
                None if penalty is None else stable_branch(bandit, self, advantage, self.beta, penalty, unseen=unseen)
            )
        if self.estimator == "k2":
            return tilts.nominal(bandit, advantage, self.beta)
        return greedy(bandit, advantage) if self.estimator == "k1" else self._barrier(bandit, advantage)

    def _barrier(self, bandit: Bandit, advantage: Array) -> Solution:
        weight = np.where(to_numpy(bandit.support), to_numpy(bandit.reference), 0.0)
        log_ratio, log_gap = log_barrier(weight, to_numpy(advantage) / self.beta)
        best = np.max(np.where(to_numpy(bandit.support), to_numpy(advantage), -np.inf), axis=-1)
        lam = best + self.beta * (np.exp(log_gap) - 1.0)
        return separable.wrap(bandit, self, advantage, log_ratio, lam)


def log_barrier(weight: Array, z: Array) -> tuple[Array, Array]:
    """Log-ratios ``(N, K)`` of 1/(e^t + max z - z), and the t ``(N,)`` whose mean under ``weight`` is one (numpy).

    The maximum is that of the actions of positive weight.
    """
    seen = weight > 0
    best = np.max(np.where(seen, z, -np.inf), axis=-1, keepdims=True)
    with np.errstate(divide="ignore"):
        log_gap = np.log(np.where(seen, best - z, 1.0))

    def log_ratio(t: Array, row: Array) -> Array:
        return -np.logaddexp(t[:, None], log_gap[row])

    # The best actions alone make at least their weight / e^t, all together at most the total / e^t.
    at_best = np.sum(np.where(seen & (z == best), weight, 0.0), axis=-1)
    low, high = np.log(at_best) - 1e-9, np.log(np.sum(weight, axis=-1)) + 1e-9
    mass = lambda t, row: np.sum(weight[row] * np.exp(log_ratio(t, row)), axis=-1)  # noqa: E731
    t = separable.normalizing_multiplier(mass, low, high)
    return log_ratio(t, np.arange(len(t))), t
