"""All local minimizers of a squared loss: one in the positive regime, several in the negative one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pessimism.arrays import Array, to_numpy
from pessimism.closed_forms import tilts
from pessimism.core.objective import ObjectiveLike
from pessimism.display import as_call, html_table
from pessimism.equality import ByValue
from pessimism.losses.registry import make_objective
from pessimism.losses.regression import SquaredRegression
from pessimism.target.induced import induced_target


@dataclass(frozen=True, repr=False, eq=False)
class StationaryPoint(ByValue):
    """Local minimizer of an objective's population loss over policies.

    Attributes
    ----------
    policy, log_ratio : ndarray, shape (K,)
        Probabilities, and their log-ratios to the reference.
    kappa : float
        Lambert curvature.
    loss : float
        Loss of the objective there.
    branch : int or None
        Action that takes the surplus mass on the branch :math:`W_{-1}` of Lambert's function, or None where every
        action is on :math:`W_0`.
    """

    policy: Array
    log_ratio: Array
    kappa: float
    loss: float
    branch: int | None

    def _facts(self) -> list[tuple[str, Any]]:
        """Return labels and values that tell the minimizers apart."""
        return [("kappa", self.kappa), ("loss", self.loss), ("branch", self.branch), ("policy", self.policy)]

    def __repr__(self) -> str:
        return as_call("StationaryPoint", self._facts())

    def _repr_html_(self) -> str:
        return html_table(self._facts(), caption="Stationary point")


def stationary_points(
    behavior: Any,
    reward: Any,
    objective: str | ObjectiveLike,
    *,
    reference: Any = None,
    check: bool = True,
    **hyper: Any,
) -> list[StationaryPoint]:
    """Every local minimizer over the simplex of the behavior's support, lowest loss first (numpy).

    In the negative regime (Z < 1) the surplus mass 1 - Z must go somewhere: either every action is on :math:`W_0`, or
    one on :math:`W_{-1}` takes it; which of these minimizers gradient descent reaches depends on its start. Elsewhere
    the minimizer is unique.

    Parameters
    ----------
    behavior : array_like, shape (K,), or None
        Probabilities of the policy that generated the data, of one problem; None for a group of samples.
    reward : array_like, shape (K,)
        Rewards.
    objective : str or ObjectiveLike
        Squared regression: kimi, shifted_mean, oapl, optimal_value, constant_baseline, std_normalized, dro, opmd or
        off-policy a_star_po.
    reference : array_like, shape (K,), optional
        Probabilities of the policy in the log-ratio, where it is not the behavior.
    check : bool, default True
        Whether an objective of one's own is checked first, once for each object (:func:`pessimism.check`).
    **hyper : Any
        Hyper-parameters of a named objective.

    Returns
    -------
    list of StationaryPoint
        The minimizers, lowest loss first.

    Raises
    ------
    ValueError
        As :func:`induced_target`; also for a batch, and for an objective that is not a squared regression.
    ArithmeticError
        If float64 cannot tell the minimizers of the problem.

    References
    ----------
    .. [1] arXiv 2605.28150; docs/theory.md, section 4.

    Examples
    --------
    >>> points = stationary_points([0.5, 0.5], [0.0, 1.0], "constant_baseline", beta=0.5, value=3.0)
    >>> [p.branch for p in points]
    [1, 0]
    """
    objective = make_objective(objective, check=check, **hyper)
    beta = objective.temperature
    if not isinstance(objective, SquaredRegression) or objective.on_policy or beta is None:
        raise ValueError(
            f"objective {objective} is not an off-policy squared regression: its minimizers are not enumerated"
        )
    # With unseen=True the target of the negative regime costs nothing: the search for minimizers is ours.
    target = induced_target(behavior, reward, objective, reference=reference, unseen=True, check=False)
    bandit = target.bandit
    if bandit.shape:
        raise ValueError(f"reward must be one problem (K,), got a batch of shape {bandit.shape}")
    q, advantage = to_numpy(bandit.behavior)[0], to_numpy(target.advantage)

    def loss(u: Array) -> float:
        return float(np.sum(np.where(q > 0, q * objective.loss(u, advantage), 0.0)))

    found = tilts.minima(bandit, target.advantage_rows, beta)[0] if target.regime == "negative" else None
    if target.status == "not_converged" or found == []:
        raise ArithmeticError(f"no minimizer of {objective} is found to working accuracy at these rewards")
    if found is None:
        u = to_numpy(target.log_ratio)
        return [StationaryPoint(to_numpy(target.policy), u, float(target.kappa), loss(u), None)]
    nu = to_numpy(bandit.reference)[0]
    return [
        StationaryPoint(
            policy=np.where(q > 0, nu * np.exp(m.log_ratio), 0.0),
            log_ratio=m.log_ratio,
            kappa=m.kappa,
            loss=loss(m.log_ratio),
            branch=m.branch,
        )
        for m in found
    ]
