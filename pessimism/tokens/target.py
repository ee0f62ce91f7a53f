"""The verb: from a token tree and an objective to the policy that its loss per token induces at every prefix."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from pessimism.core.objective import Objective, ObjectiveLike
from pessimism.losses.registry import make_objective
from pessimism.target.induced import induced_target
from pessimism.tokens.advantages import law_under, leaf_weights, require_choice
from pessimism.tokens.result import TokenTarget
from pessimism.tokens.solve import Prefixes, Solved
from pessimism.tokens.tree import TokenTree


def token_target(
    tree: TokenTree,
    objective: str | ObjectiveLike,
    aggregation: str = "sum",
    *,
    baseline: Any = "prompt",
    level: str | None = None,
    group_size: int | None = None,
    drop_equal: bool = False,
    mean_over: str = "batch",
    method: str | None = None,
    check: bool = True,
    **hyper: Any,
) -> TokenTarget:
    r"""Policy to which minimizing a loss of tokens leads, while the data stay those of the behavior.

    The loss of a completion y is :math:`m(y) \sum_t l(u_t, A(y))`, u_t the log-ratio of its t-th token. As the data are
    the behavior's, prefixes do not interact, and at each of them, for every token a,

    .. math:: q(a|s)\, E_q[m(y)\, g(u(s,a), A(y)) \mid s, a] = \lambda_s\, \pi(a|s).

    Parameters
    ----------
    tree : TokenTree
        Completions of a prompt with the behavior on their tokens and their rewards.
    objective : str or ObjectiveLike
        Registered name, or any object with the methods ``advantage``, ``score_weight`` and ``loss``, that is taken for
        each token: ``kimi`` per token is the loss that Tinker and verl call ``dro``.
    aggregation : {"sum", "sequence_mean", "token_mean"}, default "sum"
        How the tokens of a completion are added up: m = 1, or m = 1/length, as GRPO was published. A mean over all
        tokens of a batch has m = 1, up to a constant that moves no target; see ``mean_over``.
    baseline : {"prompt", "prefix"} or array_like of shape (N,), default "prompt"
        Whether the advantage of a completion is the objective's among all completions of the prompt, or among those
        below each prefix. Numbers, one for each prefix, are values to subtract from the reward, as a critic's.
    level : {"token", "prefix", "sequence"}, optional
        Whether the loss sees the ratio of a token, that of the prefix up to it (of which only the token's own is
        differentiated), or that of the whole completion, which is a bandit over the leaves. By default "sequence" for
        objectives that exist only there, as those with a length (GSPO) or with pairs (DPO), and else "token".
    group_size : int, optional
        Completions G of a group, whose statistics make the advantage: all groups are counted. By default the whole
        population is one group.
    drop_equal : bool, default False
        Whether groups whose rewards are all equal are dropped.
    mean_over : {"batch", "group"}, default "batch"
        With ``aggregation="token_mean"``, whether the mean is over the tokens of a large batch or over those of a group
        of ``group_size``.
    method : {"closed_form", "fixed_point"}, optional
        Route to insist on. By default the closed form is taken where there is one.
    check : bool, default True
        Whether an objective of one's own is checked first.
    **hyper : Any
        Hyper-parameters of a named objective.

    Returns
    -------
    TokenTarget
        The policy at every prefix, and the completions that follow. Where the tree bounds the reward of what is not
        listed, its ``at_largest_rest`` is the target at the largest one.

    Raises
    ------
    ValueError
        Names the argument and the rule that it breaks; for objectives that have no loss per token, with the reason.

    References
    ----------
    .. [1] docs/theory.md, from arXiv 2605.28150.

    Examples
    --------
    >>> import pessimism as ps
    >>> policy = {(): {0: 0.5, 1: 0.5}, (1,): {0: 0.2, 1: 0.8}}
    >>> tree = ps.TokenTree.from_table(policy, lambda y: float(y == (1, 0)))
    >>> target = ps.token_target(tree, "kimi", beta=0.5)
    >>> target.completion_policy.round(4), target.regime.tolist()
    (array([0.4031, 0.2899, 0.307 ]), ['positive', 'positive'])
    """
    made = make_objective(objective, check=check, **hyper)
    if not isinstance(tree, TokenTree):
        raise TypeError(f"tree must be a TokenTree, got {type(tree).__name__}")
    require_choice("level", level, (None, "token", "prefix", "sequence"))
    require_choice("method", method, (None, "closed_form", "fixed_point"))
    why = _not_per_token(made)
    level = level or ("token" if why is None else "sequence")
    if tree.rest_reward[0] < tree.rest_reward[1]:
        ends = [tree.with_rest_reward(reward) for reward in tree.rest_reward]
        given = {"baseline": baseline, "level": level, "group_size": group_size, "drop_equal": drop_equal}
        least, largest = (
            token_target(of, made, aggregation, **given, mean_over=mean_over, method=method, check=False) for of in ends
        )
        return replace(least, at_largest_rest=largest)
    if level == "sequence":
        return _of_completions(tree, made, aggregation, baseline, group_size, drop_equal, method)
    if why is not None:
        raise ValueError(f'level: objective {made} has no loss of single tokens, {why}; use level="sequence"')
    if tree.log_reference is not None and not made.takes_reference:
        raise ValueError(f"tree: objective {made} has no log-ratio to another reference than the behavior")
    options: dict[str, Any] = {"group_size": group_size, "drop_equal": drop_equal, "mean_over": mean_over}
    law = law_under(tree, made, aggregation, baseline, **options)
    prefixes = Prefixes(tree, made, law, by_prefix=level == "prefix")
    return TokenTarget(tree, made, prefixes.solve(method), prefixes)


def _not_per_token(objective: Objective) -> str | None:
    """Why an objective is none of single tokens, None where it is one."""
    if objective.on_policy:
        return "since its data follow the policy, so that the prefixes depend on each other"
    if objective.mixes_data:
        return "since samples of the policy stand beside those of the behavior"
    if objective.coupled:
        return "since its weight couples the completions of a group"
    if objective.over_batch:
        return "since its advantage depends on the other groups of the batch"
    if "length" in objective.per_action:
        return "since it sees the ratio of a whole completion and its length"
    if objective.facts:
        return f"since its {objective.facts[0]} belongs to each completion"
    if objective.needs_tokens:
        return "since its ratio of a completion is made of clipped ratios of its tokens"
    if objective.prices_propensity:
        return "since its advantage depends on the probability of a completion"
    return None


def _of_completions(
    tree: TokenTree,
    objective: Objective,
    aggregation: str,
    baseline: Any,
    group_size: int | None,
    drop_equal: bool,
    method: str | None,
) -> TokenTarget:
    """Target of a loss of whole completions: that of the bandit over the leaves, and its conditionals."""
    given = {"baseline": baseline, "group_size": group_size, "drop_equal": drop_equal, "aggregation": aggregation}
    usual = {"baseline": "prompt", "group_size": None, "drop_equal": False, "aggregation": "sum"}
    for name, value in given.items():
        if not isinstance(value, str | None | bool) or value != usual[name]:
            raise ValueError(f'{name} is for losses of tokens; with level="sequence" it must be {usual[name]!r}')
    if "length" in objective.per_action and objective.settings["length"] is None:
        leaf_weights(tree, "sequence_mean")
        objective = objective.replaced("length", tree.leaf_length)
    own = tree.log_reference
    reference = None if own is None else np.exp(tree.along(own)[tree.leaf])
    behavior = np.exp(tree.leaf_log_prob)
    whole = induced_target(behavior, tree.leaf_reward, objective, reference=reference, method=method, check=False)
    edge, node = tree.log_mass(whole.log_policy)
    log_reference = tree.log_behavior if own is None else own
    with np.errstate(invalid="ignore"):
        log_ratio = edge - node[tree.node] - log_reference
    count = len(tree.start) - 1
    solved = Solved(
        np.where(np.isnan(log_ratio), 0.0, log_ratio),  # below a prefix without mass the reference stays
        np.full(count, np.nan),
        np.zeros(count, dtype=np.int8),
        np.zeros(count),
        np.full(count, whole.solution.status[0], dtype=np.int8),
    )
    return TokenTarget(tree, objective, solved, None, whole)
