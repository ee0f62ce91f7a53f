"""TRL's trainer with checkpoints that are whole or not there, and that hold what TRL forgets to save.

TRL resumes at the start of a generation batch. Here the batch being trained on, the place in it and whatever else a
subclass adds are saved for each process, so that a run goes on in the middle of one, to the same weights.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, ClassVar

import torch
from accelerate.utils import send_to_device
from transformers.trainer import TRAINER_STATE_NAME
from trl import GRPOTrainer

from llm.storage import checkpoints
from pessimism import files

STATE = "off_policy_{}.pt"  # of one process, beside the files of a checkpoint


class ResumableTrainer(GRPOTrainer):  # type: ignore[misc]
    """TRL's `GRPOTrainer`, resumed where it was.

    Raises
    ------
    FloatingPointError
        If a weight that would be saved is not finite.
    llm.storage.checkpoints.CheckpointError
        If a checkpoint cannot be written; the last one stays.
    ValueError
        On resume, if the checkpoint was not written by such a trainer, with as many processes and equal batches.
    """

    args: Any
    model: Any
    _made_for: ClassVar[tuple[str, ...]] = ("num_generations", "steps_per_generation", "generation_batch_size")
    _staging: Path | None = None

    def _run_epoch(self, *arguments: Any, **options: Any) -> None:
        """Run an epoch as transformers does, but not of a run that has ended: transformers would take one step more."""
        if self.state.global_step >= self.state.max_steps:
            if self.is_world_process_zero():
                print(f"the run has had its {self.state.max_steps} steps", file=sys.stderr)
            self.control.should_training_stop = True
        else:
            super()._run_epoch(*arguments, **options)

    def _own_state(self) -> dict[str, Any]:
        """Collect what is saved for this process, in types that ``torch.load(..., weights_only=True)`` reads."""
        fresh = self._step % (self.args.steps_per_generation * self.num_iterations) == 0
        return {
            "settings": {name: getattr(self.args, name) for name in self._made_for},
            "step": self._step,
            "buffered": None if fresh else self._buffered_inputs,
        }

    def _take_state(self, state: dict[str, Any]) -> None:
        """Go on from what was saved."""
        for name, before in state["settings"].items():
            if getattr(self.args, name) != before:
                raise ValueError(f"{name} must stay {before!r} on resume, got {getattr(self.args, name)!r}")
        self._step, self._buffered_inputs = state["step"], state["buffered"]

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._staging) if self._staging is not None else str(super()._get_output_dir(trial))

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        folder, name = Path(self._get_output_dir(trial)), f"checkpoint-{self.state.global_step}"

        def fill(staging: Path) -> None:
            self._staging = staging
            try:
                super(ResumableTrainer, self)._save_checkpoint(model, trial)
            finally:
                self._staging = None
            self._name_best(folder, staging / name)
            torch.save(self._own_state(), staging / name / STATE.format(self.accelerator.process_index))

        checkpoints.require_finite(self.model, self.accelerator)
        checkpoints.write(folder, name, fill, self.accelerator)
        if self.args.should_save:
            best = self.state.best_model_checkpoint
            checkpoints.rotate(folder, self.args.save_total_limit, {name, Path(best).name if best else name})

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save the model as transformers does; in the folder of the run it appears as a whole, with a manifest."""
        if output_dir not in (None, self.args.output_dir):
            super().save_model(output_dir, _internal_call)
            return

        def fill(staging: Path) -> None:
            super(ResumableTrainer, self).save_model(str(staging), _internal_call=True)

        checkpoints.write_model(Path(self.args.output_dir), fill, self.accelerator)
        if self.args.push_to_hub and not _internal_call:
            self.push_to_hub(commit_message="Model save", revision=self.args.hub_revision)

    def save_state(self) -> None:
        """Write the state of the trainer into the folder of the run, as a whole."""
        if self.is_world_process_zero():
            path = Path(self.args.output_dir) / TRAINER_STATE_NAME
            files.write({path: lambda part: self.state.save_to_json(str(part))})

    def _name_best(self, folder: Path, written: Path) -> None:
        """Correct where the best checkpoint will be: transformers has looked for it where this one is being written."""
        best = folder / f"checkpoint-{self.state.best_global_step}"
        if best.name == written.name or best.is_dir():
            self.state.best_model_checkpoint = str(best)
            if self.args.should_save:
                self.state.save_to_json(str(written / TRAINER_STATE_NAME))

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        """Warn as transformers does, but not of a tied weight: it is not missing, it is there under its other name."""
        tied = getattr(self.model, "all_tied_weights_keys", None) or {}
        missing = [name for name in load_result.missing_keys if name not in tied]
        super()._issue_warnings_after_load(load_result._replace(missing_keys=missing))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None:
            return
        path = Path(checkpoint) / STATE.format(self.accelerator.process_index)
        others = len(list(path.parent.glob(STATE.format("*"))))
        if others != self.accelerator.num_processes:
            raise ValueError(
                f"{path.parent} holds the states of {others} processes, not of {self.accelerator.num_processes}: "
                "resume with as many as there were, of a run of this trainer"
            )
        state = torch.load(path, map_location="cpu", weights_only=True)
        self._take_state(send_to_device(state, self.accelerator.device))
