"""Questions that users asked on public trackers, put to the package, and answers that are computed in another way.

A docstring names the thread and gives the answer. The other way is a formula by hand, an enumeration, or plain gradient
descent on the published loss, written in this file with numpy alone.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import brentq
from scipy.special import wrightomega

import pessimism as ps

MU = np.array([0.4, 0.3, 0.2, 0.1])
REWARD = np.array([0.0, 0.0, 1.0, 1.0])


def descend(data: Any, weight: Callable[[Any], Any], steps: int, lr: float, *, start: Any = None) -> Any:
    """Policies of gradient ascent on softmax logits, ``weight`` being what stands before grad log pi on the data."""
    data = np.asarray(data, dtype=float)
    logits = np.log(data if start is None else start)
    path = [np.exp(logits)]
    for _ in range(steps):
        policy = path[-1]
        pull = data * weight(policy)
        logits = logits + lr * (pull - policy * pull.sum())
        path.append(np.exp(logits - np.logaddexp.reduce(logits)))
    return np.array(path)


def root(falling: Callable[[Any], Any], low: Any, high: Any) -> Any:
    """Where a falling function is zero, by halving."""
    for _ in range(200):
        middle = (low + high) / 2
        above = falling(middle) > 0
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return (low + high) / 2


def nominal(mu: Any, reward: Any, beta: float) -> Any:
    """Policy mu exp(r/beta)/Z."""
    tilted = np.asarray(mu) * np.exp((np.asarray(reward) - np.max(reward)) / beta)
    return tilted / tilted.sum()


def regression(mu: Any, scaled: Any) -> Any:
    """Policy mu w with log w + kappa w = A/beta: where the square of log w - A/beta is least among policies."""
    mu, scaled = np.asarray(mu, dtype=float), np.asarray(scaled, dtype=float)

    def ratio(log_kappa: float) -> Any:  # kappa w + log(kappa w) = A/beta + log kappa
        return wrightomega(scaled + log_kappa) / np.exp(log_kappa)

    return mu * ratio(brentq(lambda at: mu @ ratio(at) - 1.0, -40.0, 10.0, xtol=1e-14, rtol=1e-14))


def forward_kl(mu: Any, advantage: Any, beta: float) -> Any:
    """Policy mu beta/(lam - A): the best one of E_pi[A] - beta KL(mu || pi)."""
    mu, advantage = np.asarray(mu, dtype=float), np.asarray(advantage, dtype=float)
    lam = root(lambda x: mu @ (beta / (x - advantage)) - 1.0, advantage.max() + 1e-12, advantage.max() + beta + 10.0)
    return mu * beta / (lam - advantage)


def standardized(reward: Any, mu: Any) -> Any:
    """Advantages (r - mean)/std under the probabilities."""
    reward, mu = np.asarray(reward, dtype=float), np.asarray(mu, dtype=float)
    gap = reward - mu @ reward
    return gap / np.sqrt(mu @ gap**2)


def kl(p: Any, q: Any) -> float:
    """KL(p || q)."""
    p, q = np.asarray(p), np.asarray(q)
    return float(np.sum(p * np.log(p / q)))


def entropy(p: Any) -> float:
    """Entropy in nats."""
    return float(-np.sum(np.asarray(p) * np.log(p)))


def clipped(advantage: Any, behavior: Any, low: float, high: float) -> Callable[[Any], Any]:
    """PPO's weight w A before grad log pi, nothing beyond the clip that the sign of A calls for."""

    def weight(policy: Any) -> Any:
        ratio = policy / behavior
        beyond = np.where(advantage > 0, ratio > 1 + high, ratio < 1 - low)
        return np.where(beyond, 0.0, ratio * advantage)

    return weight


def trained(settings: Any, trainer: str | None = None) -> Any:
    """Objective that the settings of a trainer stand for."""
    return ps.from_config(settings, trainer=trainer).objective


def log_of(groups: list[list[float]]) -> pd.DataFrame:
    """A log with a prompt for each group."""
    rows = [(f"prompt {number}", reward) for number, group in enumerate(groups) for reward in group]
    return pd.DataFrame(rows, columns=["prompt", "reward"])


def test_why_is_the_loss_zero_at_the_first_step_and_does_the_policy_learn() -> None:
    """huggingface/trl#2703: the loss begins at 0 and then rises.

    Advantages have mean zero, so that the loss is beta times the KL, 0 at first. Its gradient is not zero.
    """
    objective = ps.GRPO(beta=0.04)
    advantage = standardized(REWARD, MU)
    first = MU @ objective.loss(np.zeros(4), objective.advantage(REWARD, MU), MU)
    assert abs(first) < 1e-12
    run = ps.sgd(MU, REWARD, objective, steps=1, lr=0.1)
    by_hand = MU * np.exp(0.1 * MU * advantage)
    np.testing.assert_allclose(run.policy, by_hand / by_hand.sum(), rtol=1e-6)
    assert run.value[-1] > run.value[0] + 0.005
    policy = descend(MU, lambda _: advantage, 20, 0.5)[-1]
    u = np.log(policy / MU)  # on-policy: the ratio to the sampler is one, that to the reference is exp(u)
    later = policy @ objective.loss(u, objective.advantage(REWARD, policy), policy, log_share=-u)
    assert later == pytest.approx(0.04 * kl(policy, MU), rel=1e-9)


