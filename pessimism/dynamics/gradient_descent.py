"""Gradient descent on tabular softmax logits, with exact or sampled gradients and a constant step size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from pessimism.arrays import Array
from pessimism.core.objective import Objective, ObjectiveLike
from pessimism.core.validation import check_amount, check_integer
from pessimism.dynamics.moving_data import MovingData
from pessimism.dynamics.trajectory import COLLAPSED, EXPLODED, FlowProblem, Trajectory, has_collapsed, make_flow_problem
from pessimism.fixed_point.equilibrium import find_equilibrium
from pessimism.fixed_point.flow import Run
from pessimism.fixed_point.score import data_weight
from pessimism.losses.registry import make_objective

_STEPS, _SAMPLES, _RECORDED = 10**7, 2**24, 2**27  # most steps, samples in one, and probabilities that are kept


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
    refresh_every: int | None = None,
    lag: int = 0,
    passes: int = 1,
    record_every: int | None = None,
    check: bool = True,
    **hyper: Any,
) -> Trajectory:
    """Descend the loss of an objective on softmax logits by plain steps of ``lr`` times the gradient.

    By default all data are the behavior's. With ``refresh_every`` they follow the policy, as a trainer's do: step t,
    counted from 0, learns from data of the policy of step floor(t/k) k - L, where k is ``refresh_every`` and L the
    ``lag``; before step 1 that is the behavior. The data are then L to L + k - 1 optimizer steps old.

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
    reference : array_like, shape (K,), "behavior" or "initial", optional
        Policy in the log-ratio: "behavior" is the one that drew the data of the step, "initial" the behavior that is
        given, whatever the data. They differ with ``refresh_every`` alone. Default: "behavior".
    start : array_like, shape (K,), optional
        Probabilities of the first policy, positive where the behavior is. Default: the first reference.
    refresh_every : int, optional
        Optimizer steps k between refreshes of the policy that draws the data: what one generation of completions
        serves. TRL's ``steps_per_generation`` times ``num_iterations``; verl's mini-batches of a batch times
        ``ppo_epochs``. Default: the data stay the behavior's.
    lag : int, default 0
        How many steps L the data's policy is behind when its data begin to be used, as in asynchronous training. A
        trainer's largest staleness is L + k - 1.
    passes : int, default 1
        How often the samples of a generation are used, which must divide ``refresh_every``: 1 draws new ones each
        step; 2 draws for the first half of the k steps, and the second half goes through the same ones again
        (``num_iterations``, ``ppo_epochs``). The exact gradient does not depend on it.
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
        runs on sampled gradients mostly end. ``message`` says when. Once the data have moved, the exact flow is that
        on data of the last policy itself, "collapsed" is all mass but 1e-6 on one action in any case, and ``field`` is
        the gradient on the data of each step.

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
    >>> run = sgd([0.5, 0.5], [0.0, 1.0], "kimi", beta=1.0, steps=400, lr=0.5, refresh_every=4, lag=2)
    >>> round(float(run.value[-1]), 4)  # no longer held near the first behavior
    0.9987
    """
    made = make_objective(objective, check=check, **hyper)
    of_data = reference is None or (isinstance(reference, str) and reference == "behavior")
    if isinstance(reference, str) and reference not in ("behavior", "initial"):
        raise ValueError(f'reference must be probabilities, "behavior" or "initial", got {reference!r}')
    fixed = None if of_data else behavior if isinstance(reference, str) else reference
    problem = make_flow_problem(behavior, reward, made, fixed, start)
    _check(steps, lr, batch_size, group_size, record_every, len(problem.log_start))
    _check_data(refresh_every, lag, passes, steps, len(problem.log_start), made)
    data = MovingData(problem, refresh_every or steps + 1, lag, None if of_data else problem.reference)
    every = max(1, steps // 200) if record_every is None else record_every
    draws = Draws(np.random.default_rng(seed), refresh_every, passes)
    log_policy = problem.log_start
    pull = problem.pull
    at_start = float(np.sum(pull.q * np.abs(pull.weight(log_policy - pull.log_nu))))
    limit = EXPLODED * max(pull.scale, at_start) or np.inf
    times, recorded, fields, message, collapsed_at = [], [], [], "", None
    gradient = _gradient(problem, batch_size, group_size, draws)
    for step in range(steps + 1):
        if step < steps and data.at(step, log_policy):
            gradient = _gradient(data.problem, batch_size, group_size, draws)
        if step % every == 0 or step == steps:
            times.append(step)
            recorded.append(log_policy)
            fields.append(data.field(log_policy) if data.moved else np.nan)
        if step == steps:
            break
        draws.begin(step)
        with np.errstate(over="ignore", invalid="ignore"):
            move = data.everywhere(gradient(log_policy[data.seen]))
            moved = log_policy + lr * move
            moved = moved - np.logaddexp.reduce(moved)
        if not np.all(np.isfinite(moved)) or np.abs(move).max() > limit:
            message = f"the logits explode at step {step + 1}"
            break
        log_policy = moved
        if collapsed_at is None and has_collapsed(np.exp(log_policy)):
            collapsed_at = step + 1
    status, message = ("diverged", message) if message else _outcome(data, log_policy, steps)
    if collapsed_at is not None:
        message = "; ".join(filter(None, (message, f"first within {COLLAPSED:g} of one action at step {collapsed_at}")))
    run = problem.trajectory(np.array(times, dtype=np.float64), np.array(recorded), log_policy, status, message)
    known = np.array(fields)
    return replace(run, field=np.where(np.isnan(known), run.field, known))


def _outcome(data: MovingData, log_policy: Array, step: int) -> tuple[str, str]:
    collapsed = has_collapsed(np.exp(log_policy))
    if data.moved and collapsed:
        return "collapsed", "next to all mass is on one action, and so are its own data"
    where = "the exact flow"
    if data.moved:
        where += " on data of the last policy"
        data.take(log_policy)
    pull, log_policy = data.problem.pull, log_policy[data.seen]
    equilibrium = find_equilibrium(pull, log_policy)
    if equilibrium is None and collapsed:
        return "collapsed", "next to all mass is on one action, which is no equilibrium of the exact flow"
    status, message = Run(np.array([step]), log_policy[None], equilibrium, step, log_policy).outcome(pull)
    return status, f"{step} steps end before an equilibrium of {where}" if status == "not_converged" else message


class Draws:
    """The samples of each step: new ones, or those of a generation once more.

    Parameters
    ----------
    rng : numpy.random.Generator
        Where they come from.
    refresh_every : int or None
        Steps of a generation.
    passes : int
        How often each sample is used.
    """

    def __init__(self, rng: np.random.Generator, refresh_every: int | None, passes: int) -> None:
        self.rng, self.steps = rng, refresh_every
        self.batches = None if passes == 1 or refresh_every is None else refresh_every // passes
        self.kept: list[Array] = []
        self.place = 0

    def begin(self, step: int) -> None:
        """Say which step comes next."""
        if self.batches is not None and self.steps is not None:
            place = step % self.steps
            if place == 0:
                self.kept = []
            self.place = place % self.batches

    def choice(self, policy: Array, shape: tuple[int, ...]) -> Array:
        """Actions of a policy."""
        if self.batches is not None and self.place < len(self.kept):
            return self.kept[self.place]
        actions = self.rng.choice(len(policy), size=shape, p=policy / policy.sum())
        if self.batches is not None:
            self.kept.append(actions)
        return actions


def _gradient(
    problem: FlowProblem, batch_size: int | None, group_size: int | None, draws: Draws
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
        return draws.choice(np.exp(log_policy) if on_policy else pull.q, shape)

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


def _check_data(refresh_every: int | None, lag: int, passes: int, steps: int, width: int, objective: Objective) -> None:
    check_integer("lag", lag, 0)
    check_integer("passes", passes, 1)
    if refresh_every is None:
        for name, value, usual in (("lag", lag, 0), ("passes", passes, 1)):
            if value != usual:
                raise ValueError(f"{name} needs refresh_every, without which all data are the behavior's, got {value}")
        return
    check_integer("refresh_every", refresh_every, 1)
    if refresh_every % passes:
        raise ValueError(f"passes must divide refresh_every {refresh_every}, got {passes}")
    if passes > 1 and objective.on_policy:
        raise ValueError(f"passes: objective {objective} samples from the current policy at each step, got {passes}")
    kept = (min(lag, steps) // refresh_every + 1) * width
    check_amount("lag // refresh_every times the number of actions", kept, _RECORDED)
