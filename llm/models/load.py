"""Where a model comes from: a hub id, a local folder, or a small one made here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils.peft_utils import find_adapter_config_file

from llm.data.addition import Addition, settings_in
from llm.models.tiny import TinyModel, pretrained
from llm.sealed import MANIFEST, why_broken
from pessimism.messages import one_line

CACHE = Path(__file__).resolve().parents[2] / "results" / "models"


def tiny_settings(source: str) -> TinyModel:
    """Read the settings of a small model from text.

    Parameters
    ----------
    source : str
        "tiny" or "tiny:NAME=VALUE,...", with the names of `llm.data.addition.Addition` and of
        `llm.models.tiny.TinyModel`, whose `steps` is called ``train_steps`` here.

    Returns
    -------
    TinyModel
        The settings.

    Raises
    ------
    ValueError
        If a name is unknown or a value is out of range.

    Examples
    --------
    >>> tiny_settings("tiny:digits=3,steps=true,train_steps=3000").task
    Addition(digits=3, steps=True, noise=0.5)
    """
    of_task = {f.name for f in fields(Addition)}
    # Both have `steps`: the task's are those of its completions, the model's are called train_steps here.
    of_model = {("train_steps" if f.name == "steps" else f.name): f.name for f in fields(TinyModel) if f.name != "task"}
    task: dict[str, Any] = {}
    model: dict[str, Any] = {}
    for name, value in settings_in(source, sorted(of_task | {*of_model})):
        if name in of_task:
            task[name] = _value(value)
        else:
            model[of_model[name]] = _value(value)
    try:
        return TinyModel(task=Addition(**task), **model)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None


def _value(text: str) -> Any:
    try:
        return json.loads(text.lower() if text.lower() in ("true", "false") else text)
    except ValueError:
        return text


def model_path(source: str, cache: Path = CACHE) -> str:
    """Find what ``AutoModelForCausalLM.from_pretrained`` can load.

    Parameters
    ----------
    source : str
        A hub id, a folder, or "tiny[:NAME=VALUE,...]" for a small model, which is pretrained now if `cache` does not
        have it yet (about two minutes for "tiny").
    cache : Path, optional
        Folder of the small models.

    Returns
    -------
    str
        The source itself, or the folder of the small model.

    Raises
    ------
    FileNotFoundError
        If the source is a folder without a model, or neither a folder nor a possible hub id.
    """
    if source.partition(":")[0] == "tiny":
        return str(pretrained(tiny_settings(source), cache))
    folder = Path(source)
    if folder.is_dir():
        if not holds_model(folder):
            raise FileNotFoundError(f"model {source}: this folder holds no config.json")
        return source
    try:
        validate_repo_id(source)
    except HFValidationError:
        raise FileNotFoundError(f"model {source}: no such folder") from None
    return source


def dtype_of(model: str | Path | Any, **options: Any) -> str | None:
    """Name the dtype of a model, or the one in the configuration of a hub id or folder; None where that names none."""
    if isinstance(model, str | Path):
        model = AutoConfig.from_pretrained(model, **{"trust_remote_code": False, **options})
    found = model.dtype
    return None if found is None else str(found).removeprefix("torch.")


def holds_model(folder: Path) -> bool:
    """Say whether a model or an adapter was saved in a folder."""
    return any((folder / name).is_file() for name in ("config.json", "adapter_config.json"))


@contextmanager
def readable(source: str | Path) -> Iterator[None]:
    """Name the model in errors of loading it: `ValueError` for broken files, `OSError` if it is not there."""
    if (Path(source) / MANIFEST).exists() and (why := why_broken(Path(source))):
        raise ValueError(f"model {source} is not whole: {why} (if it was changed on purpose, delete {MANIFEST})")
    try:
        yield
    except SafetensorError as error:
        raise ValueError(f"model {source}: its weights cannot be read ({error})") from error
    except OSError as error:
        # Of transformers, which names the hub it did not reach, and not the model; one of the system has a number.
        if error.errno is not None or str(source) in str(error):
            raise
        raise OSError(f"model {source}: {one_line(error)}") from error


@contextmanager
def hub_reachable() -> Iterator[None]:
    """Turn the error of a hub that is not reached, which is none of Python's, into an `OSError`."""
    try:
        yield
    except Exception as error:
        if not type(error).__module__.startswith("httpx"):
            raise
        raise OSError(f"the Hugging Face hub cannot be reached, for push_to_hub ({one_line(error)})") from error


def load_model(
    source: str | Path,
    *,
    dtype: str = "auto",
    device: str | None = None,
    revision: str = "main",
    trust_remote_code: bool = False,
) -> Any:
    """Load a causal language model; adapters (LoRA) are merged into their base model.

    Parameters
    ----------
    source : str or Path
        Hub id or folder.
    dtype : str, default "auto"
        "float32", "bfloat16", ...; "auto" is the dtype of the checkpoint.
    device : str, optional
        Device of the model; a GPU by default, where there is one.
    revision : str, default "main"
        Revision on the hub.
    trust_remote_code : bool, default False
        Whether code that the model brings may run; without it such a model is refused, and nobody is asked.

    Returns
    -------
    transformers.PreTrainedModel
        The model.

    Raises
    ------
    ImportError
        If the source holds adapters and peft is not installed.
    ValueError
        If a file is not as this package wrote it, or the weights are cut off.
    """
    options: dict[str, Any] = {"dtype": dtype, "revision": revision, "trust_remote_code": trust_remote_code}
    with readable(source):
        if find_adapter_config_file(str(source), revision=revision) is None:
            model: Any = AutoModelForCausalLM.from_pretrained(source, **options)
        else:
            from peft import AutoPeftModelForCausalLM

            model = AutoPeftModelForCausalLM.from_pretrained(source, **options).merge_and_unload()
    return model.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))


def load_tokenizer(source: str | Path, *, revision: str = "main", trust_remote_code: bool = False) -> Any:
    """Load the tokenizer of a model, which pads on the left.

    Parameters
    ----------
    source : str or Path
        Hub id or folder.
    revision : str, default "main"
        Revision on the hub.
    trust_remote_code : bool, default False
        As `load_model` takes it.

    Returns
    -------
    transformers.PreTrainedTokenizerBase
        The tokenizer.
    """
    return AutoTokenizer.from_pretrained(
        source, revision=revision, padding_side="left", trust_remote_code=trust_remote_code
    )
