"""NeMo-RL: ``train_data_stepN.jsonl``, a line for each completion, every value in a list of one."""

from __future__ import annotations

from typing import Any

from pessimism.messages import show
from pessimism.rollouts.layouts.base import Layout, Record, Where, constant, has_keys, list_of, sampled
from pessimism.rollouts.log_probs import LogProbs


def _recognize(record: Record, _: Where) -> bool:
    return has_keys(record, "content", "rewards", "input_lengths") and isinstance(record["content"], list)


def _only(record: Record, key: str) -> Any:
    values = list_of(record, key)
    if len(values) != 1:
        raise ValueError(f"{key} has {len(values)} entries, not the one of a completion")
    return values[0]


def _rows(record: Record, where: Where) -> list[dict[str, Any]]:
    content = _only(record, "content")
    if not isinstance(content, list) or len(content) < 2:
        raise ValueError(f"content is {show(content)}, not the messages of a prompt and an answer")
    # Dynamic sampling logs under `rewards` those of a batch before it was filtered, which are not of these completions.
    reward = _only(record, "filtered_rewards" if "filtered_rewards" in record else "rewards")
    row: dict[str, Any] = {"prompt": content[0], "completion": content[1:], "reward": reward, "prompt_tokens": ""}
    row |= where.step(r"train_data_step(\d+)\.")
    if "token_loss_mask" in record:
        mask = _only(record, "token_loss_mask")
        if not isinstance(mask, list):
            raise ValueError(f"token_loss_mask is {show(mask)}, not a list of one list")
        row["completion_length"] = sum(map(bool, mask))
        for name in ("advantages", "generation_logprobs", "prev_logprobs"):
            if name in record:
                row[name] = sampled(_only(record, name), mask, name)
        if "advantages" in row:
            row["advantage"] = constant(row["advantages"])
        if "token_ids" in record:
            tokens = _only(record, "token_ids")
            sampled(tokens, mask, "token_ids")
            # The prompt may be several messages, of which the first may be the same for all: its tokens are the prompt.
            row["prompt_tokens"] = tokens[: next((i for i, on in enumerate(mask) if on), len(mask))]
    return [row]


NEMO_RL = Layout(
    "NeMo-RL",
    "nemo_rl/algorithms/grpo.py",
    _recognize,
    _rows,
    group=("prompt", "prompt_tokens"),
    advantage="advantage",
    log_probs=LogProbs("generation_logprobs", "prev_logprobs"),
)
