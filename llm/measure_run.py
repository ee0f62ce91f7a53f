"""Measure what a training run left in its folder, by what its ``run.json`` says."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pandas as pd
from transformers import AutoTokenizer

from llm.generation import Sampler
from llm.measure import measure
from llm.models import CACHE, holds_model, load_model, model_path
from llm.rewards import reward_function
from llm.settings import DataConfig
from pessimism.objectives import make_objective


def measure_run(
    folder: str | Path,
    *,
    checkpoint: str | None = None,
    behavior: str | None = None,
    sampler: Callable[[Any, Any], Sampler] | None = None,
    limit: int | None = None,
    dtype: str = "auto",
    device: str | None = None,
    cache: Path = CACHE,
    **options: Any,
) -> pd.DataFrame:
    """Measure a run on its own data, with its own reward, groups and objective.

    Parameters
    ----------
    folder : of a run of `llm.train.train`.
    checkpoint : a folder in it, such as "checkpoint-64"; the final model by default.
    behavior : model that the log-ratio is to; the one that the run began with by default.
    sampler : made of the behavior and the tokenizer, such as `llm.vllm_engine.VLLMSampler`; one of transformers' by
        default.
    limit : first so many prompts of the run's; all by default.
    dtype, device : of both models; that of their files, and a GPU where there is one, by default.
    cache : where small models are kept.
    options : ``samples``, ``exact``, ``seed``, ``batch_size`` of `measure`.

    Returns
    -------
    pandas.DataFrame
        As `measure`. The note of its last row says where the prediction is of another training: the behavior moved, as
        it does at every lag short of the run's length, or the log-ratio was not that of whole completions.

    Raises
    ------
    ValueError
        If the folder holds no run, or no model; if ``limit`` is more than the run's own.
    """
    run = read_run(folder)
    place = Path(folder) / (checkpoint or "")
    if not holds_model(place):
        raise ValueError(f"{place} holds no model: the run is not finished, or has no such checkpoint")
    start = model_path(behavior or run["model"], cache)
    revision = "main" if behavior else run.get("model_revision", "main")
    if None not in (limit, run["limit"]) and limit > run["limit"]:
        raise ValueError(f"limit must be at most the {run['limit']} of the run, got {limit}")
    policy = load_model(place, dtype=dtype, device=device)
    sampled = load_model(start, dtype=dtype, device=device, revision=revision)
    tokenizer = AutoTokenizer.from_pretrained(place, padding_side="left")
    data = {f.name: run[f.name] for f in fields(DataConfig)}
    examples = DataConfig(**{**data, "limit": run["limit"] if limit is None else limit}).examples()
    frame = measure(
        policy,
        sampled,
        tokenizer,
        list(examples),
        reward_function(run["reward"]),
        make_objective(run["objective"], **(run["hyper"] or {})),
        length=run["max_completion_length"],
        group_size=run["num_generations"],
        sampler=None if sampler is None or options.get("exact") else sampler(sampled, tokenizer),
        chat=run.get("chat_template_kwargs"),
        **options,
    )
    frame.loc[frame.index[-1], "note"] = _apart(run)
    return frame


def read_run(folder: str | Path) -> dict[str, Any]:
    """What ``run.json`` of a folder says.

    Raises
    ------
    ValueError
        If there is none.
    """
    path = Path(folder) / "run.json"
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{folder} holds no run: there is no run.json in it") from None
    return found


def _apart(run: Mapping[str, Any]) -> str:
    """What sets a run apart from the training that is predicted."""
    notes = []
    frozen = run["lag_mode"] == "constant" and run["lag"] >= run["max_steps"] > 0
    if not frozen:
        notes.append("the behavior moved in training: the prediction is for one that is frozen")
    if run["level"] != "sequence":
        notes.append(f"the log-ratio in training was of level {run['level']}: the prediction is for whole completions")
    return "; ".join(notes)
