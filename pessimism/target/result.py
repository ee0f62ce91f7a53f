"""The result of :func:`pessimism.induced_target`: a policy with its multiplier, regime and certificate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from array_api_compat import device

from pessimism.arrays import Array, finite_log, to_numpy, to_numpy_float
from pessimism.closed_forms import tilts
from pessimism.closed_forms.regime import what_is_weighed
from pessimism.core.bandit import Bandit, make_bandit
from pessimism.core.objective import Objective
from pessimism.core.solution import Solution, Status, policy_of
from pessimism.display import as_call, html_table, median, shares
from pessimism.equality import ByValue
from pessimism.fixed_point.score import kinks_of, stationarity, weight_on

if TYPE_CHECKING:
    import pandas as pd


_REGIMES = np.array(["negative", "boundary", "positive"])
_LABELS = np.array([status.label for status in Status])
_EXPLAINED = (Status.NO_TARGET, Status.NOT_CONVERGED, Status.LOCAL_MINIMUM, Status.UNSTABLE)
_MANY = 10_000  # probabilities in a batch, beyond which its text leaves out the pessimism factor
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


@dataclass(frozen=True, repr=False, eq=False)
class InducedTarget(ByValue):
    """Policy that an objective really converges to, for one problem or a batch ``(...)`` of them.

    Attributes
    ----------
    policy, log_policy : Array, shape (..., K)
        Probabilities and their logarithms. Zero-probability actions stay at zero. With ``unseen=True`` in the negative
        regime the policy sums to 1 - leak.
    log_ratio : Array, shape (..., K)
        Log-ratio log(policy / reference); 0 where the behavior has no mass, by the convention 0/0 = 1.
    kappa : Array, shape (...)
        Lambert curvature in log w + kappa w = A/beta; 0 for a nominal target; nan where the target is of neither kind,
        or where mass leaks.
    multiplier : Array, shape (...)
        Multiplier lam = E_q[g] of the fixed point q g = lam pi; 2 beta^2 kappa for squared losses.
    baseline : Array, shape (...)
        Baseline V in units of the reward; nan where the objective has none.
    advantage : Array, shape (..., K)
        Advantages of the actions.
    regime : ndarray of str, shape (...)
        One of "positive", more conservative than nominal, "boundary", nominal, and "negative", bolder; "undefined"
        where the input was invalid. It is the sign of kappa; where that is nan, negative if mass leaks, and else the
        sign of KL(nominal || reference) - KL(policy || reference), that of log(pessimism factor). An objective without
        a temperature is negative where its policy is as far from the reference as the greedy one, or farther, and at
        the boundary where all rewards are equal and the reference stays: so they compare with the nominal target at any
        temperature. Elsewhere its regime is the sign of the multiplier and says nothing of conservatism.
    leak : Array, shape (...)
        Mass that leaves the seen actions.
    status : ndarray of str, shape (...)
        How the search ended: "converged"; "local_minimum", one of several, in the negative regime or where equal
        actions part; "unstable", gradient flow stays there but any tilt drives it away; "vanishing_support", some
        action loses all its mass; "set_valued", many policies are optimal and this one is nearest to the reference;
        "no_target", "not_converged" or "invalid_input". ``message`` has the reasons.
    residual : Array, shape (...)
        Error of the normalization, abs(sum(policy) + leak - 1).
    nominal : Array, shape (..., K)
        Nominal target nu exp(r/beta)/Z at the same beta; nan where the objective has no temperature.
    """

    objective: Objective
    bandit: Bandit
    solution: Solution
    advantage_rows: Array

    @cached_property
    def row_objective(self) -> Objective:
        """The objective with arrays over the batch as columns ``(N, 1)`` and facts of the actions ``(N, K)``."""
        return self.objective.on_rows(self.bandit)

    @cached_property
    def behavior(self) -> Array:
        """Probabilities of the behavior, normalized, ``(..., K)``."""
        return self.bandit.shaped(self.bandit.behavior)

    @cached_property
    def reward(self) -> Array:
        """Rewards ``(..., K)``."""
        return self.bandit.shaped(self.bandit.reward)

    @cached_property
    def advantage(self) -> Array:
        """Advantages ``(..., K)``."""
        return self.bandit.shaped(self.advantage_rows)

    @cached_property
    def log_ratio(self) -> Array:
        """Log-ratios log(policy / reference), ``(..., K)``."""
        return self.bandit.shaped(self.bandit.masked(self.solution.log_ratio, 0.0))

    @cached_property
    def log_policy(self) -> Array:
        """Log-probabilities ``(..., K)``."""
        log_policy = self.bandit.log_reference + self.solution.log_ratio
        return self.bandit.shaped(self.bandit.masked(log_policy, -self.bandit.xp.inf))

    @cached_property
    def _policy_rows(self) -> Array:
        return policy_of(self.bandit, self.solution.log_ratio)

    @cached_property
    def policy(self) -> Array:
        """Probabilities ``(..., K)``."""
        return self.bandit.shaped(self._policy_rows)

    @cached_property
    def kappa(self) -> Array:
        """Lambert curvature ``(...)``, nan where mass leaks: what stays obeys u = A/beta, yet is no nominal target."""
        xp, kappa = self.bandit.xp, self.solution.kappa
        return self.bandit.shaped(xp.where(self.solution.leak > 0, xp.full_like(kappa, xp.nan), kappa))

    @cached_property
    def leak(self) -> Array:
        """Mass that leaves the seen actions, ``(...)``."""
        return self.bandit.shaped(self.solution.leak)

    @cached_property
    def residual(self) -> Array:
        """Error of the normalization, abs(sum(policy) + leak - 1), ``(...)``."""
        xp = self.bandit.xp
        return self.bandit.shaped(xp.abs(xp.sum(self._policy_rows, axis=-1) + self.solution.leak - 1.0))

    @cached_property
    def nominal(self) -> Array:
        """Nominal target nu exp(r/beta)/Z on the behavior's support, ``(..., K)``."""
        return self.bandit.shaped(self._nominal_in(self.bandit.reward))

    @cached_property
    def weighed(self) -> Array:
        """What the temperature weighs, rows ``(N, K)`` in numpy: the rewards, or the advantages that divide by them."""
        return what_is_weighed(self.bandit, self.row_objective, to_numpy_float(self.advantage_rows))

    @cached_property
    def nominal_rows(self) -> Array:
        """Nominal target in what the temperature weighs, rows ``(N, K)`` in numpy; nan without a temperature."""
        weighed = self.bandit.xp.asarray(self.weighed, device=device(self.bandit.reward))
        return to_numpy_float(self._nominal_in(weighed))

    def _nominal_in(self, weighed: Array) -> Array:
        bandit = self.bandit
        if self.beta is None:
            return bandit.xp.full_like(bandit.reward, bandit.xp.nan)
        return tilts.nominal_policy(bandit, weighed, self.row_objective.temperature)

    @cached_property
    def multiplier(self) -> Array:
        """Multiplier lam = E_q[g(u, A)], or E_pi[g] where the objective samples on-policy; ``(...)``."""
        bandit = self.bandit
        u = bandit.masked(self.solution.log_ratio, 0.0)

        def pull(at: Array) -> Array:
            return bandit.masked(bandit.behavior * weight_on(bandit, self.row_objective, at, self.advantage_rows), 0.0)

        kept = bandit.support & ~bandit.xp.isinf(u)
        share = bandit.log_reference_ratio
        with np.errstate(all="ignore"):  # an uncapped exponential weight may be infinite
            kinks = kinks_of(self.row_objective, bandit.behavior, share)
            found = stationarity(pull, kinks, finite_log(u), share, self._policy_rows, kept)
        return bandit.shaped(found.multiplier)

    @cached_property
    def baseline(self) -> Array:
        """Baseline V ``(...)``, which the objective subtracts from the reward."""
        bandit = self.bandit
        return bandit.shaped(self.row_objective.baseline(bandit.reward, bandit.baseline_weights(self.objective)))

    @cached_property
    def regime(self) -> Any:
        """Regime of each problem: positive, boundary, negative, or undefined where the input was invalid."""
        return self._labels(_REGIMES[to_numpy(self.solution.regime) + 1], "undefined")

    @cached_property
    def status(self) -> Any:
        """How the search for each target ended."""
        return self._labels(_LABELS[to_numpy(self.solution.status)], "invalid_input")

    def _labels(self, rows: Any, of_invalid: str) -> Any:
        rows = rows.astype("U32")
        rows[list(self.bandit.invalid)] = of_invalid
        return rows.reshape(self.bandit.shape)[()]

    @property
    def message(self) -> dict[tuple[int, ...], str]:
        """What to know of problems without a target to rely on, or with one of several, by index in the batch."""
        ended = to_numpy(self.solution.status)
        unsolved = np.flatnonzero(np.isin(ended, _EXPLAINED))
        why = {int(row): self.objective.explain(Status(ended[row])) for row in unsolved} | self.bandit.invalid
        return {tuple(map(int, np.unravel_index(row, self.bandit.shape))): str(why[row]) for row in sorted(why)}

    @property
    def beta(self) -> Any:
        """Temperature of the nominal problem, an array in a sweep over it; None where the objective has none."""
        return self.objective.temperature

    def conservatism(self) -> pd.DataFrame:
        """Divergences, value, effective temperature and pessimism factor: a frame with one row for each problem.

        See :func:`pessimism.target.conservatism.metrics` for the columns.
        """
        from pessimism.target.conservatism import metrics

        return metrics(self)

    def certificate(self) -> pd.DataFrame:
        """KKT residuals: a frame with one row for each problem.

        See :func:`pessimism.target.certificate.certificate` for the columns.
        """
        from pessimism.target.certificate import certificate

        return certificate(self)

    def to_dict(self) -> dict[str, Any]:
        """Public fields as plain lists, numbers and strings, for JSON: nan and infinities become None."""
        return {name: _plain(getattr(self, name)) for name in FIELDS}

    @classmethod
    def concatenate(cls, targets: Sequence[InducedTarget]) -> InducedTarget:
        """Join targets of several batches in numpy, under one objective, into one target.

        Narrower problems are padded with copies of their last action that neither behavior nor policy takes: that
        leaves every expectation and every divergence as it is, and the extremes of reward and advantage too. Statistics
        of a sampled group become those of the population.

        Parameters
        ----------
        targets : sequence of InducedTarget
            Targets of batches ``(n_i, K_i)``.

        Returns
        -------
        InducedTarget
            One target of the batch ``(sum n_i, max K_i)``.

        Raises
        ------
        ValueError
            Unless all targets have one objective, without arrays over the batch, and the behavior as their reference,
            and every row is valid.

        Examples
        --------
        >>> import pessimism as ps
        >>> pair, triple = (ps.induced_target(None, [reward], "kimi") for reward in ([0.0, 1.0], [0.0, 0.5, 1.0]))
        >>> InducedTarget.concatenate([pair, triple]).behavior.round(4)
        array([[0.5   , 0.5   , 0.    ],
               [0.3333, 0.3333, 0.3333]])
        """
        for target in targets:
            if target.objective.swept or _alike(target.objective) != _alike(targets[0].objective):
                raise ValueError("targets must have one objective, without arrays over the batch")
            if target.bandit.own_reference is not None or target.bandit.invalid:
                raise ValueError("targets must have the behavior as their reference, and no invalid rows")
        behavior = _padded([target.bandit.behavior for target in targets], mode="constant")
        reward = _padded([target.bandit.reward for target in targets], mode="edge")
        names = ("kappa", "regime", "leak", "status")
        facts: dict[str, Any] = {name: np.concatenate([getattr(t.solution, name) for t in targets]) for name in names}
        return cls(
            objective=replace(
                targets[0].objective,
                **{
                    name: _padded([getattr(target.row_objective, name) for target in targets], mode="edge")
                    for name in targets[0].objective.facts
                },
            ),
            bandit=make_bandit(behavior, reward),
            solution=Solution(_padded([target.solution.log_ratio for target in targets], mode="constant"), **facts),
            advantage_rows=_padded([target.advantage_rows for target in targets], mode="edge"),
        )

    def take(self, rows: Any) -> InducedTarget:
        """Problems of a flat batch in numpy, as `concatenate` makes it, by their numbers, each as often as it is named.

        Parameters
        ----------
        rows : array_like of int, shape (M,)
            Numbers of the problems.

        Returns
        -------
        InducedTarget
            One target of the batch ``(M, K)``.

        Examples
        --------
        >>> import pessimism as ps
        >>> two = InducedTarget.concatenate([ps.induced_target(None, [[0.0, 1.0], [0.0, 2.0]], "kimi")])
        >>> two.take([1, 0, 1]).reward[:, 1].tolist()
        [2.0, 1.0, 2.0]
        """
        facts = {name: getattr(self.objective, name)[rows] for name in self.objective.facts}
        return type(self)(
            objective=replace(self.objective, **facts),
            bandit=make_bandit(self.bandit.behavior[rows], self.bandit.reward[rows]),
            solution=Solution(*(column[rows] for column in self.solution.rows)),
            advantage_rows=self.advantage_rows[rows],
        )

    def _facts(self) -> list[tuple[str, Any]]:
        """Labels and values that tell most about the target; a root finds the factor, unless the batch is large."""
        from pessimism.target.conservatism import numbers

        shape, kappa = tuple(self.log_ratio.shape), to_numpy(self.kappa)
        facts: list[tuple[str, Any]] = [("", self.objective)]
        if kappa.size == 0:
            return [*facts, ("shape", shape)]
        one = len(shape) == 1
        shown = self.beta is not None and (one or math.prod(shape) <= _MANY)
        factor = numbers(self)["pessimism_factor"] if shown else None
        if one:
            facts += [] if self.status == "converged" else [("status", self.status)]
            facts += [("regime", self.regime), ("kappa", kappa)]
            facts += [] if factor is None or self.leak > 0 else [("factor", factor[0])]
            facts += [("leak", to_numpy(self.leak))] if self.leak > 0 else []
            return [*facts, ("policy", to_numpy(self.policy))]
        facts += [("shape", shape), ("regime", shares(self.regime)), ("status", shares(self.status))]
        leak = to_numpy(self.leak)
        facts += [("largest leak", np.nanmax(leak))] if np.any(leak > 0) else []
        facts += [("median kappa", median(kappa))]
        return facts if factor is None else [*facts, ("median factor", median(factor))]

    def __repr__(self) -> str:
        return as_call("InducedTarget", self._facts())

    def _repr_html_(self) -> str:
        (_, objective), *others = self._facts()
        return html_table([("objective", objective), *others])


def _alike(objective: Objective) -> Objective:
    """The objective without what it knows of the single actions."""
    return replace(objective, **dict.fromkeys(objective.facts)) if objective.facts else objective


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return str(value)
    array = np.asarray(value) if isinstance(value, np.ndarray | np.generic) else to_numpy(value)
    if array.dtype.kind in "US":
        return array.tolist()
    plain = array.astype(object)
    plain[~np.isfinite(array)] = None
    return plain.tolist()


def _padded(rows: Sequence[Any], mode: Any) -> np.ndarray[Any, Any]:
    """Rows ``(n_i, K_i)`` as ``(sum n_i, max K_i)``."""
    width = max(part.shape[-1] for part in rows)
    return np.concatenate([np.pad(part, ((0, 0), (0, width - part.shape[-1])), mode=mode) for part in rows])
