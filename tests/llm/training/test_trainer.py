"""Training through TRL against TRL itself, numpy, plain forwards and other ways to do the same step."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, GenerationConfig, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

import pessimism as ps
from llm.models.scoring import score
from llm.training.losses import trl_loss
from llm.training.trainer import OffPolicyTrainer
from tests.llm import two_processes
from tests.llm.runs import SMALL, G, Watched, loaded, logged, make, per_token, right, sums, trained, weights

pytestmark = pytest.mark.usefixtures("seeded")


@pytest.mark.parametrize("name", ["grpo", "dr_grpo", "dapo", "gspo", "cispo"])
def test_a_baseline_is_trl_itself(name: str, folder: Path, tmp_path: Path) -> None:
    """To the last bit, over an epoch's end and with generation batches of several steps."""
    given = {"max_steps": 14, "gradient_accumulation_steps": 2, "per_device_train_batch_size": 2 * G}
    ours = trained(folder, tmp_path / "ours", objective=name, lag=3, **given)
    theirs = trl_loss(ps.objectives()[name]())
    config = GRPOConfig(
        str(tmp_path / "trl"), **{**SMALL, **given, **theirs}, steps_per_generation=6, lr_scheduler_type="constant"
    )
    model, tokenizer = loaded(folder)
    trainer = GRPOTrainer(model, right, config, sums(), processing_class=tokenizer)
    trainer.train()
    assert trainer.state.epoch > 1
    assert torch.equal(weights(ours.model), weights(trainer.model))
    assert not torch.equal(weights(ours.model), weights(loaded(folder)[0]))


@pytest.mark.parametrize(
    ("name", "objective"), [("grpo", ps.GRPO(eps=1e-4)), ("gspo", ps.GSPO(eps=1e-4, eps_low=3e-4, eps_high=4e-4))]
)
def test_our_loss_of_a_published_one_is_trls(name: str, objective: Any, folder: Path, tmp_path: Path) -> None:
    """The loss of `pessimism` on the same data, where TRL averages as we do."""
    runs = [
        trained(folder, tmp_path, Watched, objective=name, lag=2, max_steps=2),
        trained(folder, tmp_path, Watched, objective_=objective, lag=2, max_steps=2),
    ]
    for one, other in zip(*(run.gradients for run in runs), strict=True):
        for key, gradient in one.items():
            torch.testing.assert_close(other[key], gradient, rtol=0, atol=2e-4 * float(gradient.abs().max()))


# The gradient of a step.

ANSWERED = {row["prompt"]: row["answer"] for row in sums()}


def rows_of(trainer: Watched, t: int) -> tuple[dict[str, torch.Tensor], np.ndarray, np.ndarray]:
    """A step's rows, each group's together, with rewards ``(groups, G)`` from the texts alone."""
    rows, tokenizer = trainer.step(t), trainer.processing_class
    prompts = tokenizer.batch_decode(rows["prompt_ids"], skip_special_tokens=True)
    order = sorted(range(len(prompts)), key=lambda i: prompts[i])
    rows = {key: values[order] for key, values in rows.items()}
    texts = tokenizer.batch_decode(rows["completion_ids"], skip_special_tokens=True)
    reward = [float(text == ANSWERED[prompts[i]]) for text, i in zip(texts, order, strict=True)]
    return rows, np.array(reward).reshape(-1, G), np.array([prompts[i] for i in order]).reshape(-1, G)


def at(trainer: Watched, t: int) -> Any:
    """A plain model with the weights before a step."""
    model = AutoModelForCausalLM.from_config(trainer.model.config).train()
    model.load_state_dict(trainer.snapshots[t])
    return model


