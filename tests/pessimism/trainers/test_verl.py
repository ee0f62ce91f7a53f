"""verl: the defaults of its release, and each setting that moves something."""

from __future__ import annotations

from pathlib import Path

import pytest

import pessimism as ps
from pessimism.losses.registry import make_objective
from pessimism.trainers import verl
from pessimism.trainers.config import from_config
from pessimism.trainers.sources import flat

RELEASE = Path(__file__).with_name("verl_0_9_1.yaml")
ACTOR, LOSS = "actor_rollout_ref.actor.", "actor_rollout_ref.actor.policy_loss."
CORRECTION = "algorithm.rollout_correction."
GRPO = ["algorithm.adv_estimator=grpo", "actor_rollout_ref.rollout.n=8"]

SHORT = {"A.": ACTOR, "L.": LOSS, "C.": CORRECTION, "estimator": "algorithm.adv_estimator"}


def whole(override: str) -> str:
    """Override with its section, for which a table has a letter."""
    letter = next((short for short in SHORT if override.startswith(short)), "")
    return SHORT.get(letter, "") + override.removeprefix(letter)


def test_the_defaults_are_those_of_the_release() -> None:
    yaml = pytest.importorskip("yaml")
    theirs = flat(yaml.safe_load(RELEASE.read_text(encoding="utf-8")))
    ours = {key: value for key, value in verl.DEFAULTS.items() if not key.startswith("async_training")}
    assert {key: theirs[key] for key in ours} == ours


def test_the_release_is_read_as_its_defaults_are() -> None:
    """No other setting of it is taken for a misspelled one."""
    pytest.importorskip("yaml")
    found = from_config(RELEASE)
    assert found == from_config({}, trainer="verl")
    assert found.objective == ps.PPO(dual_clip=3.0)
    assert (found.level, found.group_size, found.reuse, found.lag) == ("token", 1, 4, 3)
    assert (found.drop_equal, found.singleton) == (False, None)
    assert found.aggregation == "mean over all tokens of a mini-batch"
    assert [note.partition(":")[0] for note in found.not_modelled] == ["adv_estimator = gae"]


@pytest.mark.parametrize(
    ("overrides", "spec"),
    [
        ("", "grpo:beta=0,dual_clip=3"),
        ("algorithm.norm_adv_by_std_in_grpo=False", "dr_grpo:dual_clip=3"),
        ("estimator=grpo_vectorized A.clip_ratio_high=0.28", "grpo:beta=0,eps_high=0.28,dual_clip=3"),
        ("A.use_kl_loss=True", "grpo:beta=0.001,dual_clip=3"),
        ("A.use_kl_loss=True A.kl_loss_type=k3 A.kl_loss_coef=0.1", "grpo:beta=0.1,dual_clip=3"),
        ("A.use_kl_loss=True A.kl_loss_type=mse", "grpo:beta=0,dual_clip=3"),
        ("A.clip_ratio_low=null A.clip_ratio=0.1", "grpo:beta=0,eps_low=0.1,dual_clip=3"),
        ("estimator=rloo", "rloo_clipped:dual_clip=3"),
        ("estimator=rloo A.use_kl_loss=True A.kl_loss_coef=0.08", "grpo:beta=0.07,dual_clip=3,scale=none"),
        ("estimator=reinforce_plus_plus", "reinforce_pp:dual_clip=3"),
        ("estimator=reinforce_plus_plus_baseline", "reinforce_pp:dual_clip=3,baseline_of=group"),
        ("estimator=remax", "ppo:dual_clip=3"),
        ("L.loss_mode=gspo A.loss_agg_mode=seq-mean-token-mean A.clip_ratio_low=3e-4 A.clip_ratio_high=4e-4", "gspo"),
        ("L.loss_mode=gspo A.clip_ratio_low=3e-4 A.clip_ratio_high=4e-4", "luspo"),
        ("L.loss_mode=sapo A.tau_neg=1.5", "sapo:tau_neg=1.5"),
        ("L.loss_mode=cispo", "cispo:cap=1.2,floor=0.8"),
        ("L.loss_mode=cispo A.clip_ratio_low=10 A.clip_ratio_high=4", "cispo"),
        ("L.loss_mode=geo_mean A.clip_ratio_low=0.4 A.clip_ratio_high=0.4", "gmpo"),
        ("L.loss_mode=dppo_kl A.clip_ratio_c=20", "dppo:divergence=kl"),
        ("L.loss_mode=dppo_tv", "dppo:cap=3"),
        ("L.loss_mode=dro L.dro_beta=0.05 algorithm.norm_adv_by_std_in_grpo=false", "dro"),
        ("L.loss_mode=dro L.dro_beta=0.05", "std_normalized:beta=0.05,eps=1e-06"),
        ("L.loss_mode=gpg", "gpg:sampling=off_policy"),
        ("L.loss_mode=gpg data.train_batch_size=256", "gpg"),
        ("L.loss_mode=clip_cov", "grpo:beta=0"),
        ("L.loss_mode=kl_cov", ""),
        ("C.rollout_is=token", "ppo_corrected:dual_clip=3"),
        (
            "C.rollout_is=sequence C.rollout_is_threshold=0.5_5.0",
            "ppo_corrected:dual_clip=3,correction=mask,cap=5,low=0.5",
        ),
        ("C.bypass_mode=true C.rollout_is=token", "grpo:beta=0,dual_clip=3"),
        ("C.bypass_mode=true C.loss_type=reinforce C.rollout_is=token", "cispo:cap=2"),
        ("C.bypass_mode=true C.loss_type=reinforce", "gpg:sampling=off_policy"),
    ],
    ids=str,
)
def test_objective(overrides: str, spec: str) -> None:
    found = from_config([*GRPO, *map(whole, overrides.split())])
    if not spec:
        assert (found.objective, found.spec) == (None, "")
    elif "beta=0.07," in spec:
        assert found.objective == ps.GRPO(beta=0.08 * 7 / 8, scale="none", dual_clip=3.0)
    else:
        assert found.spec == spec
        assert make_objective(spec) == found.objective


