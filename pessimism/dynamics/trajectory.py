"""The record of a run of policies: what gradient flow and gradient descent return."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pessimism import divergences
from pessimism.core.objective import ObjectiveLike

if TYPE_CHECKING:
    import pandas as pd

Array = Any

COLLAPSED = 1e-6  # a policy with at most this much mass beside its likeliest action has collapsed


def has_collapsed(policy: Array) -> Array:
    """Whether policies ``(..., K)`` of several actions have all but 1e-6 of their mass on one."""
    return (policy.shape[-1] > 1) & (np.max(policy, axis=-1) > 1.0 - COLLAPSED)


@dataclass(frozen=True, repr=False)
class Trajectory:
    """Policies over time, and how the run ended.

    Attributes
    ----------
    objective : what was optimized.
    behavior, reward : ``(K,)``.
    times : ``(T,)``, flow time or steps of gradient descent, the first 0.
    log_policies : ``(T, K)``, -inf where the behavior has no mass.
    field : ``(T,)``, Euclidean norm of the expected gradient on the logits.
    log_policy : ``(K,)``, the limit where the run comes to rest (-inf for actions that lose all mass), else its end.
    status : "converged" (rest with mass on all actions), "vanishing_support" (rest without some), "collapsed" (one
        action left), "diverged" (the loss pulls for ever and prefers no policy, or logits explode), "not_converged".
    message : the reason in one line; empty where converged.

    Examples
    --------
    >>> from pessimism.dynamics.gradient_flow import gradient_flow
    >>> flow = gradient_flow([0.5, 0.5], [0.0, 1.0], "kimi", beta=0.5, times=[0.0, 1.0, 10.0])
    >>> flow.frame()[["time", "value"]].round(3).to_numpy().tolist()
    [[0.0, 0.5], [1.0, 0.609], [10.0, 0.828]]
    """

    objective: ObjectiveLike
    behavior: Array
    reward: Array
    times: Array
    log_policies: Array
    field: Array
    log_policy: Array
    status: str
    message: str = ""

    @property
    def policies(self) -> Array:
        """Probabilities ``(T, K)``."""
        return np.exp(self.log_policies)

    @property
    def policy(self) -> Array:
        """Probabilities ``(K,)`` of the limit, or of the end."""
        return np.exp(self.log_policy)

    @property
    def value(self) -> Array:
        """Expected reward ``(T,)``."""
        return np.sum(self.policies * self.reward, axis=-1)

    @property
    def entropy(self) -> Array:
        """Shannon entropy ``(T,)`` in nats."""
        return np.asarray(divergences.entropy(self.policies) + 0.0)  # no negative zero

    @property
    def kl(self) -> Array:
        """KL(policy || behavior) ``(T,)`` in nats."""
        return divergences.kl_divergence(self.policies, self.behavior + np.zeros_like(self.policies))

    def frame(self) -> pd.DataFrame:
        """A row per time: time, value, entropy, kl, max_ratio (to the behavior), max_probability, field."""
        import pandas as pd

        policies = self.policies
        return pd.DataFrame(
            {
                "time": self.times,
                "value": self.value,
                "entropy": self.entropy,
                "kl": self.kl,
                "max_ratio": divergences.max_ratio(policies, self.behavior + np.zeros_like(policies)),
                "max_probability": policies.max(axis=-1),
                "field": self.field,
            }
        )

    def __repr__(self) -> str:
        policy = np.array2string(self.policy, precision=4, threshold=8)
        return f"Trajectory({self.objective}, status={self.status}, times={len(self.times)}, policy={policy})"
