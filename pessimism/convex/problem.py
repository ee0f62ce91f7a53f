"""One problem of a target as a program sees it: plain arrays on the behavior's support."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pessimism.arrays import Array, finite_log, to_numpy
from pessimism.convex.program import Program
from pessimism.core.bandit import Bandit
from pessimism.core.solution import Status
from pessimism.fixed_point.score import data_weight, group_weights, kinks_of, stationarity

if TYPE_CHECKING:
    from pessimism.target.result import InducedTarget


class Check(NamedTuple):
    """A program, the multiplier that the target predicts for it (nan: none), and whether it picks of many optima."""

    program: Program
    multiplier: float
    nearest: bool = False


@dataclass(frozen=True, eq=False)
class ConvexProblem:
    """One problem of a target, on the actions that its behavior can produce; every array is ``(K,)`` and numpy."""

    objective: Any  # which program it has says what else it holds: pessimism.convex.table
    bandit: Bandit  # one row, all actions
    advantage_row: Array  # (1, all actions)
    log_ratio_row: Array  # (1, all actions)
    kappa: float
    leak: float
    status: str
    solvers: Sequence[str] | None

    @cached_property
    def seen(self) -> Array:
        """Mask of these actions among all."""
        return to_numpy(self.bandit.behavior)[0] > 0

    def _of(self, row: Array) -> Array:
        return to_numpy(row)[0][self.seen]

    @cached_property
    def q(self) -> Array:
        """The behavior."""
        return self._of(self.bandit.behavior)

    @cached_property
    def nu(self) -> Array:
        """The reference; it need not sum to one here."""
        return self._of(self.bandit.reference)

    @cached_property
    def advantage(self) -> Array:
        """The objective's own advantage."""
        return self._of(self.advantage_row)

    @cached_property
    def own_advantage(self) -> Array:
        """Advantage at the target, of an objective whose advantage moves with the policy."""
        log_ratio = finite_log(self.bandit.masked(self.log_ratio_row, 0.0))
        return self._of(self.objective.own_advantage(log_ratio, self.advantage_row, self.bandit.behavior))

    @cached_property
    def log_ratio(self) -> Array:
        """log(policy / reference) of the target."""
        return self._of(self.log_ratio_row)

    @cached_property
    def log_policy(self) -> Array:
        """Logarithm of the target."""
        return np.log(self.nu) + self.log_ratio

    @cached_property
    def policy(self) -> Array:
        """The target."""
        return self.nu * np.exp(self.log_ratio)

    @cached_property
    def ratio(self) -> Array:
        """Target over behavior."""
        return self.policy / self.q

    @property
    def beta(self) -> float:
        """The objective's temperature."""
        beta: float | None = self.objective.temperature
        assert beta is not None
        return beta

    def on_all_actions(self, method: Callable[[Array], Any]) -> list[Array]:
        """Arrays that a method of the objective makes of its advantage, on these actions."""
        return [self._of(a) for a in method(self.advantage_row)]

    @cached_property
    def multiplier(self) -> float:
        """Multiplier lam = E_q[g] by the score weight; nan where every action is on a jump of it."""
        bandit, share = self.bandit, self.bandit.log_reference_ratio
        weights = group_weights(bandit, self.objective)

        def pull(at: Array) -> Array:
            g = data_weight(self.objective, at, self.advantage_row, weights, share)
            return bandit.masked(bandit.behavior * g, 0.0)

        log_ratio = finite_log(bandit.masked(self.log_ratio_row, 0.0))
        policy = bandit.masked(bandit.reference * np.exp(log_ratio), 0.0)
        with np.errstate(over="ignore"):
            kinks = kinks_of(self.objective, bandit.behavior, share)
            found = stationarity(pull, kinks, log_ratio, share, policy, bandit.support)
        smooth = bandit.support & (found.below == found.above)
        lam: float = found.multiplier[0].item() if np.any(policy[smooth] > 0) else np.nan
        return lam

    def mean(self, slope: Array) -> float:
        """Mean of a slope under the target: the multiplier, where the slope is that of the program's objective."""
        kept = self.policy > 0
        return float(self.policy[kept] @ slope[kept] / self.policy[kept].sum())


def problems_of(target: InducedTarget, solvers: Sequence[str] | None = None) -> list[ConvexProblem]:
    """Split a target into its problems, in C order of the batch."""
    bandit, solution, advantage = _on_host(target.bandit), target.solution, to_numpy(target.advantage_rows)
    log_ratio, kappa, leak, status = (
        to_numpy(a) for a in (solution.log_ratio, solution.kappa, solution.leak, solution.status)
    )
    objective = target.row_objective
    return [
        ConvexProblem(
            objective=objective.on_row(index),
            bandit=bandit.rows(np.arange(len(status)) == index),
            advantage_row=advantage[index : index + 1],
            log_ratio_row=log_ratio[index : index + 1],
            kappa=float(kappa[index]),
            leak=float(leak[index]),
            status="invalid_input" if index in bandit.invalid else Status(status[index]).label,
            solvers=solvers,
        )
        for index in range(len(status))
    ]


def _on_host(bandit: Bandit) -> Bandit:
    own = bandit.own_reference
    return replace(
        bandit,
        behavior=to_numpy(bandit.behavior),
        reward=to_numpy(bandit.reward),
        own_reference=None if own is None else to_numpy(own),
        dtype=np.float64,
    )