@pytest.mark.parametrize(
    ("overrides", "reuse", "lag"),
    [
        (["data.train_batch_size=512", f"{ACTOR}ppo_mini_batch_size=64"], 8, 7),
        ([f"{ACTOR}ppo_epochs=2"], 8, 7),
        (["data.train_batch_size=256"], 1, 0),
        (["async_training.staleness_threshold=0.5"], 1, 5),
        (["async_training.staleness_threshold=0", "async_training.trigger_parameter_sync_step=1"], 1, 0),
    ],
    ids=str,
)
def test_lag(overrides: list[str], reuse: int, lag: int) -> None:
    found = from_config([*GRPO, *overrides])
    assert (found.reuse, found.lag) == (reuse, lag)


@pytest.mark.parametrize(
    ("estimator", "singleton"),
    [
        *((name, "reward") for name in ("grpo", "grpo_vectorized", "rloo", "opo", "gpg", "gdpo")),
        ("rloo_vectorized", "zero"),
        ("gae", None),
        ("reinforce_plus_plus", None),
    ],
)
def test_what_a_group_of_one_gets(estimator: str, singleton: str | None) -> None:
    assert from_config([f"algorithm.adv_estimator={estimator}"]).singleton == singleton


def test_level_and_mean() -> None:
    found = from_config([*GRPO, f"{LOSS}loss_mode=sapo", f"{ACTOR}loss_agg_mode=token-sum"])
    assert found.aggregation == "mean over the tokens of a completion, then over completions"  # whatever is set
    assert from_config([*GRPO, f"{LOSS}loss_mode=gspo"]).level == "sequence"
    assert from_config([*GRPO, f"{LOSS}loss_mode=geo_mean"]).aggregation == "mean over completions"


