r"""A language model trained on the exact expectation of an objective, and compared with its target as a whole.

The behavior is the model itself before training, the expectation runs over every completion of a prompt, and all
weights move: what is left between the trained policy and the predicted one is what the architecture cannot do and the
optimizer did not finish.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import pessimism as ps
from llm.exact import Completions
from pessimism import divergences
from pessimism.field import is_coupled

_NODES, _WEIGHTS = (torch.tensor(a) for a in np.polynomial.legendre.leggauss(32))


class _Potential(torch.autograd.Function):
    r"""A function of the log-ratios ``(N,)`` of the completions whose gradient is exactly :math:`-q g`.

    A published loss with stop-gradients is not it: its value does not fall along its own gradient, which a line search
    would notice. The value is :math:`-\sum_a q_a \int_0^{u_a} g`, by Gauss-Legendre quadrature.
    """

    @staticmethod
    def forward(ctx: Any, u: Tensor, q: Tensor, advantage: Tensor, objective: Any) -> Tensor:
        """The potential; 0 at u = 0."""
        ctx.save_for_backward(-q * objective.score_weight(u, advantage, q))
        nodes = 0.5 * (_NODES.to(u)[:, None] + 1.0) * u
        along = objective.score_weight(nodes, advantage.expand_as(nodes), q.expand_as(nodes))
        return -torch.sum(q * u * (0.5 * _WEIGHTS.to(u) @ along))

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None, None]:
        """The gradient, -q g."""
        (gradient,) = ctx.saved_tensors
        return upstream * gradient, None, None, None


def population_loss(u: Tensor, q: Tensor, advantage: Tensor, objective: ps.Objective) -> Tensor:
    """Scalar of the log-ratios ``(N,)`` that training descends: its gradient is -q g, the objective's expected one.

    Where the weights couple the completions it is the published loss, averaged under q.

    Examples
    --------
    >>> u = torch.tensor([0.1, -0.2], dtype=torch.float64, requires_grad=True)
    >>> q, advantage = torch.tensor([0.5, 0.5], dtype=torch.float64), torch.tensor([1.0, -1.0], dtype=torch.float64)
    >>> population_loss(u, q, advantage, ps.Kimi(beta=1.0)).backward()
    >>> u.grad  # -q 2 beta (A - beta u)
    tensor([-0.9000,  0.8000], dtype=torch.float64)
    """
    if is_coupled(objective):
        return torch.sum(q * objective.loss(u, advantage, q))
    return _Potential.apply(u, q, advantage, objective)  # type: ignore[no-untyped-call,no-any-return]


def fit(
    model: nn.Module,
    completions: Completions,
    prompt: Sequence[int],
    reward: NDArray[np.float64],
    objective: ps.Objective,
    *,
    steps: int = 300,
) -> dict[str, Any]:
    """Train all weights of a model to the end, in place, and say how far its policy is from the prediction.

    Parameters
    ----------
    model : a causal language model; as it comes it is the behavior.
    completions : all completions of the prompt.
    prompt : token ids.
    reward : ``(N,)``, of each completion.
    objective : off-policy, of the registry.
    steps : most iterations of L-BFGS.

    Returns
    -------
    dict
        As `compared` gives it, and ``evaluations`` (forward and backward passes).

    Raises
    ------
    ValueError
        If the objective is on-policy, its weight jumps (clipping: no potential to search along), or it has no target
        with mass on all completions; ``reward`` has another length; the loss stops being finite.
    """
    if objective.on_policy:
        raise ValueError(f"objective {objective} is on-policy: there is no frozen behavior to train on")
    if getattr(objective, "kinks", ()):
        raise ValueError(f"objective {objective} has a weight that jumps: training to the end is not defined for it")
    if reward.shape != (len(completions),):
        raise ValueError(f"reward must be ({len(completions)},), one per completion, got shape {reward.shape}")
    with torch.no_grad():
        log_q = completions.log_probabilities(model, prompt).double()
    q = log_q.exp()
    status = str(ps.induced_target((q / q.sum()).cpu().numpy(), reward, objective).status)
    if status not in ("converged", "local_minimum"):
        raise ValueError(f"objective {objective} has no target with mass on all completions: {status}")
    advantage = objective.advantage(torch.tensor(reward).to(q), q)
    optimizer = torch.optim.LBFGS(
        model.parameters(),
        max_iter=steps,
        max_eval=2 * steps,
        history_size=20,
        tolerance_grad=1e-9,
        tolerance_change=1e-13,
        line_search_fn="strong_wolfe",
    )
    evaluations = 0

    def closure() -> Tensor:
        nonlocal evaluations
        evaluations += 1
        optimizer.zero_grad()
        u = completions.log_probabilities(model, prompt).double() - log_q
        loss = population_loss(u, q, advantage, objective)
        if not torch.isfinite(loss):
            raise ValueError(f"the loss of {objective} is {loss.item()} after {evaluations} evaluations")
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        log_policy = completions.log_probabilities(model, prompt).double()
    found = compared(log_q.cpu().numpy(), log_policy.cpu().numpy(), reward, objective)
    return {**found, "evaluations": evaluations}


def compared(
    log_q: NDArray[np.float64], log_policy: NDArray[np.float64], reward: NDArray[np.float64], objective: ps.Objective
) -> dict[str, Any]:
    """A policy against the target that the objective induces on its behavior, both as log-probabilities ``(N,)``.

    Returns
    -------
    dict
        ``kappa``, ``regime`` and ``value_target`` predicted; ``kappa_fit``, least squares of A/beta - u on w through
        the origin under the behavior, and ``kappa_identity``, E[A]/beta + KL(behavior || policy), measured (nan where
        the prediction is not log w + kappa w = A/beta in the objective's own advantage); ``tv`` and ``kl``
        (target || policy) from the target; ``tv_behavior`` and ``tv_nominal``, how far the target is from the behavior
        and from the nominal target; ``value``, ``value_behavior``.

    Examples
    --------
    >>> log_q, reward = np.log([0.5, 0.3, 0.2]), np.array([0.0, 0.5, 1.0])
    >>> target = ps.induced_target(np.exp(log_q), reward, "kimi", beta=0.5)
    >>> found = compared(log_q, target.log_policy, reward, ps.Kimi(beta=0.5))
    >>> round(found["tv"], 12), abs(found["kappa_fit"] - found["kappa"]) < 1e-9
    (0.0, True)
    """
    q, policy = np.exp(log_q), np.exp(log_policy)
    q, policy = q / q.sum(), policy / policy.sum()
    target = ps.induced_target(q, reward, objective)
    u = log_policy - log_q
    fitted, identity = _measured_kappa(q, u, target)
    return {
        "kappa": float(target.kappa),
        "regime": str(target.regime),
        "kappa_fit": fitted,
        "kappa_identity": identity,
        "tv": float(divergences.total_variation(np.asarray(target.policy), policy)),
        "kl": float(divergences.kl_divergence(np.asarray(target.policy), policy)),
        "tv_behavior": float(divergences.total_variation(np.asarray(target.policy), q)),
        "tv_nominal": float(divergences.total_variation(np.asarray(target.policy), np.asarray(target.nominal))),
        "value": float(policy @ reward),
        "value_target": float(target.policy @ reward),
        "value_behavior": float(q @ reward),
    }


def _measured_kappa(q: NDArray[np.float64], u: NDArray[np.float64], target: ps.InducedTarget) -> tuple[float, float]:
    """Kappa of log-ratios ``(N,)`` by least squares and by the identity."""
    if target.beta is None:
        return np.nan, np.nan
    z = np.asarray(target.advantage) / target.beta
    predicted = np.asarray(target.log_ratio)
    if not np.allclose(predicted + float(target.kappa) * np.exp(predicted), z, rtol=0.0, atol=1e-6):
        return np.nan, np.nan
    w = np.exp(u)
    return float(np.sum(q * w * (z - u)) / np.sum(q * w * w)), float(np.sum(q * (z - u)))
