"""ms-swift: ``completions.jsonl``, a line for each log of the trainer, and in it a list for each column."""

from __future__ import annotations

from typing import Any

from pessimism.rollouts.layouts.base import Layout, Record, Where, has_keys, spread

_STEPS = ("gen_step", "step")  # of the batch that was generated; older versions have the step of the trainer
# What is logged beside the reward functions.
_OTHERS = {*_STEPS, "prompt", "messages", "completion", "advantages", "solution", "num_turns", "entropy", "images"}


def _recognize(record: Record, _: Where) -> bool:
    step = next((record[name] for name in _STEPS if name in record), None)
    return (
        isinstance(step, list)
        and has_keys(record, "completion")
        and ("prompt" in record or "messages" in record)
        and isinstance(record["completion"], list)
    )


def _rows(record: Record, _: Where) -> list[dict[str, Any]]:
    rows = spread(record, record)
    step = next((name for name in _STEPS if name in record), _STEPS[0])
    for row in rows:
        row["step"] = row[step]
        if "prompt" not in row:
            row["prompt"] = row["messages"]
    return rows


def _parts(rows: list[dict[str, Any]]) -> tuple[str, ...]:
    """Return the reward functions, whose sum with weights of 1 is the reward unless the trainer was told otherwise."""
    if "reward" in rows[0]:
        return ("reward",)
    known: dict[str, list[Any]] = {}
    for row in rows:
        for name, value in row.items():
            if name not in _OTHERS and value is not None:
                known.setdefault(name, []).append(value)
    # Most values, not all: one that is malformed is said where it stands, and its function is not left out for it.
    return tuple(name for name, values in known.items() if 2 * sum(map(_is_number, values)) > len(values))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


SWIFT = Layout(
    "ms-swift",
    "swift/rlhf_trainers/grpo_trainer.py",
    _recognize,
    _rows,
    advantage="advantages",
    parts=_parts,
)
