"""What the age of the data does: gradient descent in optimizer steps on the median group of a log.

A log does not fix how far an optimizer step moves the policy. The step size is therefore set by the KL of a step: the
first one, on the policy's own data, moves the policy by that much.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.optimize import brentq

from pessimism import divergences
from pessimism.arrays import Floats
from pessimism.core.objective import Objective
from pessimism.diagnosis.logged_groups import LoggedGroups
from pessimism.dynamics.gradient_descent import sgd
from pessimism.dynamics.trajectory import Trajectory, make_flow_problem

COLUMNS = (
    *("kl_per_step", "refresh_every", "lag", "age", "lr", "half_gain_steps", "slower", "steps", "value"),
    *("kl", "kl_to_data", "ran_for", "status"),
)
_STEPS = 1024  # most steps of a run
_FIRST = 32
_LITTLE, _MUCH = 1.5, 3.0  # times the steps of fresh data, below which a lag costs little, and above which much


class Schedule(NamedTuple):
    """How old data are: steps between refreshes, and steps behind at a refresh."""

    refresh_every: int
    lag: int

    @property
    def age(self) -> int:
        """Largest age of the data in optimizer steps."""
        return self.lag + self.refresh_every - 1


class Median(NamedTuple):
    """A group as a problem: its distinct rewards and their shares.

    Attributes
    ----------
    behavior, reward : ndarray, shape (D,)
        Shares and rewards.
    name : str
        Which group it is.
    """

    behavior: Floats
    reward: Floats
    name: str


def median_group(logged: LoggedGroups) -> Median | None:
    """Law of the group with the median mean reward among those with a signal, None where none has one.

    Parameters
    ----------
    logged : LoggedGroups
        The log.

    Returns
    -------
    Median or None
        The group.

    Examples
    --------
    >>> import pessimism as ps
    >>> median_group(ps.diagnose("examples/verl_rollouts", "kimi").logged).behavior
    array([0.5625, 0.4375])
    """
    ends = np.append(logged.start[1:], len(logged.reward))
    (some,) = np.nonzero(logged.differ)
    if not some.size:
        return None
    mean = np.add.reduceat(logged.reward, logged.start)[some] / logged.sizes[some]
    at = some[np.argsort(mean, kind="stable")[(some.size - 1) // 2]]
    rewards, counts = np.unique(logged.reward[logged.start[at] : ends[at]], return_counts=True)
    share = counts / counts.sum()
    told = f"the median group, with a mean reward of {float(share @ rewards):.3g}"
    return Median(share, rewards, told)


def step_size(objective: Objective, group: Median, kl: float) -> float:
    """Learning rate at which the first step moves the policy by a KL, in nats.

    Parameters
    ----------
    objective : Objective
        The objective.
    group : Median
        The group.
    kl : float
        KL(policy after the step || before).

    Returns
    -------
    float
        The learning rate.

    Raises
    ------
    ValueError
        If the gradient at the start is zero, or no step of this objective moves so far.

    Examples
    --------
    >>> import pessimism as ps
    >>> half = Median(np.array([0.5, 0.5]), np.array([0.0, 1.0]), "")
    >>> round(step_size(ps.Kimi(beta=1.0), half, 1e-4), 4)  # moves the logits apart by as much: KL 0.0283^2 / 8
    0.0283
    """
    problem = make_flow_problem(group.behavior, group.reward, objective, None, None)
    start, move = problem.log_start, problem.pull.field(problem.log_start)
    if np.abs(move).max() <= 1e-12 * problem.pull.scale or not np.any(move):
        raise ValueError("nothing pulls at the start")

    def excess(log_lr: float) -> float:
        after = start + np.exp(log_lr) * move
        after = after - np.logaddexp.reduce(after)
        return float(divergences.kl_divergence(np.exp(after)[None], np.exp(start)[None])[0]) - kl

    low = np.log(1e-9 / np.abs(move).max())
    high = np.log(700.0 / np.abs(move).max())
    if excess(high) < 0:
        raise ValueError(f"no step moves the policy by a KL of {kl:g}")
    return float(np.exp(brentq(excess, low, high, xtol=1e-12)))


def keeps_first(objective: Objective) -> bool:
    """Whether the reference stays the first policy while the data move: a fixed one of a KL, beside another ratio.

    A proximal policy is none: trainers take it anew with each generation, as they do an estimate of the behavior.

    Parameters
    ----------
    objective : Objective
        The objective.

    Returns
    -------
    bool
        Whether it does.

    Examples
    --------
    >>> import pessimism as ps
    >>> keeps_first(ps.GRPO()), keeps_first(ps.CorrectedPPO()), keeps_first(ps.Kimi())
    (True, False, False)
    """
    return objective.takes_share and objective.reference_policy == "initial"


def lag_table(
    objective: Objective, group: Median, schedules: list[Schedule], kl_per_step: tuple[float, ...]
) -> pd.DataFrame:
    """Gradient descent on data of each age, for each KL per step.

    Parameters
    ----------
    objective : Objective
        The objective; one with a KL to a fixed reference beside its ratio keeps the first policy as that.
    group : Median
        The problem.
    schedules : list of Schedule
        Ages of the data to compare with the policy's own data, which come first.
    kl_per_step : tuple of float
        KL of the first step, in nats.

    Returns
    -------
    pandas.DataFrame
        Per KL and schedule: the learning rate; half_gain_steps, after how many steps half of the possible gain in
        reward is taken (nan: not within the run); slower, that over the number on the policy's own data; value and KL
        to the start after ``steps`` steps, those that the policy's own data need for half of the gain; kl_to_data, the
        largest KL of the policy to the one that drew its data on the way; ran_for, the steps of the run; and status.
    """
    rows = []
    for kl in kl_per_step:
        try:
            lr = step_size(objective, group, kl)
        except ValueError as error:
            rows.append({"kl_per_step": kl, "status": str(error)})
            continue
        own, first = _run(objective, group, Schedule(1, 0), lr, None)
        steps = int(first) if np.isfinite(first) else len(own.times) - 1
        for schedule in (Schedule(1, 0), *schedules):
            run, half = (own, first) if schedule == (1, 0) else _run(objective, group, schedule, lr, steps)
            last = min(steps, len(run.times) - 1)
            rows.append(
                {
                    "kl_per_step": kl,
                    "refresh_every": schedule.refresh_every,
                    "lag": schedule.lag,
                    "age": schedule.age,
                    "lr": lr,
                    "half_gain_steps": half,
                    "slower": half / first,
                    "steps": steps,
                    "value": float(run.value[last]),
                    "kl": float(run.kl[last]),
                    "kl_to_data": _to_data(run, schedule, last),
                    "ran_for": int(run.times[-1]),
                    "status": "diverged" if run.status == "diverged" else "ran",
                }
            )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def lag_answer(table: pd.DataFrame, age: int, whose: str) -> str:
    """Say whether data of an age are a problem.

    Parameters
    ----------
    table : pandas.DataFrame
        That of :func:`lag_table`.
    age : int
        The age, in steps.
    whose : str
        What to call it.

    Returns
    -------
    str
        A sentence for each thing that happens at some KL per step.

    Examples
    --------
    >>> import pessimism as ps
    >>> half = Median(np.array([0.5, 0.5]), np.array([0.0, 1.0]), "")
    >>> lag_answer(lag_table(ps.PPO(), half, [Schedule(8, 0)], (1e-3,)), 7, "an age of 7")
    'At an age of 7 half of the gain takes 1.36 times the steps of fresh data: the lag costs little.'
    """
    own = table[table["age"] == 0].set_index("kl_per_step")
    old = table[table["age"] == age].set_index("kl_per_step")
    fresh = own.index[own["half_gain_steps"].notna()]
    if own.empty:
        return "Whether the lag is a problem cannot be said: there is no step of that KL."
    if fresh.empty:
        return (
            f"Fresh data do not take half of the gain in {own['ran_for'].max():.0f} steps either: the lag is not what "
            "keeps it out of reach here."
        )
    diverged = old.index[(old["status"] == "diverged") & old.index.isin(fresh) & old["half_gain_steps"].isna()]
    late = old.loc[[kl for kl in fresh if kl not in diverged and np.isnan(old["half_gain_steps"][kl])]]
    times = old.loc[fresh, "slower"].dropna()
    said = []
    if not times.empty:
        low, high = f"{times.min():.3g}", f"{times.max():.3g}"
        how = "costs little" if times.max() < _LITTLE else "costs much" if times.min() >= _MUCH else "costs steps"
        if times.min() < _LITTLE <= times.max():
            how = "costs little where a step moves the policy little, and more where it moves it far"
        many = low if low == high else f"{low} to {high}"
        said.append(f"At {whose} half of the gain takes {many} times the steps of fresh data: the lag {how}.")
    if len(late):
        ends = ", ".join(f"{kl:g}" for kl in late.index)
        said.append(
            f"At {whose} half of the gain is not reached in {late['ran_for'].max():.0f} steps at a KL per step of "
            f"{ends}, where fresh data take {own.loc[late.index, 'half_gain_steps'].max():.0f} or fewer: the lag is a "
            "problem there."
        )
    if len(diverged):
        ends = ", ".join(f"{kl:g}" for kl in diverged)
        said.append(f"At {whose} training diverges at a KL per step of {ends}, and not on fresh data: lower the step.")
    return " ".join(said)


def _run(
    objective: Objective, group: Median, schedule: Schedule, lr: float, own: int | None
) -> tuple[Trajectory, float]:
    """A run long enough for half of the gain, and the step at which it has it, nan where it has not."""
    options: dict[str, Any] = {"refresh_every": schedule.refresh_every, "lag": schedule.lag, "record_every": 1}
    if keeps_first(objective):
        options["reference"] = "initial"
    mean = float(group.behavior @ group.reward)
    wanted = mean + 0.5 * (group.reward.max() - mean)
    steps = _FIRST if own is None else min(_STEPS, 2 * own + 2 * schedule.age)
    while True:
        run = sgd(group.behavior, group.reward, objective, steps=steps, lr=lr, check=False, **options)
        (reached,) = np.nonzero(run.value >= wanted)
        if reached.size or steps >= _STEPS or run.status == "diverged":
            return run, float(reached[0]) if reached.size else np.nan
        steps = min(_STEPS, 4 * steps)


def _to_data(run: Trajectory, schedule: Schedule, last: int) -> float:
    """Largest KL of a policy to the one that drew the data of its next step, up to a step."""
    steps = np.arange(last + 1)
    of = np.maximum(0, steps // schedule.refresh_every * schedule.refresh_every - schedule.lag)
    return float(divergences.kl_divergence(run.policies[steps], run.policies[of]).max())