CASES = [
    (ps.Kimi(beta=0.5), "sequence"),
    (ps.Kimi(beta=0.5), "token"),
    (ps.Kimi(beta=0.5), "length_normalized"),
    (ps.TruncatedIS(beta=0.5), "sequence"),
    (ps.AWR(beta=0.5), "sequence"),
    (ps.PPO(), "token"),
    (ps.AStarPO(beta2=0.5, sampling="off_policy"), "sequence"),  # to the initial policy, the baseline too
    (ps.QRPO(beta=0.5), "sequence"),
    (ps.DPO(beta=0.5), "sequence"),  # coupled, to the initial policy
    (ps.GRPO(beta=0.3), "token"),  # to both
    (ps.TPO(), "sequence"),  # coupled
    (ps.TBA(beta=0.5), "sequence"),
]


@pytest.mark.parametrize(("objective", "level"), CASES, ids=str)
def test_a_step_moves_along_the_score_weight(objective: Any, level: Any, folder: Path, tmp_path: Path) -> None:
    """The gradient of -mean g log pi, g in numpy, everything else from texts, tokens and snapshots."""
    lag, t = 2, 4
    given = {"lag": lag, "lag_mode": "constant", "gradient_accumulation_steps": 2, "max_grad_norm": 0.0}
    run = trained(folder, tmp_path, Watched, objective_=objective, log_ratio=level, learning_rate=3e-3, **given)
    rows, reward, _ = rows_of(run, t)
    assert 0 < reward.mean() < 1
    mask = rows["completion_mask"].double()
    policy = at(run, t)
    logs = per_token(policy, rows)
    with torch.no_grad():
        behavior, initial = (per_token(at(run, s), rows) for s in (t - lag, 0))
    first = initial if objective.reference_policy == "initial" else behavior

    def taken(x: torch.Tensor) -> np.ndarray:
        x = (x.double() * mask).detach()
        x = x if level == "token" else x.sum(1, keepdim=True)
        return (x / mask.sum(1, keepdim=True) if level == "length_normalized" else x).numpy()

    u, share, counted = taken(logs - first), taken(first - behavior), None
    if getattr(objective, "baseline_under_reference", False):
        tilt = np.exp(share).reshape(reward.shape)
        counted = tilt / tilt.sum(axis=1, keepdims=True)
    advantage = objective.advantage(reward, counted)
    assert np.abs(u).max() > 0.05
    if level == "token":
        options = {"log_share": share} if objective.takes_share else {}
        g = objective.score_weight(u, np.broadcast_to(advantage.reshape(-1, 1), u.shape), None, **options)
    else:
        g = objective.score_weight(u.reshape(reward.shape), advantage, None).reshape(-1, 1)
    each = torch.tensor(g) * logs * mask
    (-(each.sum(1) / (1.0 if level == "sequence" else mask.sum(1))).mean()).backward()
    for name, w in policy.named_parameters():
        torch.testing.assert_close(run.gradients[t][name], w.grad, rtol=0, atol=1e-4 * float(w.grad.abs().max()))


# Lag.


