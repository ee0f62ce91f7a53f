r"""A language model trained on the exact expectation of an objective, and compared with its target as a whole.

The behavior is the model itself before training, the expectation runs over every completion of a prompt, and all
weights move: what is left between the trained policy and the predicted one is what the architecture cannot do and the
optimizer did not finish.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import pessimism as ps
from llm.models.enumeration import Completions
from pessimism import divergences
from pessimism.arrays import Floats

_DRAWN = 4096  # completions that a measured kappa is fitted on
_ROUND = 60  # iterations of L-BFGS after which it is asked whether the policy still moves
_STILL = 2e-4  # total variation that it moves in a round at the end
_NODES, _WEIGHTS = (torch.tensor(a) for a in np.polynomial.legendre.leggauss(32))


def train(
    model: nn.Module,
    completions: Completions,
    prompt: Sequence[int],
    reward: Floats,
    objective: ps.Objective,
    *,
    log_behavior: Floats | None = None,
    steps: int = 900,
    stages: int = 1,
) -> tuple[Floats, Floats, int]:
    """Train all weights of a model to the end, in place, by L-BFGS on the exact expectation.

    Parameters
    ----------
    model : torch.nn.Module
        A causal language model.
    completions : Completions
        All completions of the prompt.
    prompt : sequence of int
        Token ids.
    reward : ndarray, shape (N,)
        Reward of each completion.
    objective : Objective
        An off-policy objective of the registry.
    log_behavior : ndarray, shape (N,), optional
        Log-probabilities of the behavior; by default the behavior is the model as it comes.
    steps : int, default 900
        Most iterations on the whole reward, in rounds of 60. They end earlier where a round moves the policy by less
        than 2e-4 in total variation.
    stages : int, default 1
        The reward grows to its size in so many equal parts, with 60 iterations on each before the last one. Mass that a
        first large step on the whole reward puts where the behavior has hardly any stays there: what such completions
        add to the loss is beyond its precision.

    Returns
    -------
    log_behavior : ndarray, shape (N,)
        Log-probabilities of the behavior.
    log_policy : ndarray, shape (N,)
        Log-probabilities of the trained model.
    evaluations : int
        Number of forward and backward passes.

    Raises
    ------
    ValueError
        If the objective is on-policy; if its weight jumps (clipping), so that there is no potential to search along; if
        it has no target with mass on all completions; if `reward` has another length; if the loss stops being finite.
    """
    if reward.shape != (len(completions),):
        raise ValueError(f"reward must be ({len(completions)},), one per completion, got shape {reward.shape}")
    with torch.no_grad():
        start = completions.log_probabilities(model, prompt)
    log_q = start if log_behavior is None else torch.as_tensor(log_behavior).to(start)
    q = log_q.exp()
    _refuse(q.cpu().numpy(), reward, objective)
    evaluations = 0
    for stage in range(1, stages + 1):
        advantage = objective.advantage(torch.tensor(reward * (stage / stages)).to(q), q)

        def log_ratio() -> Tensor:
            return completions.log_probabilities(model, prompt) - log_q

        def loss(advantage: Tensor = advantage) -> Tensor:
            return population_loss(log_ratio(), q, advantage, objective)

        evaluations += _descend(model, loss, log_ratio, q, steps if stage == stages else _ROUND, str(objective))
    with torch.no_grad():
        log_policy = completions.log_probabilities(model, prompt)
    return log_q.cpu().numpy(), log_policy.cpu().numpy(), evaluations


def _refuse(q: Floats, reward: Floats, objective: ps.Objective) -> None:
    if objective.on_policy:
        raise ValueError(f"objective {objective} is on-policy: there is no frozen behavior to train on")
    if objective.kinks_at(q):
        raise ValueError(f"objective {objective} has a weight that jumps: training to the end is not defined for it")
    # In the negative regime there are minima, and unseen=True spares us the search for all of them.
    status = str(ps.induced_target(q, reward, objective, unseen=True).status)
    if status not in ("converged", "local_minimum"):
        raise ValueError(f"objective {objective} has no target with mass on all completions: {status}")


def _descend(
    model: nn.Module, loss: Callable[[], Tensor], log_ratio: Callable[[], Tensor], q: Tensor, steps: int, name: str
) -> int:
    """Minimize a loss of the model's weights until the policy stands still; return the number of evaluations."""
    optimizer = torch.optim.LBFGS(
        model.parameters(),
        max_iter=min(_ROUND, steps),
        history_size=100,
        tolerance_grad=1e-9,
        tolerance_change=1e-13,
        line_search_fn="strong_wolfe",
    )
    evaluations = 0

    def closure() -> Tensor:
        nonlocal evaluations
        evaluations += 1
        optimizer.zero_grad()
        value = loss()
        if not torch.isfinite(value):
            raise ValueError(f"the loss of {name} is {value.item()} after {evaluations} evaluations")
        value.backward()  # type: ignore[no-untyped-call]
        return value.detach()

    def policy() -> Tensor:
        with torch.no_grad():
            return q * log_ratio().exp()

    at = policy()
    for _ in range(0, steps, _ROUND):  # the optimizer keeps its history from round to round
        optimizer.step(closure)  # type: ignore[no-untyped-call]
        before, at = at, policy()
        if 0.5 * float((at - before).abs().sum()) < _STILL:
            break
    return evaluations


