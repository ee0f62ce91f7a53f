"""Lower bounds on the value of targets from simulated logs: one piece of work of `analysis.value_from_logs`."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import pessimism as ps
from analysis.settings import at_temperature

# Estimator, and where its constants come from: the package's defaults, or the ratios, which are known before the log.
BOUNDS = (
    *(("el", "ratios"), ("ls", "ratios"), ("ix", "ratios"), ("clipped", "ratios")),
    *(("ls", "default"), ("ix", "default"), ("clipped", "default")),
)


def bound_options(
    estimator: str, constants: str, ratio: NDArray[np.float64], behavior: Any, n: int, delta: float
) -> Any:
    """Arguments of `pessimism.evaluate` for a lower bound that fails with probability `delta`.

    From the ratios, with L = log(1/delta): lam = sqrt(2 L / (n E_mu[w^2])) for ls and sqrt(2 L / (n sum w)) for ix,
    where the leading terms of the bound's distance from the value are least if every reward is 1; min(sqrt(n), max w)
    as the cap of clipped; the smallest and largest ratio for el, and 2 delta, as it is two-sided.

    Parameters
    ----------
    estimator : str
        Estimator of `pessimism.evaluate`: el, ls, ix or clipped.
    constants : {"ratios", "default"}
        Where the constants come from.
    ratio : ndarray, shape (K,)
        Ratio of the target to the behavior.
    behavior : ndarray, shape (K,)
        Probabilities of the behavior policy.
    n : int
        Rounds in a log.
    delta : float
        Probability with which a bound may fail.

    Returns
    -------
    dict
        Keyword arguments.

    Examples
    --------
    >>> bound_options("clipped", "ratios", np.array([0.5, 3.0]), np.array([0.8, 0.2]), 100, 0.05)
    {'delta': 0.05, 'cap': 3.0}
    """
    paid = 2 * np.log(1 / delta) / n
    own: dict[str, dict[str, float]] = {
        "ls": {"lam": float(np.sqrt(paid / (behavior @ ratio**2)))},
        "ix": {"lam": float(np.sqrt(paid / ratio.sum()))},
        "clipped": {"cap": float(min(np.sqrt(n), ratio.max()))},
        "el": {"delta": 2 * delta, "weight_min": float(ratio.min()), "weight_max": float(ratio.max())},
    }
    return {"delta": delta, **(own[estimator] if constants == "ratios" else {})}


class LoggedProblem(NamedTuple):
    """A bandit, and the objectives whose targets are evaluated on its logs."""

    behavior: tuple[float, ...]
    reward: tuple[float, ...]
    beta: float
    objectives: tuple[str, ...]

    def targets(self) -> list[tuple[str, ps.Objective, ps.InducedTarget]]:
        """Name, objective and target of each."""
        settings = at_temperature(self.beta, self.objectives).items()
        return [(name, objective, ps.induced_target(*self[:2], objective)) for name, objective in settings]


def draw(problem: LoggedProblem, n: int, seed: tuple[int, ...]) -> ps.Logs:
    """A log of n rounds with rewards 0 and 1."""
    rng, q = np.random.default_rng(seed), np.asarray(problem.behavior)
    action = rng.choice(q.size, size=n, p=q)
    reward = (rng.random(n) < np.asarray(problem.reward)[action]).astype(float)
    return ps.make_logs(action=action, reward=reward, pscore=q[action])


def lower_bounds(problem: LoggedProblem, n: int, logs: range, delta: float, seed: int) -> NDArray[np.float64]:
    """Lower bounds ``(logs, targets, BOUNDS)``; every target and bound sees the same logs."""
    q, plan, found = np.asarray(problem.behavior), [], []
    for _, _, target in problem.targets():
        ratio = target.policy / q
        plan.append([(target, name, bound_options(name, how, ratio, q, n, delta)) for name, how in BOUNDS])
    with warnings.catch_warnings():
        # The propensities are those of the simulation. Heavy ratios in short logs are conspicuous without a fault.
        warnings.filterwarnings("ignore", message="the mean ratio of the policy to the behavior")
        for number in logs:
            log = draw(problem, n, (seed, n, number))
            bounds = [[ps.evaluate(target, log, name, **given).lower for target, name, given in row] for row in plan]
            found.append(bounds)
    return np.array(found)
