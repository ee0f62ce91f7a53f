"""open-instruct: ``RUN_rollouts_NNNNNN.jsonl``, a line for each completion, in tokens."""

from __future__ import annotations

from typing import Any

from pessimism.rollouts.layouts.base import Layout, Record, Where, has_keys, list_of
from pessimism.rollouts.log_probs import LogProbs


def _recognize(record: Record, _: Where) -> bool:
    return has_keys(record, "prompt_idx", "sample_idx", "prompt_tokens", "response_tokens", "reward")


def _rows(record: Record, _: Where) -> list[dict[str, Any]]:
    return [{**record, "completion_length": len(list_of(record, "response_tokens"))}]


OPEN_INSTRUCT = Layout(
    "open-instruct",
    "open_instruct/rl_utils.py",
    _recognize,
    _rows,
    prompt="prompt_tokens",
    group=("prompt_idx",),
    run=lambda path: str(path.absolute()).split("_rollouts_")[0],
    advantage="advantage",
    log_probs=LogProbs("logprobs"),
)
