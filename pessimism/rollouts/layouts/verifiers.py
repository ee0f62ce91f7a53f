"""verifiers: ``results.jsonl`` of an evaluation, a line for each rollout; traces are read as those of prime-rl."""

from __future__ import annotations

from pessimism.rollouts.layouts.base import Layout, Record, Where, above, has_keys


def _recognize(record: Record, _: Where) -> bool:
    return has_keys(record, "example_id", "prompt", "completion", "reward")


VERIFIERS = Layout("verifiers", "verifiers/legacy/utils/save_utils.py", _recognize, group=("example_id",), run=above(0))
