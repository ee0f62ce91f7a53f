"""Settings of a training run: TRL's own fields, and the objective, the lag and the engine that generates."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal

from trl import GRPOConfig

from llm.models.load import dtype_of
from llm.settings import mapping
from llm.training.losses import LEVELS, LogRatio, published_level, why_untrainable
from pessimism.core.objective import Objective
from pessimism.losses.registry import make_objective
from pessimism.trainers.trl import trl_loss

# Set here from the objective; what the user may not set beside it.
OF_THE_OBJECTIVE = (
    *("beta", "epsilon", "epsilon_high", "loss_type", "importance_sampling_level", "scale_rewards"),
    *("use_bias_correction_kl", "delta"),
)
# Of TRL's losses alone: another objective would ignore them silently, or lose its meaning.
_OF_TRL = (
    *("entropy_coef", "use_adaptive_entropy", "off_policy_mask_threshold", "top_entropy_quantile"),
    *("multi_objective_aggregation", "mask_truncated_completions", "sync_ref_model"),
)
_TRL = {f.name: f.default for f in fields(GRPOConfig)}
_SAMPLING = {
    **{"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": None, "repetition_penalty": 1.0},
    **{"generation_kwargs": None, "vllm_structured_outputs_regex": None},
}
_COUNTS = {"num_generations": 2, "max_completion_length": 1}


def _set_by_objective() -> Any:
    return field(default=None, metadata={"help": "Must be left out: the objective sets it, see hyper."})


@dataclass
class OffPolicyConfig(GRPOConfig):  # type: ignore[misc]
    """Arguments of `llm.training.trainer.OffPolicyTrainer`: those of TRL's `GRPOConfig`, and what is listed here.

    Attributes
    ----------
    objective : str
        Name in `pessimism.objectives()`, or with hyper-parameters "kimi:beta=0.1". GRPO, Dr. GRPO, DAPO, GSPO and CISPO
        run TRL's own losses, where the eps of the standard deviation is 1e-4.
    hyper : dict or str
        Hyper-parameters of the objective by name, a mapping or JSON text of one; those left out are as published.
    lag : int
        Optimizer steps between two generations ("batch"), or since the policy that sampled ("constant").
    lag_mode : {"batch", "constant"}
        "batch": one generation batch serves `lag` steps, so that its k-th minibatch is k steps old (OAPL, arXiv
        2602.19362). "constant": every step trains on data of the policy exactly `lag` steps ago, before that of the
        initial one; ``lag >= max_steps`` freezes the behavior.
    log_ratio : {"sequence", "token", "length_normalized"}
        Level of the log-ratio; as published by default.
    generation : {"transformers", "vllm"}
        Engine that generates; vLLM runs in this process and gets the weights before each generation.
    verify_sync : bool
        Whether to compare, after each generation by vLLM, its log-probabilities with those of the model, and to stop
        where they differ. Stale weights would be taken for lag by a log-ratio. It costs a forward.

    Raises
    ------
    ValueError
        If there is no such objective or hyper-parameter; if a value is out of range; if a field of TRL is given that
        the objective sets or would not read; if sampling is not at temperature 1 from the full distribution, whose
        log-probability is that of the behavior.

    Examples
    --------
    >>> config = OffPolicyConfig("out", objective="oapl", lag=16, gradient_accumulation_steps=2, use_cpu=True)
    >>> config.made(), config.steps_per_generation, config.level
    (OAPL(beta1=1.0, beta2=0.001), 32, 'sequence')
    """

    _VALID_DICT_FIELDS: ClassVar[list[str]] = [*GRPOConfig._VALID_DICT_FIELDS, "hyper"]

    objective: str = field(
        default="shifted_mean",
        metadata={"help": "Objective, 'kimi' or 'kimi:beta=0.1'; `pessimism objectives` lists them."},
    )
    hyper: dict[str, Any] | str | None = field(
        default=None,
        metadata={"help": "Hyper-parameters of the objective, as a mapping or JSON; published values by default."},
    )
    lag: int = field(
        default=1, metadata={"help": "Optimizer steps between the policy that samples and the one that is trained."}
    )
    lag_mode: Literal["batch", "constant"] = field(
        default="batch",
        metadata={
            "help": "batch: a generation batch serves `lag` steps; constant: all data are exactly `lag` steps old."
        },
    )
    log_ratio: Literal["sequence", "token", "length_normalized"] | None = field(
        default=None, metadata={"help": "Level at which the log-ratio is taken; the published one by default."}
    )
    generation: Literal["transformers", "vllm"] = field(
        default="transformers", metadata={"help": "Engine that generates the completions."}
    )
    verify_sync: bool = field(
        default=False,
        metadata={"help": "Stop where vLLM's log-probabilities differ from the model's after a generation."},
    )
    disable_dropout: bool = field(
        default=True, metadata={"help": "Turn dropout off; with it, the log-ratio of a policy to itself is not 0."}
    )
    lr_scheduler_type: str = field(default="constant", metadata={"help": "Schedule of the learning rate."})
    # TRL's own, without its defaults: a value that somebody gives is seen.
    beta: float | None = _set_by_objective()
    epsilon: float | None = _set_by_objective()
    epsilon_high: float | None = _set_by_objective()
    loss_type: str | None = _set_by_objective()
    importance_sampling_level: str | None = _set_by_objective()
    scale_rewards: str | None = _set_by_objective()
    use_bias_correction_kl: bool | None = _set_by_objective()
    # The order of the union is what the parser of transformers understands.
    report_to: None | str | list[str] = field(default="none", metadata={"help": "Loggers that get the metrics."})  # noqa: RUF036

    def __post_init__(self) -> None:
        for name in OF_THE_OBJECTIVE:
            if getattr(self, name) is not None:
                raise ValueError(f"{name} is set by the objective: use hyper, got {name}={getattr(self, name)!r}")
            setattr(self, name, _TRL[name])
        if not isinstance(self.objective, str):
            raise ValueError(
                f"objective must be a name, got {self.objective!r}; an object goes to OffPolicyTrainer(objective=...)"
            )
        for name in ("hyper", "chat_template_kwargs"):
            setattr(self, name, mapping(getattr(self, name), name))
        self._require_counts()
        for name, value in _SAMPLING.items():
            if getattr(self, name) != value:
                raise ValueError(
                    f"{name} must be {value}: the behavior is the policy itself, got {getattr(self, name)!r}"
                )
        self._set_lag()
        if self.log_ratio is not None and self.log_ratio not in LEVELS:
            raise ValueError(f"log_ratio must be one of {', '.join(LEVELS)}, got {self.log_ratio!r}")
        if self.vllm_mode != "colocate":
            raise ValueError(f'vllm_mode must be "colocate": vLLM runs in this process, got {self.vllm_mode!r}')
        if self.generation not in ("transformers", "vllm"):
            raise ValueError(f'generation must be "transformers" or "vllm", got {self.generation!r}')
        if self.generation == "vllm":
            self.use_vllm = True
        elif self.use_vllm:
            raise ValueError('use_vllm is set by generation: use generation="vllm"')
        if not all(math.isfinite(weight) for weight in self.reward_weights or ()):
            raise ValueError(f"reward_weights must be finite, got {self.reward_weights!r}")
        try:
            super().__post_init__()
        except ValueError as error:
            if "divisible by num_generations" not in str(error):
                raise
            raise ValueError(
                f"num_generations must divide the completions generated together, got {self.num_generations} and "
                f"{self.generation_batch_size} (per_device_train_batch_size x processes x gradient_accumulation_steps, "
                "and x lag in lag_mode 'batch')"
            ) from error
        if self.fp16 and self.device.type == "cpu":
            raise ValueError("fp16 must be false on a CPU, where it would change nothing; bf16 does")
        self._set_loss()

    def made(self) -> Objective:
        """Make the objective that `objective` and `hyper` name."""
        assert not isinstance(self.hyper, str)  # read by now
        return make_objective(self.objective, **(self.hyper or {}))

    @property
    def level(self) -> LogRatio:
        """Level of the log-ratio."""
        return self.log_ratio or published_level(self.made())

    def precision(self, model: Any) -> str:
        """Name the dtype that forwards run in, for a model or for the one that a hub id or a folder names."""
        if self.bf16 or self.fp16:
            return "bfloat16" if self.bf16 else "float16"
        options = self.model_init_kwargs or {}
        found = options.get("dtype", "float32") if isinstance(model, str) else dtype_of(model)
        if found in ("auto", None):
            where = {name: options[name] for name in ("revision", "trust_remote_code", "subfolder") if name in options}
            found = dtype_of(model, **{"trust_remote_code": self.trust_remote_code, **where}) or "float32"
        return str(found).removeprefix("torch.")

    def _require_defaults(self, names: tuple[str, ...], why: str) -> None:
        for name in names:
            if getattr(self, name) != _TRL[name]:
                raise ValueError(f"{name} {why}, got {name}={getattr(self, name)!r}")

    def _require_counts(self) -> None:
        for name, least in _COUNTS.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"{name} must be an integer >= {least}, got {value!r}")
        steps, epochs = self.max_steps, self.num_train_epochs
        if steps < 1 and (steps != -1 or epochs <= 0):
            raise ValueError(f"max_steps must be >= 1, or -1 for num_train_epochs > 0, got {steps} and {epochs}")

    def _set_lag(self) -> None:
        least = {"batch": 1, "constant": 0}.get(self.lag_mode)
        if least is None:
            raise ValueError(f'lag_mode must be "batch" or "constant", got {self.lag_mode!r}')
        if isinstance(self.lag, bool) or not isinstance(self.lag, int) or self.lag < least:
            raise ValueError(f"lag must be an integer >= {least} in lag_mode {self.lag_mode!r}, got {self.lag!r}")
        given = (getattr(self, name) for name in ("steps_per_generation", "generation_batch_size"))
        if any(value is not None for value in given):
            raise ValueError("steps_per_generation and generation_batch_size follow from lag: leave them out")
        if self.num_iterations != 1:
            raise ValueError(f"num_iterations must be 1: lag says how long data are used, got {self.num_iterations!r}")
        self.steps_per_generation = self.gradient_accumulation_steps * (self.lag if self.lag_mode == "batch" else 1)

    def _set_loss(self) -> None:
        objective = self.made()
        if (theirs := trl_loss(objective)) is not None:
            if self.log_ratio not in (None, published_level(objective)):
                raise ValueError(f"log_ratio of {objective} is {published_level(objective)!r} in TRL's loss")
            for name, value in theirs.items():
                setattr(self, name, value)
            return
        self.serve(objective)

    def serve(self, objective: Objective) -> None:
        """Set TRL's fields for an objective that runs its own loss, from the registry or not.

        Parameters
        ----------
        objective : Objective
            The objective.

        Raises
        ------
        ValueError
            If it cannot be trained, or not at this lag, or if a field is given that it would not read.
        """
        if (why := why_untrainable(objective, self.log_ratio or published_level(objective))) is not None:
            raise ValueError(f"objective {objective} cannot be trained here: {why}")
        fresh = 1 if self.lag_mode == "batch" else 0
        if objective.on_policy and self.lag > fresh:
            other = '; or take sampling="off_policy"' if hasattr(objective, "sampling") else ""
            raise ValueError(f"lag must be {fresh} for {objective}, whose data are of the current policy{other}")
        self._require_defaults(_OF_TRL, f"is not for objective {objective}")
        self.scale_rewards = "none"
        # The log-probabilities of the initial policy: TRL makes and prepares that model where its own penalty has a
        # weight. Its loss, and with it the penalty, is not used.
        self.beta = 1.0 if objective.reference_policy == "initial" else 0.0
        # Our behavior is what vLLM sampled with: nobody reads the ratio of the correction, for which TRL makes another
        # forward (as it does at a lag > 1 anyway).
        self.vllm_importance_sampling_correction = False
