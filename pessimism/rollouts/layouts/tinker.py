"""tinker-cookbook: ``iteration_N/train_rollout_summaries.jsonl``, a line for each trajectory, without its text."""

from __future__ import annotations

from typing import Any

from pessimism.messages import show
from pessimism.rollouts.layouts.base import Layout, Record, Where, above, has_keys, list_of


def _recognize(record: Record, _: Where) -> bool:
    return has_keys(record, "iteration", "group_idx", "traj_idx", "total_reward")


def _rows(record: Record, _: Where) -> list[dict[str, Any]]:
    row = {**record, "prompt": f"group {record['group_idx']} of iteration {record['iteration']}"}
    if "steps" in record:
        lengths = [step.get("ac_len") if isinstance(step, dict) else None for step in list_of(record, "steps")]
        if not all(isinstance(length, int) for length in lengths):
            raise ValueError(f"steps is {show(record['steps'])}, not a list of steps with their ac_len")
        row["completion_length"] = sum(lengths)
    return [row]


TINKER = Layout(
    "tinker-cookbook",
    "tinker_cookbook/rl/rollout_logging.py",
    _recognize,
    _rows,
    reward="total_reward",
    step="iteration",
    group=("group_idx",),
    run=above(1),
)