def fit(
    model: nn.Module,
    completions: Completions,
    prompt: Sequence[int],
    reward: Floats,
    objective: ps.Objective,
    *,
    steps: int = 900,
    stages: int = 4,
) -> dict[str, Any]:
    """Train a model as `train` does, with itself as the behavior, and compare it with the prediction.

    Parameters
    ----------
    model : torch.nn.Module
        A causal language model.
    completions : Completions
        All completions of the prompt.
    prompt : sequence of int
        Token ids.
    reward : ndarray, shape (N,)
        Reward of each completion.
    objective : Objective
        An off-policy objective of the registry.
    steps : int, default 900
        Most iterations on the whole reward.
    stages : int, default 4
        Number of equal parts in which the reward grows to its size.

    Returns
    -------
    dict
        As `compared` returns it, and ``evaluations``, the number of forward and backward passes.

    Raises
    ------
    ValueError
        As `train`.
    """
    log_q, log_policy, evaluations = train(model, completions, prompt, reward, objective, steps=steps, stages=stages)
    return {**compared(log_q, log_policy, reward, objective), "evaluations": evaluations}


def compared(log_q: Floats, log_policy: Floats, reward: Floats, objective: ps.Objective) -> dict[str, Any]:
    """Compare a policy with the target that the objective induces on its behavior.

    Parameters
    ----------
    log_q : ndarray, shape (N,)
        Log-probabilities of the behavior.
    log_policy : ndarray, shape (N,)
        Log-probabilities of the policy.
    reward : ndarray, shape (N,)
        Reward of each completion.
    objective : Objective
        The objective.

    Returns
    -------
    dict
        - ``kappa``, ``regime`` and ``value_target``, predicted;
        - ``kappa_fit``, ``kappa_fit_error`` and ``kappa_identity``, see `measured_kappa`;
        - ``tv`` and ``kl`` (target || policy), how far the policy is from the target;
        - ``tv_behavior`` and ``tv_nominal``, how far the target is from the behavior and from the nominal target;
        - ``value`` and ``value_behavior``.

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
    return {
        "kappa": float(target.kappa),
        "regime": str(target.regime),
        **measured_kappa(log_policy - log_q, target),
        "tv": float(divergences.total_variation(np.asarray(target.policy), policy)),
        "kl": float(divergences.kl_divergence(np.asarray(target.policy), policy)),
        "tv_behavior": float(divergences.total_variation(np.asarray(target.policy), q)),
        "tv_nominal": float(divergences.total_variation(np.asarray(target.policy), np.asarray(target.nominal))),
        "value": float(policy @ reward),
        "value_target": float(target.policy @ reward),
        "value_behavior": float(q @ reward),
    }


def measured_kappa(log_ratio: Floats, target: ps.InducedTarget, seed: int = 0) -> dict[str, float]:
    """Measure kappa on log-ratios u, where the prediction is A/beta - u = kappa h + constant.

    Here h is w, or max(w, cap) with a truncated weight, and the constant is 0 unless the loss does not fix the
    baseline.

    Parameters
    ----------
    log_ratio : ndarray, shape (N,)
        Log-ratios u of all completions.
    target : InducedTarget
        The prediction.
    seed : int, default 0
        Seed of the draws.

    Returns
    -------
    dict
        Numbers, all nan where the prediction has another form:

        - ``kappa_fit``: least squares of A/beta - u on h, through the origin where the constant is 0, over 4096 draws
          of the behavior; over all completions the fit would hang on those of probability 1e-12 and ratio 1e8.
        - ``kappa_fit_error``: its standard error, from the residuals: 0 where all pairs are on the curve.
        - ``kappa_identity``: E[A/beta - u] / E[h] over all completions, which with h = w is E[A]/beta +
          KL(behavior || policy); nan with a constant.
    """
    cap = target.objective.cap if isinstance(target.objective, ps.TruncatedIS) else 0.0
    z = np.asarray(target.advantage) / (np.nan if target.beta is None else target.beta)
    u = np.asarray(target.log_ratio)
    constant = z - u - float(target.kappa) * np.maximum(np.exp(u), cap)
    if not np.ptp(constant) <= 1e-6:
        return dict.fromkeys(("kappa_fit", "kappa_fit_error", "kappa_identity"), np.nan)
    free, q = bool(np.abs(constant).max() > 1e-6), np.asarray(target.behavior)
    x, h = z - log_ratio, np.maximum(np.exp(log_ratio), cap)
    identity = np.nan if free else float(q @ x / (q @ h))
    counts = np.random.default_rng(seed).multinomial(_DRAWN, q)
    if free:
        x, h = x - np.average(x, weights=counts), h - np.average(h, weights=counts)
    with np.errstate(invalid="ignore"):  # no spread in h: nan
        kappa = np.divide(counts @ (h * x), square := counts @ h**2)
        error = np.sqrt(counts @ (h * (x - kappa * h)) ** 2) / square
    return {"kappa_fit": float(kappa), "kappa_fit_error": float(error), "kappa_identity": identity}


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
    """Compute the scalar that training descends: its gradient in the log-ratios is -q g.

    Here g is the score weight of the objective. Where the weights couple the completions, the scalar is the published
    loss averaged under q.

    Parameters
    ----------
    u : Tensor, shape (N,)
        Log-ratios of the completions.
    q : Tensor, shape (N,)
        Their probabilities under the behavior.
    advantage : Tensor, shape (N,)
        Their advantages.
    objective : Objective
        The objective.

    Returns
    -------
    Tensor
        The scalar.

    Examples
    --------
    >>> u = torch.tensor([0.1, -0.2], dtype=torch.float64, requires_grad=True)
    >>> q, advantage = torch.tensor([0.5, 0.5], dtype=torch.float64), torch.tensor([1.0, -1.0], dtype=torch.float64)
    >>> population_loss(u, q, advantage, ps.Kimi(beta=1.0)).backward()
    >>> u.grad  # -q 2 beta (A - beta u)
    tensor([-0.9000,  0.8000], dtype=torch.float64)
    """
    if objective.coupled:
        return torch.sum(q * objective.loss(u, advantage, q))
    return _Potential.apply(u, q, advantage, objective)  # type: ignore[no-untyped-call,no-any-return]
