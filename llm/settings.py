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

    data: str = _said(
        "addition:digits=2", "A file, a folder, the name of a data set, or addition:digits=2[,steps=true] for sums."
    )
    split: str = _said("train", "Split of a data set that has several splits.")
    prompt_column: str | None = _said(None, "Column of the question; recognized by its usual names by default.")
    answer_column: str | None = _said(None, "Column of the answer; recognized by its usual names by default.")
    prompt_template: str | None = _said(None, "Text around the question, with {prompt} where the question goes.")
    chat: bool = _said(False, "Make each prompt a conversation of one user message.")
    limit: int | None = _said(None, "Number of records to take, from the first on; all by default.")
    reward: str = _said("exact", "Reward of a completion: exact, final, math_verify, or package.module:function.")


@dataclass
class TrainConfig(DataConfig):
    """Settings of `python -m llm train` beside those of the trainer and the model."""

    resume: bool = _said(True, "Go on from the last whole checkpoint in output_dir; if false, it must hold none.")


@dataclass
class SamplingConfig(DataConfig):
    """Settings shared by the commands that sample from a model and score what it said."""

    chat_template_kwargs: dict[str, Any] | str | None = field(
        default=None, metadata={"help": "Variables of the chat template beside the messages, as a mapping or JSON."}
    )
    generation: Literal["transformers", "vllm"] = _said("transformers", "Engine that samples the completions.")
    vllm_gpu_memory_utilization: float = _said(
        0.3, "Share of the GPU's memory for vLLM; the models that score need the rest."
    )
    vllm_max_model_length: int | None = _said(None, "Largest number of tokens of a prompt and its completion in vLLM.")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = _said(
        "auto", "Dtype of the model; auto is the dtype of the checkpoint."
    )
    trust_remote_code: bool = _said(False, "Run the code that a model brings; without this such a model is refused.")
    batch_size: int = _said(64, "Number of completions sampled or scored together; fewer if they are long.")
    seed: int = _said(0, "Seed of the samples.")
    out: str | None = _said(None, "CSV file to write the table to; none by default.")

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

    run: str | None = _said(None, "Folder of a run, which then says its data, reward, objective and group size.")
    checkpoint: str | None = _said(None, "Checkpoint of the run, such as checkpoint-64; its final model by default.")
    policy: str | None = _said(None, "Trained model, if there is no run.")
    behavior: str | None = _said(
        None, "Model that log-ratios are taken to; the one that the run began with by default."
    )
    objective: str | None = _said(
        None, "Objective that the policy was trained with ('kimi:beta=0.1'), if there is no run."
    )
    hyper: dict[str, Any] | str | None = field(
        default=None, metadata={"help": "Hyper-parameters of the objective, as a mapping or JSON, if there is no run."}
    )
    num_generations: int = _said(8, "Completions of a group in training, if there is no run.")
    max_completion_length: int = _said(256, "Largest number of tokens of a completion, if there is no run.")
    samples: int = _said(256, "Number of completions of each prompt, a multiple of the group size.")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = _said(
        "float32", "Dtype of both models; one narrower than float32 buries small log-ratios in rounding."
    )
    exact: bool = _said(False, "Enumerate all completions, if they are a few tokens of a small vocabulary.")

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

    model: str | None = _said(None, "Hub id, folder (of a run, too), or tiny[:NAME=VALUE,...] for a small model.")
    model_revision: str = _said("main", "Revision of the model on the hub.")
    samples: int = _said(16, "Number of completions of each prompt.")
    ks: list[int] = field(default_factory=lambda: [1], metadata={"help": "Values of k for pass@k."})
    max_completion_length: int = _said(256, "Largest number of tokens of a completion.")
    out: str | None = _said(None, "CSV file to write the table to; finished prompts are kept beside it.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.model is None:
            raise ValueError("model must be given")
        if other := [k for k in self.ks if not 1 <= k <= self.samples]:
            raise ValueError(f"ks must be from 1 to the {self.samples} samples, got {other[0]}")
        if self.out is not None and Path(self.out).suffix == ".jsonl":
            raise ValueError(f"out must not end in .jsonl, which is where finished prompts are kept, got {self.out!r}")
