"""The verb: from a behavior, a reward and an objective to the policy that the objective induces."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from array_api_compat import device, is_torch_array

from pessimism.arrays import Array, pick, put, to_numpy
from pessimism.closed_forms import tilts
from pessimism.core.bandit import Bandit
from pessimism.core.objective import Objective, ObjectiveLike, stop_gradient
from pessimism.core.problem import make_problem, make_swept_bandit
from pessimism.core.solution import NOT_COVERED, Solution, Status
from pessimism.fixed_point.flow import flow_target
from pessimism.fixed_point.generic import fixed_point
from pessimism.fixed_point.limits import is_stable
from pessimism.fixed_point.row_field import RowField
from pessimism.fixed_point.unseen import let_leak, may_leak
from pessimism.losses.importance_weighted import Nominal
from pessimism.losses.registry import make_objective
from pessimism.losses.regression import SquaredRegression
from pessimism.target.acceptance import accepted, without
from pessimism.target.result import InducedTarget


def induced_target(
    behavior: Any,
    reward: Any,
    objective: str | ObjectiveLike,
    *,
    reference: Any = None,
    unseen: bool = False,
    method: str | None = None,
    minimum: str = "flow",
    on_error: str = "raise",
    check: bool = True,
    **hyper: Any,
) -> InducedTarget:
    r"""Policy to which minimizing an objective's population loss leads, while the data stay those of the behavior.

    It solves :math:`q_a\, g(u_a, A_a) = \lambda \pi_a`, :math:`\sum_a \pi_a = 1`, with q the behavior, u = log(pi/nu)
    the log-ratio to the reference, A the objective's advantage and g its score weight.

    Parameters
    ----------
    behavior : array_like, shape (..., K), or None
        Probabilities of the policy that generated the data. None means that the actions are a group of K sampled
        completions, equally likely, and that the advantage uses the statistics of the group.
    reward : array_like, shape (..., K)
        Rewards, broadcast against ``behavior``: lists, numpy arrays, torch tensors (the device is kept) or arrays of
        any library of the Python array API standard.
    objective : str or ObjectiveLike
        Registered name (see :func:`pessimism.objectives`), or any object with the methods ``advantage``,
        ``score_weight`` and ``loss``.
    reference : array_like, shape (..., K), optional
        Probabilities of the policy in the log-ratio, where it is not the behavior.
    unseen : bool, default False
        Whether the actions are only those seen in a larger space. Where lam < 0, mass then leaves them until lam = 0,
        see the notes.
    method : {"closed_form", "fixed_point"}, optional
        Route to insist on. By default the closed form is taken where there is one.
    minimum : {"flow", "lowest"}, default "flow"
        Which of several minimizers a squared regression in the negative regime gives: the one in which gradient flow
        from the reference ends, as training does, or the one of lowest loss, which training may never reach.
        :func:`pessimism.stationary_points` lists them all.
    on_error : {"raise", "status"}, default "raise"
        Whether an invalid row raises, or is marked while the others are solved.
    check : bool, default True
        Whether an objective of one's own is checked first, once for each object (:func:`pessimism.check`).
    **hyper : Any
        Hyper-parameters of a named objective. Temperatures, ``shift`` and ``value`` may be arrays ``(...)`` over the
        batch where the objective says so (its ``sweeps``): a sweep is one call. One that is out of range raises,
        whatever ``on_error`` says.

    Returns
    -------
    InducedTarget
        The policy, with its multiplier, regime and certificate.

    Raises
    ------
    ValueError
        Names the argument, the place and the rule that it breaks.
    TypeError
        If ``objective`` lacks one of the three methods.

    Notes
    -----
    Typical calls are

    ============================  ==========================================================
    regression on the mean        ``induced_target(mu, r, "kimi", beta=0.1)``
    safe side, one temperature    ``induced_target(mu, r, "shifted_mean", beta=0.1)``
    mass may leave the samples    ``induced_target(None, rewards, "oapl", unseen=True)``
    a sweep over temperatures     ``induced_target(mu, r, "kimi", beta=np.geomspace(0.01, 1, 9))``
    an objective of your own      ``induced_target(mu, r, mine)``
    ============================  ==========================================================

    Actions that are ``unseen`` have no data and next to no mass. Gradient flow moves their logits by -lam pi, so that
    mass leaks to them where lam is negative, and every seen action goes to a zero of its weight: ``leak`` = 1 -
    sum(policy), up to 1 where no weight has a zero. Nothing is unseen to objectives whose data follow the policy.

    The rows of a batch are problems of their own: with numpy not even the last bit of one depends on the others, on
    their order, or on how a batch is cut. The exception are objectives with statistics of the whole batch (their
    ``over_batch``), as their papers have it.

    float32 in gives float32 out: the work is done in float64 and rounded once, so that log-probabilities err by
    1.2e-7 max(1, abs(log p)). Lists and integers take the type of the arrays beside them.

    On torch tensors the policy carries first-order gradients with respect to the reward and to hyper-parameters that
    are tensors. An objective of one's own is
    called with numpy arrays by the solver, and with tensors for the advantage and the gradient: write it with
    operators, or with ``array_api_compat.array_namespace``.

    References
    ----------
    .. [1] arXiv 2605.28150; each objective names its own paper.

    Examples
    --------
    >>> import pessimism as ps
    >>> target = ps.induced_target([0.4, 0.3, 0.2, 0.1], [0.2, 0.4, 0.6, 0.8], "shifted_mean", beta=0.25)
    >>> target.policy.round(4)
    array([0.2499, 0.2895, 0.2757, 0.185 ])
    >>> round(float(target.kappa), 4), str(target.regime)
    (1.0732, 'positive')
    """
    objective = make_objective(objective, check=check, sweep=True, **hyper)
    if method not in (None, "closed_form", "fixed_point"):
        raise ValueError(f'method must be None, "closed_form" or "fixed_point", got {method!r}')
    if minimum not in ("flow", "lowest"):
        raise ValueError(f'minimum must be "flow" or "lowest", got {minimum!r}')
    if minimum == "lowest" and not isinstance(objective, SquaredRegression):
        raise ValueError(
            f'minimum="lowest": objective {objective} is no squared regression, whose minimizers can be enumerated'
        )
    bandit, advantage = make_problem(behavior, reward, objective, reference, on_error=on_error)
    on_rows = objective.on_rows(bandit)
    fixed = on_rows.each_swept(stop_gradient)
    solution = solve_rows(_detached(bandit), fixed, stop_gradient(advantage), unseen, method, minimum)
    moving = [advantage, *(getattr(on_rows, name) for name in on_rows.swept)]
    if any(is_torch_array(a) and a.requires_grad for a in moving):
        solution = _with_gradient(solution, bandit, on_rows, advantage, unseen)
    return InducedTarget(objective, bandit, solution, advantage)


def nominal_target(behavior: Any, reward: Any, beta: Any, *, reference: Any = None) -> Array:
    r"""Nominal target :math:`\nu \exp(r/\beta) / Z`, the maximizer of E_pi[r] - beta KL(pi || nu).

    Parameters
    ----------
    behavior : array_like, shape (..., K), or None
        Probabilities of the policy that generated the data; None for a group of samples. Actions that it cannot produce
        stay at zero.
    reward : array_like, shape (..., K)
        Rewards, broadcast against ``behavior``.
    beta : float or array_like, shape (...)
        Temperature, in units of the reward; > 0. An array broadcasts against the batch.
    reference : array_like, shape (..., K), optional
        Probabilities of nu, by default the behavior.

    Returns
    -------
    Array, shape (..., K)
        Probabilities of the nominal target.

    Raises
    ------
    ValueError
        As :func:`induced_target`; also for beta <= 0.

    Examples
    --------
    >>> nominal_target([0.5, 0.5], [0.0, 1.0], beta=1.0).round(4)
    array([0.2689, 0.7311])
    """
    try:
        objective = Nominal(beta=beta)
    except ValueError as error:
        raise ValueError(str(error).removeprefix("nominal: ")) from None
    bandit = make_swept_bandit(behavior, reward, objective, reference)
    return bandit.shaped(tilts.nominal_policy(bandit, bandit.reward, objective.on_rows(bandit).beta))


def solve_rows(
    bandit: Bandit,
    objective: Objective,
    advantage: Array,
    unseen: bool,
    method: str | None,
    minimum: str = "flow",
) -> Solution:
    """Solve validated problems: the closed form where there is one, the generic route for the rest.

    With ``unseen`` each route may know what leaks; where it does not, and lam is negative, mass is let go after it.
    """
    unseen = unseen and may_leak(objective)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):  # what overflows is not accepted below
        solution, searched = _on_seen(bandit, objective, advantage, unseen, method, minimum)
        if unseen:
            solution = let_leak(bandit, objective, advantage, solution)
        return accepted(bandit, objective, advantage, solution, searched)


def _on_seen(
    bandit: Bandit, objective: Objective, advantage: Array, unseen: bool, method: str | None, minimum: str
) -> tuple[Solution, Array]:
    """What the routes find, and which rows ``(N,)`` were searched for, not given by a formula."""
    solution = None
    if method != "fixed_point":
        solution = objective.closed_form(bandit, advantage, unseen=unseen)
    if solution is None:
        if method == "closed_form":
            raise ValueError(f"method: objective {objective} has no closed form")
        solution = _generic(bandit, objective, advantage, unseen, minimum)
        return solution, np.ones(bandit.reward.shape[0], dtype=bool)
    uncovered = solution.status == NOT_COVERED
    if method == "closed_form" and bool(bandit.xp.any(uncovered)):
        where = bandit.place("reward", int(bandit.xp.argmax(bandit.xp.astype(uncovered, bandit.xp.int8))))
        raise ValueError(f"method: objective {objective} has no closed form at {where}")
    return with_uncovered(solution, bandit, objective, advantage, unseen, minimum), to_numpy(uncovered)


def with_uncovered(
    solution: Solution,
    bandit: Bandit,
    objective: Objective,
    advantage: Array,
    unseen: bool,
    minimum: str = "flow",
) -> Solution:
    """Solve the rows that a closed form leaves NOT_COVERED: their fixed points may be several, and the flow decides."""
    uncovered = solution.status == NOT_COVERED
    if not bool(bandit.xp.any(uncovered)):
        return solution
    return _filled(solution, uncovered, bandit, objective, advantage, unseen, minimum)


def _filled(
    solution: Solution,
    chosen: Array,
    bandit: Bandit,
    objective: Objective,
    advantage: Array,
    unseen: bool,
    minimum: str,
) -> Solution:
    """The solution with the chosen rows ``(N,)``, of which no other route knows the target, solved by `_uncovered`."""
    theirs = objective.each_swept(lambda column: pick(bandit.xp, column, chosen))
    rest = _uncovered(bandit.rows(chosen), theirs, pick(bandit.xp, advantage, chosen), unseen, minimum)
    return Solution(*(put(bandit.xp, a, chosen, b) for a, b in zip(solution.rows, rest.rows, strict=True)))


def _generic(bandit: Bandit, objective: Objective, advantage: Array, unseen: bool, minimum: str) -> Solution:
    if objective.by_flow:
        return flow_target(bandit, objective, advantage)
    solution = fixed_point(bandit, objective, advantage, unseen=unseen)
    if objective.coupled or unseen:
        return solution
    stable = is_stable(RowField.of_bandit(bandit, objective, advantage), to_numpy(solution.log_ratio))
    left = (solution.status == Status.NOT_CONVERGED.value) | ~bandit.xp.asarray(stable, device=device(bandit.reward))
    if not bool(bandit.xp.any(left)):
        return solution
    return _filled(solution, left, bandit, objective, advantage, unseen, minimum)


def _uncovered(bandit: Bandit, objective: Objective, advantage: Array, unseen: bool, minimum: str) -> Solution:
    """Rows of which no other route knows the target: the flow from the reference decides, if it can be followed."""
    if objective.coupled or (unseen and not objective.by_flow):
        return _generic(bandit, objective, advantage, unseen, minimum)
    if minimum == "lowest":
        return tilts.lowest_minima(bandit, advantage, objective.temperature)
    solution = flow_target(bandit, objective, advantage)
    if objective.by_flow:
        return solution
    xp, status = bandit.xp, solution.status
    among_others = xp.full_like(status, Status.LOCAL_MINIMUM.value)
    solution = solution._replace(status=xp.where(status == Status.CONVERGED.value, among_others, status))
    # What is uncovered of a squared regression is its negative regime, however close to the boundary.
    of_regression = isinstance(objective, SquaredRegression)
    return solution._replace(regime=xp.full_like(solution.regime, -1)) if of_regression else solution


def _with_gradient(
    solution: Solution, bandit: Bandit, objective: Objective, advantage: Array, unseen: bool
) -> Solution:
    from pessimism.fixed_point.implicit import attach_gradient

    if solution.differentiable:
        again = objective.closed_form(bandit, advantage, unseen=unseen)
        assert again is not None
        failed = to_numpy(solution.status != again.status)
        return without(bandit, again, failed) if failed.any() else again
    return solution._replace(log_ratio=attach_gradient(solution, bandit, objective, advantage))


def _detached(bandit: Bandit) -> Bandit:
    arrays = ("behavior", "reward", "own_reference")
    return replace(bandit, **{name: stop_gradient(getattr(bandit, name)) for name in arrays})
