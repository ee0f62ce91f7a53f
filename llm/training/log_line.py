"""What a terminal, or a file in its place, sees of a step: one line of TRL's dozens of metrics."""

from __future__ import annotations

import sys
from typing import Any

from transformers import PrinterCallback, ProgressCallback

_SHOWN = ("loss", "reward", "pass_rate", "kappa_fit", "kl/policy_behavior", "entropy", "grad_norm", "train_runtime")


def log_line(step: int, last: int, logs: dict[str, Any]) -> str:
    """The metrics worth a glance; TRL logs None where no step of the window had a number.

    Examples
    --------
    >>> log_line(8, 256, {"loss": 0.12345, "reward": 0.5, "clip_ratio/low_min": 0.0, "kappa_fit": None})
    'step 8/256: loss 0.1235, reward 0.5'
    """
    said = ", ".join(f"{name} {logs[name]:.4g}" for name in _SHOWN if logs.get(name) is not None)
    flat = "; all groups have equal rewards" if logs.get("frac_reward_zero_std") == 1.0 else ""
    return f"step {step}/{last}: {said}{flat}"


class LinePrinter(PrinterCallback):
    """Prints it to stderr, where there is no progress bar."""

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """A line for what transformers is about to log."""
        if state.is_world_process_zero and logs:
            print(log_line(state.global_step, state.max_steps, logs), file=sys.stderr, flush=True)


class LineOverBar(ProgressCallback):
    """Writes it above the progress bar."""

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """A line for what transformers is about to log."""
        if state.is_world_process_zero and self.training_bar is not None and logs:
            self.training_bar.write(log_line(state.global_step, state.max_steps, logs))
