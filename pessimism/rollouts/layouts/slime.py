"""slime: the samples in ``rollout_ID.pt``, as ``--save-debug-rollout-data`` writes them."""

from __future__ import annotations

from pessimism.rollouts.layouts.base import Layout, Record, Where, above, has_keys
from pessimism.rollouts.log_probs import LogProbs


def _recognize(record: Record, _: Where) -> bool:
    return has_keys(record, "group_index", "index", "prompt", "reward", "response")


SLIME = Layout(
    "slime",
    "slime/observability/rollout_data_utils.py",
    _recognize,
    group=("group_index",),
    run=above(0),
    log_probs=LogProbs("rollout_log_probs"),
)
