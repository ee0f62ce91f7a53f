"""Importance sampling: plain, self-normalized and doubly robust, with intervals from the normal law."""

from __future__ import annotations

from typing import Any

from pessimism.evaluation.logs import Logs
from pessimism.evaluation.policies import action_table, ratios
from pessimism.evaluation.result import ASYMPTOTIC, Evaluation, conclude, normal_interval


def ips(policy: Any, logs: Logs, *, delta: float) -> Evaluation:
    r"""Inverse propensity scores, :math:`\frac1n \sum_i w_i r_i`: unbiased, no other assumption than overlap.

    Parameters
    ----------
    policy : probabilities
        As in :func:`pessimism.evaluate`.
    logs : Logs
        Logged rounds.
    delta : float
        Chance that the interval misses the value.

    Returns
    -------
    Evaluation
        Value with a two-sided interval.

    Notes
    -----
    Unbiased if the propensities are right and the behavior can do whatever the policy may do. The two-sided normal
    interval is too short where a few large ratios carry the variance: look at ``ess``.

    References
    ----------
    Horvitz and Thompson (1952); arXiv 1103.4601 for contextual bandits.

    Examples
    --------
    >>> from pessimism import evaluate, make_logs
    >>> logs = make_logs(action=[0, 1, 1, 0], reward=[0, 1, 1, 1], pscore=[0.5, 0.5, 0.5, 0.5])
    >>> evaluate([0.25, 0.75], logs, "ips").value
    0.875
    """
    seen = ratios(policy, logs)
    terms = seen.weight * seen.reward
    value = float(terms.mean())
    return conclude("ips", seen, value, normal_interval(value, terms, delta), delta, ASYMPTOTIC)


def snips(policy: Any, logs: Logs, *, delta: float) -> Evaluation:
    r"""Self-normalized: :math:`\sum_i w_i r_i / \sum_i w_i`. Stays within the range of the rewards.

    Parameters
    ----------
    policy : probabilities
        As in :func:`pessimism.evaluate`.
    logs : Logs
        Logged rounds.
    delta : float
        Chance that the interval misses the value.

    Returns
    -------
    Evaluation
        Value with a two-sided interval.

    Raises
    ------
    ValueError
        No logged action has positive probability under the policy.

    Notes
    -----
    Bias of order 1/n; a common factor of the ratios cancels. The interval is the delta method's, from the terms
    :math:`w_i (r_i - \hat V) / \bar w`.

    References
    ----------
    Swaminathan and Joachims, "The Self-Normalized Estimator for Counterfactual Learning" (NeurIPS 2015).

    Examples
    --------
    >>> from pessimism import evaluate, make_logs
    >>> logs = make_logs(action=[0, 1, 1, 0], reward=[0, 1, 1, 1], pscore=[0.5, 0.5, 0.5, 0.5])
    >>> evaluate([0.25, 0.75], logs, "snips").value
    0.875
    """
    seen = ratios(policy, logs)
    total = seen.weight.sum()
    if total == 0:
        raise ValueError("policy must give some logged action positive probability: all ratios are zero")
    value = float((seen.weight * seen.reward).sum() / total)
    terms = seen.weight * (seen.reward - value) * (logs.n / total)
    return conclude("snips", seen, value, normal_interval(value, terms, delta), delta, ASYMPTOTIC)


def dr(policy: Any, logs: Logs, *, delta: float, reward_model: Any) -> Evaluation:
    r"""Doubly robust: :math:`\frac1n \sum_i w_i (r_i - \hat q(x_i, a_i)) + \sum_a \pi(a|x_i) \hat q(x_i, a)`.

    Parameters
    ----------
    policy : probabilities
        As in :func:`pessimism.evaluate`.
    logs : Logs
        Logged rounds.
    delta : float
        Chance that the interval misses the value.
    reward_model : array_like or mapping
        Predicted rewards in any shape that a policy may have: ``(K,)``, ``(n, K)``, Open Bandit Pipeline's
        ``estimated_rewards_by_reg_model`` ``(n, K, 1)``, or per context id.

    Returns
    -------
    Evaluation
        Value with a two-sided interval.

    Raises
    ------
    ValueError
        The policy is None: the ratios alone do not say what it does elsewhere.

    Notes
    -----
    Unbiased if the propensities are right, whatever the model, provided it was not fitted on these rounds (use
    cross-fitting); the better the model, the smaller the variance.

    References
    ----------
    Dudik, Langford and Li, arXiv 1103.4601.

    Examples
    --------
    >>> from pessimism import evaluate, make_logs
    >>> logs = make_logs(action=[0, 1, 1, 0], reward=[0, 1, 1, 1], pscore=[0.5, 0.5, 0.5, 0.5])
    >>> evaluate([0.25, 0.75], logs, "dr", reward_model=[0.5, 1.0]).value
    0.875
    """
    if policy is None:
        raise ValueError("policy must be given for estimator dr: the column weight says nothing about other actions")
    seen = ratios(policy, logs)
    assert seen.policy is not None
    assert seen.action is not None
    model = action_table("reward_model", reward_model, logs)
    if model.table.shape[1] != seen.policy.table.shape[1]:
        widths = f"{model.table.shape[1]} for {seen.policy.table.shape[1]} actions"
        raise ValueError(f"reward_model must have one entry per action of the policy, got {widths}")
    terms = seen.weight * (seen.reward - model.at(seen.action)) + seen.policy.dot(model)
    value = float(terms.mean())
    return conclude("dr", seen, value, normal_interval(value, terms, delta), delta, ASYMPTOTIC)
