"""From the settings of somebody's trainer to the objective that they stand for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePath
from typing import Any

from pessimism.messages import show
from pessimism.trainers import openrlhf, prime_rl, trl, verl
from pessimism.trainers.settings import TrainerSettings
from pessimism.trainers.sources import Source, read_source

READERS: dict[str, Callable[[dict[str, Any], str], TrainerSettings]] = {
    **trl.READERS,
    "verl": verl.read_verl,
    "prime-rl": prime_rl.read_prime_rl,
    "openrlhf": openrlhf.read_openrlhf,
}
_SECTIONS = {  # first parts of names with dots
    "verl": ("actor_rollout_ref", "algorithm"),
    "prime-rl": ("orchestrator", "loss"),
    "openrlhf": ("algo", "actor"),
}
_OF_OPENRLHF = ("advantage_estimator", "init_kl_coef", "n_samples_per_prompt", "eps_clip", "rollout_batch_size")
_KINDS = {  # settings that only this trainer of TRL has, and words in a command or the name of a class
    "trl-a2po": ("num_value_samples", "beta2", "filter_all_incorrect"),
    "trl-async": ("max_staleness", "weight_sync_steps"),
    "trl-rloo": ("normalize_advantages", "reward_clip_range"),
    "trl-gmpo": (),
}


def from_config(source: Any, *, trainer: str | None = None) -> TrainerSettings:
    """Read the settings of a trainer: the objective that they stand for, the lag, the groups, what is not modelled.

    Parameters
    ----------
    source : str, Path, list of str, mapping or dataclass
        A file (YAML, JSON, TOML, or a script with the command), a list of arguments or hydra overrides, the settings by
        name, nested or with dots, or an object such as `trl.GRPOConfig`. YAML needs PyYAML.
    trainer : str, optional
        Whose settings they are: "trl" (`GRPOTrainer`), "trl-rloo", "trl-a2po", "trl-gmpo", "trl-async", "verl",
        "prime-rl" or "openrlhf". Default: recognized by their names.

    Returns
    -------
    TrainerSettings
        The objective, as an object and as text, and what else matters; what is not given has the trainer's default.

    Raises
    ------
    ValueError
        If the file does not parse, the trainer is not recognized, or a setting has a value that it does not know.
    TypeError
        If the source is none of these.

    Examples
    --------
    >>> verl = ["algorithm.adv_estimator=grpo", "actor_rollout_ref.rollout.n=8", "data.train_batch_size=256"]
    >>> found = from_config(verl)
    >>> found.spec, found.group_size, found.lag
    ('grpo:beta=0,dual_clip=3', 8, 0)
    >>> from_config({"loss_type": "gepo"})
    Traceback (most recent call last):
    ...
    ValueError: settings: loss_type must be one of grpo, sapo, bnpo, dr_grpo, dapo, cispo, vespo, luspo, got 'gepo'
    """
    if trainer is not None and trainer not in READERS:
        raise ValueError(f"trainer must be one of {', '.join(READERS)}, got {trainer!r}")
    found = read_source(source)
    if isinstance(own := found.settings.get("objective"), str):
        raise ValueError(f"{found.place} names its objective itself, {show(own)}, whatever its other settings are")
    read = READERS[trainer or _recognized(found)]
    try:
        return read(found.settings, found.place)
    except ValueError as error:
        if str(error).startswith(found.place):
            raise
        raise ValueError(f"{found.place}: {error}") from None  # of an objective, whose names are its own


def _recognized(source: Source) -> str:
    sections = {name.partition(".")[0] for name in source.settings if "." in name}
    for trainer, first in _SECTIONS.items():
        if sections.intersection(first):
            return trainer
    if source.suffix == ".toml" or any(name.startswith("trainer.loss.") for name in source.settings):
        return "prime-rl"
    if source.settings.keys() & set(_OF_OPENRLHF):
        return "openrlhf"
    if (kind := _kind(source)) != "trl" or source.settings.keys() & trl.GRPO_DEFAULTS.keys():
        return kind
    raise ValueError(
        f"{source.place} is of no trainer that is known here, or sets nothing that concerns its loss: say which one "
        f"with trainer=, one of {', '.join(READERS)}"
    )


def _kind(source: Source) -> str:
    """Which trainer of TRL: by its settings, or a word such as "rloo", "train_rloo.py" or "RLOOConfig"."""
    words = [PurePath(word).stem.lower() for word in source.words]
    for kind, own in _KINDS.items():
        name = kind.removeprefix("trl-")
        if source.settings.keys() & set(own) or any(name in word for word in words):
            return kind
    return "trl"
