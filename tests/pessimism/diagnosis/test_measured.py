"""Measures of logs from known policies, each against a sum over all sequences or a formula written down anew."""

from __future__ import annotations

import json
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import pessimism as ps
from pessimism import divergences
from pessimism.diagnosis.measured import Measured
from pessimism.rollouts.read import read_rollouts
from tests.pessimism.diagnosis.token_logs import COUNTS, REWARD, drawn_log, exact_log, law, near, nemo, prime

BETA = 0.5
PROMPTS = [(law(seed), near(law(seed) / 40, seed + 50), np.roll(REWARD, seed)) for seed in range(5)]


def measured(
    log: pd.DataFrame | Path, objective: Any = "kimi", columns: str | None = "mu,pi", **hyper: Any
) -> Measured:
    hyper = {"beta": BETA} if objective == "kimi" and not hyper else hyper
    found = ps.diagnose(log, objective, log_prob_columns=columns, **hyper).measured
    assert found is not None
    return found


def column(found: Measured, name: str = "measured") -> dict[str, float]:
    return {str(key): value for key, value in found.table[name].items()}


def exact(counts: np.ndarray, policy: np.ndarray, reward: np.ndarray) -> dict[str, float]:
    """Every measure of one prompt as a sum over the nine sequences, and the six tokens by their states."""
    q, p, r = ((a / a.sum()).ravel() if a is counts else a.ravel() for a in (counts, policy, reward))
    z, w, u = (r - q @ r) / BETA, p / q, np.log(p / q)
    (fit,), *_ = np.linalg.lstsq((np.sqrt(q) * w)[:, None], np.sqrt(q) * (z - u))
    first = [a.reshape(3, 3).sum(axis=1) for a in (q, p)]
    second = [a.reshape(3, 3) / one[:, None] for a, one in zip((q, p), first, strict=True)]
    states = [(1.0, first[0], first[1]), *((first[0][i], second[0][i], second[1][i]) for i in range(3))]
    ratios = np.concatenate([np.log(b / a) for _, a, b in states])
    mass = np.concatenate([m * a for m, a, _ in states])
    return {
        "log_ratio": q @ u,
        "log_ratio_min": u.min(),
        "log_ratio_max": u.max(),
        "kl": divergences.kl_divergence(p, q),
        "kl_reverse": divergences.kl_divergence(q, p),
        "kl_by_tokens": divergences.kl_divergence(p, q),
        "kl_reverse_by_tokens": divergences.kl_divergence(q, p),
        "kl_in_group": divergences.kl_divergence(p, q),
        "ess": divergences.effective_sample_size(p, q),
        "value": p @ r,
        "missing": 0.0,
        "kappa_fit": fit,
        "kappa_identity": divergences.kl_divergence(q, p),
        "tokens": 2.0,
        "token_log_ratio": q @ u / 2,
        "token_log_ratio_min": ratios.min(),
        "token_log_ratio_max": ratios.max(),
        "token_kl": sum(m * divergences.kl_divergence(b, a) for m, a, b in states) / 2,
        "token_kl_reverse": sum(m * divergences.kl_divergence(a, b) for m, a, b in states) / 2,
        "token_ess": 2.0 / (mass @ np.exp(2.0 * ratios)),
    }


