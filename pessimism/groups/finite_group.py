"""Groups of G completions a prompt: the target that their baseline induces, and the regime of each group by itself."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pessimism.arrays import Floats
from pessimism.core.objective import Objective, ObjectiveLike
from pessimism.core.validation import check_integer
from pessimism.display import as_call, html_table, median, shares
from pessimism.equality import ByValue
from pessimism.groups.expected_advantage import expected
from pessimism.groups.reward_law import (
    Counts,
    RewardLaw,
    check_setting,
    compositions,
    few_groups,
    has_baseline,
    kept_given_value,
    log_multinomial,
    members_left_out,
    reward_law,
    sampler,
)
from pessimism.groups.target import log_z_of, solve_group, why_undefined
from pessimism.losses.registry import make_objective
from pessimism.losses.regression import AStarPO
from pessimism.progress import progress
from pessimism.target.induced import induced_target
from pessimism.target.result import InducedTarget

if TYPE_CHECKING:
    import pandas as pd

_DRAWS = 2**30  # most groups that may be drawn
REGIMES = ("positive", "boundary", "negative")
_CHUNK = 2**22  # rewards of groups at once
_COUNTED = 2**12  # groups that are solved one by one rather than sampled


@dataclass(frozen=True, repr=False, eq=False)
class FiniteGroup(ByValue):
    """What an objective does in the population at a finite group size, for one problem or a batch ``(...)``.

    Attributes
    ----------
    objective : ObjectiveLike
        What is trained.
    group_size : int
        Completions G of a group.
    leave_one_out, drop_equal : bool
        Options of :func:`finite_group`.
    behavior, reward : ndarray, shape (..., K)
        The sampler q, and the rewards.
    advantage : ndarray, shape (..., K)
        E[A_i | a_i = a], with ``drop_equal`` given that the group is kept; nan for an action that the behavior never
        takes.
    standard_error : ndarray, shape (..., K)
        Standard error of ``advantage``; 0 unless ``method`` is "monte_carlo".
    method : str or ndarray of str, shape (...)
        "exact", "quadrature" (to about 1e-14 of the range of the rewards) or "monte_carlo".
    kept : float or ndarray, shape (...)
        Share of the groups that are trained on; 1 without ``drop_equal``.
    data : ndarray, shape (..., K)
        Law of the action of a completion that is trained on: q P(kept | a), normalized; q where no group is kept.
    unseen : bool
        Whether the actions are only those seen.
    draws, seed : int
        Groups drawn by the Monte Carlo route, and the seed of the draws.

    Examples
    --------
    >>> group = finite_group("oapl", 4, pass_rate=0.5, beta1=0.1, beta2=0.1, drop_equal=True)
    >>> group
    FiniteGroup(oapl(beta1=0.1, beta2=0.1), G=4, drop_equal, status=local_minimum, regime=negative, kappa=-0.03737,
    factor=1.024, log_z=-0.07473, policy=[5.7661e-05 9.9994e-01])
    >>> float(group.kept), group.data
    (0.875, array([0.5, 0.5]))
    """

    objective: Objective
    group_size: int
    leave_one_out: bool
    drop_equal: bool
    behavior: Floats
    reward: Floats
    advantage: Floats
    standard_error: Floats
    method: Any
    kept: Floats
    data: Floats
    unseen: bool
    draws: int
    seed: int

    @cached_property
    def _rows(self) -> tuple[Floats, Floats]:
        width = self.reward.shape[-1]
        return self.behavior.reshape(-1, width), np.nan_to_num(self.advantage).reshape(-1, width)

    @cached_property
    def log_z(self) -> Any:
        """Log E_q[exp(advantage / beta)], ``(...)``; nan without a temperature, or where the baseline cancels in it."""
        beta = None if _has_group_apart(self.objective) else self.objective.temperature
        return log_z_of(*self._rows, beta).reshape(self.kept.shape)[()]

    @cached_property
    def log_z_error(self) -> Any:
        """Bound of the standard error of ``log_z``, ``(...)``."""
        beta = self.objective.temperature or np.nan
        with np.errstate(divide="ignore"):
            log_tilted = np.log(self.behavior) + np.nan_to_num(self.advantage) / beta - self.log_z[..., None]
        return np.vecdot(np.exp(log_tilted), np.nan_to_num(self.standard_error)) / beta

    @cached_property
    def target(self) -> InducedTarget:
        """Induced target at this group size.

        Its behavior is ``data``, its reference the sampler; its ``baseline`` is the population's.
        """
        data = self.data if self.drop_equal else None
        advantage = np.nan_to_num(self.advantage)
        return solve_group(self.objective, self.behavior, self.reward, advantage, data=data, unseen=self.unseen)

    @property
    def regime(self) -> Any:
        """Regime of the target: "positive", "boundary" or "negative"."""
        return self.target.regime

    @property
    def kappa(self) -> Any:
        """Lambert curvature of the target, ``(...)``."""
        return self.target.kappa

    @cached_property
    def regime_shares(self) -> pd.DataFrame:
        """Share of the groups in each regime when each is taken in-sample, its G completions as the whole support.

        One row per problem: positive, boundary, negative (of the groups kept; nan where none is), kept, and
        standard_error (0 where all groups were counted, else the largest of the three).
        """
        behavior, reward = self._rows[0], self.reward.reshape(self._rows[0].shape)
        laws = [reward_law(*row) for row in zip(behavior, reward, strict=True)]
        setting = (self.group_size, self.leave_one_out, self.drop_equal)
        shares = regime_shares(self.objective, laws, *setting, draws=self.draws, seed=self.seed)
        return shares.assign(kept=np.atleast_1d(self.kept).ravel())[
            ["positive", "boundary", "negative", "kept", "standard_error"]
        ]

    def _facts(self) -> list[tuple[str, Any]]:
        """Return labels and values that tell most about the group."""
        facts: list[tuple[str, Any]] = [("", self.objective), ("G", self.group_size)]
        facts += [("", name) for name in ("leave_one_out", "drop_equal") if getattr(self, name)]
        if _has_group_apart(self.objective):
            facts += [("", 'on-policy: the baseline cancels, which sampling="off_policy" keeps')]
        plain = bool(np.all(self.target.status == "converged"))
        if self.advantage.ndim > 1:
            facts += [("shape", self.advantage.shape), ("regime", shares(self.regime))]
            facts += [] if plain else [("status", shares(self.target.status))]
            facts += [("median kappa", median(self.kappa))]
            return facts if _has_group_apart(self.objective) else [*facts, ("median log_z", median(self.log_z))]
        facts += [] if plain else [("status", self.target.status)]
        factor = float(self.target.conservatism()["pessimism_factor"].iloc[0])
        facts += [("regime", self.regime), ("kappa", self.kappa), ("factor", factor)]
        facts += [] if _has_group_apart(self.objective) else [("log_z", self.log_z)]
        return [*facts, ("policy", self.target.policy)]

    def __repr__(self) -> str:
        return as_call("FiniteGroup", self._facts())

    def _repr_html_(self) -> str:
        (_, objective), *others = self._facts()
        return html_table([("objective", objective), *((label or "option", value) for label, value in others)])


def finite_group(
    objective: str | ObjectiveLike,
    group_size: int,
    behavior: Any = None,
    reward: Any = None,
    *,
    pass_rate: Any = None,
    leave_one_out: bool = False,
    drop_equal: bool = False,
    unseen: bool = False,
    draws: int = 2**14,
    seed: int = 0,
    check: bool = True,
    **hyper: Any,
) -> FiniteGroup:
    r"""Expected advantage and induced target of an objective whose baseline comes from a group of G completions.

    With G i.i.d. samples the population loss is that of the effective advantage :math:`E[A_i | a_i = a]`, since the
    gradient is affine in the advantage. The group mean gives (1 - 1/G)(r - E r); the group's optimal value at the
    regression's own temperature gives the negative regime at every finite G, although each group by itself is at the
    boundary (arXiv 2605.28150; docs/theory.md).

    On-policy A*-PO takes its optimal value from a group of the behavior and trains on completions of the policy: its
    advantage is r - E V, the baseline cancels at the fixed point, and the target is nominal at beta2 at every G.

    Parameters
    ----------
    objective : str or ObjectiveLike
        Registered name with its hyper-parameters as keywords, or any object with the three methods whose score weight
        is affine in the advantage; its ``advantage`` is called on groups ``(..., G)``.
    group_size : int
        Completions G >= 1 of a group, at most 131,072; at least 2 with ``leave_one_out`` or ``drop_equal``.
    behavior, reward : array_like, shape (..., K), optional
        Policy that draws the groups, and its rewards. Without ``behavior`` the rewards are a sample, its K members
        equally likely.
    pass_rate : array_like, shape (...), optional
        Probability in [0, 1] of a reward of 1, else 0, instead of behavior and reward.
    leave_one_out : bool, default False
        Compute the baseline of a completion from the G - 1 others.
    drop_equal : bool, default False
        Do not train on groups whose rewards are all equal.
    unseen : bool, default False
        Whether the actions are only those seen, as for :func:`~pessimism.induced_target`.
    draws : int, default 16384
        Groups drawn by the Monte Carlo route, which is taken where there are too many groups to count, the advantage is
        not linear in the rewards, and the baseline is not an optimal value.
    seed : int, default 0
        Seed of the draws.
    check : bool, default True
        Whether an objective of one's own is checked first, once for each object (:func:`pessimism.check`).
    **hyper : dict
        Hyper-parameters of a registered objective.

    Returns
    -------
    FiniteGroup
        Expected advantage, regime, target and shares of the regimes.

    Raises
    ------
    ValueError
        An argument out of range; an objective with a weight that is not affine in the advantage (AWR), couples the
        group (TBA, REBEL) or is on-policy, A*-PO apart; ``leave_one_out`` with an advantage that is not reward minus
        baseline.

    Examples
    --------
    >>> import pessimism as ps
    >>> group = finite_group("optimal_value", 8, pass_rate=0.5, beta=0.1)
    >>> group.advantage.round(4), float(group.log_z.round(3)), str(group.regime)
    (array([-0.9029,  0.0625]), -0.068, 'negative')
    >>> finite_group("kimi", 4, [0.5, 0.3, 0.2], [0.0, 0.5, 1.0], beta=0.1).advantage.round(4)  # 3/4 (r - E r)
    array([-0.2625,  0.1125,  0.4875])
    >>> group.regime_shares[["positive", "boundary", "negative"]].to_numpy()
    array([[0., 1., 0.]])
    """
    made = make_objective(objective, check=check, **hyper)
    apart = _has_group_apart(made)
    drawn = replace(made, sampling="off_policy") if apart else made  # type: ignore[call-arg]
    if apart and (leave_one_out or drop_equal):
        raise ValueError(
            f"objective {made}: {'leave_one_out' if leave_one_out else 'drop_equal'} is not defined, as it trains on "
            'completions that are none of the group of its baseline (sampling="off_policy" trains on the group)'
        )
    why = why_undefined(drawn, drop_equal=drop_equal)
    if why is not None:
        raise ValueError(f"objective {made}: {why}; finite_group is not defined for it")
    check_setting(group_size, leave_one_out=leave_one_out, drop_equal=drop_equal)
    if leave_one_out and not has_baseline(made):
        raise ValueError(f"leave_one_out: the advantage of {made} is not the reward minus a baseline")
    check_integer("draws", draws, 2, most=_DRAWS)
    check_integer("seed", seed, 0)
    q, r = sampler(behavior, reward, pass_rate)
    shape, width = q.shape[:-1], q.shape[-1]
    rows, rewards = q.reshape(-1, width), r.reshape(-1, width)
    laws = [reward_law(*row) for row in zip(rows, rewards, strict=True)]
    advantage, error = np.full(rows.shape, np.nan), np.full(rows.shape, np.nan)
    method, kept = np.full(len(rows), "exact", dtype="U11"), np.ones(len(rows))
    data = rows.copy()
    alike: dict[bytes, list[int]] = {}
    for row, law in enumerate(laws):
        alike.setdefault(law.values.tobytes(), []).append(row)
    for members in progress(alike.values(), "problems"):
        same = [laws[row] for row in members]
        found = expected(drawn, same, group_size, leave_one_out, drop_equal, draws=draws, seed=seed)
        chances = kept_given_value(np.stack([law.mass for law in same]), group_size)
        for i, row in enumerate(members):
            which, seen = laws[row].which, laws[row].which >= 0
            advantage[row, seen], error[row, seen] = found.advantage[i, which[seen]], found.error[i, which[seen]]
            if apart:  # E[r - A] is the mean of the baseline, whoever is in the group
                mean = np.vecdot(rows[row, seen], rewards[row, seen] - advantage[row, seen])
                advantage[row, seen] = rewards[row, seen] - mean
                error[row, seen] = np.vecdot(rows[row, seen], error[row, seen])
            method[row] = found.method
            if drop_equal:
                trained = np.where(seen, rows[row] * chances[i, which], 0.0)
                kept[row] = trained.sum()
                data[row] = trained / kept[row] if kept[row] > 0 else rows[row]
    return FiniteGroup(
        objective=made,
        group_size=group_size,
        leave_one_out=leave_one_out,
        drop_equal=drop_equal,
        behavior=q,
        reward=r,
        advantage=advantage.reshape(q.shape),
        standard_error=error.reshape(q.shape),
        method=method.reshape(shape)[()],
        kept=kept.reshape(shape)[()],
        data=data.reshape(q.shape),
        unseen=unseen,
        draws=draws,
        seed=seed,
    )


def _has_group_apart(objective: Objective) -> bool:
    """Whether the group gives the baseline alone, and the completions trained on are the policy's own: A*-PO."""
    return isinstance(objective, AStarPO) and objective.on_policy


