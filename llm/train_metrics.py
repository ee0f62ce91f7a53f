r"""What a training step says about its policy, pooled over micro-batches and processes.

Logged by `llm.trainer.OffPolicyTrainer`, of the completions trained on and of the policy before the step:

- ``log_ratio/mean``, ``log_ratio/max``: of whole completions, to the policy that sampled, in nats;
- ``kl/policy_behavior``, ``kl/behavior_policy``: KL both ways, nats;
- ``kappa_fit``, ``kappa_identity``: kappa by least squares and by its identity (`llm.readings`), for objectives with a
  temperature;
- ``effective_temperature``: inverse slope of the log-ratio on the reward inside groups, which is beta' for a nominal
  target at beta' and, for rewards of two values, 1 / log(w+/w-) whatever the policy;
- ``pass_rate``: share of rewards >= 1, at generation;
- ``regime/positive``, ``regime/boundary``, ``regime/negative``: share of groups whose completions, taken as all there
  are, put the target there, by Z = mean exp(A / beta); ``leak``: mean of (1 - Z)_+, the mass that such a group lets go.

Source: arXiv 2605.28150; docs/theory.md.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from llm.readings import moments, readings
from pessimism.objectives import ObjectiveLike
from pessimism.objectives.base import temperature_of

_BOUNDARY = 1e-6  # of log Z: float32 rewards lie this near to it where it is meant to be 0
_NAMES = {"kl": "kl/policy_behavior", "kl_reverse": "kl/behavior_policy"}
_KAPPAS = ("kappa_fit", "kappa_identity")


def group_metrics(objective: ObjectiveLike, reward: Tensor) -> dict[str, float]:
    """Pass rate, and shares of the regimes and leak of groups of rewards ``(groups, G)``.

    Examples
    --------
    >>> import pessimism as ps
    >>> reward = torch.tensor([[0.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
    >>> found = group_metrics(ps.Kimi(beta=0.5), reward)
    >>> found["pass_rate"], found["regime/positive"], found["regime/boundary"]
    (0.75, 0.5, 0.5)
    """
    found = {"pass_rate": (reward >= 1).double().mean().item()}
    beta = temperature_of(objective)
    if beta is None:
        return found
    advantage = objective.advantage(reward, None)
    log_z = torch.logsumexp(advantage / beta, dim=1) - torch.log(torch.tensor(float(reward.shape[1])))
    above, below = log_z > _BOUNDARY, log_z < -_BOUNDARY
    shares = {"positive": above, "boundary": ~above & ~below, "negative": below}
    found |= {f"regime/{name}": chosen.double().mean().item() for name, chosen in shares.items()}
    return found | {"leak": (-torch.expm1(torch.where(below, log_z, 0.0))).mean().item()}


class Measured:
    """Sums over the micro-batches of a step."""

    def __init__(self, objective: ObjectiveLike) -> None:
        self.beta = temperature_of(objective)
        self._clear()

    def _clear(self) -> None:
        self._moments: Tensor | None = None
        self._sums: Tensor | None = None
        self._max: Tensor | None = None

    def add(self, log_ratio: Tensor, advantage: Tensor, reward: Tensor, centered: Tensor, loss: Tensor) -> None:
        """Add a micro-batch: log-ratios, advantages, rewards and rewards less their group's mean, all ``(B,)``."""
        u = log_ratio.double()
        products = moments(u, advantage.double() / (self.beta or 1.0), reward.double())
        c = centered.double()
        sums = torch.stack([u.sum(), (c * c).sum(), (c * u).sum(), (~torch.isfinite(loss)).double()])
        self._moments = products if self._moments is None else self._moments + products
        self._sums = sums if self._sums is None else self._sums + sums
        self._max = u.max() if self._max is None else torch.maximum(self._max, u.max())

    def pooled(self, accelerator: Any) -> dict[str, float]:
        """Metrics of all processes since the last call, and whether every loss was ``finite``."""
        assert self._moments is not None
        assert self._sums is not None
        assert self._max is not None
        width = self._moments.numel()
        flat = accelerator.reduce(torch.cat([self._moments.flatten(), self._sums]), reduction="sum").cpu()
        largest = accelerator.gather(self._max[None]).max().item()
        self._clear()
        total_u, c_c, c_u, broken = flat[width:].tolist()
        found = readings(flat[:width].view(int(width**0.5), -1).numpy())
        metrics = {"finite": broken == 0, "log_ratio/mean": total_u / found["n"], "log_ratio/max": largest}
        metrics |= {name: found[key] for key, name in _NAMES.items()}
        metrics |= {name: found[name] for name in _KAPPAS if self.beta is not None}
        return metrics | {"effective_temperature": c_c / c_u if c_u else float("nan")}