@pytest.mark.parametrize(
    ("mode", "lag", "accumulation", "source"),
    [
        ("constant", 0, 1, [0, 1, 2, 3, 4, 5]),
        ("constant", 0, 2, [0, 1, 2, 3, 4, 5]),
        ("constant", 2, 1, [0, 0, 0, 1, 2, 3]),
        ("constant", 2, 2, [0, 0, 0, 1, 2, 3]),
        ("constant", 6, 1, [0, 0, 0, 0, 0, 0]),
        ("constant", 99, 1, [0, 0, 0, 0, 0, 0]),
        ("batch", 1, 2, [0, 1, 2, 3, 4, 5]),
        ("batch", 4, 1, [0, 0, 0, 0, 4, 4]),
        ("batch", 4, 2, [0, 0, 0, 0, 4, 4]),
    ],
)
def test_data_are_as_old_as_asked_for(
    mode: Any, lag: int, accumulation: int, source: list[int], folder: Path, tmp_path: Path
) -> None:
    calls: list[int] = []

    def counted(completions: list[str], **columns: Any) -> list[float]:
        calls.append(len(completions))
        return right(completions, **columns)

    given = {"lag": lag, "lag_mode": mode, "max_steps": 6, "gradient_accumulation_steps": accumulation}
    run = trained(folder, tmp_path, Watched, objective="kimi", hyper={"beta": 0.5}, reward_funcs=counted, **given)
    for t, s in enumerate(source):
        rows = run.step(t)
        mask = rows["completion_mask"]
        if "old_per_token_logps" not in rows:
            assert s == t  # nothing is older, and no forward was spent on it
            continue
        with torch.no_grad():
            at_source, other = (per_token(at(run, i), rows) for i in (s, t if s != t else t - 1))
        torch.testing.assert_close(rows["old_per_token_logps"] * mask, at_source * mask, rtol=0, atol=1e-5)
        assert float(((other - at_source) * mask).abs().max()) > 1e-3  # others are told apart
    used = 4 * G * accumulation * 6
    assert sum(calls) == (used if mode == "constant" or lag == 1 else 2 * 4 * used // 6)


class Saying(Watched):
    """Its engine says the log-probabilities of what it sampled, as vLLM does."""

    def _generate_single_turn(self, prompt_ids: Any, *arguments: Any, **options: Any) -> tuple[Any, Any]:
        completions, _ = super()._generate_single_turn(prompt_ids, *arguments, **options)
        found = score(self.model, prompt_ids, completions, pad=0).log_probs
        return completions, [row.tolist() for row in found]


@pytest.mark.parametrize("objective", ["grpo", "cispo", "kimi"])
def test_log_probabilities_of_the_engine_are_the_behavior(objective: str, folder: Path, tmp_path: Path) -> None:
    """Whether an engine says them or not: at a constant lag the ratio is to the policy that sampled."""
    given = {"objective": objective, "lag": 2, "lag_mode": "constant", "learning_rate": 3e-3, "max_steps": 6}
    silent, saying = (trained(folder, tmp_path / kind.__name__, kind, **given) for kind in (Watched, Saying))
    assert "sampling_per_token_logps" in saying.step(0)
    moved = (weights(silent.model) - weights(loaded(folder)[0])).abs().max()
    torch.testing.assert_close(weights(saying.model), weights(silent.model), rtol=0, atol=1e-3 * float(moved))
    if objective == "grpo":
        assert max(row["clip_ratio/region_mean"] for row in logged(saying)) > 0.0


def test_settings_of_the_folder_do_not_change_what_is_sampled(folder: Path, tmp_path: Path) -> None:
    """They are saved with the model all the same."""
    shutil.copytree(folder, tmp_path / "model")
    one = loaded(folder)[1].convert_tokens_to_ids("1")
    theirs = GenerationConfig(do_sample=True, min_p=0.9, typical_p=0.2, suppress_tokens=[one], repetition_penalty=3.0)
    theirs.save_pretrained(tmp_path / "model")
    given = {"objective": "kimi", "max_steps": 2}
    plain, other = (
        trained(place, tmp_path / f"run{i}", Watched, **given) for i, place in enumerate((folder, tmp_path / "model"))
    )
    for t in range(2):
        assert torch.equal(plain.step(t)["completion_ids"], other.step(t)["completion_ids"])
    assert other.model.generation_config.suppress_tokens == [one]


def test_prompts_do_not_depend_on_the_lag(folder: Path, tmp_path: Path) -> None:
    """Over the end of an epoch, which has 13 batches of 4 prompts."""
    found = []
    for mode, lag in (("constant", 0), ("constant", 3), ("constant", 99), ("batch", 1)):
        run = trained(folder, tmp_path, Watched, objective="awr", lag=lag, lag_mode=mode, max_steps=16)
        found.append([rows_of(run, t)[2].tolist() for t in range(16)])
    assert found[0] == found[1] == found[2] == found[3]
    assert found[0][0] != found[0][1]
    assert len({prompt for step in found[0][:13] for group in step for prompt in group}) == 52


# The same step done otherwise.


@pytest.mark.parametrize("objective", ["kimi", "tba", "grpo"])
def test_accumulation_is_one_large_batch(objective: str, folder: Path, tmp_path: Path) -> None:
    given = {"objective": objective, "lag": 1, "lag_mode": "constant", "max_steps": 4, "optim": "sgd"}
    given |= {"hyper": {"beta": 0.5}, "learning_rate": 0.1}
    one = trained(folder, tmp_path, per_device_train_batch_size=8 * G, **given)
    eight = trained(folder, tmp_path, per_device_train_batch_size=G, gradient_accumulation_steps=8, **given)
    moved = (weights(one.model) - weights(loaded(folder)[0])).abs().max()
    torch.testing.assert_close(weights(eight.model), weights(one.model), rtol=0, atol=1e-4 * float(moved))
    for a, b in zip(logged(one), logged(eight), strict=True):
        if objective == "grpo":  # whose entropy TRL averages over micro-batches
            del a["entropy"]
        assert_same_metrics(a, b)


def assert_same_metrics(a: dict[str, Any], b: dict[str, Any]) -> None:
    ours = ("log_ratio", "kl/", "kappa", "effective", "pass_rate", "regime", "leak", "loss", "entropy")
    names = [name for name in a if name.startswith(ours)]
    assert len(names) >= 9
    if abs(a["log_ratio/max"]) < 1e-5:  # nothing has moved: an inverse slope of rounding
        names.remove("effective_temperature")
    for name in names:
        assert b[name] == (None if a[name] is None else pytest.approx(a[name], rel=1e-3, abs=1e-5)), name


@pytest.fixture(scope="module", params=[{}, two_processes.FSDP], ids=["ddp", "fsdp"])
def two(request: Any, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes made of the runs of `two_processes`."""
    out = tmp_path_factory.mktemp("two")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [*launch, "-m", "tests.llm.two_processes", str(folder), str(out)]
    environment = {**os.environ, **request.param, "OMP_NUM_THREADS": "1", "TRL_EXPERIMENTAL_SILENCE": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-1000:]
    return out


@pytest.mark.parametrize("name", two_processes.RUNS)
def test_two_processes_are_one(
    name: str, two: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    trainer = two_processes.run(name, folder, tmp_path)
    found = torch.load(two / f"{name}.pt", weights_only=True)
    moved = (weights(trainer.model) - weights(loaded(folder)[0])).abs().max()
    torch.testing.assert_close(found, weights(trainer.model), rtol=0, atol=1e-4 * float(moved))
    for a, b in zip(logged(trainer), json.loads((two / f"{name}.json").read_text()), strict=True):
        assert_same_metrics(a, b)


def test_a_reference_that_one_process_alone_would_have(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llm.training.trainer.is_fsdp_enabled", lambda: True)
    with pytest.raises(ValueError, match=r"fsdp_cpu_ram_efficient_loading must be false with tba\("):
        make(folder, tmp_path, objective="tba")
    make(folder, tmp_path, objective="kimi")


def test_two_processes_resume(two: Path, folder: Path) -> None:
    runs = [torch.load(two / f"resumed-{process}.pt", weights_only=True) for process in (0, 1)]
    for whole, after in runs:
        assert torch.equal(whole, after)
        assert torch.equal(whole, runs[0][0])
    assert not torch.equal(runs[0][0], weights(loaded(folder)[0]))
    files = {path.name for path in (two / "whole" / "checkpoint-3").iterdir()}
    assert {"off_policy_0.pt", "off_policy_1.pt", "rng_state_0.pth", "rng_state_1.pth", "complete.json"} <= files


# Metrics.


def pairs_of(run: Watched, t: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rewards, and log-ratios of the policy and of the initial one to the behavior, of a step, ``(groups, G)``."""
    rows, reward, _ = rows_of(run, t)
    mask = rows["completion_mask"].double()
    with torch.no_grad():
        logs, initial = (per_token(at(run, s), rows) for s in (t, 0))
    behavior = rows.get("old_per_token_logps", logs)
    u, share = (((x - behavior).double() * mask).sum(1).numpy().reshape(reward.shape) for x in (logs, initial))
    return reward, u, share


def by_hand(run: Watched, t: int, objective: Any) -> dict[str, float]:
    """Of the data of a step, in numpy, from texts, tokens and snapshots."""
    reward, u, share = pairs_of(run, t)
    w, centered = np.exp(u), reward - reward.mean(1, keepdims=True)
    found = {
        "log_ratio/mean": u.mean(),
        "log_ratio/max": u.max(),
        "kl/policy_behavior": np.mean(w * u - w + 1),
        "kl/behavior_policy": np.mean(w - 1 - u),
        "pass_rate": reward.mean(),
    }
    if np.abs(centered * u).max() > 1e-3:  # else there is rounding to divide by
        found["effective_temperature"] = np.sum(centered**2) / np.sum(centered * u)
    if (beta := objective.temperature) is None:
        return found
    under = np.exp(share) if getattr(objective, "baseline_under_reference", False) else np.ones_like(u)
    under = under / under.sum(axis=1, keepdims=True)
    scaled = objective.advantage(reward, under) / beta
    x = scaled - u + (share if objective.reference_policy == "initial" else 0.0)
    z = np.sum(under * np.exp(scaled), axis=1)
    if not isinstance(objective, ps.TBA):  # whose target is log w = A/beta less a constant
        found |= {"kappa_fit": np.sum(w * x) / np.sum(w * w), "kappa_identity": x.mean()}
    return found | {
        "regime/positive": np.mean(z > 1 + 1e-6),
        "regime/boundary": np.mean(np.abs(z - 1) <= 1e-6),
        "regime/negative": np.mean(z < 1 - 1e-6),
        "leak": np.mean(np.maximum(1 - z, 0)),
    }


@pytest.mark.parametrize(
    "objective",
    [
        ps.ConstantBaseline(beta=0.5, value=0.3),
        ps.OptimalValue(beta=0.5),
        ps.AStarPO(beta2=0.5, sampling="off_policy"),
        ps.TBA(beta=0.5),
        ps.PPO(),
    ],
    ids=str,
)
def test_metrics_of_each_step(objective: Any, folder: Path, tmp_path: Path) -> None:
    given = {"lag": 2, "lag_mode": "constant", "gradient_accumulation_steps": 2, "learning_rate": 3e-3}
    run = trained(folder, tmp_path, Watched, objective_=objective, **given)
    rows = logged(run)
    assert len(rows) == 5
    for t, row in enumerate(rows):
        expected = by_hand(run, t, objective)
        for name, value in expected.items():
            assert row[name] == pytest.approx(value, rel=2e-3, abs=2e-5), (t, name)
        assert ("kappa_fit" in row) == ("kappa_fit" in expected)
        assert 0 < row["entropy"] < np.log(16)
    assert "effective_temperature" in by_hand(run, 4, objective)


def test_metrics_of_a_log_are_of_all_its_pairs(folder: Path, tmp_path: Path) -> None:
    """And not means of the steps' ratios, of which one may have almost nothing below."""
    given = {"lag": 2, "lag_mode": "constant", "learning_rate": 3e-3, "max_steps": 6, "logging_steps": 3}
    run = trained(folder, tmp_path, Watched, objective="kimi", hyper={"beta": 0.5}, **given)
    rows = logged(run)
    assert len(rows) == 2
    for start, row in zip((0, 3), rows, strict=True):
        reward, u, _ = (
            np.concatenate(part) for part in zip(*(pairs_of(run, start + t) for t in range(3)), strict=True)
        )
        w, centered = np.exp(u), reward - reward.mean(axis=1, keepdims=True)
        x = centered / 0.5 - u
        assert row["log_ratio/max"] == pytest.approx(u.max(), abs=1e-5)
        assert row["kappa_fit"] == pytest.approx(np.sum(w * x) / np.sum(w * w), rel=1e-3)
        if start:
            assert row["effective_temperature"] == pytest.approx(np.sum(centered**2) / np.sum(centered * u), rel=1e-3)


def test_what_is_logged_does_not_depend_on_a_break(folder: Path, tmp_path: Path) -> None:
    """In the middle of a log's steps; nor do the completions written, when a run that has ended is begun once more."""
    given: dict[str, Any] = {"objective": "kimi", "lag": 2, "logging_steps": 4, "learning_rate": 3e-3, "max_steps": 8}
    given |= {"save_strategy": "steps", "save_steps": 3, "log_completions": True, "num_completions_to_print": 1}
    whole = trained(folder, tmp_path, **given)
    files = {path.name: len(pd.read_parquet(path)) for path in (tmp_path / "completions").iterdir()}
    assert files == dict.fromkeys(("completions_00004.parquet", "completions_00008.parquet"), 2 * 4 * G)
    resumed = trained(folder, tmp_path, resume=tmp_path / "checkpoint-6", **given)
    (_, ours), (_, theirs) = (logged(run) for run in (whole, resumed))
    timed = ("step_time", "loss", "grad_norm", "epoch")  # loss: transformers' own mean since the break
    names = {name for name in ours if name not in timed}
    assert len(names) > 25
    for name in names:
        expected = ours[name] if ours[name] is None else pytest.approx(ours[name], rel=1e-6)
        assert theirs[name] == expected, name
    trained(folder, tmp_path, resume=tmp_path / "checkpoint-8", **given)
    assert {path.name: len(pd.read_parquet(path)) for path in (tmp_path / "completions").iterdir()} == files


@pytest.mark.parametrize("objective", ["shifted_mean", "grpo"])
def test_completions_are_logged_with_the_advantages_trained_on(objective: str, folder: Path, tmp_path: Path) -> None:
    given = {"log_completions": True, "num_completions_to_print": 1, "max_steps": 4}
    run = trained(folder, tmp_path, Watched, objective=objective, lag=2, **given)
    for t in (0, 2):
        table = pd.read_parquet(tmp_path / "completions" / f"completions_{t + 1:05d}.parquet")
        trained_on = torch.cat([run.step(t)["advantages"], run.step(t + 1)["advantages"]])
        np.testing.assert_array_equal(np.sort(table["advantage"].astype(np.float32)), trained_on.sort().values.numpy())
        if objective == "shifted_mean":
            reward = table["right"].to_numpy().reshape(-1, G)
            expected = run.objective.advantage(reward).ravel()
            np.testing.assert_allclose(table["advantage"], expected, rtol=0, atol=1e-6)


def test_every_step_of_a_generation_batch_has_metrics(folder: Path, tmp_path: Path) -> None:
    """TRL shuffles a generation batch: its groups are in several steps, whose metrics have its mean."""
    objective = ps.ConstantBaseline(beta=0.5, value=0.3)
    run = trained(folder, tmp_path, Watched, objective_=objective, lag=3, max_steps=6)
    rows = logged(run)
    names = [name for name in by_hand(trained(folder, tmp_path, Watched, max_steps=1), 0, objective) if name in rows[0]]
    assert len(names) == 11
    assert all(name in row for name in names for row in rows)
    for start in (0, 3):
        micro = [m for t in range(start, start + 3) for m in run.seen[t]]
        run.seen[start] = micro
        whole = by_hand(run, start, objective)
        for name in ("pass_rate", "regime/positive", "regime/boundary", "regime/negative", "leak"):
            mean = np.mean([row[name] for row in rows[start : start + 3]])
            assert mean == pytest.approx(whole[name], rel=1e-6), name


def test_a_kappa_of_tokens_is_none(folder: Path, tmp_path: Path) -> None:
    """The prediction is for log-ratios of whole completions."""
    (row,) = logged(trained(folder, tmp_path, objective="kimi", log_ratio="token", max_steps=1))
    assert "kappa_fit" not in row
    assert "kappa_identity" not in row
    assert "regime/positive" in row


# What TRL offers beside.


@pytest.mark.parametrize("objective", [ps.Kimi(beta=0.5), ps.AStarPO(beta2=0.5, sampling="off_policy")], ids=str)
def test_adapters(objective: Any, folder: Path, tmp_path: Path) -> None:
    """Only they are trained, and the initial policy is the model without them."""
    given = {"lag": 2, "lag_mode": "constant", "learning_rate": 1e-1, "max_steps": 4}
    adapter = LoraConfig(r=2, target_modules=["q_proj", "v_proj"])
    run = trained(folder, tmp_path, Watched, objective_=objective, peft_config=adapter, **given)
    before = dict(loaded(folder)[0].named_parameters())
    base = {name: w for name, w in run.model.named_parameters() if "lora" not in name}
    assert len(base) == len(before)
    for name, w in base.items():
        assert torch.equal(w, before[name.removeprefix("base_model.model.").replace(".base_layer", "")])
    assert run.gradients[0].keys() == {name for name, _ in run.model.named_parameters() if "lora" in name}
    assert abs(logged(run)[3]["log_ratio/mean"]) > 1e-3
    rows = run.step(3)
    with torch.no_grad():
        initial = per_token(loaded(folder)[0], rows)
        moved = per_token(run.model, rows)
    assert float((moved - initial).abs().max()) > 1e-3
    if objective.reference_policy == "initial":
        torch.testing.assert_close(rows["ref_per_token_logps"], initial, rtol=0, atol=1e-5)
    else:
        assert "ref_per_token_logps" not in rows
        torch.testing.assert_close(
            run.step(2)["old_per_token_logps"], per_token_of(folder, run.step(2)), rtol=0, atol=1e-5
        )


def per_token_of(folder: Path, rows: dict[str, torch.Tensor]) -> torch.Tensor:
    with torch.no_grad():
        return per_token(loaded(folder)[0], rows)


@pytest.mark.parametrize("objective", ["kimi", "tba", "grpo"])
def test_evaluation(objective: str, folder: Path, tmp_path: Path) -> None:
    """With metrics of the objective, the best checkpoint kept, and training none the wiser."""
    given = {"objective": objective, "hyper": {"beta": 0.5}, "lag": 2, "max_steps": 6}
    run = trained(
        folder,
        tmp_path,
        **given,
        eval_dataset=sums().select(range(8)),
        eval_strategy="steps",
        eval_steps=2,
        num_generations_eval=2,  # and whole groups of that
        per_device_eval_batch_size=2,
        save_strategy="steps",
        save_steps=2,
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model="eval_regime/positive",
    )
    found = [row for row in run.state.log_history if "eval_loss" in row]
    assert [row["step"] for row in found] == [2, 4, 6]
    for row in found:
        assert row["eval_pass_rate"] == pytest.approx(row["eval_reward"])
        assert 0 <= row["eval_regime/positive"] <= 1
        assert row["eval_entropy"] > 0
    best = max(found, key=lambda row: row["eval_regime/positive"])["step"]
    assert run.state.best_model_checkpoint == str(tmp_path / f"checkpoint-{best}")
    kept = {path.name for path in tmp_path.glob("checkpoint-*")}
    assert len(kept) == 2
    assert {f"checkpoint-{best}", "checkpoint-6"} <= kept
    saved = AutoModelForCausalLM.from_pretrained(tmp_path / f"checkpoint-{best}")
    assert torch.equal(weights(run.model), weights(saved))


# What is refused.


def raising(completions: list[str], **_: Any) -> list[float]:
    raise KeyError(completions[0])


@pytest.mark.parametrize(
    ("reward", "said"),
    [
        (
            lambda completions, **_: [float("nan")] * len(completions),
            "reward <lambda>, row 0 .* returned nan, not a finite",
        ),
        (lambda completions, **_: [float("inf")] * len(completions), "returned inf, not a finite number"),
        (lambda completions, **_: [None] * len(completions), "returned null, not a finite number"),
        (lambda completions, **_: [1.0], "returned 1 values for 16 completions"),
        (raising, "reward raising, row 0 .*: KeyError"),
        (
            [lambda completions, **_: [None] * len(completions)] * 2,
            "completion 0 of a generation batch has no finite reward",
        ),
    ],
)
def test_rewards_that_are_none(reward: Any, said: str, folder: Path, tmp_path: Path) -> None:
    trainer = make(folder, tmp_path, reward_funcs=reward)
    with pytest.raises(ValueError, match=said):
        trainer.train()
    assert torch.equal(weights(trainer.model), weights(loaded(folder)[0]))


def test_of_several_rewards_one_may_have_nothing_to_say(folder: Path, tmp_path: Path) -> None:
    silent = [right, lambda completions, **_: [None] * len(completions)]
    run = trained(folder, tmp_path, Watched, reward_funcs=silent, max_steps=1)
    rows, reward, _ = rows_of(run, 0)
    np.testing.assert_array_equal(rows["reward"].numpy(), reward.flatten())


class Twice(ps.Kimi):
    def loss(self, *arguments: Any) -> Any:
        return 2.0 * super().loss(*arguments)


def asked(*prompts: Any) -> Dataset:
    return Dataset.from_dict({"prompt": list(prompts), "answer": ["1"] * len(prompts)})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"train_dataset": sums().select(range(3))},
            r"train_dataset has 3 prompts, fewer than the 4 of a generation batch",
        ),
        (
            {"train_dataset": sums().select(range(7)), "lag": 2},
            r"7 prompts, fewer than the 8 .* \(32 completions in groups of 4",
        ),
        ({"train_dataset": sums().to_iterable_dataset(), "lag_mode": "constant"}, "needs a data set of known length"),
        (
            {"objective": "tba", "per_device_train_batch_size": 6, "gradient_accumulation_steps": 2},
            "must be a multiple of num",
        ),
        ({"objective_": ps.CQL()}, "cannot be trained here"),
        ({"objective_": ps.Reinforce(), "lag": 2}, "lag must be 1 for reinforce"),
        ({"objective_": ps.TBA(), "log_ratio": "token"}, "couples the completions of a group"),
        ({"objective_": ps.Kimi}, "objective must be an object, got the class Kimi"),
        ({"objective_": Twice()}, "objective kimi: the derivative of loss in log_ratio must be -score_weight"),
        (
            {"objective_": ps.Kimi(), "hyper": {"beta": 0.5}},
            r"args.hyper=\{'beta': 0.5\} must be left out beside objective, which is kimi\(beta=0.01\)",
        ),
        (
            {"objective_": ps.Kimi(), "objective": "tba"},
            "args.objective='tba' must be left out beside objective, which",
        ),
        (
            {"train_dataset": sums().rename_column("prompt", "question")},
            "train_dataset must have a column 'prompt'; its columns are question, answer",
        ),
        (
            {"train_dataset": asked("1+1=", "1" * 120, "2+2=", "1" * 127)},
            "train_dataset row 3: 127 tokens and a completion of up to 2 are over the 128 positions of the model",
        ),
        (
            {"train_dataset": asked("1+1=", "?", "2+2=", "3+1=")},
            r"train_dataset row 1: the tokenizer knows nothing of this prompt, which becomes \[3\]",
        ),
        (
            {"train_dataset": sums(), "eval_dataset": asked("what is this")},
            "eval_dataset row 0: the tokenizer knows nothing of this prompt",
        ),
        (
            {"train_dataset": asked(*4 * [[{"role": "user", "content": "1+1="}]])},
            "the chat template of the tokenizer cannot be used .* take a model that has one for such messages",
        ),
    ],
    ids=str,
)
def test_set_ups_that_are_refused(given: Any, said: str, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=said):
        make(folder, tmp_path, **given)


def test_a_policy_that_has_diverged(folder: Path, tmp_path: Path) -> None:
    class Spoil(TrainerCallback):
        def on_step_end(self, *_: Any, model: Any, **__: Any) -> None:
            model.lm_head.weight.data[5] = torch.inf

    with pytest.raises(FloatingPointError, match="generation: the probabilities of the model are not finite"):
        trained(folder, tmp_path, objective="kimi", callbacks=[Spoil()])


def test_arguments_must_be_ours(folder: Path, tmp_path: Path) -> None:
    model, tokenizer = loaded(folder)
    with pytest.raises(TypeError, match="args must be an OffPolicyConfig, got NoneType"):
        OffPolicyTrainer(model, right, train_dataset=sums(), processing_class=tokenizer)
