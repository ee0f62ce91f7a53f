r"""Training with any objective of `pessimism` on data that lag: TRL's trainer with another advantage and another loss.

Everything else is TRL's: generation, accelerate, FSDP, DeepSpeed, PEFT, loggers. The log-ratio is to the policy that
sampled (arXiv 2605.28150), so that the trained policy can be compared with the target that the objective induces.
"""

from __future__ import annotations

import inspect
import math
from contextlib import nullcontext
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from tqdm import tqdm
from transformers.integrations import is_fsdp_enabled  # type: ignore[attr-defined]

from llm.data.prompts import require_known, require_room, template_named
from llm.data.rewards import Reward
from llm.generation.sampler import finite_probabilities, only_ours
from llm.training.config import OffPolicyConfig
from llm.training.lag import Batch
from llm.training.lagged_trainer import LaggedTrainer
from llm.training.losses import at_level, objective_loss, published_level
from llm.training.metrics import Measured
from pessimism.core.check import check
from pessimism.core.objective import Objective, ObjectiveLike, as_objective
from pessimism.files import write_text
from pessimism.trainers.trl import trl_loss

_NAMED = next(f.default for f in fields(OffPolicyConfig) if f.name == "objective")
_TOKENIZED = 1000  # prompts at a time


class OffPolicyTrainer(LaggedTrainer):
    """TRL's `GRPOTrainer` for an objective of `pessimism`, on data that lag.

    It logs the metrics of `llm.training.metrics` beside those of TRL.

    Parameters
    ----------
    *arguments : object
        As TRL takes them: the model, the reward functions, the arguments, the data. ``args`` is an `OffPolicyConfig`.
    objective : object, optional
        An object with `advantage`, `score_weight` and `loss`, for numpy arrays and torch tensors, in place of the name
        in ``args``.
    **options : object
        As TRL takes them.

    Raises
    ------
    ValueError
        If

        - the objective cannot be trained on sampled completions, or not at that lag, or one from outside the registry
          is not consistent (`pessimism.check`);
        - the objective needs the initial policy, and FSDP reads files in one process only;
        - the objective couples completions, and the batch of a device does not hold whole groups;
        - the prompts do not fill a generation batch, or one leaves no room for a completion;
        - a completion gets no finite reward;
        - lag or batches are not what they were, on resume.
    TypeError
        If ``args`` is no `OffPolicyConfig`, or the objective is a class.
    FloatingPointError
        If the loss or its gradient stops being finite. That is before the step, so that the weights and the last
        checkpoint are good (under DeepSpeed only the checkpoint: it takes a step within ``backward``).
    llm.storage.checkpoints.CheckpointError
        If a checkpoint cannot be written; the last one stays.
    """

    reward_funcs: list[Any]
    log_completions: bool

    def __init__(self, *arguments: Any, objective: ObjectiveLike | None = None, **options: Any) -> None:
        config = options.get("args") or next((a for a in arguments if isinstance(a, OffPolicyConfig)), None)
        if not isinstance(config, OffPolicyConfig):
            raise TypeError(f"args must be an OffPolicyConfig, got {type(config).__name__}")
        if objective is None:
            self.objective = config.made()
        else:
            self.objective = as_objective(objective)
            _require_own(self.objective, config)
        self._theirs = objective is None and trl_loss(self.objective) is not None
        self._level = config.log_ratio or published_level(self.objective)
        self._coupled = not self._theirs and self.objective.coupled
        if self._coupled:
            _require_whole_groups(config, self.objective)
        self._token_logs: Tensor | None = None
        self._measured = Measured(self.objective, self._level)
        if config.generation == "vllm":
            from llm.generation.vllm import prepare_colocate

            prepare_colocate(config.precision(options["model"] if "model" in options else arguments[0]))
        self._name = self.objective.title
        self._tag_names = ["trl", "pessimism"]
        self._paper = {"title": self._name, "id": self.objective.paper or None}
        super().__init__(*arguments, **options)
        self._require_text()
        self._require_reference()
        self._require_prompts()
        if len(self.reward_funcs) == 1 and _is_plain(self.reward_funcs[0]):  # of several, one may have nothing to say
            self.reward_funcs = [Reward(self.reward_func_names[0], self.reward_funcs[0])]

    def _require_text(self) -> None:
        if self._is_vlm:
            raise ValueError("processing_class must be a tokenizer: models that read images are not supported")
        if self.aux_loss_enabled and not self._theirs:
            raise ValueError(f"router_aux_loss_coef must be 0: {self.objective} has no such term")

    def _require_reference(self) -> None:
        if self.ref_model is not None and is_fsdp_enabled():  # in which case one process alone reads files
            raise ValueError(
                f"fsdp_cpu_ram_efficient_loading must be false with {self.objective}, which needs the initial policy: "
                "TRL's copy of it would be empty in all processes but one"
            )

    def _require_prompts(self) -> None:
        """Refuse data sets of known length without prompts, or with prompts that cannot be answered."""
        for name, data in (("train_dataset", self.train_dataset), ("eval_dataset", self.eval_dataset)):
            if not isinstance(data, Dataset):
                continue
            if "prompt" not in data.column_names:
                raise ValueError(f"{name} must have a column 'prompt'; its columns are {', '.join(data.column_names)}")
            if self.rollout_func is None and self.environment_factories is None:  # which make prompts of their own
                self._require_answerable(name, data)

    def _require_answerable(self, name: str, data: Dataset) -> None:
        most = [getattr(self.model.config, "max_position_embeddings", None)]
        most += [self.args.vllm_max_model_length] if self.args.use_vllm else []
        positions = min((m for m in most if m is not None), default=None)
        starts = range(0, len(data), _TOKENIZED)
        for start in tqdm(starts, desc=f"read {name}", delay=2, disable=None, leave=False):
            prompts = data[start : start + _TOKENIZED]["prompt"]
            with nullcontext() if isinstance(prompts[0], str) else template_named():
                ids = self._tokenize_prompts(prompts)[0]
            for i, prompt in enumerate(ids, start):
                require_known(prompt, self.processing_class, f"{name} row {i}")
                require_room(prompt, self.args.max_completion_length, positions, f"{name} row {i}")

    def create_model_card(self, *arguments: Any, **options: Any) -> None:
        """Write TRL's card; it says of a model from no hub that it is a local one, not that it came from "None"."""
        super().create_model_card(*arguments, **options)
        card = Path(self.args.output_dir) / "README.md"
        if self.is_world_process_zero():
            said = card.read_text(encoding="utf-8")
            base = "a fine-tuned version of [None](https://huggingface.co/None)"
            said = said.replace(base, "a fine-tuned version of a local model")
            write_text(card, said.replace('model="None"', f'model="{self.args.output_dir}"'))

    def _generate_single_turn(self, *arguments: Any, **options: Any) -> tuple[Any, Any]:
        """Generate as TRL does, with the settings of the run alone: the model's folder would fill in others."""
        with only_ours(self.accelerator.unwrap_model(self.model)), finite_probabilities():
            found: tuple[Any, Any] = super()._generate_single_turn(*arguments, **options)
        return found

    def _get_per_token_logps_and_entropies(self, model: Any, *arguments: Any, **options: Any) -> tuple[Any, Any, Any]:
        """Compute what TRL does, and keep the log-probabilities for the metrics of TRL's own losses."""
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

    def _record(self, logps: Tensor, entropies: Tensor | None, inputs: Batch, loss: Tensor) -> None:
        behavior, reference, mask = self._behavior(inputs, logps), inputs.get("ref_per_token_logps"), self._mask(inputs)
        share = 0.0 if reference is None else at_level(reference - behavior, mask, "sequence")
        u = at_level(logps.detach() - behavior, mask, "sequence")
        self._measured.add(inputs, u, share, loss.detach(), entropies)
        if not self.accelerator.sync_gradients:
            return
        if not self._measured.end_step(self.accelerator):
            raise FloatingPointError(self._not_finite("loss"))

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log as TRL does, with our metrics since the last log; completions only where there are new ones."""
        if self.model.training:
            for name, value in self._measured.end_log().items():
                self._metrics["train"][name].append(value)
        wanted = self.log_completions
        self.log_completions = wanted and len(self._logs["prompt"]) > 0
        super().log(logs, start_time)
        self.log_completions = wanted

    def _own_state(self) -> dict[str, Any]:
        mine = {"measured": self._measured.state(), "metrics": dict(self._metrics["train"])}
        return super()._own_state() | mine

    def _take_state(self, state: dict[str, Any]) -> None:
        super()._take_state(state)
        self._measured.restore(state["measured"])
        self._metrics["train"].update(state["metrics"])

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        scaled = getattr(self.accelerator, "scaler", None) is not None  # which leaves out such steps by itself
        if norm is not None and not scaled and not math.isfinite(norm):
            raise FloatingPointError(self._not_finite("gradient"))
        return norm

    def _not_finite(self, what: str) -> str:
        return f"the {what} of {self.objective} is not finite in step {self.state.global_step + 1}: the run ends"


def _require_own(objective: Objective, config: OffPolicyConfig) -> None:
    if config.hyper is not None or config.objective != _NAMED:
        given = f"objective={config.objective!r}" if config.hyper is None else f"hyper={config.hyper!r}"
        raise ValueError(f"args.{given} must be left out beside objective, which is {objective}")
    config.serve(objective)
    check(objective, arrays="torch")


def _is_plain(function: Any) -> bool:
    return inspect.isroutine(function) and not inspect.iscoroutinefunction(function)


def _require_whole_groups(config: OffPolicyConfig, objective: Objective) -> None:
    sizes = [("per_device_train_batch_size", "num_generations", config.num_generations)]
    if config.eval_strategy != "no":
        sizes += [("per_device_eval_batch_size", "num_generations_eval", config.num_generations_eval or sizes[0][2])]
    for name, of, group in sizes:
        if (size := getattr(config, name)) % group:
            raise ValueError(
                f"{name} must be a multiple of {of} for {objective}, which couples a group, got {size} and {group}"
            )
