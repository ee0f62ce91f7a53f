"""Deterministic policies over continuous actions: kernels in the place of ratios, their quadrature and bandwidth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.polynomial.hermite_e import hermegauss
from numpy.polynomial.legendre import leggauss
from numpy.typing import NDArray

from pessimism.arrays import Floats
from pessimism.evaluation.checks import as_array, choice, column, function, number, refuse
from pessimism.evaluation.logs import Logs
from pessimism.evaluation.policies import Ratios
from pessimism.evaluation.result import ASYMPTOTIC, Evaluation, conclude, normal_interval

RewardModel = Callable[[NDArray[Any] | None, Floats], Any]
FORMS = ("is", "d", "k", "obp")
_NODES = 32  # exact for polynomials of degree 61 under the Gaussian kernel; on each half of [-1, 1] under the others


def kernel(
    policy: Any,
    logs: Logs,
    *,
    delta: float,
    form: str | None = None,
    reward_model: RewardModel | None = None,
    kernel: str = "gaussian",
    bandwidth: float | None = None,
) -> Evaluation:
    r"""Kernel estimators of a policy that takes the action tau(x).

    With :math:`w = K((\tau(x) - a) / h) / (h\, \mu(a|x))`, mu the density, and a model q of the reward, the mean of

    ========  ==========================================================================
    ``is``    w r
    ``d``     w (r - q(x, a)) + q(x, tau(x)); unbiased for every h if q is exact
    ``k``     w (r - q(x, a)) + integral of K_h(a' - tau(x)) q(x, a') over a'
    ``obp``   w (r - q(x, tau(x))) + q(x, tau(x)), Open Bandit Pipeline's form
    ========  ==========================================================================

    Parameters
    ----------
    policy : array_like, float or callable
        Actions ``(n,)`` that the policy takes (Open Bandit Pipeline's ``action_by_evaluation_policy``), one number for
        all rounds, or a function of the context of the logs.
    logs : Logs
        Logged rounds; ``action`` holds real numbers and ``pscore`` densities.
    delta : float
        Chance that the interval misses the value.
    form : {"is", "d", "k", "obp"}, optional
        Form of the estimator. Default: "d" with a reward model, else "is".
    reward_model : callable, optional
        Function of the context of the logs (None if they have none) and of actions ``(n,)``, to rewards ``(n,)``; not
        fitted on these rounds.
    kernel : {"gaussian", "epanechnikov", "triangular", "cosine"}, default "gaussian"
        The density K.
    bandwidth : float, optional
        h > 0, in the unit of the actions. Default: the standard deviation of the logged actions times n^(-1/5).

    Returns
    -------
    Evaluation
        Value with a two-sided interval.

    Raises
    ------
    ValueError
        Names the argument, the place and the rule; a form that needs a reward model has none.

    Notes
    -----
    Bias h^2 times half the kernel's variance times the mean second derivative in the action of the reward (``d``: of
    the reward minus the model), variance of order 1/(n h); at h ~ n^(-1/5) the mean squared error falls as n^(-4/5).
    The normal interval is one for the smoothed value: it leaves that bias out. The mean of w is 1 where the behavior
    does all that the kernel reaches; at the end of its actions it is less.

    References
    ----------
    arXiv 2006.03900 (doubly robust forms); arXiv 1802.06037 (kernel importance sampling).

    Examples
    --------
    >>> from pessimism import evaluate, make_logs
    >>> logs = make_logs(action=[-0.5, 0.0, 0.5], reward=[0.75, 1.0, 0.75], pscore=[0.5, 0.5, 0.5])
    >>> exact = lambda context, action: 1 - action**2
    >>> evaluate(0.25, logs, "kernel", reward_model=exact, bandwidth=0.3).value
    0.9375
    """
    if logs.action is None or logs.pscore is None:
        raise ValueError(f"logs must hold {'action' if logs.action is None else 'pscore'} for estimator kernel")
    form = ("is" if reward_model is None else "d") if form is None else choice("form", form, FORMS)
    kernel = choice("kernel", kernel, KERNELS)
    if reward_model is not None:
        function("reward_model", reward_model, "the context and the actions")
    if (form == "is") != (reward_model is None):
        need = "takes no" if form == "is" else "needs a"
        raise ValueError(f"reward_model: form {form!r} {need} reward model")
    h = rate_bandwidth(logs.action) if bandwidth is None else number("bandwidth", bandwidth, above=0.0)
    target = _target_actions(policy, logs)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        weight = KERNELS[kernel]((target - logs.action) / h) / (h * logs.pscore)
    refuse("pscore", logs.pscore, ~np.isfinite(weight), "must not be so small that the ratio overflows")
    terms = _terms(form, weight, target, logs, reward_model, kernel, h)
    value = float(terms.mean())
    options = {"form": form, "kernel": kernel, "bandwidth": h}
    seen = Ratios(weight, logs.reward)
    return conclude("kernel", seen, value, normal_interval(value, terms, delta), delta, ASYMPTOTIC, options)


def _target_actions(policy: Any, logs: Logs) -> Floats:
    if policy is None:
        raise ValueError("policy must be given: the actions that it takes, one per round")
    chosen = policy(logs.context) if callable(policy) else policy
    actions = as_array("policy", chosen)
    if actions.ndim == 0:
        return np.full(logs.n, number("policy", actions.item()))
    return column("policy", actions, logs.n)


def _terms(
    form: str, weight: Floats, target: Floats, logs: Logs, model: RewardModel | None, kernel: str, h: float
) -> Floats:
    """One term per round, ``(n,)``."""
    if model is None:
        return weight * logs.reward
    assert logs.action is not None

    def q(action: Floats) -> Floats:
        return column("reward_model", model(logs.context, action), logs.n)

    if form == "k":
        nodes, masses = quadrature(kernel)
        smeared = np.zeros(logs.n)
        for node, mass in zip(nodes.tolist(), masses.tolist(), strict=True):
            smeared += mass * q(target + h * node)
        return weight * (logs.reward - q(logs.action)) + smeared
    at_target = q(target)
    return weight * (logs.reward - (at_target if form == "obp" else q(logs.action))) + at_target


def gaussian(u: Floats) -> Floats:
    """Standard normal density."""
    density: Floats = np.exp(-(u**2) / 2.0) / np.sqrt(2.0 * np.pi)
    return density


def epanechnikov(u: Floats) -> Floats:
    """0.75 (1 - u^2) on [-1, 1]."""
    return np.where(np.abs(u) <= 1.0, 0.75 * (1.0 - u**2), 0.0)


def triangular(u: Floats) -> Floats:
    """1 - abs(u) on [-1, 1]."""
    return np.maximum(1.0 - np.abs(u), 0.0)


def cosine(u: Floats) -> Floats:
    """(pi / 4) cos(pi u / 2) on [-1, 1]."""
    return np.where(np.abs(u) <= 1.0, np.pi / 4.0 * np.cos(np.pi * u / 2.0), 0.0)


def quadrature(kernel: str) -> tuple[Floats, Floats]:
    """Nodes u and weights with sum weights f(u) = integral of K(u) f(u).

    Parameters
    ----------
    kernel : str
        A name of KERNELS.

    Returns
    -------
    tuple of two ndarrays
        Nodes and weights.

    Examples
    --------
    >>> u, weights = quadrature("epanechnikov")
    >>> round(float(weights @ u**2), 12)
    0.2
    """
    if kernel == "gaussian":
        nodes, weights = hermegauss(_NODES)
        return nodes, weights / np.sqrt(2.0 * np.pi)
    nodes, weights = leggauss(_NODES)
    halves = np.concatenate([(nodes - 1.0) / 2.0, (nodes + 1.0) / 2.0])
    return halves, np.concatenate([weights, weights]) / 2.0 * KERNELS[kernel](halves)


def rate_bandwidth(action: Floats) -> float:
    """Bandwidth sd(action) n^(-1/5), in the unit of the actions: the rate is the theory's, the sd makes it a length.

    Parameters
    ----------
    action : ndarray, shape (n,)
        Logged actions.

    Returns
    -------
    float
        The bandwidth.

    Raises
    ------
    ValueError
        All actions are equal.

    Examples
    --------
    >>> round(rate_bandwidth(np.array([0.0, 1.0] * 16)), 6)
    0.254
    """
    spread = float(action.std(ddof=1)) if len(action) > 1 else 0.0
    if spread == 0.0:
        raise ValueError("bandwidth must be given: the logged actions do not vary")
    return float(spread * len(action) ** -0.2)


KERNELS: dict[str, Callable[[Floats], Floats]] = {
    "gaussian": gaussian,
    "epanechnikov": epanechnikov,
    "triangular": triangular,
    "cosine": cosine,
}
