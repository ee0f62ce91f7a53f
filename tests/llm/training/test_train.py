"""One line at each log, above a bar or in its place."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from llm.training.train import LineOverBar, LinePrinter, log_line

LOGS = {"loss": 0.25, "reward": 0.5, "kl/policy_behavior": 1e-3, "num_tokens": 3.0, "kappa_fit": None}
LINE = "step 3/8: loss 0.25, reward 0.5, kl/policy_behavior 0.001"


def test_groups_without_a_signal_are_said() -> None:
    assert log_line(3, 8, LOGS | {"frac_reward_zero_std": 1.0}) == f"{LINE}; all groups have equal rewards"
    assert log_line(3, 8, LOGS | {"frac_reward_zero_std": 0.9}) == LINE


@pytest.mark.parametrize("first", [True, False])
def test_a_line_of_the_first_process(first: bool, capsys: pytest.CaptureFixture[str]) -> None:
    state = SimpleNamespace(is_world_process_zero=first, global_step=3, max_steps=8)
    written: list[str] = []
    over: Any = LineOverBar()
    over.on_log(None, state, None, LOGS)  # before there is a bar
    over.training_bar = SimpleNamespace(write=written.append)
    over.on_log(None, state, None, LOGS)
    LinePrinter().on_log(None, state, None, LOGS)
    assert written == ([LINE] if first else [])
    assert capsys.readouterr().err == (f"{LINE}\n" if first else "")
