"""TRL's trainer on data as old as asked for, with the advantages of an objective."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from datasets import Dataset
from torch import Tensor

from llm.training.config import OffPolicyConfig
from llm.training.lag import Batch, Delay, PromptOrder
from llm.training.losses import at_level, with_lengths
from llm.training.metrics import group_metrics, named
from llm.training.resumable_trainer import ResumableTrainer
from pessimism.core.objective import Objective


class LaggedTrainer(ResumableTrainer):
    """Trainer on data as old as asked for: what `llm.training.trainer.OffPolicyTrainer` trains on.

    A batch is that of TRL, with `advantages` of the objective, and with these for each completion: `reward`, `centered`
    (the reward less the mean of the group) and `groups` (of `llm.training.metrics.group_metrics`). Where the data will
    be older than the policy that trains on them, it has `old_per_token_logps`, too.
    """

    args: OffPolicyConfig
    objective: Objective
    _made_for: ClassVar[tuple[str, ...]] = (*ResumableTrainer._made_for, "lag_mode", "lag")
    _theirs: bool  # the loss is TRL's, and so are the advantages
    _coupled: bool
    _rewards: Tensor | None = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._delay = Delay(self.args.lag)
        self._order = self._new_order() if isinstance(self.train_dataset, Dataset) else None
        if self._order is None and self.args.lag_mode == "constant":
            raise ValueError('lag_mode="constant" needs a data set of known length, not an iterable one')

    def _new_order(self) -> PromptOrder:
        a = self.args
        prompts = a.generation_batch_size // a.num_generations
        if len(self.train_dataset) < prompts:
            raise ValueError(
                f"train_dataset has {len(self.train_dataset)} prompts, fewer than the {prompts} of a generation batch "
                f"({a.generation_batch_size} completions in groups of {a.num_generations})"
            )
        size = a.generation_batch_size // self.accelerator.num_processes
        process = {"process": self.accelerator.process_index, "processes": self.accelerator.num_processes}
        return PromptOrder(self._get_train_sampler(), size=size, repeats=a.steps_per_generation, **process)

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> Batch:
        if not self.model.training:
            return self._scored(inputs)
        if self._order is None:
            return self._grouped(self._scored(inputs))
        order = self._order

        def make() -> Batch:
            return self._grouped(self._scored([dict(self.train_dataset[i]) for i in order.next()]))

        if self.args.lag_mode == "batch":
            return make()
        return self._delay.next(make, left=self.state.max_steps - self.state.global_step)

    def _scored(self, inputs: list[dict[str, Any]]) -> Batch:
        """Make a generation batch with the objective's advantages and with what the metrics read."""
        batch: Batch = super()._generate_and_score_completions(inputs)
        training = self.model.training
        group = self.num_generations if training else self.num_generations_eval
        if training:
            self._add_behavior(batch)
        assert self._rewards is not None
        reward, weights = self._rewards.view(-1, group).double(), self._baseline_weights(batch, group)
        own = slice(self.accelerator.process_index * len(inputs), (self.accelerator.process_index + 1) * len(inputs))
        if not self._theirs:
            lengths = self.accelerator.gather(self._mask(batch).sum(dim=1)).view(-1, group)
            advantages = with_lengths(self.objective, lengths).advantage(reward, weights).flatten().float()
            batch["advantages"] = advantages[own]
            self._log_advantages(advantages.tolist())
        batch["reward"] = self._rewards[own]
        batch["centered"] = (reward - reward.mean(dim=1, keepdim=True)).flatten()[own].float()
        groups = group_metrics(self.objective, reward, weights).flatten(0, 1)
        if training:
            return batch | {"groups": groups[own]}
        for name, value in named(groups.mean(dim=0)).items():
            self._metrics["eval"][name].append(value)
        return batch

    def _log_advantages(self, advantages: list[float]) -> None:
        """Log the advantages of this batch in place of TRL's own, which are in its log of completions already."""
        logged = self._logs["advantages"]
        before = list(logged)[: -len(advantages)]
        logged.clear()
        logged.extend(before + advantages)

    def _add_behavior(self, batch: Batch) -> None:
        """Add log-probabilities of the sampler where data will be older than TRL thinks, and check those of vLLM.

        TRL's own losses use those of the sampler only for a correction: their ratio is to the old policy.
        """
        sampled = "sampling_per_token_logps" in batch
        ours = self.args.lag_mode == "constant" and self.args.lag > 0 and (self._theirs or not sampled)
        check = self.args.verify_sync and sampled
        logps = batch.get("old_per_token_logps")
        if logps is None and (ours or check):
            logps = self._now(batch)
            batch |= {"old_per_token_logps": logps} if ours else {}
        if check:
            assert logps is not None
            from llm.generation.vllm import require_agreement, tolerance_of

            tolerance = tolerance_of(self.args.precision(self.model))
            require_agreement(batch["sampling_per_token_logps"], logps, self._mask(batch), tolerance=tolerance)

    def _baseline_weights(self, batch: Batch, group: int) -> Tensor | None:
        """Weight completions ``(groups, G)`` by the initial policy, where the baseline is an expectation under it."""
        if not self.objective.baseline_under_reference:
            return None
        if "sampling_per_token_logps" not in batch and "old_per_token_logps" not in batch:
            batch["old_per_token_logps"] = self._now(batch)
        reference = batch["ref_per_token_logps"]
        share = at_level(reference - self._behavior(batch, reference), self._mask(batch), "sequence")
        every: Tensor = self.accelerator.gather(share.double())
        return every.view(-1, group).softmax(dim=1)

    def _grouped(self, batch: Batch) -> Batch:
        """Put rows in whole groups where the loss couples their members: TRL shuffles and splits rows."""
        if not self._coupled:
            return batch
        group = self.num_generations
        return {
            key: v.view(-1, group, *v.shape[1:]) if isinstance(v, Tensor) and v.ndim > 0 else v
            for key, v in batch.items()
        }

    def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any) -> Tensor:
        """Compute and keep TRL's rewards for all processes, and refuse those that are missing."""
        each: Tensor = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        lost = torch.isnan(each).all(dim=1)
        reward = (each * self.reward_weights.to(each.device)).nansum(dim=1)
        bad = lost | ~torch.isfinite(reward)
        if bad.any():
            raise ValueError(f"completion {int(bad.nonzero()[0])} of a generation batch has no finite reward")
        self._rewards = reward
        return each

    def _mask(self, inputs: Batch) -> Tensor:
        mask: Tensor = inputs["completion_mask"]
        return mask * inputs["tool_mask"] if "tool_mask" in inputs else mask

    def _log_probabilities(self, model: Any, inputs: Batch, **options: Any) -> tuple[Tensor, Tensor]:
        """Compute log-probabilities and, where asked for, entropies ``(B, T)`` of the tokens of the completions."""
        ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
        attention = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1)
        width = inputs["completion_ids"].size(1)
        logps, entropies, _ = self._get_per_token_logps_and_entropies(model, ids, attention, width, **options)
        return logps, entropies

    def _now(self, batch: Batch) -> Tensor:
        """Compute log-probabilities ``(B, T)`` of a generation batch under the policy as it is."""
        with torch.no_grad():
            size = self.args.per_device_train_batch_size
            return self._log_probabilities(self.model, batch, batch_size=size, compute_entropy=False)[0]

    @staticmethod
    def _behavior(inputs: Batch, logps: Tensor) -> Tensor:
        """Log-probabilities of the policy that sampled; those of the present policy where no data are older."""
        sampled = inputs.get("sampling_per_token_logps")
        found: Tensor | None = inputs.get("old_per_token_logps") if sampled is None else sampled
        return logps.detach() if found is None else found

    # What a checkpoint holds beyond TRL's.

    def _own_state(self) -> dict[str, Any]:
        drawn = 0 if self._order is None else self._order.drawn
        mine = {"drawn": drawn, "waiting": list(self._delay.waiting), "max_steps": self.state.max_steps}
        return super()._own_state() | mine

    def _take_state(self, state: dict[str, Any]) -> None:
        super()._take_state(state)
        if self.args.lag_mode == "constant" and state["max_steps"] != self.state.max_steps:
            raise ValueError(
                f"max_steps must stay {state['max_steps']} on resume at a constant lag, got {self.state.max_steps}: "
                "data of the last steps were made for that end"
            )
        if self._order is None:
            raise ValueError("train_dataset must have a length on resume: a stream cannot be entered where the run was")
        self._delay = Delay(self.args.lag, state["waiting"])
        self._order = self._new_order()
        self._order.skip(state["drawn"])
