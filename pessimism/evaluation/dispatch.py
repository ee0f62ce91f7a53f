"""One verb: a policy, the logs of another, an estimator."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pessimism.evaluation.checks import choice, number, refuse_overflow
from pessimism.evaluation.importance import dr, ips, snips
from pessimism.evaluation.kernel import kernel
from pessimism.evaluation.likelihood import el
from pessimism.evaluation.logs import Logs, make_logs
from pessimism.evaluation.pessimistic import clipped, es, ix, ls, moments
from pessimism.evaluation.result import FINITE, Evaluation
from pessimism.evaluation.star import star

if TYPE_CHECKING:
    import pandas as pd

_ESTIMATORS: dict[str, Callable[..., Evaluation]] = {
    found.__name__: found for found in (ips, snips, dr, clipped, ix, es, ls, moments, el, kernel, star)
}


def estimators() -> Mapping[str, Callable[..., Evaluation]]:
    """Name -> function of every estimator; ``help(estimators()["ls"])`` is the page on one.

    Returns
    -------
    mapping
        A copy; changing it changes nothing else.

    Examples
    --------
    >>> list(estimators())
    ['ips', 'snips', 'dr', 'clipped', 'ix', 'es', 'ls', 'moments', 'el', 'kernel', 'star']
    """
    return dict(_ESTIMATORS)


def evaluate(
    policy: Any,
    logs: Logs | Mapping[str, Any] | pd.DataFrame,
    estimator: str = "snips",
    *,
    delta: float = 0.05,
    **options: Any,
) -> Evaluation:
    """Estimate from logs what a policy that did not make them would earn, and how sure that is.

    Parameters
    ----------
    policy : array_like, mapping, InducedTarget, callable or None
        What to evaluate, one of

        - probabilities ``(K,)``, the same in every round;
        - ``(n_rounds, K)``, or Open Bandit Pipeline's ``action_dist`` ``(n_rounds, K, 1)``;
        - one row per context, ``(B, K)``, where the logs hold integer context ids, or a mapping from ids to ``(K,)``;
        - an :class:`~pessimism.InducedTarget`, single or a batch ``(B, K)`` of contexts;
        - None, where the logs hold the ratios themselves, in a column ``weight``;
        - for estimator kernel: actions ``(n_rounds,)``, a number, or a function of the context.
    logs : Logs, mapping or DataFrame
        Open Bandit Pipeline's ``bandit_feedback``, a frame, or the result of
        :func:`~pessimism.make_logs`. ``pscore`` is the probability of the logged action under the behavior.
    estimator : str, default "snips"
        A name of :func:`~pessimism.estimators`.
    delta : float, default 0.05
        Chance in (0, 1) that the interval may miss the value: all of it below the lower bound for the one-sided
        estimators (clipped, ix, es, ls, moments), half on either side for the others.
    **options : dict
        Options of the estimator, by keyword.

    Returns
    -------
    Evaluation
        Value, interval, effective sample size, mean ratio, and notes on what is conspicuous.

    Raises
    ------
    ValueError
        Names the argument, the place and the rule that it breaks; an unknown estimator or option; numbers so large
        that the estimate or its interval overflows.

    Warns
    -----
    UserWarning
        The mean ratio of the policy to the behavior is more than four standard errors from 1, and heavy tails do not
        explain that: the propensities are not those of the policy that made the logs, or they do not cover the policy.

    Notes
    -----
    ============================  =======================================================
    first look                    ``evaluate(policy, logs)``
    a guarantee before release    ``evaluate(policy, logs, "ls")``, its ``lower``
    a reward model at hand        ``evaluate(policy, logs, "dr", reward_model=q)``
    few rounds, large ratios      ``evaluate(policy, logs, "el", weight_max=K / eps)``
    continuous actions            ``evaluate(actions, logs, "kernel", reward_model=q)``
    episodes                      ``evaluate(policy, logs, "star", phi=phi, window=2)``
    ============================  =======================================================

    All estimators take the propensities to be right and nonzero for whatever the policy does. docs/evaluation.md
    says how far the mean ratio can show that they are not.

    References
    ----------
    Each estimator names its own.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> behavior, chance = np.array([0.4, 0.3, 0.2, 0.1]), np.array([0.2, 0.4, 0.6, 0.8])
    >>> action = rng.choice(4, size=2000, p=behavior)
    >>> logs = {"action": action, "reward": rng.binomial(1, chance[action]), "pscore": behavior[action]}
    >>> policy = np.array([0.1, 0.2, 0.3, 0.4])  # its value is 0.6
    >>> found = evaluate(policy, logs, "snips")
    >>> round(found.value, 3), round(found.lower, 3), round(found.upper, 3)
    (0.615, 0.585, 0.645)
    >>> round(evaluate(policy, logs, "ls").lower, 3)
    0.532
    """
    delta = number("delta", delta, above=0.0, below=1.0)
    function = _ESTIMATORS[choice("estimator", estimator, _ESTIMATORS)]
    known = inspect.signature(function).parameters
    own = [name for name in known if name not in ("policy", "logs", "delta")]
    for name in options:
        if name not in own:
            raise ValueError(f"{name} is no option of estimator {estimator}, which takes {', '.join(own) or 'none'}")
    for name in own:
        if known[name].default is inspect.Parameter.empty and name not in options:
            raise ValueError(f"{name} must be given for estimator {estimator}")
    made = make_logs(logs)
    if policy is not None and made.weight is not None:
        raise ValueError("weight must not be in the logs beside a policy: drop it, or give policy None to use it")
    with np.errstate(over="ignore", invalid="ignore"):  # said in one line below
        found = function(policy, made, delta=delta, **options)
    if not _is_finite(found):
        refuse_overflow(made.reward, estimator, "reward_model" if options.get("reward_model") is not None else "")
    if found.ratio_check in ("rejected", "uncovered"):
        warnings.warn(found.notes[0], UserWarning, stacklevel=2)
    return found


def _is_finite(found: Evaluation) -> bool:
    """Whether the numbers are finite, but for bounds that an estimator does not give."""
    numbers = [found.value, found.ess]
    if found.guarantee == FINITE:
        numbers.append(found.lower)
    elif found.n > 1:
        numbers += [found.lower, found.upper]
    return bool(np.isfinite(numbers).all())
