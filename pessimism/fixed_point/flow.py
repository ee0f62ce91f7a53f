"""The route of objectives with several fixed points: the one that gradient flow from the reference reaches."""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import device

from pessimism.closed_forms.identify import identify
from pessimism.closed_forms.tilts import STATUS, Solution
from pessimism.core.bandit import Bandit, to_numpy
from pessimism.core.objective import ObjectiveLike
from pessimism.dynamics.gradient_flow import follow
from pessimism.fixed_point.pull import Pull
from pessimism.fixed_point.score import group_weights

Array = Any

_ALIKE = 1e-6  # relative difference of actions that an integrator cannot tell apart on a saddle
_TIE = 1e-5  # log-probability by which the first of equal actions is favored: more than an integrator's errors
_STATUS = {"collapsed": "vanishing_support", "diverged": "no_target"}


def flow_target(bandit: Bandit, objective: ObjectiveLike, advantage: Array, *, unseen: bool = False) -> Solution:
    """Limit of the gradient flow on softmax logits from the reference, row by row; shapes as in :class:`Solution`.

    A flow that collapses to one action has vanishing support; one that diverges has no target. Where the limit from
    the very reference is a saddle between equal actions, the first of them is favored by next to nothing and the
    limit is one of several alike: "local_minimum". With ``unseen`` and a negative multiplier mass would leave for
    actions whose share at the start nobody knows: "not_converged".
    """
    q, nu, host_advantage = (to_numpy(a) for a in (bandit.behavior, bandit.reference, advantage))
    given = group_weights(bandit, objective)
    weights = None if given is None else to_numpy(given)
    log_ratio, multiplier = np.zeros_like(q), np.full(len(q), np.nan)
    status = np.zeros(len(q), dtype=np.int8)
    known: dict[bytes, tuple[Array, float, str]] = {}
    for row in range(len(q)):
        seen = np.flatnonzero(q[row] > 0)
        # Groups of completions repeat but for the order of their actions: each is followed once.
        seen = seen[np.lexsort((nu[row, seen], q[row, seen], -host_advantage[row, seen]))]
        own = None if weights is None else weights[row, seen]
        pull = Pull(objective, q[row, seen], nu[row, seen], host_advantage[row, seen], own)
        key = np.stack([pull.q, pull.log_nu, pull.advantage]).tobytes()
        if key not in known:
            known[key] = _limit(pull, unseen)
        log_ratio[row, seen], multiplier[row], ended = known[key]
        status[row] = STATUS.index(ended)
    kappa, regime = identify(objective, q, nu, host_advantage, log_ratio, multiplier)
    columns = (log_ratio, kappa, regime, np.where(np.isnan(log_ratio).any(axis=-1), np.nan, 0.0), status)
    return Solution(*(bandit.xp.asarray(a, device=device(bandit.reward)) for a in columns))


def _limit(pull: Pull, unseen: bool) -> tuple[Array, float, str]:
    """Log-ratios ``(K,)``, multiplier and status of one problem."""
    start = pull.log_nu - np.logaddexp.reduce(pull.log_nu)
    if pull.scale == 0.0:  # nothing pulls
        return start - pull.log_nu, 0.0, "converged"
    run = follow(pull, start)
    parted = run.rest is not None and not run.rest.stable
    if parted:
        run = follow(pull, start + _TIE * _best_of_equals(pull))
    ended = run.outcome(pull)[0]
    ended = _STATUS.get(ended, ended)
    if run.rest is None:
        return np.full_like(start, np.nan), np.nan, ended
    if unseen and ended != "no_target" and run.rest.multiplier < -1e-9 * pull.scale:
        ended = "not_converged"
    if ended not in ("converged", "vanishing_support"):
        return np.full_like(start, np.nan), run.rest.multiplier, ended
    return run.rest.log_policy - pull.log_nu, run.rest.multiplier, "local_minimum" if parted else ended


def _best_of_equals(pull: Pull) -> Array:
    """1 at the best, or first, of actions that are equal but for next to nothing, 0 elsewhere; best actions first."""
    size = np.abs(pull.advantage).max() or 1.0
    facts = np.stack([np.log(pull.q), pull.log_nu, pull.advantage / size])
    equal = np.all(np.abs(np.diff(facts)) <= _ALIKE, axis=0)
    return np.append(equal, False) & ~np.append(False, equal)
