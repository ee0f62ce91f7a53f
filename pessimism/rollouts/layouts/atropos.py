"""Atropos: the file of ``data_path_to_save_groups``, a line for each group, and in it a list for each column."""

from __future__ import annotations

from typing import Any

from pessimism.messages import show
from pessimism.rollouts.layouts.base import Layout, Record, Where, constant, has_keys, sampled, spread
from pessimism.rollouts.log_probs import LogProbs

_NOT_SAMPLED = -100  # what the mask has in the place of a token of the prompt


def _recognize(record: Record, _: Where) -> bool:
    return has_keys(record, "tokens", "masks", "scores") and isinstance(record["scores"], list)


def _rows(record: Record, where: Where) -> list[dict[str, Any]]:
    lists = [name for name, value in record.items() if isinstance(value, list)]
    rows = spread(record, ["scores", "tokens", "masks", *(n for n in lists if n not in {"scores", "tokens", "masks"})])
    for i, row in enumerate(rows):
        tokens, masks = row["tokens"], row["masks"]
        if not isinstance(tokens, list) or not isinstance(masks, list):
            raise ValueError(f"entry {i} of tokens and masks is {show(tokens)} and {show(masks)}, not two lists")
        mask = [token != _NOT_SAMPLED for token in masks]
        sampled(tokens, mask, "tokens")
        messages = row.get("messages")
        first = next((at for at, on in enumerate(mask) if on), len(mask))
        row["prompt"] = messages[:-1] if isinstance(messages, list) else tokens[:first]
        row["group"] = where.unique()
        row["completion_length"] = sum(mask)
        for name in ("advantages", "inference_logprobs"):
            if isinstance(row.get(name), list):
                row[name] = sampled(row[name], mask, name)
        if isinstance(row.get("advantages"), list):
            row["advantage"] = constant(row["advantages"])
    return rows


ATROPOS = Layout(
    "Atropos",
    "atroposlib/envs/base.py",
    _recognize,
    _rows,
    reward="scores",
    group=("group",),
    advantage="advantage",
    log_probs=LogProbs("inference_logprobs"),
)
