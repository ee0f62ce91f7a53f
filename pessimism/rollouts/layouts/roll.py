"""ROLL: ``rollout_dump_data.step_N.jsonl``, one line with a list for each column."""

from __future__ import annotations

from typing import Any

from pessimism.rollouts.layouts.base import Layout, Record, Where, has_keys, spread


def _recognize(record: Record, _: Where) -> bool:
    return has_keys(record, "global_step", "responses", "scores") and isinstance(record["global_step"], list)


def _rows(record: Record, _: Where) -> list[dict[str, Any]]:
    rows = spread(record, [name for name, value in record.items() if isinstance(value, list)])
    for row in rows:
        if "prompt" not in row:  # which domains have only as messages
            row["prompt"] = row["messages"]
    return rows


ROLL = Layout("ROLL", "roll/pipeline/rlvr/utils.py", _recognize, _rows, reward="scores", step="global_step")
