"""Settings of the commands, as dataclasses that a YAML file and the command line fill in."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal


def _said(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass
class DataConfig:
    """Questions, their answers, and the reward of a completion."""

    data: str = _said("addition:digits=2", "File, folder, name of a data set, or addition:digits=2[,steps=true].")
    split: str = _said("train", "Split of a data set that has several.")
    prompt_column: str | None = _said(None, "Column of the question; recognized by default.")
    answer_column: str | None = _said(None, "Column of the answer; recognized by default.")
    prompt_template: str | None = _said(None, "Text around the question, with {prompt} in it.")
    chat: bool = _said(False, "Make each prompt a conversation of one user message.")
    limit: int | None = _said(None, "Take the first so many records.")
    reward: str = _said("exact", "exact, final, math_verify, or package.module:function.")


@dataclass
class TrainConfig(DataConfig):
    """Settings of `python -m llm train` beside those of the trainer and the model."""

    resume: bool = _said(
        True, "Whether to go on from the last whole checkpoint of output_dir; if not, there must be none."
    )


@dataclass
class SamplingConfig(DataConfig):
    """Settings shared by the commands that sample from a model and score what it said."""

    chat_template_kwargs: dict[str, Any] | str | None = field(
        default=None, metadata={"help": "What the chat template is told beside the messages, a mapping or JSON."}
    )
    generation: Literal["transformers", "vllm"] = _said("transformers", "What samples.")
    vllm_gpu_memory_utilization: float = _said(0.3, "Share of a GPU that vLLM takes, beside the models that score.")
    vllm_max_model_length: int | None = _said(None, "Most tokens of prompt and completion in vLLM; the model's own.")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = _said("auto", "Of the model; that of its files.")
    batch_size: int = _said(64, "Completions drawn or scored together; of long ones fewer are scored.")
    seed: int = _said(0, "Of the samples.")
    out: str | None = _said(None, "CSV file of the frame.")

    def __post_init__(self) -> None:
        self.chat_template_kwargs = mapping(self.chat_template_kwargs, "chat_template_kwargs")
        for name, least in (("samples", 1), ("max_completion_length", 1), ("batch_size", 1), ("seed", 0)):
            if (value := getattr(self, name)) < least:
                raise ValueError(f"{name} must be >= {least}, got {value}")


def mapping(value: Any, name: str) -> dict[str, Any] | None:
    """Read a field that is a mapping or the JSON text of one.

    Parameters
    ----------
    value : mapping, str or None
        Value of the field.
    name : str
        Name of the field, for the error message.

    Returns
    -------
    dict or None
        The mapping; None if there is no value.

    Raises
    ------
    ValueError
        If the value is neither a mapping nor JSON text of one.

    Examples
    --------
    >>> mapping('{"beta": 0.5}', "hyper")
    {'beta': 0.5}
    """
    try:
        found = json.loads(value) if isinstance(value, str) else value
    except ValueError:
        found = value
    if not isinstance(found, dict | None):
        raise ValueError(f"{name} must be a mapping, or one in JSON, got {value!r}")
    return found


@dataclass
class MeasureConfig(SamplingConfig):
    """Settings of `python -m llm measure`: a run, or a policy and its behavior with the settings of their training."""

    run: str | None = _said(None, "Folder of a run; data, reward, objective and groups are its own then.")
    checkpoint: str | None = _said(None, "Checkpoint in the folder, such as checkpoint-64; the last model by default.")
    policy: str | None = _said(None, "Without a run: the trained model.")
    behavior: str | None = _said(None, "Model that the log-ratio is to; that which the run began with by default.")
    objective: str | None = _said(None, "Without a run: what the policy was trained with.")
    hyper: dict[str, Any] | str | None = field(
        default=None, metadata={"help": "Without a run: its hyper-parameters, as a mapping or JSON."}
    )
    num_generations: int = _said(8, "Without a run: completions of a group in training.")
    max_completion_length: int = _said(256, "Without a run: most tokens of a completion.")
    samples: int = _said(256, "Completions of each prompt, in whole groups.")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = _said(
        "float32", "Of both models; narrower ones bury small log-ratios in rounding."
    )
    exact: bool = _said(False, "Enumerate all completions: a few tokens of a small vocabulary.")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.hyper = mapping(self.hyper, "hyper")
        if self.run is None:
            if self.checkpoint is not None:
                raise ValueError(f"checkpoint is for run: give its folder as policy, got {self.checkpoint!r}")
            if self.policy is None or self.behavior is None or self.objective is None:
                raise ValueError("run must be given, or policy, behavior and objective")
            if not self.exact and (self.num_generations < 1 or self.samples % self.num_generations):
                raise ValueError(
                    f"samples must be whole groups of num_generations, got {self.samples} and {self.num_generations}"
                )
            return
        theirs = {f.name for f in fields(DataConfig)} - {"limit"}
        theirs |= {"policy", "objective", "hyper", "num_generations", "max_completion_length", "chat_template_kwargs"}
        for f in fields(self):
            if f.name in theirs and getattr(self, f.name) != f.default:
                raise ValueError(f"{f.name} is the run's own: leave it out beside run, got {getattr(self, f.name)!r}")


@dataclass
class EvaluateConfig(SamplingConfig):
    """Settings of `python -m llm evaluate`: pass@k of a model, with intervals."""

    model: str | None = _said(None, "Hub id, folder (of a run, too), or tiny[:NAME=VALUE,...].")
    model_revision: str = _said("main", "Of the hub.")
    samples: int = _said(16, "Completions of each prompt.")
    ks: list[int] = field(default_factory=lambda: [1], metadata={"help": "The k of pass@k."})
    max_completion_length: int = _said(256, "Most tokens of a completion.")
    out: str | None = _said(None, "CSV file of the frame; what is finished is kept beside it, and not done again.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.model is None:
            raise ValueError("model must be given")
        if other := [k for k in self.ks if not 1 <= k <= self.samples]:
            raise ValueError(f"ks must be from 1 to the {self.samples} samples, got {other[0]}")
        if self.out is not None and Path(self.out).suffix == ".jsonl":
            raise ValueError(f"out must not end in .jsonl, which is where finished prompts are kept, got {self.out!r}")
