"""Measure what a training run left in its folder, as its ``run.json`` says."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pandas as pd
from datasets import Dataset
from transformers.trainer import TRAINER_STATE_NAME

from llm.data.examples import examples_of
from llm.data.rewards import Reward, reward_function
from llm.generation.sampler import Sampler
from llm.measurement.measure import measure
from llm.models.load import CACHE, holds_model, load_model, load_tokenizer, model_path
from llm.settings import DataConfig
from llm.storage import fingerprints
from llm.training.run_file import read_run
from pessimism.losses.registry import make_objective


def measure_run(
    folder: str | Path,
    *,
    checkpoint: str | None = None,
    behavior: str | None = None,
    sampler: Callable[[Any, Any], Sampler] | None = None,
    limit: int | None = None,
    dtype: str = "float32",
    device: str | None = None,
    cache: Path = CACHE,
    trust_remote_code: bool = False,
    **options: Any,
) -> pd.DataFrame:
    """Measure a run on its own data, with its own reward, groups and objective.

    Parameters
    ----------
    folder : str or Path
        Folder of a run of `llm.training.train.train`.
    checkpoint : str, optional
        A folder in it, such as "checkpoint-64"; the final model by default.
    behavior : str, optional
        Model that log-ratios are taken to; by default the one that the run began with.
    sampler : callable, optional
        Makes a sampler of the behavior and the tokenizer, for example `llm.generation.vllm.VLLMSampler`; by default
        transformers samples.
    limit : int, optional
        Number of prompts of the run: the first ones, or, for sums without a limit, as many drawn; all by default.
    dtype : str, default "float32"
        Dtype of both models. A log-ratio is a small difference, which a narrower dtype buries in rounding. "auto" is
        the dtype of their checkpoints, which may differ.
    device : str, optional
        Device of both models; a GPU by default, where there is one.
    cache : Path, optional
        Folder of the small models.
    trust_remote_code : bool, default False
        Whether code that the models bring may run.
    **options : object
        Options `samples`, `exact`, `seed` and `batch_size` of `llm.measurement.measure.measure`.

    Returns
    -------
    pandas.DataFrame
        As `llm.measurement.measure.measure` returns it. The note of the last row says where the prediction is for
        another training: if the behavior moved, as it does where the lag is shorter than the run, or if the log-ratio
        in training was not that of whole completions.

    Raises
    ------
    ValueError
        If the folder holds no run or no model; if data or reward are not what they were in training; if `limit` is
        larger than that of the run.
    """
    run = read_run(folder)
    place = Path(folder) / (checkpoint or "")
    if not holds_model(place):
        raise ValueError(f"{place} holds no model: the run is not finished, or has no such checkpoint")
    steps = _steps(place)
    start = model_path(behavior or run["model"], cache)
    revision = "main" if behavior else run.get("model_revision", "main")
    reward = reward_function(run["reward"])
    examples = _examples(folder, run, reward, limit)
    given: dict[str, Any] = {"dtype": dtype, "device": device, "trust_remote_code": trust_remote_code}
    policy, sampled = load_model(place, **given), load_model(start, revision=revision, **given)
    tokenizer = load_tokenizer(place, trust_remote_code=trust_remote_code)
    frame = measure(
        policy,
        sampled,
        tokenizer,
        list(examples),
        reward,
        make_objective(run["objective"], **(run["hyper"] or {})),
        length=run["max_completion_length"],
        group_size=run["num_generations"],
        sampler=None if sampler is None or options.get("exact") else sampler(sampled, tokenizer),
        chat=run.get("chat_template_kwargs"),
        **options,
    )
    last = frame.index[-1]
    frame.loc[last, "note"] = "; ".join(filter(None, [frame.loc[last, "note"], _apart(run, steps)]))
    return frame


def _examples(folder: str | Path, run: Mapping[str, Any], reward: Reward, limit: int | None) -> Dataset:
    """Read the examples of the run, and take `limit` of them as the command that trained would have taken them."""
    data = DataConfig(**{f.name: run[f.name] for f in fields(DataConfig)})
    examples = examples_of(data)
    found = {"examples_sha256": fingerprints.of_examples(examples), "reward_sha256": fingerprints.of_reward(reward)}
    for name, what in (("examples_sha256", f"data {data.data}"), ("reward_sha256", f"reward {data.reward}")):
        if name in run and run[name] != found[name]:
            raise ValueError(f"{folder}: {what} is not what it was in training; measure by policy and behavior instead")
    if limit is None:
        return examples
    if data.limit is None:
        return examples_of(replace(data, limit=limit))
    if not 1 <= limit <= data.limit:
        raise ValueError(f"limit must be from 1 to the {data.limit} of the run, got {limit}")
    return examples.select(range(min(limit, len(examples))))


def _steps(place: Path) -> int:
    """Read how many optimizer steps a model was trained for."""
    path = place / TRAINER_STATE_NAME
    try:
        return int(json.loads(path.read_text(encoding="utf-8"))["global_step"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} cannot be read, which says how long the model was trained ({error})") from error


def _apart(run: Mapping[str, Any], steps: int) -> str:
    """Say in what a run differs from the training that is predicted."""
    notes = []
    # Constant: the last step is on data of that of lag steps before it, or of the initial one.
    frozen = steps <= run["lag"] + (run["lag_mode"] == "constant")
    if not frozen:
        notes.append("the behavior moved in training: the prediction is for one that is frozen")
    if run["level"] != "sequence":
        notes.append(f"the log-ratio in training was of level {run['level']}: the prediction is for whole completions")
    return "; ".join(notes)
