r"""Training with any objective of `pessimism` on data that lag: TRL's trainer with another advantage and another loss.

Everything else is TRL's: generation, accelerate, FSDP, DeepSpeed, PEFT, loggers. The log-ratio is to the policy that
sampled (arXiv 2605.28150), so that the trained policy can be compared with the target that the objective induces.
"""

from __future__ import annotations

import inspect
import math
from typing import Any, ClassVar

import torch
from datasets import Dataset
from torch import Tensor

from llm.config import OffPolicyConfig, trl_loss
from llm.lagged import Batch, Delay, PromptOrder
from llm.objective_loss import at_level, objective_loss, published_level
from llm.resumable import ResumableTrainer
from llm.rewards import Reward
from llm.train_metrics import Measured, group_metrics, named
from pessimism.field import is_coupled
from pessimism.objectives import ObjectiveLike


class OffPolicyTrainer(ResumableTrainer):
    """TRL's `GRPOTrainer` for an objective of `pessimism`, on batches or at a constant lag.

    Parameters
    ----------
    model, reward_funcs, args, train_dataset, ... : as TRL takes them; ``args`` is an `OffPolicyConfig`.
    objective : an object with `advantage`, `score_weight` and `loss`, in place of the name in ``args``.

    Logged each step beside TRL's metrics: see `llm.train_metrics`.

    Raises
    ------
    ValueError
        If the objective cannot be trained on sampled completions, or not at that lag; if it couples completions and a
        device's batch does not hold whole groups; if the prompts do not fill a generation batch; if a completion gets
        no finite reward; on resume, if lag or batches are not what they were.
    FloatingPointError
        If the loss or its gradient stops being finite: before the step, so that the weights and the last checkpoint
        are good.
    llm.checkpoints.CheckpointError
        If a checkpoint cannot be written; the last one stays.
    """

    args: OffPolicyConfig
    reward_funcs: list[Any]
    _made_for: ClassVar[tuple[str, ...]] = (*ResumableTrainer._made_for, "lag_mode", "lag")

    def __init__(self, *arguments: Any, objective: ObjectiveLike | None = None, **options: Any) -> None:
        config = options.get("args") or next((a for a in arguments if isinstance(a, OffPolicyConfig)), None)
        if not isinstance(config, OffPolicyConfig):
            raise TypeError(f"args must be an OffPolicyConfig, got {type(config).__name__}")
        self.objective: ObjectiveLike = config.made() if objective is None else objective
        self._theirs = objective is None and trl_loss(self.objective) is not None
        if objective is not None:
            config.serve(objective)
        self._level = config.log_ratio or published_level(self.objective)
        self._coupled = not self._theirs and is_coupled(self.objective)
        if self._coupled:
            _require_whole_groups(config, self.objective)
        self._rewards: Tensor | None = None
        self._token_logs: Tensor | None = None
        self._measured = Measured(self.objective)
        if config.generation == "vllm":
            from llm.vllm_engine import prepare_colocate

            prepare_colocate(config.precision)
        super().__init__(*arguments, **options)
        self._require_text()
        if len(self.reward_funcs) == 1 and _is_plain(self.reward_funcs[0]):  # of several, one may have nothing to say
            self.reward_funcs = [Reward(self.reward_func_names[0], self.reward_funcs[0])]
        self._delay = Delay(config.lag)
        self._order = self._new_order() if isinstance(self.train_dataset, Dataset) else None
        if self._order is None and config.lag_mode == "constant":
            raise ValueError('lag_mode="constant" needs a data set of known length, not an iterable one')

    def _require_text(self) -> None:
        if self._is_vlm:
            raise ValueError("processing_class must be a tokenizer: models that read images are not supported")
        if self.aux_loss_enabled and not self._theirs:
            raise ValueError(f"router_aux_loss_coef must be 0: {self.objective} has no such term")

    # Data: advantages of the objective, as old as asked for.

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
        """A generation batch with the objective's advantages and with what the metrics read."""
        batch: Batch = super()._generate_and_score_completions(inputs)
        training = self.model.training
        group = self.num_generations if training else self.num_generations_eval
        assert self._rewards is not None
        reward = self._rewards.view(-1, group).double()
        own = slice(self.accelerator.process_index * len(inputs), (self.accelerator.process_index + 1) * len(inputs))
        if not self._theirs:
            batch["advantages"] = self.objective.advantage(reward, None).flatten()[own].float()
        batch["reward"] = self._rewards[own]
        batch["centered"] = (reward - reward.mean(dim=1, keepdim=True)).flatten()[own].float()
        groups = group_metrics(self.objective, reward).flatten(0, 1)
        if training:
            batch["groups"] = groups[own]
            self._add_behavior(batch)
        else:
            for name, value in named(groups.mean(dim=0)).items():
                self._metrics["eval"][name].append(value)
        return batch

    def _add_behavior(self, batch: Batch) -> None:
        """The sampler's log-probabilities where data will be older than TRL thinks, and whether vLLM's are right."""
        ours = self.args.lag_mode == "constant" and self.args.lag > 0 and "sampling_per_token_logps" not in batch
        check = self.args.verify_sync and "sampling_per_token_logps" in batch
        logps = batch.get("old_per_token_logps")
        if logps is None and (ours or check):
            with torch.no_grad():
                size = self.args.per_device_train_batch_size
                logps, _ = self._log_probabilities(self.model, batch, batch_size=size, compute_entropy=False)
            batch |= {"old_per_token_logps": logps} if ours or self._theirs else {}
        if check:
            assert logps is not None
            from llm.vllm_engine import require_agreement, tolerance_of

            tolerance = tolerance_of(self.args.precision)
            require_agreement(batch["sampling_per_token_logps"], logps, self._mask(batch), tolerance=tolerance)

    def _grouped(self, batch: Batch) -> Batch:
        """Rows of a batch in whole groups, which TRL then shuffles and splits, where the loss couples their members."""
        if not self._coupled:
            return batch
        group = self.num_generations
        return {
            key: v.view(-1, group, *v.shape[1:]) if isinstance(v, Tensor) and v.ndim > 0 else v
            for key, v in batch.items()
        }

    def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any) -> Tensor:
        """TRL's, for all processes; kept, and none of them missing."""
        each: Tensor = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        lost = torch.isnan(each).all(dim=1)
        reward = (each * self.reward_weights.to(each.device)).nansum(dim=1)
        bad = lost | ~torch.isfinite(reward)
        if bad.any():
            raise ValueError(f"completion {int(bad.nonzero()[0])} of a generation batch has no finite reward")
        self._rewards = reward
        return each

    # Loss.

    def _mask(self, inputs: Batch) -> Tensor:
        mask: Tensor = inputs["completion_mask"]
        return mask * inputs["tool_mask"] if "tool_mask" in inputs else mask

    def _log_probabilities(self, model: Any, inputs: Batch, **options: Any) -> tuple[Tensor, Tensor]:
        """Log-probabilities and, where asked for, entropies ``(B, T)`` of the tokens of the completions."""
        ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
        attention = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1)
        width = inputs["completion_ids"].size(1)
        logps, entropies, _ = self._get_per_token_logps_and_entropies(model, ids, attention, width, **options)
        return logps, entropies

    def _get_per_token_logps_and_entropies(self, model: Any, *arguments: Any, **options: Any) -> tuple[Any, Any, Any]:
        """TRL's; the log-probabilities of the last call are kept, for the metrics of TRL's own losses."""
        found: tuple[Any, Any, Any] = super()._get_per_token_logps_and_entropies(model, *arguments, **options)
        self._token_logs = found[0].detach()
        return found

    def _compute_loss(self, model: Any, inputs: Batch) -> Tensor:
        training = self.model.training
        if self._theirs:
            loss: Tensor = super()._compute_loss(model, inputs)
            if training:
                assert self._token_logs is not None
                self._record(self._token_logs, None, inputs, loss)
            return loss
        if self._coupled and training:
            inputs = {k: v.flatten(0, 1) if isinstance(v, Tensor) and v.ndim > 1 else v for k, v in inputs.items()}
        logps, entropies = self._log_probabilities(model, inputs, compute_entropy=True)
        loss = self._our_loss(logps, inputs)
        counted = entropies[self._mask(inputs).bool()].detach()
        if not training:
            self._metrics["eval"]["entropy"].append(self._mean_of_all(counted))
            return loss
        self._record(logps, counted, inputs, loss)
        part: Tensor = loss / self.current_gradient_accumulation_steps
        return part

    def _our_loss(self, logps: Tensor, inputs: Batch) -> Tensor:
        behavior, reference = self._behavior(inputs, logps), inputs.get("ref_per_token_logps")
        return objective_loss(
            self.objective,
            logps - (behavior if reference is None else reference),
            inputs["advantages"],
            self._mask(inputs),
            level=self._level,
            group=self.num_generations if self.model.training else self.num_generations_eval,
            log_share=None if reference is None else reference - behavior,
        )

    def _mean_of_all(self, values: Tensor) -> float:
        total = self.accelerator.reduce(torch.stack([values.sum(), values.new_tensor(len(values))]), reduction="sum")
        return float(total[0] / total[1])

    @staticmethod
    def _behavior(inputs: Batch, logps: Tensor) -> Tensor:
        """Log-probabilities of the policy that sampled; the present one's own where nothing is older."""
        sampled = inputs.get("sampling_per_token_logps")
        found: Tensor | None = inputs.get("old_per_token_logps") if sampled is None else sampled
        return logps.detach() if found is None else found

    def _record(self, logps: Tensor, entropies: Tensor | None, inputs: Batch, loss: Tensor) -> None:
        behavior, reference, mask = self._behavior(inputs, logps), inputs.get("ref_per_token_logps"), self._mask(inputs)
        share = 0.0 if reference is None else at_level(reference - behavior, mask, "sequence")
        u = at_level(logps.detach() - behavior, mask, "sequence")
        self._measured.add(inputs, u, share, loss.detach(), entropies)
        if not self.accelerator.sync_gradients:
            return
        found = self._measured.pooled(self.accelerator)
        if not found.pop("finite"):
            raise FloatingPointError(self._not_taken("loss"))
        for name, value in found.items():
            self._metrics["train"][name].append(value)

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        scaled = getattr(self.accelerator, "scaler", None) is not None  # which leaves out such steps by itself
        if norm is not None and not scaled and not math.isfinite(norm):
            raise FloatingPointError(self._not_taken("gradient"))
        return norm

    def _not_taken(self, what: str) -> str:
        return f"the {what} of {self.objective} is not finite in step {self.state.global_step + 1}: not taken"

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
        self._delay = Delay(self.args.lag, state["waiting"])
        if self._order is not None:
            self._order = self._new_order()
            self._order.skip(state["drawn"])


def _is_plain(function: Any) -> bool:
    return inspect.isroutine(function) and not inspect.iscoroutinefunction(function)


def _require_whole_groups(config: OffPolicyConfig, objective: ObjectiveLike) -> None:
    sizes = [("per_device_train_batch_size", "num_generations", config.num_generations)]
    if config.eval_strategy != "no":
        sizes += [("per_device_eval_batch_size", "num_generations_eval", config.num_generations_eval or sizes[0][2])]
    for name, of, group in sizes:
        if (size := getattr(config, name)) % group:
            raise ValueError(
                f"{name} must be a multiple of {of} for {objective}, which couples a group, got {size} and {group}"
            )
