"""OpenRLHF: its flags, old and new, and each that moves something."""

from __future__ import annotations

from pathlib import Path

import pytest

import pessimism as ps
from pessimism.trainers.config import from_config
from pessimism.trainers.openrlhf import DEFAULTS, OLD_NAMES

GROUP = ["--rollout.n_samples_per_prompt", "8", "--algo.kl.init_coef", "0"]
# Its example of DAPO, in its flags of 2025 and of 2026.
OLD = """\
ray job submit -- python3 -m openrlhf.cli.train_ppo_ray \\
   --rollout_batch_size 128 --n_samples_per_prompt 8 --train_batch_size 256 \\
   --eps_clip_low_high 0.2 0.28 \\
   --init_kl_coef 1e-4 --use_kl_loss --kl_estimator k3 --advantage_estimator group_norm \\
   --dynamic_filtering --dynamic_filtering_reward_range 0 1
"""
NEW = """\
python3 -m openrlhf.cli.train_ppo_ray \\
   --rollout.batch_size 128 --rollout.n_samples_per_prompt 8 --train.batch_size 256 \\
   --actor.eps_clip_low_high 0.2 0.28 \\
   --algo.kl.init_coef 1e-4 --algo.kl.use_loss --algo.kl.estimator k3 --algo.advantage.estimator group_norm \\
   --algo.dynamic_filtering_enable --algo.dynamic_filtering_range 0 1
"""


@pytest.mark.parametrize("script", [OLD, NEW], ids=["old", "new"])
def test_a_script(script: str, tmp_path: Path) -> None:
    (tmp_path / "train.sh").write_text(script)
    found = from_config(tmp_path / "train.sh")
    assert found.objective == ps.GRPO(beta=1e-4, eps_high=0.28, eps=1e-9)
    assert (found.level, found.group_size, found.reuse, found.lag) == ("token", 8, 4, 3)
    assert (found.drop_equal, found.singleton) == (True, None)
    assert [note.partition(":")[0] for note in found.not_modelled] == [
        "algo.kl.init_coef",
        "algo.dynamic_filtering_range",
    ]


def test_the_defaults() -> None:
    found = from_config([], trainer="openrlhf")
    assert (found.objective, found.group_size, found.reuse, found.lag) == (ps.PPO(), 1, 8, 7)
    assert len(found.not_modelled) == 2  # the KL in the reward, and the critic


def test_every_old_name_is_one_of_the_new() -> None:
    assert set(OLD_NAMES.values()) <= DEFAULTS.keys()


@pytest.mark.parametrize(
    ("flags", "objective"),
    [
        (["--algo.advantage.estimator", "group_norm"], ps.GRPO(beta=0.0, eps=1e-9)),
        (["--algo.advantage.estimator", "dr_grpo", "--actor.dual_clip", "3"], ps.DrGRPO(dual_clip=3.0)),
        (["--algo.advantage.estimator", "rloo", "--actor.eps_clip", "0.1"], ps.RLOOClipped(eps_low=0.1, eps_high=0.1)),
        (["--algo.advantage.estimator", "reinforce"], ps.ReinforcePP()),
        (["--algo.advantage.estimator", "reinforce_baseline"], ps.ReinforcePP(baseline_of="group")),
        (["--algo.advantage.estimator", "reinforce_baseline", "--algo.advantage.no_std_norm"], ps.DrGRPO()),
        (
            [
                "--algo.advantage.estimator",
                "rloo",
                "--algo.kl.use_loss",
                "--algo.kl.estimator",
                "k3",
                "--algo.kl.init_coef",
                "0.08",
            ],
            ps.GRPO(beta=0.08 * 7 / 8, scale="none", eps=1e-9),
        ),
        (
            ["--algo.advantage.estimator", "group_norm", "--actor.policy_loss_type", "gspo"],
            ps.GSPO(eps_low=0.2, eps_high=0.2, eps=1e-9),
        ),
        (
            [
                "--algo.advantage.estimator",
                "group_norm",
                "--algo.advantage.is_correction_enable",
                "--algo.advantage.is_correction_type",
                "icepop",
            ],
            ps.CorrectedPPO(correction="mask", low=0.5, cap=5.0, eps=1e-9),
        ),
        (
            [
                "--advantage_estimator",
                "group_norm",
                "--enable_vllm_is_correction",
                "--vllm_is_truncated_threshold",
                "2",
            ],
            ps.CorrectedPPO(eps=1e-9),
        ),
    ],
    ids=str,
)
def test_objective(flags: list[str], objective: ps.Objective) -> None:
    assert from_config([*GROUP, *flags]).objective == objective


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--algo.kl.init_coef", "0.1"], "must contain it"),
        (["--algo.kl.init_coef", "0.1", "--algo.kl.use_loss"], "does not pull back"),
        (["--algo.kl.init_coef", "0.1", "--algo.kl.use_loss", "--algo.kl.estimator", "k2"], "squared log-ratio"),
        (["--actor.entropy_coef", "0.01"], "the entropy bonus"),
        (["--rollout.top_p", "0.9"], "cuts what is sampled"),
        (["--reward.normalize_enable"], "running moments"),
        (["--reward.clip_range", "-1", "1"], "rewards are clipped"),
        (["--train.async_enable"], "depends on timing"),
        (["--algo.advantage.is_correction_enable"], "are raised to it"),
        (["--algo.advantage.is_correction_enable", "--actor.policy_loss_type", "gspo"], "policy in vLLM"),
    ],
    ids=str,
)
def test_what_is_not_modelled_is_named(flags: list[str], words: str) -> None:
    notes = from_config([*GROUP, "--algo.advantage.estimator", "group_norm", *flags]).not_modelled
    assert len(notes) == 1, notes
    assert words in notes[0]


def test_a_queue_adds_to_the_lag() -> None:
    assert from_config([*GROUP, "--advantage_estimator", "dr_grpo", "--entropy_loss_coef", "0"]).not_modelled == ()
    found = from_config([*GROUP, "--advantage_estimator", "dr_grpo", "--async_train", "--async_queue_size", "2"])
    assert (found.reuse, found.lag) == (64, 191)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--algo.advantage.estimator", "gpro"], "algo.advantage.estimator must be one of gae, reinforce, rloo,"),
        (["--actor.policy_loss_type", "cispo"], "actor.policy_loss_type must be one of ppo, gspo, got 'cispo'"),
        (["--actor.eps_clip_low_high", "0.2"], "actor.eps_clip_low_high must be two numbers, got '0.2'"),
        (
            ["--algo.advantage.estimator", "rloo", "--rollout.n_samples_per_prompt", "1"],
            "rollout.n_samples_per_prompt must be > 1 for rloo, got '1'",
        ),
    ],
)
def test_a_value_that_it_does_not_know(flags: list[str], message: str) -> None:
    with pytest.raises(ValueError, match="^arguments: ") as error:
        from_config([*GROUP, *flags])
    assert message in str(error.value)
