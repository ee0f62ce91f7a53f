"""The limit of objectives that nothing holds back: the reference restricted to its best actions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pessimism.closed_forms.tilts import STATUS, Solution
from pessimism.core.objective import stop_gradient

if TYPE_CHECKING:
    from pessimism.core.bandit import Bandit

Array = Any


def greedy(bandit: Bandit, advantage: Array, *, unique: bool = False) -> Solution:
    """Reference restricted to the actions of largest advantage; the regime is the sign of that advantage.

    Several best actions make the optimum a set, of which this is the element nearest to the reference in
    KL(pi || reference), unless ``unique`` says that the objective itself balances them. Its derivative in the reward
    is zero: only a change of order moves it.
    """
    xp = bandit.xp
    best = xp.max(bandit.masked(advantage, -xp.inf), axis=-1, keepdims=True)
    kept = bandit.support & (advantage == best)
    mass = xp.sum(xp.where(kept, bandit.reference, xp.zeros_like(advantage)), axis=-1, keepdims=True)
    still = 0.0 * (advantage - stop_gradient(advantage))
    log_ratio = xp.where(kept, still - xp.log(mass), xp.full_like(advantage, -xp.inf))
    shrinks = xp.any(bandit.support & ~kept, axis=-1)
    ties = xp.sum(xp.astype(kept, xp.int64), axis=-1) > 1
    status = xp.astype(shrinks, xp.int8) * STATUS.index("vanishing_support")
    if not unique:
        status = xp.where(ties, xp.full_like(status, STATUS.index("set_valued")), status)
    nan = xp.full_like(mass[:, 0], xp.nan)
    return Solution(
        log_ratio=bandit.masked(log_ratio, 0.0),
        kappa=nan,
        regime=xp.astype(xp.sign(best[:, 0]), xp.int8),
        leak=xp.zeros_like(nan),
        status=status,
        differentiable=True,
    )