def test_why_is_the_loss_zero_although_the_rewards_vary() -> None:
    """huggingface/trl#3857: a reward function has a deviation of 5.08, but the loss and its gradient are 0.

    Rewards that differ between prompts and agree within each one give no advantage to anybody.
    """
    log = log_of([[8.0] * 4, [-2.0] * 4, [3.0] * 4])
    assert log["reward"].std() > 4
    report = ps.diagnose(log, "grpo", beta=0)
    assert report["all_equal"].all()
    assert (report["kl"] == 0).all()
    assert report["reading"].str.contains("no signal: all rewards are equal").all()
    assert report.recommendation.startswith("No group has a signal")
    one_differs = ps.diagnose(log_of([[8.0] * 4, [-2.0] * 3 + [0.0]]), "grpo", beta=0)
    assert one_differs["all_equal"].tolist() == [True, False]


def test_may_all_rewards_be_negative() -> None:
    """huggingface/trl#2832: is a penalty, a negative reward, worse than no reward?

    Where the mean of the group is subtracted only differences count: 1 and 0, 1 and -1, -5 and -6 are all one, and with
    the standard deviation so are 1 and -1. Without a baseline negative rewards drive mass out of all that was sampled.
    """
    half = [0.5, 0.5]
    for name in ("grpo", "dapo", "std_normalized:beta=1,eps=1e-9"):
        np.testing.assert_allclose(ps.induced_target(half, [1.0, 0.0], name).advantage, [1.0, -1.0], rtol=1e-5)
        expected = ps.induced_target(half, [1.0, 0.0], name).policy
        for other in ([1.0, -1.0], [-5.0, -6.0], [0.0, -1.0]):
            np.testing.assert_allclose(ps.induced_target(half, other, name).policy, expected, atol=1e-5)
    three = ps.induced_target([1 / 3] * 3, [1.0, 1.0, 2.0], "grpo").advantage
    np.testing.assert_allclose(three, [-(0.5**0.5), -(0.5**0.5), 2**0.5], rtol=1e-5)
    without = ps.induced_target([0.5, 0.5], [-1.0, -2.0], "constant_baseline", value=0.0, beta=1.0, unseen=True)
    assert str(without.regime) == "negative"
    assert float(without.leak) == pytest.approx(1 - (np.exp(-1) + np.exp(-2)) / 2, rel=1e-9)


def test_does_it_matter_to_multiply_all_rewards_by_a_number() -> None:
    """Tencent-Hunyuan/UniRL#146: a reward scaled by 15 for parity with another one.

    Where the standard deviation divides, it cancels. Where it does not, 15 times the reward is a 15th of the beta.
    """
    reward = np.array([0.1, 0.7, 0.4, 0.2])
    for name in ("grpo", "std_normalized:beta=0.8,eps=1e-12"):
        one, other = (ps.induced_target(MU, scale * reward, name).policy for scale in (1.0, 15.0))
        np.testing.assert_allclose(one, other, atol=1e-5)
    scaled = ps.induced_target(MU, 15 * reward, "kimi", beta=0.6).policy
    np.testing.assert_allclose(scaled, ps.induced_target(MU, reward, "kimi", beta=0.04).policy, rtol=1e-9)
    np.testing.assert_allclose(scaled, regression(MU, 15 * (reward - MU @ reward) / 0.6), rtol=1e-9)
    assert np.abs(scaled - ps.induced_target(MU, reward, "kimi", beta=0.6).policy).max() > 0.1


@pytest.mark.parametrize(("estimator", "advantage"), [("rloo", "r"), ("rloo_vectorized", "0"), ("grpo", "r")])
def test_what_does_a_group_of_one_teach(estimator: str, advantage: str) -> None:
    """verl-project/verl#7793: the two RLOO estimators disagree on a group that has one completion left.

    The plain one leaves its reward as the advantage, as GRPO's does; the vectorized one gives it none. A log with
    groups of one is told so, and they are not called equal.
    """
    found = ps.from_config([f"algorithm.adv_estimator={estimator}", "actor_rollout_ref.rollout.n=2"])
    assert f"a group of one has A = {advantage}" in str(found)
    assert found.singleton == {"r": "reward", "0": "zero"}[advantage]
    report = ps.diagnose(log_of([[0.7]]), found.objective)
    assert not report["all_equal"].any()
    assert "one completion" in report["reading"][0]
    taught = ps.diagnose(log_of([[0.7], [-0.7]]), "kimi", beta=1.0, singleton=found.singleton)
    leak = 1 - np.exp(-0.7) if found.singleton == "reward" else 0.0  # log w = A/beta, and the rest goes elsewhere
    np.testing.assert_allclose(taught["leak"], [0.0, leak], atol=1e-9)
    assert ("it gains on all that were not sampled" in taught["reading"][0]) == (found.singleton == "reward")


