r"""Metrics of the policy in training, pooled over micro-batches, processes and the steps of a log.

`llm.training.trainer.OffPolicyTrainer` logs them for the completions trained on and the policy before each step:

- ``log_ratio/mean``, ``log_ratio/max``: of whole completions, to the policy that sampled, in nats;
- ``kl/policy_behavior``, ``kl/behavior_policy``: KL both ways, nats;
- ``kappa_fit``, ``kappa_identity``: kappa by least squares and by its identity (`pessimism.diagnosis.readings`), where
  the log-ratio trained on is of whole completions and the objective's target is log w + kappa w = A/beta;
  ``kappa_untrained``: what both would be if the policy were still the behavior;
- ``effective_temperature``: inverse slope of the log-ratio on the reward inside groups, which is beta' for a nominal
  target at beta' and, for rewards of two values, 1 / log(w+/w-) whatever the policy;
- ``entropy``: of the next token, nats, mean over tokens;
- ``pass_rate``: share of rewards >= 1;
- ``regime/positive``, ``regime/boundary``, ``regime/negative``: share of groups in each regime, by Z = mean exp(A /
  beta) over the completions of the group, taken as all there are; ``leak``: mean of (1 - Z)_+, the mass that such a
  group lets go.

TRL's ``reward`` is that of the completions generated in the step, which may be trained on later.

Source: arXiv 2605.28150; docs/theory.md.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from llm.training.losses import LogRatio
from pessimism.core.objective import Objective
from pessimism.diagnosis.readings import TERMS, has_kappa, moments, readings

_BOUNDARY = 1e-6  # of log Z: float32 rewards lie this near to it where it is meant to be 0
_NAMES = {"kl": "kl/policy_behavior", "kl_reverse": "kl/behavior_policy"}
_KAPPAS = ("kappa_fit", "kappa_identity", "kappa_untrained")
_WIDTH = len(TERMS) ** 2  # of the moments, flat
_GROUPS = _WIDTH + 6  # where the metrics of groups begin, after the other sums
_OF_GROUPS = ("pass_rate", "regime/positive", "regime/boundary", "regime/negative", "leak")


def group_metrics(objective: Objective, reward: Tensor, weights: Tensor | None = None) -> Tensor:
    """Compute what each completion adds to the mean of the `named` metrics of groups.

    Parameters
    ----------
    objective : Objective
        Its advantages put a group in a regime.
    reward : Tensor, shape (groups, G)
        Reward of each completion.
    weights : Tensor, shape (groups, G), optional
        Probabilities in the group under which baseline and Z are taken; None where all are alike.

    Returns
    -------
    Tensor, shape (groups, G, n)
        A metric of a group stands at each of its completions, so that a mean over completions is one over groups.

    Examples
    --------
    >>> import pessimism as ps
    >>> reward = torch.tensor([[0.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
    >>> found = named(group_metrics(ps.Kimi(beta=0.5), reward).mean(dim=(0, 1)))
    >>> found["pass_rate"], found["regime/positive"], found["regime/boundary"]
    (0.75, 0.5, 0.5)
    """
    passed = (reward >= 1).double()
    beta = objective.temperature
    if beta is None:
        return passed[..., None]
    log_weights = -math.log(reward.shape[1]) if weights is None else weights.log()
    log_z = torch.logsumexp(objective.advantage(reward, weights) / beta + log_weights, dim=1, keepdim=True)
    above, below = log_z > _BOUNDARY, log_z < -_BOUNDARY
    leak = -torch.expm1(torch.where(below, log_z, 0.0))
    each = (passed, above.double(), (~above & ~below).double(), below.double(), leak)
    return torch.stack([values.expand_as(passed) for values in each], dim=-1)


def named(means: Tensor) -> dict[str, float]:
    """Name the means ``(n,)`` of `group_metrics`; n is 1 for objectives without a temperature."""
    return dict(zip(_OF_GROUPS, means.tolist(), strict=False))


class Measured:
    """Sums over the micro-batches of a step, and over the steps since the last log.

    Sums are pooled because a mean over steps of a ratio, such as the effective temperature, would be dominated by the
    step with the smallest denominator.
    """

    def __init__(self, objective: Objective, level: LogRatio) -> None:
        self.beta = objective.temperature
        self.kappas = _KAPPAS if level == "sequence" and has_kappa(objective) else ()
        self._step: Tensor | None = None  # moments, then sums
        self._max: Tensor | None = None
        self._steps: Tensor | None = None
        self._largest = -math.inf

    def add(
        self, batch: dict[str, Any], log_ratio: Tensor, share: Tensor | float, loss: Tensor, entropies: Tensor | None
    ) -> None:
        """Add a micro-batch.

        Parameters
        ----------
        batch : dict
            ``advantages``, ``reward`` and ``centered`` ``(B,)``, the last one less the mean of its group; ``groups``
            ``(B, n)``, rows of `group_metrics`.
        log_ratio : Tensor, shape (B,)
            log(policy / behavior) of whole completions.
        share : Tensor, shape (B,), or float
            log(reference / behavior), or 0: the target around a reference is the one around the behavior with beta
            times this on the advantage.
        loss : Tensor
            The loss, a scalar.
        entropies : Tensor or None
            Entropy of the next token, at all tokens that count; None where TRL logs it.
        """
        u, c = log_ratio.double(), batch["centered"].double()
        products = moments(u, batch["advantages"].double() / (self.beta or 1.0) + share, batch["reward"].double())
        h = u.new_zeros(0) if entropies is None else entropies.double()
        tokens = torch.stack([h.sum(), u.new_tensor(float(h.numel()))])
        own = torch.stack([(~torch.isfinite(loss)).double(), u.sum(), (c * c).sum(), (c * u).sum(), *tokens])
        sums = torch.cat([products.flatten(), own, batch["groups"].sum(dim=0)])
        self._step = sums if self._step is None else self._step + sums
        self._max = u.max() if self._max is None else torch.maximum(self._max, u.max())

    def end_step(self, accelerator: Any) -> bool:
        """Add what all processes saw in the step, and say whether every loss was finite."""
        assert self._step is not None
        assert self._max is not None
        step = accelerator.reduce(self._step, reduction="sum").cpu()
        self._largest = max(self._largest, accelerator.gather(self._max[None]).max().item())
        self._steps = step if self._steps is None else self._steps + step
        self._step = self._max = None
        return bool(step[_WIDTH] == 0)

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps between two steps."""
        return {"steps": self._steps, "largest": self._largest}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from the state of a checkpoint."""
        kept = state["steps"]
        self._steps, self._largest = None if kept is None else kept.cpu(), state["largest"]

    def end_log(self) -> dict[str, float]:
        """Compute the metrics of the steps since the last call; none where there was no step."""
        if self._steps is None:
            return {}
        steps, largest = self._steps, self._largest
        self._steps, self._largest = None, -math.inf
        found = readings(steps[:_WIDTH].view(len(TERMS), -1).numpy())
        _, total_u, c_c, c_u, entropy, tokens = steps[_WIDTH:_GROUPS].tolist()
        metrics = {"log_ratio/mean": total_u / found["n"], "log_ratio/max": largest}
        metrics |= {name: found[key] for key, name in _NAMES.items()}
        metrics |= {name: found[name] for name in self.kappas}
        metrics["effective_temperature"] = c_c / c_u if c_u else math.nan
        metrics |= {"entropy": entropy / tokens} if tokens else {}
        return metrics | named(steps[_GROUPS:] / found["n"])
