"""The route of objectives with several fixed points: the one that gradient flow from the reference reaches."""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import device

from pessimism.bandit import Bandit, to_numpy
from pessimism.dynamics import follow
from pessimism.field import group_weights
from pessimism.identify import identify
from pessimism.objectives.base import ObjectiveLike
from pessimism.pull import Pull
from pessimism.targets import STATUS, Solution

Array = Any

_STATUS = {"collapsed": "vanishing_support", "diverged": "no_target"}


def flow_target(bandit: Bandit, objective: ObjectiveLike, advantage: Array, *, unseen: bool = False) -> Solution:
    """Limit of the gradient flow on softmax logits from the reference, row by row; shapes as in :class:`Solution`.

    A flow that collapses to one action has vanishing support; one that diverges has no target. With ``unseen`` and a
    negative multiplier mass would leave for actions whose share at the start nobody knows: "not_converged".
    """
    q, nu, host_advantage = (to_numpy(a) for a in (bandit.behavior, bandit.reference, advantage))
    given = group_weights(bandit, objective)
    weights = None if given is None else to_numpy(given)
    log_ratio, multiplier = np.zeros_like(q), np.full(len(q), np.nan)
    status = np.zeros(len(q), dtype=np.int8)
    for row in range(len(q)):
        seen = q[row] > 0
        own = None if weights is None else weights[row, seen]
        pull = Pull(objective, q[row, seen], nu[row, seen], host_advantage[row, seen], own)
        start = pull.log_nu - np.logaddexp.reduce(pull.log_nu)
        run = follow(pull, start)
        ended = run.outcome(pull)[0]
        ended = _STATUS.get(ended, ended)
        if run.rest is not None:
            multiplier[row] = run.rest.multiplier
            if unseen and ended != "no_target" and run.rest.multiplier < -1e-9 * pull.scale:
                ended = "not_converged"
        found = run.rest is not None and ended in ("converged", "vanishing_support")
        log_ratio[row, seen] = run.rest.log_policy - pull.log_nu if found and run.rest else np.nan
        status[row] = STATUS.index(ended)
    kappa, regime = identify(objective, q, nu, host_advantage, log_ratio, multiplier)
    columns = (log_ratio, kappa, regime, np.where(np.isnan(log_ratio).any(axis=-1), np.nan, 0.0), status)
    return Solution(*(bandit.xp.asarray(a, device=device(bandit.reward)) for a in columns))