@pytest.mark.parametrize("pass_rate", [0.02, 0.3, 0.5, 0.98])
def test_does_the_standard_deviation_weigh_easy_and_hard_prompts_more(pass_rate: float) -> None:
    """sail-sg/understand-r1-zero#26: is there a bias of difficulty, and is the mean biased, too?

    A step moves the log-odds by p(1 - p) without the deviation and by its root with it: prompts at both ends count
    more, by 1/std, and alike at p and 1 - p. Subtracting the mean favors neither end.
    """
    mu = [1 - pass_rate, pass_rate]
    spread = np.sqrt(pass_rate * (1 - pass_rate))
    for name, per_step in (("dr_grpo", 2 * spread**2), ("grpo:beta=0,eps=1e-12", 2 * spread)):
        policy = ps.sgd(mu, [0.0, 1.0], name, steps=1, lr=1e-3).policy
        moved = np.log(policy[1] / policy[0]) - np.log(mu[1] / mu[0])
        assert moved == pytest.approx(1e-3 * per_step, rel=1e-6)
    regressed = ps.induced_target(mu, [0.0, 1.0], "std_normalized", beta=0.5, eps=1e-12)
    np.testing.assert_allclose(regressed.policy, regression(mu, np.array([-pass_rate, 1 - pass_rate]) / 0.5 / spread))


def test_whose_deviation_is_that_of_the_batch() -> None:
    """huggingface/trl#3991: `scale_rewards="batch"` seemed to divide by the deviation of each group.

    The mean is the group's; one deviation of all rewards of the batch divides, so that a group of small spread counts
    for little.
    """
    rewards = np.array([[0.0, 1.0, 0.0, 0.0], [0.0, 10.0, 5.0, 5.0]])
    objective = trained({"loss_type": "grpo", "scale_rewards": "batch"})
    centered = rewards - rewards.mean(axis=1, keepdims=True)
    spread = np.sqrt(np.sum((rewards - rewards.mean()) ** 2) / 7)
    np.testing.assert_allclose(objective.advantage(rewards), centered / (spread + 1e-4), rtol=1e-12)
    of_group = trained({"loss_type": "grpo", "scale_rewards": "group"})
    np.testing.assert_allclose(of_group.advantage(rewards)[0], centered[0] / (0.5 + 1e-4), rtol=1e-12)


