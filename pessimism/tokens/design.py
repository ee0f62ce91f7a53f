"""The least shift of the baseline that keeps prefixes out of the negative regime."""

from __future__ import annotations

from typing import Literal

import numpy as np

from pessimism.losses.regression import Kimi, OptimalValue
from pessimism.tokens.advantages import law_under
from pessimism.tokens.tree import TokenTree


def smallest_token_shift(
    tree: TokenTree,
    beta: float,
    *,
    share: float = 0.0,
    aggregation: str = "sum",
    baseline: Literal["mean", "optimal_value"] = "mean",
    group_size: int | None = None,
    drop_equal: bool = False,
) -> float:
    r"""Least shift c, in temperatures, at which V - c beta leaves no prefix in the negative regime, or few.

    A squared loss of tokens with the baseline of the prompt is negative at a prefix s where log E[exp(A/beta)] is, A
    the mean advantage below each token, by the weights m, and the expectation under the reference. A shift adds c to
    it, so that :math:`c_s = -\log E[\exp(A/\beta)]` is the least one for that prefix.

    Parameters
    ----------
    tree : TokenTree
        Completions of a prompt.
    beta : float
        Temperature of the regression > 0, in reward units.
    share : float, default 0.0
        Share of the behavior's visits to prefixes that may stay in the negative regime, at least 0 and below 1.
    aggregation : {"sum", "sequence_mean", "token_mean"}, default "sum"
        As for :func:`~pessimism.token_target`.
    baseline : {"mean", "optimal_value"}, default "mean"
        What is shifted: the mean of the prompt or of its groups, as by ``shifted_mean``, or the optimal value at beta.
    group_size, drop_equal : optional
        As for :func:`~pessimism.token_target`.

    Returns
    -------
    float
        The shift; negative where the baseline could even be raised.

    Raises
    ------
    ValueError
        As :func:`~pessimism.token_target`; also for beta <= 0, a share out of range, an unknown baseline, and a tree in
        which no prefix has a choice.

    Examples
    --------
    >>> import pessimism as ps
    >>> policy = {(): {0: 0.5, 1: 0.5}, (0,): {0: 0.9, 1: 0.1}, (1,): {0: 0.5, 1: 0.5}}
    >>> tree = ps.TokenTree.from_table(policy, {(0, 0): 0.0, (0, 1): 0.0, (1, 0): 1.0, (1, 1): 0.2})
    >>> shift = smallest_token_shift(tree, beta=0.5)
    >>> round(shift, 6), ps.token_target(tree, "shifted_mean", beta=0.5, shift=shift + 1e-6).negative_share
    (0.6, 0.0)
    """
    if baseline not in ("mean", "optimal_value"):
        raise ValueError(f'baseline must be "mean" or "optimal_value", got {baseline!r}')
    if not 0 <= share < 1:
        raise ValueError(f"share must be at least 0 and below 1, got {share!r}")
    objective = Kimi(beta=beta) if baseline == "mean" else OptimalValue(beta=beta)
    law = law_under(tree, objective, aggregation, group_size=group_size, drop_equal=drop_equal)
    nu = tree.log_behavior if tree.log_reference is None else tree.log_reference
    least = -tree.log_total(nu + law.moments[1] / beta)
    if not tree.chosen.any():
        raise ValueError("tree: no prefix has a choice")
    least, visits = least[tree.chosen], np.exp(tree.node_log_prob)[tree.chosen]
    order = np.argsort(-least)
    above = np.cumsum(visits[order]) - visits[order]  # visits to prefixes that need more
    allowed = above + visits[order] > share * visits.sum() * (1.0 + 1e-12)
    return float(least[order][np.argmax(allowed)])
