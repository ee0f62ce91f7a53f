"""Gradient descent on tabular softmax logits, with exact or sampled gradients and a constant step size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pessimism.arrays import Array
from pessimism.core.objective import ObjectiveLike
from pessimism.core.validation import check_amount, check_integer
from pessimism.dynamics.trajectory import COLLAPSED, FlowProblem, Trajectory, has_collapsed, make_flow_problem
from pessimism.fixed_point.equilibrium import find_equilibrium
from pessimism.fixed_point.flow import Run
from pessimism.fixed_point.score import data_weight
from pessimism.losses.registry import make_objective

_STEPS, _SAMPLES, _RECORDED = 10**7, 2**24, 2**27  # most steps, samples in one, and probabilities that are kept
_EXPLODED = 1e6  # a step this many times the pull at the start means divergence


def sgd(
    behavior: Any,
    reward: Any,
    objective: str | ObjectiveLike,
    *,
    steps: int,
    lr: float,
    batch_size: int | None = None,
    group_size: int | None = None,
    seed: int = 0,
    reference: Any = None,
    start: Any = None,
    record_every: int | None = None,
    check: bool = True,
    **hyper: Any,
) -> Trajectory:
    """Descend the loss of an objective on softmax logits by plain steps of ``lr`` times the gradient.

    Parameters
    ----------
    behavior, reward : array_like, shape (K,)
        Probabilities and rewards of one problem, as in :func:`pessimism.induced_target`.
    objective : str or ObjectiveLike
        As in :func:`pessimism.induced_target`.
    steps : int
        Number of steps, at most 10,000,000.
    lr : float
        Step size.
    batch_size : int, optional
        Samples a step, at most 16,777,216, drawn from the behavior, or from the current policy where the objective
        samples on-policy. Default: the exact gradient.
    group_size : int, optional
        Size of the independent groups that the samples come in, each with its own baseline and statistics; it must
        divide ``batch_size``. Default: advantages and weights are those of the population.
    seed : int, default 0
        Seed of the samples; the same seed gives the same bytes.
    reference : array_like, shape (K,), optional
        Policy in the log-ratio. Default: the behavior.
    start : array_like, shape (K,), optional
        Probabilities of the first policy, positive where the behavior is. Default: the reference.
    record_every : int, optional
        Steps between recorded policies. Default: about 200 records. The first and the last are kept.
    check : bool, default True
        Whether an objective of one's own is checked first, once for each object (:func:`pessimism.check`).
    **hyper : dict
        Hyper-parameters of a registered objective.

    Returns
    -------
    Trajectory
        ``times`` are steps. ``status`` as for :func:`pessimism.gradient_flow`, where being in equilibrium means being
        within 1e-3 of an equilibrium of the exact flow, in log-probabilities; ``log_policy`` is that of the last step.
        Also "diverged": a logit is not finite, or the gradient exceeds 1e6 times the pull at the start, and the run
        stops there; "collapsed": all mass but 1e-6 on one action, and no equilibrium there; and "not_converged", as
        runs on sampled gradients mostly end. ``message`` says when.

    Raises
    ------
    ValueError
        As :func:`pessimism.gradient_flow`; also for steps, sizes or a step size out of range.

    Examples
    --------
    >>> run = sgd([0.5, 0.5], [0.0, 1.0], "nominal", beta=1.0, steps=400, lr=0.5)
    >>> run.status, run.policy.round(4)
    ('converged', array([0.2689, 0.7311]))
    >>> sgd([0.5, 0.5], [0.0, 1.0], "kimi", beta=1.0, steps=400, lr=50.0).status
    'diverged'
    """
    problem = make_flow_problem(behavior, reward, make_objective(objective, check=check, **hyper), reference, start)
    _check(steps, lr, batch_size, group_size, record_every, len(problem.log_start))
    every = max(1, steps // 200) if record_every is None else record_every
    gradient = _gradient(problem, batch_size, group_size, np.random.default_rng(seed))
    log_policy = problem.log_start
    pull = problem.pull
    at_start = float(np.sum(pull.q * np.abs(pull.weight(log_policy - pull.log_nu))))
    limit = _EXPLODED * max(pull.scale, at_start) or np.inf
    times, recorded, message, collapsed_at = [0], [log_policy], "", None
    for step in range(1, steps + 1):
        with np.errstate(over="ignore", invalid="ignore"):
            move = gradient(log_policy)
            moved = log_policy + lr * move
            moved = moved - np.logaddexp.reduce(moved)
        if not np.all(np.isfinite(moved)) or np.abs(move).max() > limit:
            message = f"the logits explode at step {step}"
            break
        log_policy = moved
        if collapsed_at is None and has_collapsed(np.exp(log_policy)):
            collapsed_at = step
        if step % every == 0 or step == steps:
            times.append(step)
            recorded.append(log_policy)
    status, message = ("diverged", message) if message else _outcome(problem, log_policy, steps)
    if collapsed_at is not None:
        message = "; ".join(filter(None, (message, f"first within {COLLAPSED:g} of one action at step {collapsed_at}")))
    return problem.trajectory(np.array(times, dtype=np.float64), np.array(recorded), log_policy, status, message)


def _outcome(problem: FlowProblem, log_policy: Array, step: int) -> tuple[str, str]:
    equilibrium = find_equilibrium(problem.pull, log_policy)
    if equilibrium is None and has_collapsed(np.exp(log_policy)):
        return "collapsed", "next to all mass is on one action, which is no equilibrium of the exact flow"
    status, message = Run(np.array([step]), log_policy[None], equilibrium, step, log_policy).outcome(problem.pull)
    return status, f"{step} steps end before an equilibrium of the exact flow" if status == "not_converged" else message


def _gradient(
    problem: FlowProblem, batch_size: int | None, group_size: int | None, rng: np.random.Generator
) -> Callable[[Array], Array]:
    """Map a log-policy ``(K,)`` to the direction of the step: exact, of single samples, or of groups."""
    pull, objective = problem.pull, problem.pull.objective
    on_policy = objective.on_policy
    if batch_size is None:
        return pull.field
    width, count = len(pull.q), batch_size

    def on_samples(log_policy: Array, actions: Array, weight: Array) -> Array:
        """Mean of weight times (one-hot - policy) over the samples."""
        ascent = np.bincount(actions.ravel(), weights=weight.ravel(), minlength=width)
        return (ascent - np.exp(log_policy) * weight.sum()) / count

    def published(g: Array, log_policy: Array, actions: Array) -> Array:
        """The weight on the data that are drawn: samples of the policy itself carry no ratio to the behavior."""
        return g / np.exp(log_policy[actions]) * pull.q[actions] if on_policy else g

    def draw(log_policy: Array, shape: tuple[int, ...]) -> Array:
        policy = np.exp(log_policy) if on_policy else pull.q
        return rng.choice(width, size=shape, p=policy / policy.sum())

    def of_singles(log_policy: Array) -> Array:
        actions = draw(log_policy, (count,))
        g = pull.plain(log_policy - pull.log_nu)[actions]
        return on_samples(log_policy, actions, published(g, log_policy, actions))

    def of_groups(log_policy: Array) -> Array:
        assert group_size is not None
        actions = draw(log_policy, (count // group_size, group_size))
        drawn = objective.each_swept(lambda values: values[actions])
        if objective.baseline_under_reference:
            advantage = pull.advantage[actions]  # its baseline is not the group's
        else:
            advantage = drawn.advantage(problem.reward[problem.seen][actions], None)
        weights = pull.q[actions] if objective.takes_propensity else None
        u = (log_policy - pull.log_nu)[actions]
        g = data_weight(drawn, u, advantage, weights, pull.log_share[actions])
        return on_samples(log_policy, actions, published(g, log_policy, actions))

    return of_singles if group_size is None else of_groups


def _check(
    steps: int, lr: float, batch_size: int | None, group_size: int | None, record_every: int | None, width: int
) -> None:
    check_integer("steps", steps, 1, most=_STEPS)
    for name, value, most in (("batch_size", batch_size, _SAMPLES), ("group_size", group_size, None)):
        if value is not None:
            check_integer(name, value, 1, most=most)
    if record_every is not None:
        check_integer("record_every", record_every, 1)
        check_amount("steps // record_every times the number of actions", steps // record_every * width, _RECORDED)
    if not 0 < lr < np.inf:
        raise ValueError(f"lr must be a finite number > 0, got {lr!r}")
    if group_size is not None and (batch_size is None or batch_size % group_size):
        raise ValueError(f"group_size must divide batch_size {batch_size!r}, got {group_size!r}")
