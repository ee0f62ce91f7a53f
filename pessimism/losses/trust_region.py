r"""TRPO: the importance-weighted advantage under a bound on the divergence from the behavior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from array_api_compat import array_namespace, device

from pessimism.arrays import Array, to_numpy
from pessimism.closed_forms import separable
from pessimism.core.bandit import Bandit
from pessimism.core.objective import MeanBaseline, propensities

if TYPE_CHECKING:
    from pessimism.core.solution import Solution


@dataclass(frozen=True)
class TRPO(MeanBaseline):
    r"""TRPO: the importance-weighted advantage under a bound on the divergence from the behavior.

    It maximizes :math:`E_q[w A]` subject to :math:`KL(\mu \| \pi) \le \delta`. With the multiplier eta of the trust
    region, A + eta/w = lam: it induces w = eta/(lam - A), a log barrier, heavy at the best action and never zero at the
    others.

    Parameters
    ----------
    delta : float, default 0.01
        Radius of the trust region, a KL in nats; > 0. The default is the usual choice, per state on average.

    Notes
    -----
    The divergence of near-greedy policies is infinite, so that the constraint always binds (unless all advantages are
    equal: then eta = 0, and every policy within the region is optimal, status ``"set_valued"``). The score weight w
    A + eta and the loss -w A - eta u are those of the Lagrangian; eta is a number that the advantages and weights of
    the group determine (``coupled``), not differentiated in the policy. The paper's practical algorithm is one
    natural-gradient step with a quadratic model of the constraint; this is the problem that it approximates.
    A = r - E[r] stands for GAE's.

    References
    ----------
    .. [1] arXiv 1502.05477, eq. 14.

    Examples
    --------
    >>> import pessimism as ps
    >>> target = ps.induced_target([0.5, 0.5], [0.0, 1.0], "trpo", delta=0.01)
    >>> target.policy.round(4), round(float(target.conservatism()["kl_reverse"][0]), 6)
    (array([0.4296, 0.5704]), 0.01)
    """

    name: ClassVar[str] = "trpo"
    title: ClassVar[str] = "TRPO"
    paper: ClassVar[str] = "1502.05477"
    formula: ClassVar[str] = "-w (r - mean r) subject to KL(mu||pi) <= delta"
    induces: ClassVar[str] = "w = eta/(lam - A), lam and eta from E_mu[w] = 1 and KL(mu||pi) = delta"
    level: ClassVar[Literal["sequence", "token"]] = "token"
    temperature_field: ClassVar[str | None] = None
    coupled: ClassVar[bool] = True

    delta: float = 0.01

    def __post_init__(self) -> None:
        self.require_positive("delta")

    def multiplier(self, advantage: Array, weights: Array | None = None) -> Array:
        """Multiplier eta ``(..., 1)`` of the trust region; autograd sees the advantage."""
        xp = array_namespace(advantage)
        q, advantage = xp.broadcast_arrays(propensities(advantage, weights), advantage)
        shape = tuple(advantage.shape)
        host_q, host_a = (np.reshape(to_numpy(a), (-1, shape[-1])) for a in (q, advantage))
        log_gap = np.reshape(_log_gap(host_q, host_a, self.delta), (*shape[:-1], 1))
        gap = xp.asarray(np.exp(np.minimum(log_gap, 700.0)), dtype=advantage.dtype, device=device(advantage))
        seen, ones = q > 0, xp.ones_like(advantage)
        best = xp.max(xp.where(seen, advantage, xp.full_like(advantage, -xp.inf)), axis=-1, keepdims=True)
        binds = xp.isfinite(xp.asarray(log_gap, dtype=advantage.dtype, device=device(advantage)))
        binds = binds & (gap > 0)  # a gap that underflows leaves eta = 0
        gap = xp.where(binds, gap, ones[..., :1])

        def mean(values: Array) -> Array:
            return xp.sum(xp.where(seen, q * values, xp.zeros_like(values)), axis=-1, keepdims=True)

        def below(gap: Array) -> Array:
            return xp.where(seen, gap + (best - advantage), ones)

        with np.errstate(all="ignore"):  # of a gap whose square underflows, whose slope is then minus infinity
            inverse = mean(1.0 / below(gap))
            # One Newton step on the divergence: no change of the value, but the derivative of lam.
            excess = mean(xp.log(below(gap))) + xp.log(inverse) - self.delta
            slope = inverse - mean(1.0 / below(gap) ** 2) / inverse
            spread = binds & (slope != 0)
            step = xp.where(spread, excess, xp.zeros_like(gap)) / xp.where(spread, slope, ones[..., :1])
        # The step may not leave the domain where rounding rules.
        step = xp.where(xp.abs(step) < 0.5 * gap, step, xp.zeros_like(step))
        return xp.where(binds, 1.0 / mean(1.0 / below(gap - step)), xp.zeros_like(gap))

    def score_weight(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Score weight g = w A + eta."""
        return array_namespace(log_ratio).exp(log_ratio) * advantage + self.multiplier(advantage, weights)

    def loss(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Loss -w A - eta u of the Lagrangian, up to eta delta."""
        weight = array_namespace(log_ratio).exp(log_ratio)
        return -weight * advantage - self.multiplier(advantage, weights) * log_ratio

    def closed_form(self, bandit: Bandit, advantage: Array, *, unseen: bool) -> Solution | None:
        """Policy with w proportional to 1/(lam - A), lam by the bound on the divergence."""
        q, A = to_numpy(bandit.behavior), to_numpy(advantage)
        log_gap = _log_gap(q, A, self.delta)
        free: Array = np.isposinf(log_gap)
        log_w = np.where(free[:, None], 0.0, -_log_below(q, A, np.where(free, 0.0, log_gap)))
        log_w = log_w - np.max(np.where(q > 0, log_w, -np.inf), axis=-1, keepdims=True)  # a gap may be e^-10000
        log_w = log_w - _log_mean_exp(q, log_w)[:, None]
        eta = np.where(free, 0.0, 1.0)
        return separable.wrap(bandit, self, advantage, log_w, eta, set_valued=free & (np.sum(q > 0, axis=-1) > 1))


def _log_below(q: Array, A: Array, log_gap: Array) -> Array:
    """Logarithm of lam - A for lam = max A + exp(log_gap)."""
    best = np.max(np.where(q > 0, A, -np.inf), axis=-1, keepdims=True)
    with np.errstate(divide="ignore"):
        return np.where(q > 0, np.logaddexp(log_gap[:, None], np.log(np.maximum(best - A, 0.0))), 0.0)


def _log_mean_exp(q: Array, x: Array) -> Array:
    with np.errstate(divide="ignore"):
        return np.logaddexp.reduce(np.log(q) + x, axis=-1)


def _divergence(q: Array, A: Array, log_gap: Array) -> Array:
    """Divergence KL(q || pi) of pi proportional to q/(lam - A), falling in ``log_gap`` from infinity to zero."""
    below = _log_below(q, A, log_gap)
    center = np.sum(q * below, axis=-1, keepdims=True)
    # log E[exp(d)] of d = E log(lam - A) - log(lam - A), whose mean is zero, keeps the digits of small divergences.
    d = np.where(q > 0, center - below, 0.0)
    near = np.log1p(np.sum(q * (np.expm1(np.minimum(d, 1.0)) - np.minimum(d, 1.0)), axis=-1))
    return np.where(np.max(d, axis=-1) < 1.0, near, _log_mean_exp(q, d))


def _log_gap(q: Array, A: Array, delta: float) -> Array:
    """Logarithm of lam - max A ``(N,)`` at which the divergence is delta; +inf where all advantages are equal."""
    seen: Array = q > 0
    best = np.max(np.where(seen, A, -np.inf), axis=-1, keepdims=True)
    gap = np.where(seen, best - A, 0.0)
    span, worse = np.max(gap, axis=-1), gap > 0
    several: Array = span > 0
    found = np.full(len(q), np.inf)
    if not np.any(several):
        return found
    q, A, gap, worse, span = (a[several] for a in (q, A, gap, worse, span))
    rest = np.sum(np.where(worse, q, 0.0), axis=-1)
    # KL >= log Q - rest t + sum q log gap over the worse actions, and KL <= span exp(-t).
    logs = np.sum(np.where(worse, q * np.log(np.where(worse, gap, 1.0)), 0.0), axis=-1)
    with np.errstate(divide="ignore"):
        low = (np.log1p(-np.minimum(rest, 1.0)) + logs - delta) / rest - 1.0
    top = np.sum(np.where(seen[several] & ~worse, q, 0.0), axis=-1)
    low = np.where(np.isfinite(low), low, (np.log(top) + logs - delta) / rest - 1.0)
    high = np.log(span) - np.log(delta) + 1.0
    root, done = _by_newton(q, gap, delta, low, high)
    if not np.all(done):
        rest_q, rest_a = q[~done], A[~done]
        root[~done] = separable.normalizing_multiplier(
            lambda t, row: _divergence(rest_q[row], rest_a[row], t) / delta, low[~done], high[~done]
        )
    found[several] = root
    return found


def _by_newton(q: Array, gap: Array, delta: float, low: Array, high: Array) -> tuple[Array, Array]:
    """Newton's method on the logarithm of the divergence, nearly linear in ``log_gap``; and which rows are done.

    ``gap`` is max A - A. Rows whose ratios leave the range of float64 are left.
    """
    spread = np.sqrt(np.maximum(np.vecdot(q, gap**2) - np.vecdot(q, gap) ** 2, 0.0))
    found, done, left = np.zeros_like(spread), np.zeros(len(q), dtype=bool), np.arange(len(q))
    with np.errstate(all="ignore"):
        t = np.clip(np.log(spread) - 0.5 * np.log(2.0 * delta), low, high)
        for _ in range(12):
            d = np.log(np.exp(t)[:, None] + gap)
            center = np.vecdot(q, d)
            d = center[:, None] - d
            growth = np.expm1(d)
            # As in `_divergence`: the mean of d is zero.
            mean, square, kl = np.vecdot(q, growth), np.vecdot(q * growth, growth), np.log1p(np.vecdot(q, growth - d))
            slope = -np.exp(t - center) * (square - mean * mean) / (1.0 + mean)
            change = np.log(kl / delta) * kl / slope
            t = np.clip(t - change, low, high)
            short = np.abs(change) <= 1e-9
            found[left], done[left] = t, short & (np.abs(t) < 600.0) & (np.max(d, axis=-1) < 600.0)
            if np.all(short):
                break
            if np.any(short):  # each row goes on by itself
                left, q, gap, low, high, t = (a[~short] for a in (left, q, gap, low, high, t))
    return found, done