def test_groups_that_are_dropped() -> None:
    found = from_config([*GRPO, "+algorithm.filter_groups.enable=True", "+algorithm.filter_groups.metric=acc"])
    assert found.drop_equal
    assert [note.partition(":")[0] for note in found.not_modelled] == ["algorithm.filter_groups.metric = acc"]
    assert from_config([*GRPO, "algorithm.filter_groups.enable=True"]).not_modelled == ()


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ([f"{ACTOR}use_kl_loss=True", f"{ACTOR}kl_loss_type=k2"], "half the squared log-ratio"),
        ([f"{ACTOR}use_kl_loss=True", f"{ACTOR}kl_loss_type=k3+"], "half the squared log-ratio"),
        ([f"{ACTOR}use_kl_loss=True", f"{ACTOR}kl_loss_type=kl"], "does not pull back"),
        ([f"{ACTOR}use_kl_loss=True"], "cuts a token's estimate of the KL at 10"),
        ([f"{ACTOR}use_kl_loss=True", f"{LOSS}loss_mode=cispo"], "kl_loss_coef = 0.001: the KL penalty"),
        ([f"{ACTOR}clip_ratio=0.3"], "clip_ratio = 0.3: verl does not read it"),
        ([f"{ACTOR}kl_loss_coef=0.1"], "kl_loss_coef = 0.1: the trainer does not read it"),
        ([f"{ACTOR}kl_loss_coef=0.1", "algorithm.kl_ctrl.kl_coef=0.0"], "kl_loss_coef = 0.1: the trainer does not"),
        ([f"{ACTOR}entropy_coeff=0.01"], "the entropy bonus"),
        (["algorithm.use_kl_in_reward=True"], "must contain it"),
        (["algorithm.adv_estimator=opo"], "weighs rewards by lengths"),
        (["algorithm.adv_estimator=gdpo"], "each reward is standardized"),
        (["algorithm.adv_estimator=reinforce_plus_plus", f"{LOSS}loss_mode=cispo"], "whitened over the batch"),
        (["algorithm.adv_estimator=rloo", f"{LOSS}loss_mode=dro", f"{LOSS}dro_beta=1"], "G/(G - 1) times"),
        (["algorithm.adv_estimator=gae", "algorithm.gamma=0.99"], "discounted"),
        (["actor_rollout_ref.rollout.top_p=0.9"], "cuts what is sampled"),
        ([f"{CORRECTION}rollout_rs=token_k1", f"{CORRECTION}rollout_rs_threshold=2"], "rejected"),
        ([f"{CORRECTION}rollout_is=token", f"{LOSS}loss_mode=gspo"], "takes both for one"),
        ([f"{CORRECTION}bypass_mode=true", f"{LOSS}loss_mode=gspo"], "verl replaces it"),
        ([f"{LOSS}loss_mode=kl_cov"], "which no objective of this package is"),
        (["async_training.staleness_threshold=0.5"], "how old a completion is varies"),
    ],
    ids=str,
)
def test_what_is_not_modelled_is_named(overrides: list[str], words: str) -> None:
    notes = from_config([*GRPO, *overrides]).not_modelled
    assert sum(words in note for note in notes) == 1, notes
    assert all(note.endswith(".") and "\n" not in note for note in notes)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("algorithm.adv_estimator=grop", "algorithm.adv_estimator must be one of grpo, grpo_vectorized, rloo,"),
        (f"{LOSS}loss_mode=ppo", "loss_mode must be one of vanilla, dppo_tv, dppo_kl,"),
        (f"{LOSS}loss_mode=bypass_mode", "loss_mode must be one of vanilla, dppo_tv, dppo_kl,"),
        (f"{LOSS}loss_mode=dro", "dro_beta must be > 0 for the loss dro, got null"),
        (f"{ACTOR}loss_agg_mode=mean", "loss_agg_mode must be one of token-mean, token-sum,"),
        (f"{ACTOR}ppo_mini_batch_size=4096", "ppo_mini_batch_size must be at most data.train_batch_size = 1024"),
        (f"{ACTOR}clip_ratio_hihg=0.3", "did you mean 'clip_ratio_high'?"),
        (f"{ACTOR}ppo_epochs=0", "ppo_epochs must be an integer >= 1, got '0'"),
    ],
)
def test_a_value_that_verl_does_not_know(override: str, message: str) -> None:
    with pytest.raises(ValueError, match="^arguments: ") as error:
        from_config([*GRPO, override])
    assert message in str(error.value)


@pytest.mark.parametrize("threshold", ["0", "-1", "5_2", "a_b", "nan", "0_2"])
def test_bounds_of_rollout_weights(threshold: str) -> None:
    with pytest.raises(ValueError, match="rollout_is_threshold must be a cap > 0, or two bounds"):
        from_config([*GRPO, f"{CORRECTION}rollout_is=token", f"{CORRECTION}rollout_is_threshold={threshold}"])
