"""The record of a run of policies: what gradient flow and gradient descent return."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pessimism import divergences
from pessimism.arrays import Array, to_numpy
from pessimism.core.bandit import make_bandit
from pessimism.core.objective import Objective
from pessimism.core.problem import make_problem
from pessimism.display import as_call, html_table, short
from pessimism.equality import ByValue
from pessimism.fixed_point.score import LogitField, group_weights

if TYPE_CHECKING:
    import pandas as pd


COLLAPSED = 1e-6  # a policy with at most this much mass beside its likeliest action has collapsed
EXPLODED = 1e6  # a gradient this many times the pull at the start means divergence


def has_collapsed(policy: Array) -> Array:
    """Whether policies ``(..., K)`` of several actions have all but 1e-6 of their mass on one."""
    return (policy.shape[-1] > 1) & (np.max(policy, axis=-1) > 1.0 - COLLAPSED)


@dataclass(frozen=True, repr=False, eq=False)
class Trajectory(ByValue):
    """Policies over time, and how the run ended.

    Attributes
    ----------
    objective : ObjectiveLike
        What was optimized.
    behavior, reward : ndarray, shape (K,)
        The problem.
    times : ndarray, shape (T,)
        Flow time, or steps of gradient descent, the first 0.
    log_policies : ndarray, shape (T, K)
        Log-probabilities, -inf where the behavior has no mass.
    field : ndarray, shape (T,)
        Euclidean norm of the expected gradient on the logits, on the data of that time.
    log_policy : ndarray, shape (K,)
        The equilibrium that the run reaches (-inf for actions that lose all mass), else its end.
    status : str
        "converged" (equilibrium with mass on all actions), "vanishing_support" (equilibrium without some), "collapsed"
        (one action left), "diverged" (the loss pulls for ever and prefers no policy, or logits explode), or
        "not_converged".
    message : str
        The reason in one line; empty where converged.

    Examples
    --------
    >>> from pessimism.dynamics.gradient_flow import gradient_flow
    >>> flow = gradient_flow([0.5, 0.5], [0.0, 1.0], "kimi", beta=0.5, times=[0.0, 1.0, 10.0])
    >>> flow.frame()[["time", "value"]].round(3).to_numpy().tolist()
    [[0.0, 0.5], [1.0, 0.609], [10.0, 0.828]]
    """

    objective: Objective
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

    def _facts(self) -> list[tuple[str, Any]]:
        """Return labels and values that tell most about the run."""
        said: list[tuple[str, Any]] = [("message", self.message)] if self.message else []
        return [
            ("", self.objective),
            ("status", self.status),
            *said,
            ("end", float(self.times[-1])),
            ("records", len(self.times)),
            ("value", f"{short(self.value[0])} -> {short(self.value[-1])}"),
            ("policy", self.policy),
        ]

    def __repr__(self) -> str:
        return as_call("Trajectory", self._facts())

    def _repr_html_(self) -> str:
        return html_table([(label or "objective", value) for label, value in self._facts()], caption="Trajectory")


@dataclass(frozen=True, eq=False)
class FlowProblem:
    """One problem as the dynamics see it: its pull on the behavior's support ``seen`` and the start there."""

    objective: Objective
    behavior: Array
    reward: Array
    reference: Array
    seen: Array
    pull: LogitField
    log_start: Array

    def trajectory(self, times: Array, log_policies: Array, log_policy: Array, status: str, message: str) -> Trajectory:
        """Wrap log-policies ``(T, S)`` of the S actions in the support."""
        field = np.linalg.norm(self.pull.field(log_policies), axis=-1)
        rows = [self._everywhere(a) for a in (log_policies, log_policy)]
        return Trajectory(self.objective, self.behavior, self.reward, times, rows[0], field, rows[1], status, message)

    def _everywhere(self, log_policies: Array) -> Array:
        full = np.full((*log_policies.shape[:-1], len(self.seen)), -np.inf)
        full[..., self.seen] = log_policies
        return full


def make_flow_problem(behavior: Any, reward: Any, objective: Objective, reference: Any, start: Any) -> FlowProblem:
    """Validate one problem ``(K,)`` and a start, by default the reference."""
    bandit, rows = make_problem(behavior, reward, objective, reference)
    if bandit.shape:
        raise ValueError(f"behavior and reward must be one problem (K,), got a batch of shape {bandit.shape}")
    q, rewards, nu = (to_numpy(a)[0] for a in (bandit.behavior, bandit.reward, bandit.reference))
    advantage = to_numpy(rows)[0]
    given, seen = group_weights(bandit, objective), q > 0
    weights = None if given is None else to_numpy(given)[0][seen]
    first = nu
    if start is not None:
        try:
            first = to_numpy(make_bandit(q, rewards, start).reference)[0]
        except ValueError as error:
            raise ValueError(str(error).replace("reference", "start")) from None
    first = np.log(first[seen])
    pull = LogitField(objective.on_rows(bandit).on_row(0, seen), q[seen], nu[seen], advantage[seen], weights)
    log_start = first - np.logaddexp.reduce(first)
    return FlowProblem(objective, q, rewards, nu, seen, pull, log_start)