@pytest.mark.parametrize("prompt", PROMPTS, ids=range(5))
def test_measures_are_sums_over_all_sequences(prompt: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    found = measured(exact_log(prompt))
    assert column(found) == pytest.approx(exact(*prompt), abs=1e-12)
    assert (found.completions, found.of, found.clusters, found.clustered_by) == (40, 40, 1, "groups")
    assert np.isnan(found.table["error"]).all()  # one cluster has no spread


def test_several_prompts_and_their_errors() -> None:
    found, each = measured(exact_log(*PROMPTS)), [exact(*prompt) for prompt in PROMPTS]
    for name in ("log_ratio", "kl", "kl_reverse", "kl_by_tokens", "kl_reverse_by_tokens", "kl_in_group", "token_kl"):
        values = [one[name] for one in each]
        row = found.table.loc[name]
        assert row["measured"] == pytest.approx(np.mean(values), abs=1e-12), name
        assert row["error"] == pytest.approx(np.std(values, ddof=1) / math.sqrt(5), rel=1e-9), name
    assert (found.clusters, found.clustered_by) == (5, "prompts")


@pytest.mark.parametrize("objective", [ps.Kimi(beta=BETA), ps.ShiftedMean(beta=BETA), ps.OAPL(beta1=0.8, beta2=BETA)])
def test_a_policy_at_its_target_is_measured_as_predicted(objective: ps.Objective) -> None:
    prompts = []
    for counts, _, reward in PROMPTS:
        target = ps.induced_target(counts.ravel() / 40, reward.ravel(), objective)
        prompts.append((counts, np.asarray(target.policy).reshape(3, 3), reward))
    found = measured(exact_log(*prompts), objective)
    both = ["log_ratio", "log_ratio_min", "log_ratio_max", "kl", "kl_reverse", "kl_by_tokens", "kl_reverse_by_tokens"]
    both += ["kl_in_group", "ess", "value", "kappa_fit", "kappa_identity"]
    predicted = column(found, "predicted")
    assert {name: column(found)[name] for name in both} == pytest.approx({name: predicted[name] for name in both})
    untrained = column(found, "untrained")
    assert untrained["kl"] == untrained["log_ratio"] == 0.0
    assert untrained["ess"] == 1.0
    scaled = [np.asarray(objective.advantage(r.ravel(), c.ravel() / 40)) / BETA for c, _, r in PROMPTS]
    mean = np.mean([z @ (c.ravel() / 40) for z, (c, _, _) in zip(scaled, PROMPTS, strict=True)])
    assert untrained["kappa_fit"] == pytest.approx(mean, abs=1e-12)
    assert untrained["value"] == pytest.approx(np.mean([r.ravel() @ c.ravel() / 40 for c, _, r in PROMPTS]))


def test_a_policy_at_a_target_that_leaks_is_measured_as_predicted() -> None:
    """By hand: a baseline above the nominal one leaves w = exp(A/beta2), kappa = 0, and its mass is below 1."""
    rewards = [np.array([0.0, 1.0]), np.array([0.0, 0.0, 0.0, 1.0])]
    value = [0.25 * math.log(np.mean(np.exp(r / 0.25))) for r in rewards]
    us = [(r - v) / 0.5 for r, v in zip(rewards, value, strict=True)]
    u, reward = np.concatenate(us), np.concatenate(rewards)
    prompt = [f"p{len(r)}" for r in rewards for _ in r]
    report = ps.diagnose(
        pd.DataFrame({"prompt": prompt, "reward": reward, "mu": -9.0, "pi": -9.0 + u}),
        ps.OAPL(beta1=0.25, beta2=0.5),
        log_prob_columns="mu,pi",
    )
    found, w = report.measured, np.exp(u)
    assert found is not None
    hand = {
        "log_ratio": u.mean(),
        "log_ratio_min": u.min(),
        "log_ratio_max": u.max(),
        "kl": np.mean(w * u - w + 1),
        "kl_reverse": np.mean(w - 1 - u),
        "kl_in_group": np.average(
            [divergences.kl_divergence(np.exp(one) / np.exp(one).sum(), np.full(len(one), 1 / len(one))) for one in us],
            weights=[2, 4],
        ),
        "ess": w.sum() ** 2 / (6 * (w @ w)),
        "value": w @ reward / w.sum(),
        "missing": 1 - w.mean(),
    }
    assert hand["missing"] > 0.05
    for which in ("predicted", "measured"):
        numbers = column(found, which)
        assert {name: numbers[name] for name in hand} == pytest.approx(hand, abs=1e-12), which
    assert any(note.startswith(f"{hand['missing']:.1%} of the predicted mass leaks") for note in found.notes)
    renormalized = [np.exp(one.max()) / np.exp(one).mean() for one in us]
    assert report["max_ratio"].tolist() == pytest.approx(renormalized)


def test_a_clip_that_leaks_is_predicted_as_it_is() -> None:
    """GRPO holds the only good one of eight at the clip, 1.2, of which the report has 1.2/0.85, renormalized."""
    log = pd.DataFrame({"prompt": "p", "reward": [1.0] + [0.0] * 7, "mu": -9.0, "pi": -9.0})
    report = ps.diagnose(log, "grpo", log_prob_columns="mu,pi")
    assert report.measured is not None
    predicted = column(report.measured, "predicted")
    assert predicted["missing"] == pytest.approx(report["leak"][0]) == pytest.approx(0.15)
    assert predicted["log_ratio_max"] == pytest.approx(math.log(1.2))
    assert predicted["log_ratio_min"] == pytest.approx(math.log((0.85 * 8 - 1.2) / 7))
    assert predicted["value"] == pytest.approx(1.2 / 6.8)
    assert report["max_ratio"][0] == pytest.approx(1.2 / 0.85)


def test_a_policy_trained_in_groups_shows_the_kappa_of_new_groups() -> None:
    """With groups of 8 the target is that of the expected advantage, whose kappa the groups' own laws overstate."""
    prompts, kappa, weight = [], [], []
    for counts, _, reward in PROMPTS * 4:
        group = ps.finite_group("kimi", 8, counts.ravel() / 40, reward.ravel(), beta=BETA)
        policy = np.asarray(group.target.policy)
        prompts.append((counts, policy.reshape(3, 3), reward))
        kappa.append(float(group.kappa))
        weight.append(policy @ (policy / (counts.ravel() / 40)))
    truth = exact_mean(prompts) | {"kappa_fit": np.average(kappa, weights=weight), "kappa_identity": np.mean(kappa)}
    found = measured(drawn_log(np.random.default_rng(4), prompts, 8, 8))
    for name in (
        "log_ratio",
        "kl",
        "kl_reverse",
        "kl_by_tokens",
        "kl_reverse_by_tokens",
        "value",
        "missing",
        "kappa_fit",
    ):
        row = found.table.loc[name]
        assert abs(row["measured"] - truth[name]) <= 3 * row["error"], name
    row = found.table.loc["kappa_fit"]
    assert abs(row["measured"] - row["untrained"]) > 5 * row["error"]  # it can tell


def exact_mean(prompts: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> dict[str, float]:
    each = [exact(*prompt) for prompt in prompts]
    return {name: float(np.mean([one[name] for one in each])) for name in each[0]}


def test_identical_policies() -> None:
    log = exact_log(*((counts, counts / 40, reward) for counts, _, reward in PROMPTS))
    log["pi"] = log["mu"]
    found = measured(log)
    zero = {
        "log_ratio",
        "kl",
        "kl_reverse",
        "kl_by_tokens",
        "kl_reverse_by_tokens",
        "kl_in_group",
        "missing",
        "token_kl",
    }
    assert all(column(found)[name] == 0.0 for name in zero)
    assert column(found)["ess"] == column(found)["token_ess"] == 1.0
    for name in ("kappa_fit", "kappa_identity"):  # E[A]/beta, which is 0
        assert column(found)[name] == pytest.approx(column(found, "untrained")[name], abs=1e-15)
    assert any("both columns hold the same numbers" in note for note in found.notes)


@pytest.mark.parametrize(("objective", "low", "high"), [(ps.GRPO(), 0.8, 1.2), (ps.DAPO(eps_high=0.28), 0.8, 1.28)])
def test_tokens_that_the_clip_touches(objective: ps.Objective, low: float, high: float) -> None:
    log = exact_log(*PROMPTS)
    advantage = log["reward"] - log.groupby("prompt")["reward"].transform("mean")
    counts = []
    for mu, pi, a in zip(log["mu"], log["pi"], advantage, strict=True):
        ratio = np.exp(np.array(pi[1:]) - np.array(mu[1:]))
        counts.append(np.sum(ratio > high) if a > 0 else np.sum(ratio < low) if a < 0 else 0)
    found = column(measured(log, objective))
    assert 0 < sum(counts) < 400
    assert found["token_clipped"] == pytest.approx(sum(counts) / 400, abs=1e-15)
    assert found["clipped"] == pytest.approx(np.mean(np.array(counts) > 0), abs=1e-15)


def test_completions_that_the_clip_touches() -> None:
    log = exact_log(*PROMPTS)
    objective = ps.GSPO(eps_low=0.1, eps_high=0.1)
    a = log["reward"] - log.groupby("prompt")["reward"].transform("mean")
    s = np.exp([(sum(pi[1:]) - sum(mu[1:])) / 2 for mu, pi in zip(log["mu"], log["pi"], strict=True)])  # two tokens
    expected = np.mean(((a > 0) & (s > 1.1)) | ((a < 0) & (s < 0.9)))
    assert 0 < expected < 1
    assert column(measured(log, objective))["clipped"] == pytest.approx(expected, abs=1e-15)


def test_a_number_for_each_completion() -> None:
    log, both = exact_log(*PROMPTS), ("mu", "pi")
    whole = log.drop(columns="loss_mask").assign(
        **{name: log[name].map(lambda tokens: sum(tokens[1:])) for name in both}
    )
    lists, numbers = measured(log), measured(whole)
    shared = numbers.table.index
    assert "kl" in shared
    assert "kl_by_tokens" not in shared
    pd.testing.assert_frame_equal(numbers.table, lists.table.loc[shared], rtol=1e-12, atol=1e-14)
    note = "the log has no list for the tokens of every completion: nothing is measured by tokens"
    assert note in numbers.notes
    assert f"{note}, and the clip of grpo is one of tokens" in measured(whole, "grpo").notes


def test_the_behavior_alone() -> None:
    log = exact_log(*PROMPTS)
    found = measured(log, columns="mu")
    entropy = [divergences.entropy(counts.ravel() / 40) for counts, _, _ in PROMPTS]
    row = found.table.loc["entropy"]
    assert row["measured"] == pytest.approx(np.mean(entropy), rel=1e-12)
    assert row["error"] == pytest.approx(np.std(entropy, ddof=1) / math.sqrt(5), rel=1e-9)
    assert column(found)["token_entropy"] == pytest.approx(np.mean(entropy) / 2, rel=1e-12)
    assert list(found.table.index) == ["entropy", "token_entropy"]
    assert found.notes[0].startswith("the log has log-probabilities of the behavior alone")
    assert len(found.notes) == 2


def test_placeholders_are_called_so() -> None:
    log = pd.DataFrame({"prompt": list("aabb"), "reward": [0, 1, 0, 1], "step": 1})
    nemo = log.assign(generation_logprobs=[[0.0, -1.0]] * 4, prev_logprobs=[[0.0, -1.1]] * 4)
    found = measured(nemo.assign(token_loss_mask=[[0, 1]] * 4), columns=None)
    assert not len(found.table)
    assert found.notes == (
        "all 4 completions have the same log-ratio, -0.1: no two policies differ by a constant on everything that one "
        "of them samples, so that one column is not what it should be (a placeholder?)",
    )
    open_instruct = measured(log.assign(logprobs=[[-0.1, -0.2]] * 4), columns="logprobs")
    assert (
        open_instruct.notes[-1]
        == "all 4 completions have the same log-probability, -0.15 a token: that is a placeholder"
    )


def test_what_is_left_out_is_said() -> None:
    log = exact_log(*PROMPTS)
    log.at[0, "loss_mask"] = [0, 0, 0]
    found = measured(log)
    assert (found.completions, found.of) == (199, 200)
    assert found.notes[0] == "1 completions without a token that counts are left out"


def test_doubtful_numbers_are_called_so() -> None:
    log = exact_log(*PROMPTS)
    colder = measured(log.assign(mu=[(1.5 * np.array(mu)).tolist() for mu in log["mu"]]))
    assert any(note.startswith("the mean ratio is 2.") and "a temperature" in note for note in colder.notes)
    assert not any("mean ratio" in note for note in measured(log).notes)
    far = pd.DataFrame(
        {"prompt": list("aabb"), "reward": [0, 1, 0, 1], "mu": [-900.0, -1, -2, -1], "pi": [-1.0, -2, -1, -2]}
    )
    found = measured(far)
    assert any("a log-ratio of 899 is beyond what a ratio can be" in note for note in found.notes)
    assert np.isfinite(column(found)["log_ratio"])
    assert not np.isfinite(column(found)["kl"])
    few = measured(far.assign(mu=[-9.0, -1, -2, -1]))
    assert any("4 completions count for" in note for note in few.notes)


def test_nothing_is_measured_where_there_is_nothing() -> None:
    log = exact_log(PROMPTS[0]).rename(columns={"mu": "a", "pi": "b"})
    report = ps.diagnose(log, "kimi", beta=BETA)
    assert report.measured is None
    assert "measured" not in str(report)


def test_a_frame_that_was_read_says_the_same() -> None:
    log = exact_log(*PROMPTS)
    read = read_rollouts(log, log_prob_columns="mu,pi")
    again = measured(read, columns=None)
    pd.testing.assert_frame_equal(again.table, measured(log).table)
    said = measured(read, "grpo", columns=None).notes
    assert any("tokens that the clip touches were not counted" in note for note in said)


@pytest.mark.parametrize("objective", ["kimi", "grpo"])
def test_layouts_of_writers_say_the_same(tmp_path: Path, objective: str) -> None:
    log = exact_log(*PROMPTS)
    plain = measured(log, objective)
    for name, records in ("train_data_step7.jsonl", nemo(log)), ("rank_0.jsonl", prime(log)):
        path = tmp_path / name
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
        found, told = measured(path, objective, None).table, plain.table
        if name == "rank_0.jsonl":  # rewards are the advantages there
            found, told = found.drop(index="value"), told.drop(index="value")
        pd.testing.assert_frame_equal(found, told, rtol=1e-9, atol=1e-12)


def test_what_is_returned_travels() -> None:
    report = ps.diagnose(
        exact_log(*PROMPTS).assign(sampling_client_step=0), "kimi", beta=BETA, log_prob_columns="mu,pi"
    )
    found = report.measured
    assert found is not None
    assert pickle.loads(pickle.dumps(report)).measured == found
    said = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert said["measures"]["kl"]["measured"] == column(found)["kl"]
    assert said["measures"]["log_ratio_min"]["error"] is None
    assert said["lag"]["counts"] == {"0": 200}
    assert (said["completions"], said["clusters"], said["clustered_by"]) == (200, 5, "prompts")
    assert str(found) in str(report)
    assert "kappa_identity" in str(found)
    assert repr(found) == f"Measured(200 of 200 completions, {len(found.table)} measures)"


def test_groups_without_a_kappa_are_counted() -> None:
    found = measured(exact_log((COUNTS, near(COUNTS / 40, 0), REWARD)), "grpo")
    assert "kappa_fit" not in found.table.index
    assert any(note.startswith("no kappa: targets of grpo(") for note in found.notes)
    assert np.isfinite(column(found)["kl"])
