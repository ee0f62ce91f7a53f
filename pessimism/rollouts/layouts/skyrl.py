"""SkyRL: ``dumped_evals/global_step_N_evals/SOURCE.jsonl``, a line for each completion."""

from __future__ import annotations

from typing import Any

from pessimism.rollouts.layouts.base import Layout, Record, Where, has_keys, number


def _recognize(record: Record, _: Where) -> bool:
    return has_keys(record, "input_prompt", "output_response", "score")


def _rows(record: Record, where: Where) -> list[dict[str, Any]]:
    score = record["score"]
    if isinstance(score, list):  # of each token: SkyRL sums them
        if not score:
            raise ValueError("score is [], neither a number nor one for each token")
        score = sum(number(part, f"score[{i}]") for i, part in enumerate(score))
    return [{**record, "score": score, **where.step(r"global_step_(\d+)_evals/")}]


SKYRL = Layout("SkyRL", "skyrl/train/utils/trainer_utils.py", _recognize, _rows, prompt="input_prompt", reward="score")
