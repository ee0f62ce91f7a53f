"""The gradient of TRL's own loss under its settings is that of the objective that those settings are read as."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import pessimism as ps
from tests.audit import trl_losses as trl
from tests.audit.test_trl import COUNTS, POLICIES, REWARD, Q, expected, gradient

Array = npt.NDArray[np.float64]
# Settings, and their names in the stand-in for the trainer where they are others.
NAMES = {
    "epsilon": "low",
    "epsilon_high": "high",
    "importance_sampling_level": "level",
    "use_bias_correction_kl": "unbiased_kl",
}
LOSSES: list[dict[str, Any]] = [
    {"loss_type": "dapo"},
    {"loss_type": "dapo", "epsilon_high": 0.28, "scale_rewards": False},
    {"loss_type": "bnpo", "epsilon": 0.1},
    {"loss_type": "grpo", "beta": 0.3},
    {"loss_type": "grpo", "beta": 0.3, "use_bias_correction_kl": False},
    {"loss_type": "dr_grpo", "scale_rewards": "none"},
    {"loss_type": "dr_grpo"},
    {"loss_type": "dapo", "beta": 0.2, "epsilon_high": 0.4},
    {"loss_type": "dapo", "delta": 3.0},
    {"loss_type": "dapo", "delta": 1.5, "epsilon_high": 1.0},
    {"loss_type": "dapo", "delta": 1.1},
    {"loss_type": "cispo", "epsilon_high": 5.0},
    {"loss_type": "cispo"},
    {"loss_type": "sapo", "sapo_temperature_pos": 0.75, "sapo_temperature_neg": 2.0},
    {"loss_type": "vespo"},
    {"loss_type": "luspo", "epsilon": 0.3},
]


@pytest.mark.parametrize("logits", POLICIES, ids=range(6))
@pytest.mark.parametrize("settings", LOSSES, ids=str)
def test_the_objective_has_the_gradient_of_the_loss(settings: dict[str, Any], logits: Array) -> None:
    objective = ps.from_config(settings).objective
    assert objective is not None
    advantage = objective.advantage(REWARD, Q)
    given = {NAMES.get(key, key): value for key, value in settings.items() if key != "scale_rewards"}
    # What TRL has where nothing is said, and how its trainer fills the upper clip.
    given = {"high": settings.get("epsilon", 0.2), "unbiased_kl": True, **given}
    found = gradient(lambda x: trl.grpo(x, COUNTS, advantage, old=Q, **given), logits)
    assert np.abs(found).max() > 1e-6
    np.testing.assert_allclose(found, expected(objective.name, objective.settings, logits, None), atol=1e-12)


@pytest.mark.parametrize("loss_type", ["grpo", "dapo", "bnpo", "luspo"])
def test_what_a_sum_over_tokens_does_to_a_ratio_of_the_completion(loss_type: str) -> None:
    """GSPO divides a completion's gradient by its length; the sums over tokens of the others undo it, as LUSPO."""
    settings = {"loss_type": loss_type, "importance_sampling_level": "sequence", "epsilon": 0.2}
    objective = ps.from_config(settings).objective
    assert objective is not None
    assert objective.name == ("gspo" if loss_type == "grpo" else "luspo")
    advantage = objective.advantage(REWARD, Q)
    for logits in POLICIES:
        found = gradient(
            lambda x: trl.grpo(x, COUNTS, advantage, old=Q, loss_type=loss_type, level="sequence", high=0.2, tokens=3),
            logits,
        )
        mean = 3.0 if loss_type in ("dapo", "bnpo") else 1.0  # over tokens, of which there are three times as many
        hyper = objective.settings | {"length": 3.0}
        np.testing.assert_allclose(mean * found, expected(objective.name, hyper, logits, None), atol=1e-12)
