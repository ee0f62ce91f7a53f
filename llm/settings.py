"""What the commands are told, as dataclasses that a YAML file and the command line fill."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from datasets import Dataset


def _said(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass
class DataConfig:
    """Questions, their answers, and what a completion is worth."""

    data: str = _said("addition:digits=2", "File, folder, name of a data set, or addition:digits=2[,steps=true].")
    split: str = _said("train", "Split of a data set that has several.")
    prompt_column: str | None = _said(None, "Column of the question; recognized by default.")
    answer_column: str | None = _said(None, "Column of the answer; recognized by default.")
    prompt_template: str | None = _said(None, "Text around the question, with {prompt} in it.")
    chat: bool = _said(False, "Make each prompt a conversation of one user message.")
    limit: int | None = _said(None, "Take the first so many records.")
    reward: str = _said("exact", "exact, final, math_verify, or package.module:function.")

    def examples(self) -> Dataset:
        """The data, read."""
        from llm.data import load_examples

        return load_examples(
            self.data,
            split=self.split,
            prompt=self.prompt_column,
            answer=self.answer_column,
            limit=self.limit,
            prompt_template=self.prompt_template,
            chat=self.chat,
        )


@dataclass
class TrainConfig(DataConfig):
    """A run of `python -m llm train`."""

    resume: bool = _said(True, "Go on from the last whole checkpoint of output_dir, where there is one.")


@dataclass
class MeasureConfig(DataConfig):
    """`python -m llm measure`: a run, or a policy and its behavior with what they were trained on."""

    run: str | None = _said(None, "Folder of a run; data, reward, objective and groups are its own then.")
    checkpoint: str | None = _said(None, "Checkpoint in the folder, such as checkpoint-64; the last model by default.")
    policy: str | None = _said(None, "Without a run: the trained model.")
    behavior: str | None = _said(None, "Model that the log-ratio is to; that which the run began with by default.")
    objective: str = _said("shifted_mean", "Without a run: what the policy was trained with.")
    hyper: dict[str, Any] | str | None = field(
        default=None, metadata={"help": "Without a run: its hyper-parameters, as a mapping or JSON."}
    )
    num_generations: int = _said(8, "Without a run: completions of a group in training.")
    max_completion_length: int = _said(256, "Without a run: most tokens of a completion.")
    samples: int = _said(256, "Completions of each prompt, in whole groups.")
    exact: bool = _said(False, "Enumerate all completions: a few tokens of a small vocabulary.")
    generation: Literal["transformers", "vllm"] = _said("transformers", "What samples.")
    dtype: str = _said("auto", "Of both models.")
    seed: int = _said(0, "Of the samples.")
    batch_size: int = _said(64, "Completions in one forward.")
    out: str | None = _said(None, "CSV file of the frame.")


@dataclass
class EvaluateConfig(DataConfig):
    """`python -m llm evaluate`: pass@k of a model, with intervals."""

    model: str = _said("tiny", "Hub id, folder (of a run, too), or tiny[:NAME=VALUE,...].")
    samples: int = _said(16, "Completions of each prompt.")
    ks: list[int] = field(default_factory=lambda: [1], metadata={"help": "The k of pass@k."})
    max_completion_length: int = _said(256, "Most tokens of a completion.")
    generation: Literal["transformers", "vllm"] = _said("transformers", "What samples.")
    dtype: str = _said("auto", "Of the model.")
    seed: int = _said(0, "Of the samples.")
    batch_size: int = _said(64, "Completions in one forward.")
    out: str | None = _said(None, "CSV file of the frame; what is finished is kept beside it, and not done again.")
