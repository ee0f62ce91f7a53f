"""What the commands are told, as dataclasses that a YAML file and the command line fill."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

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
    reward: str = _said("exact", "exact, math_verify, or package.module:function.")

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
