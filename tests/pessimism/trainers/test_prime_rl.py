"""prime-rl: its TOML, and each setting that moves something."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import pessimism as ps
from pessimism.trainers.config import from_config

FILE = """\
max_steps = 20

[orchestrator]
batch_size = 128
group_size = 16
max_off_policy_steps = 3

[orchestrator.algo]
type = "grpo"

[[orchestrator.train.source]]
name = "reverse-text"

[trainer.optim]
lr = 3e-6

[trainer.loss]
dppo_mask_low = 0.15
adv_tau = 2.0
kl_tau = 0.01
"""


def test_a_file(tmp_path: Path) -> None:
    (tmp_path / "rl.toml").write_text(FILE)
    found = from_config(tmp_path / "rl.toml")
    assert found.objective == ps.DPPOTV(low=0.15, tau=0.005)
    assert (found.level, found.group_size, found.reuse, found.lag) == ("token", 16, 1, 3)
    assert (found.drop_equal, found.singleton, found.not_modelled) == (True, "zero", ())


def test_the_defaults() -> None:
    found = from_config({}, trainer="prime-rl")
    assert (found.objective, found.group_size, found.lag, found.drop_equal) == (ps.DPPOTV(), 1, 8, True)
    assert found.not_modelled == ("A group is one completion: every advantage is 0.",)


@pytest.mark.parametrize(
    ("settings", "objective"),
    [
        ({"trainer.loss.type": "ipo", "trainer.loss.ipo_threshold": 0.2}, ps.PrimeIPO(threshold=0.2)),
        ({"loss.kl-tau": 0.1}, ps.DPPOTV(tau=0.1)),
        ({"trainer.loss.type": "custom", "trainer.loss.import_path": "a.b"}, None),
        ({"orchestrator.algo.type": "opd"}, None),
    ],
    ids=str,
)
def test_objective(settings: dict[str, Any], objective: ps.Objective | None) -> None:
    found = from_config(settings | {"orchestrator.rollouts_per_example": 4})
    assert (found.objective, found.group_size) == (objective, 4)
    assert len(found.not_modelled) == (objective is None)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"orchestrator.algo.type": "max_rl"}, "divided by the group's mean reward"),
        ({"orchestrator.algo.type": "echo"}, "likelihood term"),
        ({"orchestrator.algo.type": "rae"}, "running mean"),
        ({"orchestrator.algo.length_penalty.type": "linear"}, "reduced by length"),
        (
            {"orchestrator.train.source": [{"name": "a"}, {"name": "b", "algo": {"type": "opd"}}]},
            "environment b has its",
        ),
        ({"orchestrator.max_async_level": 2}, "max_off_policy_steps alone"),
        ({"orchestrator.train.sampling.top_p": 0.9}, "cuts what is sampled"),
        ({"trainer.loss.ipo_threshold": 0.2}, "does not read it with loss default"),
    ],
    ids=str,
)
def test_what_is_not_modelled_is_named(settings: dict[str, Any], words: str) -> None:
    notes = from_config(settings | {"orchestrator.group_size": 8}).not_modelled
    assert len(notes) == 1
    assert words in notes[0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"trainer.loss.type": "gspo"}, "trainer.loss.type must be one of default, ipo, custom, got 'gspo'"),
        ({"orchestrator.algo.type": "ppo"}, "orchestrator.algo.type must be one of grpo, max_rl,"),
        ({"trainer.loss.kl_tau": 0.0}, "trainer.loss.kl_tau must be > 0, as the objective's tau, got 0.0"),
        ({"trainer.loss.adv_tau": 0}, "trainer.loss.adv_tau must be > 0, got 0"),
        ({"trainer.loss.dppo_mask_hihg": 0.1}, "did you mean 'dppo_mask_high'?"),
    ],
    ids=str,
)
def test_a_value_that_it_does_not_know(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="^settings: ") as error:
        from_config(settings)
    assert message in str(error.value)