def regime_shares(
    objective: Objective,
    laws: list[RewardLaw],
    size: int,
    leave_one_out: bool,
    drop_equal: bool,
    *,
    draws: int,
    seed: int,
) -> pd.DataFrame:
    """Shares of the regimes (of the groups kept) and their standard error, a row per law.

    Counted over all groups where they are few, over seeded draws of groups otherwise.
    """
    import pandas as pd

    rows, known = [], {}
    for law in progress(laws, "problems"):
        width = len(law.values)
        counted = few_groups(size, width, _COUNTED)
        if counted:
            key = law.values.tobytes()
            if key not in known:
                counts = compositions(size, width)
                known[key] = counts, _regimes(objective, law.values, counts, leave_one_out)
            counts, regimes = known[key]
            weight, equal = np.exp(log_multinomial(counts, law.mass[None])[0]), counts.max(axis=-1) == size
        else:
            rng, step = np.random.default_rng(seed), max(1, _CHUNK // max(size, width))
            parts = []
            for first in range(0, draws, step):
                counts = rng.multinomial(size, law.mass / law.mass.sum(), size=min(step, draws - first))
                parts.append((_regimes(objective, law.values, counts, leave_one_out), counts.max(axis=-1) == size))
            regimes, equal = (np.concatenate(a) for a in zip(*parts, strict=True))
            weight = np.ones(draws)
        if drop_equal:
            weight = np.where(equal, 0.0, weight)
        total = weight.sum()
        share = [weight[regimes == name].sum() / total if total > 0 else np.nan for name in REGIMES]
        error = max(np.sqrt(s * (1 - s) / total) for s in share) if not counted and total > 0 else 0.0
        rows.append([*share, error])
    return pd.DataFrame(rows, columns=[*REGIMES, "standard_error"])


def _regimes(objective: Objective, values: Floats, counts: Counts, leave_one_out: bool) -> NDArray[np.str_]:
    """Regime ``(M,)`` of each group, mass being free to leave it."""
    size, width = int(counts[0].sum()), len(values)
    if not leave_one_out:
        which = np.repeat(np.tile(np.arange(width), len(counts)), counts.ravel()).reshape(len(counts), size)
        return np.asarray(induced_target(None, values[which], objective, unseen=True, check=False).regime)
    advantage = np.zeros(counts.shape)
    for v in range(width):
        has = counts[:, v] > 0
        others = counts[has] - np.eye(width, dtype=np.int64)[v]
        if len(others):
            advantage[has, v] = members_left_out(objective, values[None], others)[0, :, v]
    rewards = np.broadcast_to(values, counts.shape)
    return np.asarray(solve_group(objective, counts / size, rewards, advantage, unseen=True).regime)
