"""A problem as every route takes it: a validated bandit and the objective's advantage on it."""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace, device, is_array_api_obj

from pessimism.arrays import Array, pick, put
from pessimism.core.bandit import Bandit, make_bandit
from pessimism.core.objective import Objective
from pessimism.core.validation import LARGEST, as_numpy


def make_problem(
    behavior: Any, reward: Any, objective: Objective, reference: Any = None, *, on_error: str = "raise"
) -> tuple[Bandit, Array]:
    """Validate problems and take the advantage, under the weights that the paper takes its baseline from.

    Parameters
    ----------
    behavior, reward : array_like, shape (..., K)
        Probabilities and rewards, as in :func:`pessimism.core.bandit.make_bandit`.
    objective : Objective
        The objective.
    reference : array_like, shape (..., K), optional
        Probabilities of the policy in the log-ratio, where it is not the behavior.
    on_error : {"raise", "status"}, default "raise"
        Whether a bad row raises, or is marked while the rest of the batch is kept.

    Returns
    -------
    bandit : Bandit
        The problems, one row each.
    advantage : Array, shape (N, K)
        Advantages of the rows.

    Raises
    ------
    ValueError
        As :func:`pessimism.core.bandit.make_bandit`; also for a reference that the objective has no use for, rewards
        that it refuses, and an advantage that overflows or changes shape.
    """
    if reference is not None and not objective.takes_reference:
        raise ValueError(f"reference: objective {objective} has no log-ratio to another reference than the behavior")
    bandit = make_swept_bandit(behavior, reward, objective, reference, on_error=on_error)
    given, objective = objective, objective.on_rows(bandit)
    xp, unit = bandit.xp, 1.0 if objective.temperature is None else objective.temperature
    with np.errstate(over="ignore", invalid="ignore"):
        advantage = _accepted(bandit, objective, on_error)
        if tuple(advantage.shape) != tuple(bandit.reward.shape):
            shapes = f"{tuple(advantage.shape)} for rewards of shape {tuple(bandit.reward.shape)}"
            raise ValueError(f"objective {objective}: advantage must keep the shape of the rewards, got {shapes}")
        extremes = () if advantage.shape[0] == 0 else (xp.max(advantage), xp.min(advantage))
        if all(bool(xp.all(xp.abs(e) <= LARGEST) & xp.all(xp.abs(e / unit) <= LARGEST)) for e in extremes):
            return bandit, advantage
        fine = (xp.abs(advantage) <= LARGEST) & (xp.abs(advantage / unit) <= LARGEST)
        bad = ~xp.all(fine, axis=-1)

    def message(row: int) -> str:
        of_temperature = "" if objective.temperature is None else ", over its temperature too"
        rule = f"must be at most {LARGEST:g} in size{of_temperature}"
        return f"{bandit.place('reward', row)}: the advantage of {given} {rule}"

    bandit.report(bad, message, on_error)
    return bandit, xp.where(bad[:, None], xp.zeros_like(advantage), advantage)


def make_swept_bandit(
    behavior: Any, reward: Any, objective: Objective, reference: Any = None, *, on_error: str = "raise"
) -> Bandit:
    """Validate problems and broadcast them against the hyper-parameters that are arrays."""
    return make_bandit(behavior, _beside(reward, objective), reference, on_error=on_error, batch=_batch(objective))


def _accepted(bandit: Bandit, objective: Objective, on_error: str) -> Array:
    """Advantages; with ``on_error="status"`` rows that the objective refuses are marked, and their rewards become 0."""
    weights = bandit.baseline_weights(objective)
    if objective.over_batch and bandit.invalid:  # whose rows have no part in the statistics of the batch
        valid = np.ones(bandit.reward.shape[0], dtype=bool)
        valid[list(bandit.invalid)] = False
        mask = bandit.xp.asarray(valid, device=device(bandit.reward))
        theirs = bandit.rows(mask)
        found = _accepted(theirs, objective.each_swept(lambda a: pick(bandit.xp, a, mask)), on_error)
        return put(bandit.xp, bandit.xp.zeros_like(bandit.reward), mask, found)
    try:
        return objective.advantage(bandit.reward, weights)
    except ValueError:
        if on_error == "raise":
            raise
    xp, rows, refused = bandit.xp, [], {}
    for row in range(bandit.reward.shape[0]):
        own = None if weights is None else weights[row : row + 1, :]
        reward, of_row = bandit.reward[row : row + 1, :], _of_row(objective, row)
        try:
            rows.append(of_row.advantage(reward, own))
        except ValueError as error:
            refused[row] = str(error)
            rows.append(of_row.advantage(xp.zeros_like(reward), own))
    bandit.invalid.update(refused | bandit.invalid)
    return xp.concat(rows, axis=0)


def _of_row(objective: Objective, row: int) -> Objective:
    return objective.each_swept(lambda column: column[row : row + 1, :])


def _batch(objective: Objective) -> tuple[int, ...]:
    """Shape ``(...)`` of a sweep over hyper-parameters."""
    shapes = {name: tuple(getattr(objective, name).shape) for name in objective.swept}
    shapes |= {name: np.shape(getattr(objective, name))[:-1] for name in objective.facts}
    try:
        return np.broadcast_shapes(*shapes.values())
    except ValueError:
        raise ValueError(
            f"hyper-parameters of {objective.name} must broadcast against each other, got {shapes}"
        ) from None


def _beside(reward: Any, objective: Objective) -> Any:
    """Rewards of numpy or plain numbers as an array of the library of the hyper-parameters, for their gradients."""
    arrays = [getattr(objective, name) for name in objective.arrays]
    foreign = [a for a in arrays if not isinstance(a, np.ndarray | tuple)]
    of_library = is_array_api_obj(reward) and not isinstance(reward, np.ndarray | np.generic)
    if not foreign or reward is None or of_library:
        return reward
    return array_namespace(foreign[0]).asarray(as_numpy("reward", reward), device=device(foreign[0]))