@pytest.mark.parametrize(("mini_batch", "reuse"), [(512, 1), (32, 16)])
def test_does_clip_higher_act_with_one_epoch(mini_batch: int, reuse: int) -> None:
    """verl-project/verl#791: with `ppo_epochs` 1 the ratio is one, so that `clip_ratio_high` has no effect?

    So it is if a batch is one mini-batch. With 16 mini-batches the data are up to 15 steps old, and the clip acts.
    """
    actor = "actor_rollout_ref.actor."
    sizes = ["data.train_batch_size=512", f"{actor}ppo_mini_batch_size={mini_batch}", "algorithm.adv_estimator=grpo"]
    mu, reward = np.array([0.3, 0.7]), np.array([0.0, 1.0])
    ends = []
    for high in (0.05, 0.28):
        found = ps.from_config([*sizes, f"{actor}clip_ratio_high={high}"])
        assert found.lag == reuse - 1
        assert found.reuse == reuse
        run = ps.sgd(mu, reward, found.objective, steps=16, lr=0.2, refresh_every=found.reuse)
        ends.append(run.policy)
        policy = mu
        for _ in range(16 // reuse):
            weight = clipped(standardized(reward, policy), policy, 0.2, high)
            policy = descend(policy, weight, reuse, 0.2)[-1]
        np.testing.assert_allclose(run.policy, policy, rtol=1e-5)
    assert (np.abs(ends[0] - ends[1]).max() > 0.01) == (reuse > 1)


@pytest.mark.parametrize(("per_generation", "iterations", "accumulated"), [(4, 1, 1), (1, 4, 1), (8, 3, 4), (4, 1, 4)])
def test_do_steps_per_generation_and_num_iterations_differ(
    per_generation: int, iterations: int, accumulated: int
) -> None:
    """huggingface/trl#3662: what is `steps_per_generation` for when there is `num_iterations`?

    One splits a generation, the other repeats it. For the age of the data, and so for the exact gradient, only their
    product over `gradient_accumulation_steps` counts.
    """
    settings = {"steps_per_generation": per_generation, "num_iterations": iterations}
    found = ps.from_config({"loss_type": "grpo", "gradient_accumulation_steps": accumulated} | settings)
    ages, version, sampled_by = [], 0, 0
    for micro_step in range(5 * per_generation * iterations):  # the loop of the trainer
        if micro_step % (per_generation * iterations) == 0:
            sampled_by = version
        ages.append(version - sampled_by)
        version += (micro_step + 1) % accumulated == 0
    assert found.lag == max(ages)
    assert found.reuse == max(ages) + 1
    if found.reuse > 1:
        runs = [
            ps.sgd([0.5, 0.5], [0.0, 1.0], "dapo", steps=12, lr=0.3, refresh_every=found.reuse, passes=passes).policy
            for passes in (1, found.reuse)
        ]
        np.testing.assert_array_equal(*runs)


def test_does_a_small_mismatch_per_token_mask_a_completion() -> None:
    """huggingface/trl#4772: 0.012 a token between vLLM and the trainer, and the ratio explodes.

    Over 100 tokens it is exp(1.2) = 3.3, above TRL's cap of 3, which masks: that completion then teaches nothing.
    Truncation would keep it with weight 3.
    """
    masked = trained({"use_vllm": True})
    assert isinstance(masked, ps.CorrectedPPO)
    assert (masked.correction, masked.cap) == ("mask", 3.0)
    of_sequence = np.array([100 * 0.012, 80 * 0.012])
    weight = masked.score_weight(np.zeros(2), np.ones(2), log_share=of_sequence)
    np.testing.assert_allclose(weight, [0.0, np.exp(0.96)])
    engine, trainer, reward = [0.06, 0.47, 0.47], [0.2, 0.4, 0.4], [1.0, 1.0, 0.0]
    for correction, expected in (("mask", [0.2, 0.48, 0.32]), ("truncate", [0.24, 0.48, 0.28])):
        target = ps.induced_target(
            engine, reward, "ppo_corrected", correction=correction, cap=3.0, reference=trainer
        ).policy
        np.testing.assert_allclose(target, expected, rtol=1e-6)  # 1.2 times the better, what is left for the worse


def test_does_a_token_beyond_the_clip_still_learn_with_cispo() -> None:
    """areal-project/AReaL#1412: a ratio of 1.5 under a clip of 1.28 has no gradient; CISPO keeps one.

    PPO's is 0 and CISPO's 1.28 A. So nothing stops CISPO on old data, whatever its cap: it ends greedy, where PPO
    ends at the clip.
    """
    u, advantage = np.log([1.5]), np.array([1.0])
    np.testing.assert_array_equal(ps.DAPO(eps_high=0.28).score_weight(u, advantage), [0.0])
    np.testing.assert_allclose(ps.CISPO(cap=1.28).score_weight(u, advantage), [1.28])
    mu, gaps = np.array([0.75, 0.25]), standardized([0.0, 1.0], [0.75, 0.25])
    path = descend(mu, lambda policy: np.minimum(policy / mu, 1.28) * gaps, 4000, 1.0)
    target = ps.induced_target(mu, [0.0, 1.0], "cispo", cap=1.28).policy
    np.testing.assert_allclose(target, path[-1], atol=1e-3)
    np.testing.assert_allclose(ps.induced_target(mu, [0.0, 1.0], "dapo").policy, [0.6, 0.4], rtol=1e-9)


def test_does_two_sided_clipping_change_where_training_ends() -> None:
    """huggingface/trl#3435: bad completions whose ratio is very large pull without bound; `delta` caps that.

    The pull is -w A up to delta and nothing above it. From the behavior no bad completion goes there: it ends at the
    same policy with and without.
    """
    found = trained({"loss_type": "grpo", "delta": 4.0, "epsilon": 0.2})
    u, bad = np.log([3.0, 100.0]), np.array([-1.0, -1.0])
    np.testing.assert_allclose(found.score_weight(u, bad), [-3.0, 0.0])
    np.testing.assert_allclose(ps.GRPO(beta=0).score_weight(u, bad), [-3.0, -100.0])
    mu, reward = np.array([0.5, 0.3, 0.2]), [0.0, 0.5, 1.0]
    end = descend(mu, clipped(standardized(reward, mu), mu, 0.2, 0.2), 3000, 0.05)[-1]
    with_delta = ps.sgd(mu, reward, found, steps=3000, lr=0.05).policy
    np.testing.assert_allclose(with_delta, end, atol=1e-3)
    one, other = (ps.induced_target(mu, reward, "grpo", beta=0, dual_clip=clip) for clip in (None, 4.0))
    np.testing.assert_allclose(one.policy, other.policy, rtol=1e-12)


def test_does_it_matter_whether_the_kl_is_in_the_reward_or_in_the_loss() -> None:
    """verl-project/verl#3276: what is the difference between `use_kl_loss` and `use_kl_in_reward`?

    On-policy k1 in the reward ends at mu exp(r/beta)/Z. GRPO's k3 in the loss ends at mu beta/(lam - A), with a longer
    tail: another policy at the same beta. As verl takes it, at sampling time, the KL in the reward is part of the log.
    """
    estimator = "algorithm.adv_estimator=grpo"
    in_reward = ps.from_config([estimator, "algorithm.use_kl_in_reward=true", "algorithm.kl_ctrl.kl_coef=0.05"])
    assert in_reward.spec.startswith("grpo:beta=0,")
    assert any("use_kl_in_reward" in note and "0.05" in note for note in in_reward.not_modelled)
    actor = "actor_rollout_ref.actor."
    in_loss = ps.from_config([estimator, f"{actor}use_kl_loss=true", f"{actor}kl_loss_coef=0.05"])
    assert in_loss.spec.startswith("grpo:beta=0.05,")
    k1 = ps.induced_target(MU, REWARD, "kl_regularized", estimator="k1", placement="reward", beta=0.3)
    np.testing.assert_allclose(k1.policy, nominal(MU, REWARD, 0.3), rtol=1e-9)
    k3 = ps.induced_target(MU, REWARD, "kl_regularized", estimator="k3", placement="loss", beta=0.3)
    np.testing.assert_allclose(k3.policy, forward_kl(MU, REWARD, 0.3), rtol=1e-9)
    assert k3.policy[0] > 2 * k1.policy[0]


def test_why_does_a_larger_weight_of_k1_give_a_larger_kl() -> None:
    """allenai/open-instruct#534: with k1 in the loss a larger beta gave a larger KL; with k2 and k3 it did not.

    The gradient of k1 does not depend on where the policy is. On-policy it is zero on average, and on old data it
    drives away from the reference. k2's is that of the KL.
    """
    setting = {"placement": "loss", "beta": 0.5}
    on_policy = ps.induced_target(MU, REWARD, "kl_regularized", estimator="k1", **setting).policy
    np.testing.assert_allclose(on_policy, [0, 0, 2 / 3, 1 / 3], atol=1e-9)  # greedy, as without any penalty
    k2 = ps.induced_target(MU, REWARD, "kl_regularized", estimator="k2", **setting).policy
    np.testing.assert_allclose(k2, nominal(MU, REWARD, 0.5), rtol=1e-9)
    reward, found = np.array([0.0, 0.0, 0.0, 1.0]), {}
    gap = reward - MU @ reward
    for beta in (0.1, 0.6):
        for estimator, slope in (("k1", lambda u: 1.0), ("k2", lambda u: u)):
            penalty = ps.KLRegularized(estimator=estimator, placement="loss", sampling="off_policy", beta=beta)
            run = ps.sgd(MU, reward, penalty, steps=8, lr=0.5)

            def pull(policy: Any, beta: float = beta, slope: Callable[[Any], Any] = slope) -> Any:
                return policy / MU * gap - beta * slope(np.log(policy / MU))

            np.testing.assert_allclose(run.policy, descend(MU, pull, 8, 0.5)[-1], rtol=1e-9)
            found[estimator, beta] = kl(run.policy, MU)
    assert found["k1", 0.6] > found["k1", 0.1]
    assert found["k2", 0.6] < found["k2", 0.1]


def test_is_the_kl_of_grpo_the_forward_or_the_reverse_one() -> None:
    """huggingface/trl#2914: k3 = exp(d) - d - 1 looks like the forward KL on samples of the policy.

    As a number it is an estimate of KL(pi || ref), never negative. As a loss, on samples of pi, its gradient is that
    of KL(ref || pi): GRPO trains against the forward one.
    """
    policy = np.array([0.1, 0.2, 0.3, 0.4])
    u = np.log(policy / MU)
    objective = ps.KLRegularized(estimator="k3", placement="loss", beta=1.0)
    value = objective.loss(u, np.zeros(4))
    assert (value >= 0).all()
    assert (u < 0).any()  # k1 of one sample may be negative
    assert policy @ value == pytest.approx(kl(policy, MU), rel=1e-12)
    pull = policy * objective.score_weight(u, np.zeros(4))
    ascent, logits, step = pull - policy * pull.sum(), np.log(policy), 1e-6
    for action in range(4):
        sides = []
        for sign in (1, -1):
            moved = np.exp(logits + sign * step * np.eye(4)[action])
            sides.append(kl(MU, moved / moved.sum()))
        assert ascent[action] == pytest.approx(-(sides[0] - sides[1]) / (2 * step), abs=1e-9)


@pytest.mark.parametrize("wanted", [0.05, 0.2])
def test_which_beta_gives_a_wanted_kl(wanted: float) -> None:
    """huggingface/trl#4532: an adaptive coefficient, to be spared choosing beta; does the clip not do that already?

    `match` gives the beta. The clip bounds the KL by itself, but a wanted KL below what its lower end takes from the
    bad completions is out of its reach.
    """
    of_nominal = ps.match(MU, REWARD, "nominal", kl=wanted).beta
    by_hand = brentq(lambda beta: kl(nominal(MU, REWARD, beta), MU) - wanted, 0.05, 50.0, xtol=1e-12)
    assert of_nominal == pytest.approx(by_hand, rel=1e-7)
    of_kimi = ps.match(MU, REWARD, "kimi", kl=wanted).beta
    by_hand = brentq(lambda beta: kl(regression(MU, (REWARD - 0.3) / beta), MU) - wanted, 0.05, 50.0, xtol=1e-12)
    assert of_kimi == pytest.approx(by_hand, rel=1e-7)
    least = kl([0.56, 0.44], [0.7, 0.3])  # 0.8 of the bad mass stays, whatever the upper clip
    with pytest.raises(ValueError, match=rf"out of reach: grpo has a KL of {least:.4g}"):
        ps.match(MU, REWARD, "grpo", beta=0, kl=0.9 * least, over="eps_high")


def test_does_a_larger_beta_hold_back_in_dpo_as_in_grpo() -> None:
    """modelscope/ms-swift#7285: is the role of beta in DPO, where it multiplies the margin, not the opposite?

    In both a larger beta ends nearer to the reference. In DPO it makes the gradient larger, but the margin that is
    asked for is r/beta.
    """
    distances: dict[str, list[float]] = {"dpo": [], "grpo": []}
    for beta in (1.0, 2.0, 4.0):
        dpo = ps.induced_target(MU, REWARD, "dpo", beta=beta).policy
        np.testing.assert_allclose(dpo, nominal(MU, REWARD, beta), rtol=1e-9)
        distances["dpo"].append(kl(dpo, MU))
        grpo = ps.induced_target(MU, REWARD, "grpo", beta=10 * beta).policy  # weak enough to stay inside the clip
        np.testing.assert_allclose(grpo, grpo_inside(MU, REWARD, 10 * beta), rtol=1e-5)
        distances["grpo"].append(kl(grpo, MU))
    for found in distances.values():
        assert found[0] > found[1] > found[2]


def grpo_inside(mu: Any, reward: Any, beta: float) -> Any:
    """Policy mu w of w A - beta (1 - 1/w) = lam w, GRPO's balance on data of mu where nothing is clipped."""
    advantage = standardized(reward, mu)

    def ratio(lam: float) -> Any:  # w (A - lam) = beta (1 - 1/w), as a quadratic equation in 1/w
        return 2 / (1 + np.sqrt(1 - 4 * (advantage - lam) / beta))

    lam = root(lambda x: np.asarray(mu) @ ratio(x) - 1.0, advantage.max() - beta / 4 + 1e-12, 1e3)
    return np.asarray(mu) * ratio(float(lam))


def test_how_do_the_advantages_of_rloo_and_grpo_differ() -> None:
    """redai-studio/Relax#174: of 8 completions 3 are right; what do GRPO, GRPO without the deviation and RLOO give?

    1.21, 0.62 and 0.71 for the right ones. These are factors: on-policy they set the pace, and all three end greedy;
    under a clip all three end at the same policy.
    """
    rewards = np.array([1.0] * 3 + [0.0] * 5)
    others = np.array([rewards[i] - np.delete(rewards, i).mean() for i in range(8)])
    rows: tuple[tuple[Any, float, float], ...] = (
        (ps.GRPO(beta=0), 1.2076, -0.7246),
        (ps.DrGRPO(), 0.6250, -0.3750),
        (ps.RLOOClipped(), 0.7143, -0.4286),
    )
    policies = []
    for objective, right, wrong in rows:
        np.testing.assert_allclose(objective.advantage(rewards), [right] * 3 + [wrong] * 5, atol=5e-5)
        policies.append(ps.induced_target([5 / 8, 3 / 8], [0.0, 1.0], objective).policy)
    np.testing.assert_allclose(ps.RLOOClipped().advantage(rewards), others, rtol=1e-12)
    np.testing.assert_allclose(policies, [[0.5, 0.5]] * 3, rtol=1e-9)  # 0.8 of the wrong ones


@pytest.mark.parametrize(("group_size", "percent"), [(2, 29.8), (4, 55.1), (8, 79.9), (16, 96.0)])
def test_how_many_groups_teach_anything(group_size: int, percent: float) -> None:
    """jsboige/CoursIA#10603: with 2 completions a prompt and 18 % of them right, the reward curve is flat.

    1 - p^G - (1 - p)^G of the groups have rewards that differ: 30 % at G = 2, 80 % at G = 8.
    """
    found = ps.finite_group("kimi", group_size, pass_rate=0.1819, beta=0.1, drop_equal=True)
    assert 100 * float(found.kept) == pytest.approx(percent, abs=0.06)
    if group_size <= 8:
        groups = np.array(list(product([0.0, 1.0], repeat=group_size)))
        chance = np.prod(np.where(groups == 1, 0.1819, 1 - 0.1819), axis=1)
        assert float(found.kept) == pytest.approx(chance[np.ptp(groups, axis=1) > 0].sum(), rel=1e-12)


def test_does_a_tiny_penalty_in_a_failed_group_matter() -> None:
    """NVIDIA-NeMo/RL#2431: all answers are wrong, but one has a penalty for its length, so that the group is kept.

    Divided by the deviation a penalty of 0.01 pulls as much as one of 1. Without the division it hardly pulls.
    """
    log = log_of([[0.0, 0.0, 0.0, -0.01], [0.0, 0.0, 0.0, -1.0], [0.0] * 4])
    report = ps.diagnose(log, "std_normalized", beta=1.0, eps=1e-12)
    assert report["all_equal"].tolist() == [False, False, True]
    assert report["kl"][0] == pytest.approx(report["kl"][1], rel=1e-6)
    deviation = np.std([0, 0, 0, 1], ddof=1)
    policy = regression([0.25] * 4, np.array([0.25, 0.25, 0.25, -0.75]) / deviation)
    assert report["kl"][0] == pytest.approx(kl(policy, [0.25] * 4), rel=1e-6)
    plain = ps.diagnose(log, "kimi", beta=1.0)
    assert plain["kl"][0] < 1e-3 * plain["kl"][1]


@pytest.mark.parametrize(("beta", "expected"), [(0.04, [0.8, 0.2]), (0.0, [0.5, 0.5])])
def test_do_groups_that_agree_pull_through_the_kl(beta: float, expected: list[float]) -> None:
    """huggingface/trl#7068: groups without a signal still have a gradient where beta > 0.

    Yes: the penalty is all that is left, and it pulls to the reference. With beta 0 the policy stays where it is.
    """
    target = ps.induced_target([0.5, 0.5], [1.0, 1.0], "grpo", beta=beta, reference=[0.8, 0.2])
    np.testing.assert_allclose(target.policy, expected, atol=1e-9)
    run = ps.sgd([0.5, 0.5], [1.0, 1.0], "grpo", beta=beta, reference=[0.8, 0.2], start=[0.5, 0.5], steps=50, lr=5.0)
    reference = np.array([0.8, 0.2])
    path = descend([0.5, 0.5], lambda policy: -beta * (1 - reference / policy), 50, 5.0)
    np.testing.assert_allclose(run.policy, path[-1], rtol=1e-9)


def test_why_does_a_regression_collapse_at_the_beta_of_grpo() -> None:
    """mlvlab/DeepVideoR1#2: beta 0.002 works for GRPO; the regression on the log-ratio collapses early with it.

    In GRPO the clip holds the policy and beta hardly acts. In the regression beta alone does: log w is asked to be
    A/beta, hundreds of nats at 0.002. At beta 1, the authors' value, it goes as far as three to four rounds of GRPO.
    """
    mu, reward = np.array([0.75, 0.25]), [0.0, 1.0]
    for beta in (0.002, 1.0):
        np.testing.assert_allclose(ps.induced_target(mu, reward, "grpo", beta=beta).policy, [0.6, 0.4], rtol=1e-6)
    scaled = standardized(reward, mu)
    for beta in (0.1, 1.0):
        target = ps.induced_target(mu, reward, "std_normalized", beta=beta, eps=1e-12)
        np.testing.assert_allclose(target.policy, regression(mu, scaled / beta), rtol=1e-7)
    collapsed = ps.induced_target(mu, reward, "std_normalized", beta=0.002)
    assert collapsed.policy[0] < 1e-100
    assert 0.75 * 0.8**4 < regression(mu, scaled)[0] < 0.75 * 0.8**3
    table = ps.compare(mu, reward, ["grpo:beta=0.002", "std_normalized:beta=0.002", "std_normalized:beta=1"])
    assert table["kl"].tolist() == pytest.approx([kl([0.6, 0.4], mu), np.log(4), 0.3336], abs=2e-4)


@pytest.mark.parametrize("pass_rate", [0.05, 0.3, 0.45, 0.7])
def test_does_clip_higher_raise_the_entropy(pass_rate: float) -> None:
    """rllm-org/rllm#116: with Clip-High the entropy keeps rising; is that what it is for?

    A round takes a fifth of the wrong mass, which raises the entropy up to a pass rate of 44 % and lowers it above.
    The upper clip changes the end of a round only where more than eps_low/(eps_low + eps_high) of the answers are
    right, 42 % at 0.28: there it lowers the entropy.
    """
    mu, ends = np.array([1 - pass_rate, pass_rate]), []
    for high in (0.2, 0.28):
        target = ps.induced_target(mu, [0.0, 1.0], "dapo", eps_high=high).policy
        right = min(1.0, max(1 - 0.8 * (1 - pass_rate), (1 + high) * pass_rate))
        np.testing.assert_allclose(target, [1 - right, right], rtol=1e-9)
        advantage = standardized([0.0, 1.0], mu)
        path = descend(mu, clipped(advantage, mu, 0.2, high), 4000, 0.02)
        np.testing.assert_allclose(path[-1], target, atol=2e-3)
        ends.append(entropy(target))
    assert (ends[1] < ends[0] - 1e-6) == (pass_rate > 0.2 / 0.48)
    assert (ends[0] > entropy(mu)) == (pass_rate < 0.4)


def test_does_the_clip_of_ppo_hold_in_gspo() -> None:
    """verl-project/verl#2775: should GSPO be given the clip ratios of other losses?

    Its ratio is the geometric mean over tokens: a clip of 1.2 is one of 1.2^100 on a completion of 100 tokens, which
    holds nothing. At the paper's 4e-4 it is 4 %.
    """
    mu, reward, length = np.array([0.3, 0.7]), [0.0, 1.0], 100.0
    wide = ps.induced_target(mu, reward, "gspo", eps_low=0.2, eps_high=0.2, length=length).policy
    assert wide[1] > 0.999
    paper = ps.induced_target(mu, reward, "gspo", length=length).policy
    low, high = (1 - 3e-4) ** length, (1 + 4e-4) ** length
    right = max(1 - low * mu[0], high * mu[1])
    np.testing.assert_allclose(paper, [1 - right, right], rtol=1e-9)
    assert paper[1] / mu[1] == pytest.approx(1.0408, abs=1e-4)


def test_does_a_completion_end_at_its_target_log_ratio() -> None:
    """PrimeIntellect-ai/prime-rl#3381: a completion at log-ratio A/tau contributes no gradient; is that where it ends?

    The weight A - tau u is zero there, but probabilities add up to one: all cannot be there at once. What is reached
    is log w + kappa w = A/tau, flatter than the nominal policy.
    """
    beta, gap = 0.3, REWARD - MU @ REWARD
    np.testing.assert_allclose(ps.objectives()["kimi"](beta=beta).score_weight(gap / beta, gap), 0.0, atol=1e-12)
    assert MU @ np.exp(gap / beta) > 2  # such "probabilities" would add up to more than twice
    target = ps.induced_target(MU, REWARD, "kimi", beta=beta)
    np.testing.assert_allclose(target.policy, regression(MU, gap / beta), rtol=1e-9)
    end = descend(MU, lambda policy: gap - beta * np.log(policy / MU), 20_000, 0.5)[-1]
    np.testing.assert_allclose(target.policy, end, rtol=1e-6)
    spread = np.ptp(np.log(end / MU))
    assert spread < np.ptp(gap / beta)


def test_what_is_normalized_in_reinforce_plus_plus() -> None:
    """OpenRLHF/OpenRLHF#830: are mean and deviation those of the whole batch or of the same problem?

    Of the batch. So a wrong answer to an easy prompt is the worst there is, and on a hard prompt with all answers wrong
    all advantages are negative, where GRPO has none.
    """
    settings = ["--algo.advantage.estimator", "reinforce", "--rollout.n_samples_per_prompt", "4"]
    objective = trained(settings, trainer="openrlhf")
    assert isinstance(objective, ps.ReinforcePP)
    rewards = np.array([[1.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    by_hand = (rewards - 0.375) / np.std(rewards, ddof=1)  # n - 1 as in verl; a factor of all moves no target
    np.testing.assert_allclose(objective.advantage(rewards), by_hand, rtol=1e-6)
    assert (objective.advantage(rewards)[1] < 0).all()
    np.testing.assert_array_equal(ps.GRPO().advantage(rewards)[1], np.zeros(4))


@pytest.mark.parametrize("beta", [12.0, 20.0])
def test_does_the_corrected_kl_change_where_grpo_ends(beta: float) -> None:
    """huggingface/trl#4638: the k3 term of GRPO is biased off-policy; multiplied by the ratio it is not.

    It changes the end: the corrected one, inside the clip, is mu exp(A/beta)/Z, the nominal policy of the advantages.
    """
    mu, reward = np.array([0.75, 0.25]), [0.0, 1.0]
    settings = {"loss_type": "grpo", "beta": beta}
    advantage = standardized(reward, mu)
    corrected = ps.induced_target(mu, reward, trained(settings | {"use_bias_correction_kl": True})).policy
    np.testing.assert_allclose(corrected, nominal(mu, advantage, beta), rtol=1e-3)  # eps 1e-4 beside a deviation of 0.4
    biased = ps.induced_target(mu, reward, trained(settings | {"use_bias_correction_kl": False})).policy
    np.testing.assert_allclose(biased, grpo_inside(mu, reward, beta), rtol=1e-3)
    end = descend(mu, lambda policy: policy / mu * advantage - beta * (1 - mu / policy), 4000, 0.02)[-1]
    np.testing.assert_allclose(biased, end, rtol=1e-3)
    assert abs(biased[1] - corrected[1]) > 1e-3


def test_which_of_several_rewards_decides() -> None:
    """yifan123/flow_grpo#188: should each reward be standardized before the weighted sum?

    If not, the one with the largest spread decides alone: with a length of hundreds of tokens beside a correctness of 0
    or 1 the wrong, long answer is preferred. Standardized first, both count the same.
    """
    right, length = np.array([1.0, 1.0, 0.0, 0.0]), np.array([0.0, 100.0, 200.0, 300.0])
    uniform = np.full(4, 0.25)
    summed = ps.induced_target(uniform, right + length, "std_normalized", beta=1.0)
    assert summed.policy.argmax() == 3
    np.testing.assert_allclose(
        summed.policy, regression(uniform, standardized(right + length, uniform)), rtol=1e-4
    )  # eps
    each = standardized(right, uniform) + standardized(length, uniform)
    first = ps.induced_target(uniform, each, "std_normalized", beta=1.0, eps=1e-12)
    np.testing.assert_allclose(first.policy, regression(uniform, standardized(each, uniform)), rtol=1e-6)
    assert first.policy.argmax() == 1
    log = pd.DataFrame({"prompt": "q", "right": right, "length": length, "advantage": each})
    for reward, options, scaled in (
        ("right:1,length:1", {}, (right + length - 150.5) / np.std(right + length, ddof=1)),
        ("right", {"advantage_column": "advantage"}, each),
        ("right:1,length:0.0001", {}, (right + length / 1e4 - 0.515) / np.std(right + length / 1e4, ddof=1)),
    ):
        report = ps.diagnose(log, "std_normalized", beta=1.0, eps=1e-12, reward_column=reward, **options)
        policy = regression(uniform, scaled)
        assert report["kl"][0] == pytest.approx(kl(policy, uniform), rel=1e-6)


def test_does_it_help_to_skip_prompts_that_are_all_right_or_all_wrong() -> None:
    """rllm-org/rllm#14: skipping them "doesn't help much".

    Group by group nothing changes. Over the groups of a prompt, the completions that are left are nearer to half right:
    the data tilt towards the rare outcome.
    """
    kept, equal = [[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 0.0, 1.0]], [[0.0] * 4, [1.0] * 4]
    everything = ps.diagnose(log_of([*kept, *equal]), "kimi", beta=0.5)
    some = ps.diagnose(log_of([*kept, *equal]), "kimi", beta=0.5, drop_equal=True)
    assert some["prompt"].tolist() == ["prompt 0", "prompt 1"]
    columns = ["kl", "kappa", "value", "max_ratio"]
    np.testing.assert_allclose(everything[columns][:2], some[columns], rtol=1e-12)
    assert everything.summary["median_kl"] == pytest.approx(some.summary["median_kl"], rel=1e-12)
    groups = np.array(list(product([0, 1], repeat=4)))
    chance = np.prod(np.where(groups == 1, 0.3, 0.7), axis=1) * (np.ptp(groups, axis=1) > 0)
    found = ps.finite_group("kimi", 4, pass_rate=0.3, beta=0.5, drop_equal=True)
    assert found.data[1] == pytest.approx(chance @ groups.mean(axis=1) / chance.sum(), rel=1e-9)
    advantage = groups[:, 0] - groups.mean(axis=1)
    for action in (0, 1):
        of_action = chance * (groups[:, 0] == action)
        assert found.advantage[action] == pytest.approx(of_action @ advantage / of_action.sum(), rel=1e-9)


@pytest.mark.parametrize("lag", [0, 1, 3])
def test_what_do_stale_data_do(lag: int) -> None:
    """THUDM/slime#1800: data that are too old make training unstable and less efficient.

    Where each round reaches its target, data that are L rounds old slow it down: the log-odds grow by (r1 - r0)/beta
    once in L + 1 rounds.
    """
    frame = ps.lagged_iteration([0.8, 0.2], [0.0, 1.0], "nominal", beta=2.0, rounds=8, lag=lag)
    odds = np.log(0.25) + np.ceil(np.arange(9) / (lag + 1)) / 2
    np.testing.assert_allclose(frame["value"], 1 / (1 + np.exp(-odds)), rtol=1e-9)
