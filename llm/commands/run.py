"""The bodies of `python -m llm measure` and `python -m llm evaluate`."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from datasets import Dataset

from llm.commands.measure_run import measure_run
from llm.data.examples import examples_of
from llm.data.rewards import Reward, reward_function
from llm.evaluation.evaluate import evaluate, summary
from llm.generation.make import sampler_of
from llm.measurement.measure import measure
from llm.models.load import load_model, load_tokenizer, model_path
from llm.settings import DataConfig, EvaluateConfig, MeasureConfig
from pessimism import files
from pessimism.losses.registry import make_objective
from pessimism.messages import plain, reason

SHOWN = (
    *("prompt", "n", "reward_mean", "kappa_fit", "kappa_untrained", "kappa_identity", "predicted_kappa"),
    *("kl", "predicted_kl", "effective_temperature", "predicted_effective_temperature", "value", "predicted_value"),
)


def measured(settings: MeasureConfig) -> pd.DataFrame:
    """Measure a run or two models; the frame of `llm.measurement.measure.measure`."""
    options: dict[str, Any] = {
        "samples": settings.samples,
        "exact": settings.exact,
        "seed": settings.seed,
        "batch_size": settings.batch_size,
    }
    if settings.run is not None:
        options |= {"checkpoint": settings.checkpoint, "behavior": settings.behavior, "limit": settings.limit}
        options["trust_remote_code"] = settings.trust_remote_code
        return measure_run(settings.run, sampler=partial(sampler_of, settings), dtype=settings.dtype, **options)
    assert settings.policy is not None
    assert settings.behavior is not None
    assert settings.objective is not None
    objective = make_objective(settings.objective, **(settings.hyper or {}))  # type: ignore[arg-type]
    examples, reward = _asked(settings)
    places = [model_path(source) for source in (settings.policy, settings.behavior)]
    trust = settings.trust_remote_code
    policy, behavior = (load_model(place, dtype=settings.dtype, trust_remote_code=trust) for place in places)
    tokenizer = load_tokenizer(places[1], trust_remote_code=trust)
    return measure(
        policy,
        behavior,
        tokenizer,
        list(examples),
        reward,
        objective,
        length=settings.max_completion_length,
        group_size=settings.num_generations,
        sampler=None if settings.exact else sampler_of(settings, behavior, tokenizer),
        chat=settings.chat_template_kwargs,  # type: ignore[arg-type]
        **options,
    )


def evaluated(settings: EvaluateConfig) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Evaluate a model; the frame of `llm.evaluation.evaluate.evaluate` and its summary."""
    examples, reward = _asked(settings)
    assert settings.model is not None
    place, revision = model_path(settings.model), settings.model_revision
    given: dict[str, Any] = {"revision": revision, "trust_remote_code": settings.trust_remote_code}
    model, tokenizer = load_model(place, dtype=settings.dtype, **given), load_tokenizer(place, **given)
    frame = evaluate(
        model,
        tokenizer,
        examples,
        reward,
        sampler=sampler_of(settings, model, tokenizer),
        length=settings.max_completion_length,
        samples=settings.samples,
        ks=settings.ks,
        seed=settings.seed,
        batch_size=settings.batch_size,
        chat=settings.chat_template_kwargs,  # type: ignore[arg-type]
        resume=None if settings.out is None else Path(settings.out).with_suffix(".jsonl"),
    )
    return frame, summary(frame)


def _asked(settings: DataConfig) -> tuple[Dataset, Reward]:
    examples, reward = examples_of(settings), reward_function(settings.reward)
    reward.require_columns(examples.column_names)
    return examples, reward


def require_writable(out: str | None) -> None:
    """Refuse a file that could not be written, before the work and not after it.

    Parameters
    ----------
    out : str or None
        Path of the file; None for none.

    Raises
    ------
    ValueError
        If it is a folder.
    OSError
        If its folder cannot be made or written.
    """
    if out is None:
        return
    if Path(out).is_dir():
        raise ValueError(f"out {out} is a folder: name a file")
    try:
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=Path(out).parent):
            pass
    except OSError as error:
        raise OSError(f"out {out} cannot be written ({reason(error)})") from error


def write(frame: pd.DataFrame, out: str | None) -> None:
    """Write a frame as CSV where a file is named."""
    if out is not None:
        files.write({Path(out): lambda part: frame.to_csv(part, index=False, lineterminator="\n")})


def table(frame: pd.DataFrame) -> str:
    """Show a frame of `measured` in a terminal: the readings beside their predictions, and the notes.

    Beside the measured kappa stands what the same fit reads off the behavior itself. A prompt is a text of somebody
    else: what would control the terminal is escaped.

    Parameters
    ----------
    frame : pandas.DataFrame
        As `measured` returns it.

    Returns
    -------
    str
        Lines: the objective, a table with a row for each prompt, and the notes.

    Examples
    --------
    >>> row = dict.fromkeys(SHOWN, 0.5) | {"prompt": "", "kind": "pooled", "kappa_fit_error": 0.1, "note": "moved"}
    >>> frame = pd.DataFrame([row])
    >>> frame.attrs = {"objective": "kimi(beta=0.5)", "group_size": 8, "exact": False}
    >>> lines = table(frame).splitlines()
    >>> lines[0], lines[-1]
    ('kimi(beta=0.5), groups of 8; completions sampled', 'moved')
    """
    of = frame.attrs
    how = "enumerated" if of["exact"] else "sampled"
    first = f"{of['objective']}, groups of {of['group_size']}; completions {how}"
    shown = frame[list(SHOWN)].assign(prompt=frame["prompt"].map(plain).where(frame["kind"] == "prompt", "pooled"))
    error = frame["kappa_fit_error"]
    shown["kappa_fit"] = [f"{k:.3f} ± {e:.3f}" for k, e in zip(frame["kappa_fit"], error, strict=True)]
    said = shown.to_string(index=False, float_format=lambda value: f"{value:.3f}")
    notes = dict.fromkeys(plain(note) for note in frame["note"].fillna("") if note)
    return "\n".join([first, said, *notes])


def intervals(found: pd.DataFrame) -> str:
    """Show the means of a summary of `evaluated` with their intervals, one in a line.

    Parameters
    ----------
    found : pandas.DataFrame
        The summary.

    Returns
    -------
    str
        The lines.

    Examples
    --------
    >>> found = {"prompts": 3, "samples": 4, "ended": 0.5, "ended_low": 0.2, "ended_high": 0.8}
    >>> print(intervals(pd.DataFrame([found])))
    3 prompts, 4 samples each; mean [95 % interval]
    ended             0.500  [0.200, 0.800]
    """
    row = found.iloc[0]
    names = [name for name in found.columns if f"{name}_low" in found.columns]
    lines = [f"{name:<16} {row[name]:6.3f}  [{row[f'{name}_low']:.3f}, {row[f'{name}_high']:.3f}]" for name in names]
    return "\n".join([f"{row['prompts']:.0f} prompts, {row['samples']:.0f} samples each; mean [95 % interval]", *lines])
