"""AReaL: ``rollout/VERSION/TASK.jsonl``, a line for each completion of a task."""

from __future__ import annotations

from typing import Any

from pessimism.messages import show
from pessimism.rollouts.layouts.base import Layout, Record, Where, above, has_keys


def _recognize(record: Record, _: Where) -> bool:
    return has_keys(record, "task_id", "sample_idx", "head_version", "tail_version", "reward", "prompt")


def _rows(record: Record, _: Where) -> list[dict[str, Any]]:
    whole, prompt = record["seqlen"], record["prompt_len"]
    if not isinstance(whole, int) or not isinstance(prompt, int):
        raise ValueError(f"seqlen and prompt_len are {show(whole)} and {show(prompt)}, not numbers of tokens")
    return [{**record, "completion_length": whole - prompt}]


AREAL = Layout(
    "AReaL",
    "areal/infra/workflow_executor.py",
    _recognize,
    _rows,
    step="tail_version",  # of the policy that ended the completion, which the folder is called after
    group=("task_id",),
    run=above(1),
)
