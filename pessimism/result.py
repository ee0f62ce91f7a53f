"""The result of :func:`pessimism.induced_target`: a policy with its multiplier, regime and certificate."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from array_api_compat import array_namespace

from pessimism.bandit import to_numpy
from pessimism.objectives.base import Objective

if TYPE_CHECKING:
    import pandas as pd

    from pessimism.objectives.base import ObjectiveLike

Array = Any

FIELDS = (
    "policy",
    "log_policy",
    "log_ratio",
    "kappa",
    "multiplier",
    "baseline",
    "advantage",
    "regime",
    "leak",
    "status",
    "residual",
    "nominal",
)


@dataclass(frozen=True, repr=False)
class InducedTarget:
    """The policy that an objective really converges to, for one problem or a batch ``(...)`` of them.

    Attributes
    ----------
    policy, log_policy : ``(..., K)``. Zero-probability actions stay at zero. With ``unseen=True`` in the negative regime
        the policy sums to 1 - leak.
    log_ratio : ``(..., K)``, log(policy / reference); 0 where the behavior has no mass, by the convention 0/0 = 1.
    kappa : ``(...)``, the Lambert curvature in log w + kappa w = A/beta; 0 for a nominal target; nan where the target is
        of neither kind.
    multiplier : ``(...)``, lam = E_q[g] of the fixed point q g = lam pi; 2 beta^2 kappa for squared losses.
    baseline : ``(...)``, V in reward units (nan where the objective has none).
    advantage : ``(..., K)``.
    regime : "positive", "boundary" or "negative" (numpy array of strings for a batch; "undefined" where the input
        was invalid). Positive: more conservative than nominal.
    leak : ``(...)``, mass that leaves the seen actions.
    status : "converged", "multiple_minima", "vanishing_support", "no_target", "not_converged" or "invalid_input",
        as ``regime``; ``message`` gives the reason of an invalid row.
    residual : ``(...)``, abs(sum(policy) + leak - 1).
    nominal : ``(..., K)``, nu exp(r/beta)/Z at the same beta; nan where the objective has no temperature.
    """

    objective: ObjectiveLike
    behavior: Array
    reward: Array
    log_reference: Array
    log_ratio: Array
    log_policy: Array
    kappa: Array
    advantage: Array
    regime: Any
    leak: Array
    status: Any
    sampled: bool = False
    message: dict[tuple[int, ...], str] = field(default_factory=dict)

    @cached_property
    def policy(self) -> Array:
        """Probabilities ``(..., K)``."""
        return array_namespace(self.log_policy).exp(self.log_policy)

    @cached_property
    def nominal(self) -> Array:
        """Nominal target nu exp(r/beta)/Z on the behavior's support, ``(..., K)``."""
        xp = array_namespace(self.log_policy)
        if self.beta is None:
            return xp.full_like(self.log_policy, xp.nan)
        # The type of the inputs may be float32: r/beta needs more.
        exponent = xp.astype(self.log_reference, xp.float64) + xp.astype(self.reward, xp.float64) / self.beta
        terms = xp.where(self.behavior > 0, exponent, xp.full_like(exponent, -xp.inf))
        weights = xp.exp(terms - xp.max(terms, axis=-1, keepdims=True))
        return xp.astype(weights / xp.sum(weights, axis=-1, keepdims=True), self.log_policy.dtype, copy=False)

    @cached_property
    def baseline(self) -> Array:
        """V ``(...)``, what the objective subtracts from the reward."""
        xp = array_namespace(self.advantage)
        if isinstance(self.objective, Objective):
            under_reference = getattr(self.objective, "baseline_under_reference", False)
            weights = xp.exp(self.log_reference) if under_reference else self.behavior
            value = self.objective.baseline(self.reward, None if self.sampled else weights)
            return xp.where(xp.isnan(self.advantage[..., 0]), xp.full_like(value, xp.nan), value)
        # A user's own objective: what it subtracted, if that is one number per problem.
        subtracted = self.reward - self.advantage
        level = xp.mean(subtracted, axis=-1)
        spread = xp.max(xp.abs(subtracted - level[..., None]), axis=-1)
        return xp.where(spread <= 1e-9 * (1.0 + xp.abs(level)), level, xp.full_like(level, xp.nan))

    @cached_property
    def residual(self) -> Array:
        """abs(sum(policy) + leak - 1), ``(...)``."""
        xp = array_namespace(self.log_policy)
        return xp.abs(xp.sum(self.policy, axis=-1) + self.leak - 1.0)

    @cached_property
    def multiplier(self) -> Array:
        """Lam = E_q[g(u, A)], or E_pi[g] where the objective samples on-policy; ``(...)``."""
        xp = array_namespace(self.log_ratio)
        u = xp.where(xp.isinf(self.log_ratio), xp.full_like(self.log_ratio, -700.0), self.log_ratio)
        g = self.objective.score_weight(u, self.advantage, None if self.sampled else self.behavior)
        data = self.policy if getattr(self.objective, "on_policy", False) else self.behavior
        return xp.sum(xp.where(data > 0, data * g, xp.zeros_like(g)), axis=-1)

    @property
    def beta(self) -> float | None:
        """Temperature of the nominal problem; None where the objective has none."""
        return temperature_of(self.objective)

    def conservatism(self) -> pd.DataFrame:
        """Divergences, value, effective temperature and pessimism factor: a frame with one row per problem.

        See :func:`pessimism.conservatism.metrics` for the columns.
        """
        from pessimism.conservatism import metrics

        return metrics(self)

    def certificate(self) -> pd.DataFrame:
        """KKT residuals: a frame with one row per problem. See :func:`pessimism.certificates.certificate`."""
        from pessimism.certificates import certificate

        return certificate(self)

    def to_dict(self) -> dict[str, Any]:
        """The public fields as plain lists, numbers and strings, for JSON: nan and infinities become None."""
        return {name: _plain(getattr(self, name)) for name in FIELDS}

    def __repr__(self) -> str:
        shape = tuple(self.log_ratio.shape)
        if len(shape) > 1:
            return f"InducedTarget({self.objective}, shape={shape})"
        kappa = float(self.kappa)
        policy = np.array2string(to_numpy(self.policy), precision=4, threshold=8)
        return f"InducedTarget({self.objective}, regime={self.regime}, kappa={kappa:.4g}, policy={policy})"


def temperature_of(objective: ObjectiveLike) -> float | None:
    """Temperature of an objective, published or a user's own (its ``temperature`` or ``beta``), None if it has none."""
    value = getattr(objective, "temperature", getattr(objective, "beta", None))
    return None if value is None else float(value)


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return value
    array = np.asarray(value) if isinstance(value, np.ndarray | np.generic) else to_numpy(value)
    if array.dtype.kind in "US":
        return array.tolist()
    as_objects = array.astype(object)
    return np.where(np.isfinite(array), as_objects, None).tolist()
