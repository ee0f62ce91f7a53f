r"""The loss of an objective on a batch of sampled completions: from token log-probabilities to one number.

The three ways of taking a log-ratio are those in use: of the whole completion (sequence), of each token, and of the
sequence divided by its length, the geometric mean of the tokens' ratios (arXiv 2507.18071, eq. 7).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from pessimism.core.objective import Objective

LogRatio = Literal["sequence", "token", "length_normalized"]
LEVELS: tuple[LogRatio, ...] = ("sequence", "token", "length_normalized")


def published_level(objective: Objective) -> LogRatio:
    """Name the level at which an objective takes its log-ratio.

    Parameters
    ----------
    objective : Objective
        The objective.

    Returns
    -------
    str
        The published level; "sequence" where the weight couples completions.

    Examples
    --------
    >>> import pessimism as ps
    >>> [published_level(o) for o in (ps.Kimi(), ps.PPO(), ps.GSPO(), ps.TBA())]
    ['sequence', 'token', 'length_normalized', 'sequence']
    """
    if objective.name == "gspo":
        return "length_normalized"
    token = objective.level == "token" and not objective.coupled
    return "token" if token else "sequence"


def why_untrainable(objective: Objective, level: LogRatio) -> str | None:
    """Say why an objective cannot be trained on sampled completions.

    Parameters
    ----------
    objective : Objective
        The objective.
    level : str
        Level of its log-ratio.

    Returns
    -------
    str or None
        The reason; None where it can be trained.

    Examples
    --------
    >>> import pessimism as ps
    >>> why_untrainable(ps.CQL(), "sequence")
    'its weight needs the probability of every action, which samples do not show'
    """
    if objective.mixes_data:
        return "it mixes samples of the policy with those of an expert, and there is one stream of completions"
    if objective.needs_tokens:
        return "its loss is of all tokens of a completion together, each clipped inside one ratio"
    if objective.reference_policy == "proximal":
        return "it tells the policy that sampled from the trainer's own at the time, and data here have one behavior"
    if objective.takes_propensity:
        return "its weight needs the probability of every action, which samples do not show"
    if level == "token" and objective.coupled:
        return "its weight couples the completions of a group, whose tokens do not correspond"
    return None


def at_level(log_ratio: Tensor, mask: Tensor, level: LogRatio) -> Tensor:
    """Take the log-ratios of completions at a level from those of their tokens.

    Parameters
    ----------
    log_ratio : Tensor, shape (B, T)
        Log-ratios of the tokens.
    mask : Tensor, shape (B, T)
        1 for the tokens that count.
    level : {"sequence", "token", "length_normalized"}
        The level.

    Returns
    -------
    Tensor, shape (B,) or (B, T)
        Log-ratios of the completions; of the tokens at level "token".

    Examples
    --------
    >>> at_level(torch.tensor([[0.1, 0.3, 9.0]]), torch.tensor([[1, 1, 0]]), "length_normalized")
    tensor([0.2000])
    """
    kept = torch.where(mask.bool(), log_ratio, 0.0)
    if level == "token":
        return kept
    total = kept.sum(dim=-1)
    return total if level == "sequence" else total / mask.sum(dim=-1).clamp(min=1)


def with_lengths(objective: Objective, lengths: Tensor) -> Objective:
    """Give an objective that knows completions by their length those of a batch, unless it has some already.

    Parameters
    ----------
    objective : Objective
        The objective.
    lengths : Tensor, shape (..., G)
        Tokens of each completion; 0 of one that is masked whole, which counts as one token.

    Returns
    -------
    Objective
        The objective with the lengths, itself where it has no use for them.

    Examples
    --------
    >>> import pessimism as ps
    >>> with_lengths(ps.OPO(), torch.tensor([3, 5])).length.tolist()
    [3.0, 5.0]
    >>> with_lengths(ps.Kimi(), torch.tensor([3, 5])) == ps.Kimi()
    True
    """
    if "length" not in objective.per_action or objective.settings["length"] is not None:
        return objective
    return replace(objective, length=lengths.clamp(min=1).double())  # type: ignore[call-arg]


def objective_loss(
    objective: Objective,
    log_ratio: Tensor,
    advantage: Tensor,
    mask: Tensor,
    *,
    level: LogRatio,
    group: int,
    log_share: Tensor | None = None,
) -> Tensor:
    """Average the published loss over the completions of a batch, differentiable in the log-ratio.

    Parameters
    ----------
    objective : Objective
        Any objective of `pessimism`, or an object with its three methods.
    log_ratio : Tensor, shape (B, T)
        log(policy / reference) of each token.
    advantage : Tensor, shape (B,)
        Advantage of each completion.
    mask : Tensor, shape (B, T)
        1 for the tokens of a completion.
    level : {"sequence", "token", "length_normalized"}
        Level of the log-ratio; at "token" the mean is taken over the tokens of a completion first. At "sequence" an
        objective that knows completions by their length has the number of their tokens.
    group : int
        Number of completions in a group, which lie together. Only objectives that couple them read it.
    log_share : Tensor, shape (B, T), optional
        log(reference / behavior) of each token; None where they are one policy.

    Returns
    -------
    Tensor
        The mean, a scalar.

    Examples
    --------
    >>> import pessimism as ps
    >>> u, one = torch.tensor([[0.2], [-0.2]]), torch.ones(2, 1)
    >>> objective_loss(ps.Kimi(beta=1.0), u, torch.tensor([0.5, -0.5]), one, level="sequence", group=2)
    tensor(0.0900)
    """
    u = at_level(log_ratio, mask, level)
    if level == "sequence":
        lengths = mask.sum(dim=-1)
        objective = with_lengths(objective, lengths.view(-1, group) if objective.coupled else lengths)
    share = None if log_share is None else at_level(log_share, mask, level)
    spread = advantage[:, None].expand_as(u) if level == "token" else advantage
    if objective.coupled:
        u, spread = u.view(-1, group), spread.view(-1, group)
        share = None if share is None else share.view(-1, group)
    if objective.takes_share:
        each = objective.loss(u, spread, None, log_share=share)  # type: ignore[call-arg]
    else:
        each = objective.loss(u, spread, None)
    if level == "token":
        each = torch.where(mask.bool(), each, 0.0).sum(dim=-1) / mask.sum(dim=-1).clamp(min=1)
    mean: Tensor = each.mean()
    return mean
