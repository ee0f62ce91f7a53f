"""The policy to evaluate, in any of its spellings, and its ratios to the behavior on the logged actions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pessimism.arrays import Floats
from pessimism.core.validation import SUM_TOLERANCE
from pessimism.evaluation.checks import IntArray, comparable, real_array, refuse
from pessimism.evaluation.logs import Logs

_SHAPES = "must have shape (K,), (n_rounds, K) or (n_rounds, K, 1), or one row per integer context id"


@dataclass(frozen=True, eq=False)
class ActionTable:
    """Numbers per context and action: ``table[row[i]]`` is the vector ``(K,)`` of round i."""

    table: Floats
    row: IntArray

    def at(self, action: IntArray) -> Floats:
        """Entries ``(n,)`` of one action per round."""
        return self.table[self.row, action]

    def dot(self, other: ActionTable) -> Floats:
        """Sum over the actions of the products, ``(n,)``."""
        sums: Floats = np.einsum("nk,nk->n", self.table[self.row], other.table[other.row])
        return sums


@dataclass(frozen=True, eq=False)
class Ratios:
    """The rounds as an estimator sees them: ``weight = pi(a|x) / pscore`` and the reward, both ``(n,)``."""

    weight: Floats
    reward: Floats
    pscore: Floats | None = None
    action: IntArray | None = None
    policy: ActionTable | None = None

    @property
    def unlogged(self) -> float:
        """Probability that the policy gives to actions that no round has logged, on average over the rounds."""
        if self.policy is None or self.action is None:
            return 0.0
        absent = np.bincount(self.action, minlength=self.policy.table.shape[1]) == 0
        return float(self.policy.table[:, absent].sum(axis=1)[self.policy.row].mean())

    def needs_pscore(self, estimator: str) -> Floats:
        """Return the propensities, which some estimators need beside the ratios."""
        if self.pscore is None:
            raise ValueError(f"pscore must be in the logs for estimator {estimator}: the ratios alone do not do")
        _check_pscore(self.pscore)
        return self.pscore


def ratios(policy: Any, logs: Logs) -> Ratios:
    """Ratios of a policy over finite actions to the behavior.

    Parameters
    ----------
    policy : array_like, mapping, InducedTarget or None
        Probabilities ``(K,)``, ``(n, K)`` or Open Bandit Pipeline's ``(n, K, 1)``; a mapping from context ids to
        vectors ``(K,)``; one row per integer context id, ``(B, K)``; an object with such an array as ``policy``, as
        induced targets have; or None, to take the ratios from the column ``weight`` of the logs.
    logs : Logs
        Made by :func:`pessimism.make_logs`.

    Returns
    -------
    Ratios
        Ratio, reward, propensity and action of each round.

    Raises
    ------
    ValueError
        Names the argument, the place and the rule.

    Examples
    --------
    >>> from pessimism import make_logs
    >>> ratios([0.2, 0.8], make_logs(action=[0, 1], reward=[0, 1], pscore=[0.5, 0.4])).weight
    array([0.4, 2. ])
    """
    if policy is None:
        if logs.weight is None:
            raise ValueError("policy must be given: the logs have no column weight to take the ratios from")
        _check_total("weight", logs.weight, logs.weight, "must not be so large that the sum of the ratios overflows")
        return Ratios(logs.weight, logs.reward, logs.pscore)
    if logs.action is None or logs.pscore is None:
        raise ValueError(f"logs must hold {'action' if logs.action is None else 'pscore'} to evaluate a policy")
    probabilities = action_table("policy", policy, logs)
    _check_probabilities(probabilities.table)
    _check_pscore(logs.pscore)
    action = _action_index(logs, probabilities.table.shape[1])
    with np.errstate(over="ignore"):
        weight = probabilities.at(action) / logs.pscore
    refuse("pscore", logs.pscore, ~np.isfinite(weight), "must not be so small that the ratio overflows")
    _check_total("pscore", logs.pscore, weight, "must not be so small that the sum of the ratios overflows")
    return Ratios(weight, logs.reward, logs.pscore, action, probabilities)


def action_table(name: str, value: Any, logs: Logs) -> ActionTable:
    """Numbers per round and action from any spelling of a policy or of a reward model."""
    value = getattr(value, "policy", value)
    ids = logs.context_ids
    if isinstance(value, Mapping):
        found = _from_mapping(name, value, logs)
    else:
        array = real_array(name, value)
        if array.ndim == 3 and array.shape[-1] == 1:
            array = array[..., 0]
        elif array.ndim == 3:
            raise ValueError(f"{name} {_SHAPES} (one action a round, len_list=1), got shape {array.shape}")
        if array.ndim not in (1, 2) or array.size == 0:
            raise ValueError(f"{name} {_SHAPES}, got shape {array.shape}")
        if array.ndim == 1:
            found = ActionTable(array[None, :], np.zeros(logs.n, dtype=np.int64))
        elif ids is not None and ids.dtype.kind in "iu":
            found = ActionTable(array, _rows_of_ids(name, array, ids))
        elif len(array) == logs.n:
            found = ActionTable(array, np.arange(logs.n))
        else:
            raise ValueError(f"{name} {_SHAPES}, got shape {array.shape} for {logs.n} rounds without integer ids")
    width = found.table.shape[1]
    if logs.n_actions is not None and width != logs.n_actions:
        raise ValueError(f"{name} must have one entry per action, got {width} for {logs.n_actions} actions")
    return found


def _from_mapping(name: str, value: Mapping[Any, Any], logs: Logs) -> ActionTable:
    ids = logs.context_ids
    if ids is None:
        raise ValueError(f"{name}: a mapping needs context ids in the logs, one integer or string per round")
    if ids.dtype.kind == "O":
        comparable("context", ids)
    keys, first, row = np.unique(ids, return_index=True, return_inverse=True)
    vectors = []
    for key, place in zip(keys.tolist(), first.tolist(), strict=True):
        if key not in value:
            raise ValueError(f"{name} has no entry for context {key!r} (round {place})")
        vectors.append(real_array(f"{name}[{key!r}]", value[key]))
        if vectors[-1].ndim != 1 or vectors[-1].shape != vectors[0].shape or vectors[-1].size == 0:
            raise ValueError(f"{name}[{key!r}] must be a vector (K,), K the same throughout, got {vectors[-1].shape}")
    return ActionTable(np.stack(vectors), row.astype(np.int64))


def _rows_of_ids(name: str, array: Floats, ids: Any) -> IntArray:
    refuse(
        "context", ids, (ids < 0) | (ids >= len(array)), f"must be the index of one of the {len(array)} rows of {name}"
    )
    if len(array) == len(ids) and not np.array_equal(ids, np.arange(len(ids))):
        raise ValueError(
            f"{name} has as many rows as the logs have rounds and the logs have context ids: is it one row "
            "per round or per id? Leave the context out, or give a mapping from ids to vectors"
        )
    rows: IntArray = ids.astype(np.int64)
    return rows


def _check_probabilities(table: Floats) -> None:
    single = len(table) == 1
    refuse(
        "policy", table[0] if single else table, (table < 0)[0] if single else table < 0, "must be a probability >= 0"
    )
    total = table.sum(axis=1)
    off = np.abs(total - 1.0) > SUM_TOLERANCE
    if off.any():
        row = int(off.argmax())
        place = "policy" if single else f"policy[{row}]"
        hint = " (mass that leaves the logged actions has no value there)" if total[row] < 1 else ""
        raise ValueError(f"{place} must sum to 1 within {SUM_TOLERANCE:g}, got {total[row]:.9g}{hint}")


def _check_total(name: str, column: Floats, weight: Floats, rule: str) -> None:
    """Raise at the largest ratio where their sum is not finite."""
    with np.errstate(over="ignore"):
        if not np.isfinite(weight.sum()):
            refuse(name, column, np.arange(len(weight)) == weight.argmax(), rule)


def _check_pscore(pscore: Floats) -> None:
    over = pscore > 1.0 + SUM_TOLERANCE
    refuse("pscore", pscore, over, "must be a probability, at most 1 (densities are for estimator kernel)")


def _action_index(logs: Logs, width: int) -> IntArray:
    assert logs.action is not None
    whole = (logs.action == np.floor(logs.action)) & (logs.action >= 0) & (logs.action < width)
    refuse("action", logs.action, ~whole, f"must be one of the {width} actions 0, ..., {width - 1} of the policy")
    return logs.action.astype(np.int64)
