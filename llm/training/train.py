"""A training run in a folder: made from settings, resumed where it was, and left so that it can be measured."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import PrinterCallback, ProgressCallback
from trl import ModelConfig, get_peft_config, get_quantization_config

from llm.data.examples import examples_of
from llm.data.rewards import Reward, reward_function
from llm.models.load import holds_model, hub_reachable, load_tokenizer, model_path, readable
from llm.settings import TrainConfig
from llm.storage import checkpoints
from llm.storage.lock import alone
from llm.training.config import OffPolicyConfig
from llm.training.run_file import RUN, described, require_same, write_run
from llm.training.trainer import OffPolicyTrainer

_LOCK = "_lock"  # what begins with an underscore is not pushed to the hub
_SHOWN = (
    *("loss", "reward", "pass_rate", "kappa_fit", "kappa_untrained", "kl/policy_behavior", "entropy", "grad_norm"),
    "train_runtime",
)


def train(settings: TrainConfig, config: OffPolicyConfig, model: ModelConfig) -> Path:
    """Train a model and save it, with its tokenizer, its log and ``run.json``, in ``config.output_dir``.

    A run that was killed goes on from its last whole checkpoint, to the weights that it would have had.

    Parameters
    ----------
    settings : TrainConfig
        The data and the reward, and whether a run is resumed.
    config : OffPolicyConfig
        Settings of the trainer.
    model : trl.ModelConfig
        The model, its dtype and its adapters.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ValueError
        If the folder holds a run of other settings, data or reward, a model that is not of this command, or checkpoints
        although ``resume`` is off, or if another process trains in it; if a field is given that this command does not
        take; and as the parts do.
    ImportError
        If a logger of ``report_to`` is not installed.
    OSError
        If a model or the hub cannot be reached, or the folder cannot be written.
    """
    if model.model_name_or_path is None:
        raise ValueError("model_name_or_path must be given")
    _require_usable(config)
    # Before the model, which may have to be fetched, or pretrained: a mistake in these shows at once.
    examples, reward = examples_of(settings), reward_function(settings.reward)
    reward.require_columns(examples.column_names)
    folder, run = Path(config.output_dir), described(settings, config, model, examples, reward)
    main = config.process_index == 0
    with alone(folder / _LOCK, f"output_dir {folder}") if main else nullcontext():
        last = _last(folder, run, settings.resume)
        trainer = _made(model_path(model.model_name_or_path), config, model, examples, reward)
        if main:
            write_run(folder, run)
        trainer.train(resume_from_checkpoint=None if last is None else str(last))
        trainer.save_state()
        trainer.save_model()
    return folder


def _made(
    source: str, config: OffPolicyConfig, model: ModelConfig, examples: Dataset, reward: Reward
) -> OffPolicyTrainer:
    config.disable_tqdm = config.disable_tqdm or not sys.stderr.isatty()
    config.model_init_kwargs = {
        "revision": model.model_revision,
        "attn_implementation": model.attn_implementation,
        "dtype": model.dtype,
        **(config.model_init_kwargs or {}),
    }
    with hub_reachable(), readable(source), _logger_named(), _options_named(config.model_init_kwargs):
        trainer = OffPolicyTrainer(
            model=source,
            reward_funcs=[reward],
            args=config,
            train_dataset=examples,
            processing_class=load_tokenizer(
                source, revision=model.model_revision, trust_remote_code=config.trust_remote_code
            ),
            quantization_config=get_quantization_config(model),
            peft_config=get_peft_config(model),
        )
    for theirs, ours in ((PrinterCallback, LinePrinter), (ProgressCallback, LineOverBar)):
        if trainer.pop_callback(theirs) is not None:
            trainer.add_callback(ours)
    return trainer


def _require_usable(config: OffPolicyConfig) -> None:
    """Refuse what this command would not read, or what would keep a run from being resumed and measured as it is."""
    if config.resume_from_checkpoint is not None:
        raise ValueError("resume_from_checkpoint must be left out: a run goes on from the last whole one in output_dir")
    if config.save_only_model:
        raise ValueError("save_only_model must be false: without the optimizer's state a run cannot go on as it was")
    if config.reward_weights not in (None, [1.0]):
        raise ValueError(f"reward_weights must be left out: there is one reward, got {config.reward_weights!r}")
    if config.eval_strategy != "no" or config.do_eval:
        raise ValueError(
            "eval_strategy must be no: there is one data set; evaluate a checkpoint by `python -m llm evaluate`"
        )


@contextmanager
def _logger_named() -> Iterator[None]:
    """Raise an `ImportError` for a logger that is not installed; transformers raises a `RuntimeError`."""
    try:
        yield
    except RuntimeError as error:
        if "to be installed" not in str(error):
            raise
        raise ImportError(f"report_to: {error}") from error


@contextmanager
def _options_named(options: dict[str, Any]) -> Iterator[None]:
    """Raise a `ValueError` for an option that no model takes."""
    try:
        yield
    except TypeError as error:
        if not any(f"unexpected keyword argument '{name}'" in str(error) for name in options):
            raise
        raise ValueError(f"model_init_kwargs: {error}") from error


def _last(folder: Path, run: dict[str, Any], resume: bool) -> Path | None:
    """Find the checkpoint to go on from; a folder that holds the model of another run is refused."""
    last = checkpoints.latest(folder)
    if holds_model(folder) or last is not None:
        if not (folder / RUN).exists():
            raise ValueError(
                f"output_dir {folder} holds a model, but no {RUN}: it is none of this command; choose another"
            )
        require_same(folder, run)
    if last is not None and not resume:
        raise ValueError(f"output_dir {folder} holds {last.name}: choose another folder, delete it, or resume")
    return last


def log_line(step: int, last: int, logs: dict[str, Any]) -> str:
    """Put the metrics that are worth a glance in a line.

    Parameters
    ----------
    step : int
        The step.
    last : int
        The last step of the run.
    logs : dict
        Metrics by name; TRL logs None where no step of the window had a number.

    Returns
    -------
    str
        The line.

    Examples
    --------
    >>> log_line(8, 256, {"loss": 0.12345, "reward": 0.5, "clip_ratio/low_min": 0.0, "kappa_fit": None})
    'step 8/256: loss 0.1235, reward 0.5'
    """
    said = ", ".join(f"{name} {logs[name]:.4g}" for name in _SHOWN if logs.get(name) is not None)
    flat = "; all groups have equal rewards" if logs.get("frac_reward_zero_std") == 1.0 else ""
    return f"step {step}/{last}: {said}{flat}"


class LinePrinter(PrinterCallback):
    """Prints the line of each log to stderr, where there is no progress bar."""

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """Print a line for what transformers is about to log."""
        if state.is_world_process_zero and logs:
            print(log_line(state.global_step, state.max_steps, logs), file=sys.stderr, flush=True)


class LineOverBar(ProgressCallback):
    """Writes the line of each log above the progress bar."""

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """Write a line for what transformers is about to log."""
        if state.is_world_process_zero and self.training_bar is not None and logs:
            self.training_bar.write(log_line(state.global_step, state.max_steps, logs))
