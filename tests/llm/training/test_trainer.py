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
import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, GenerationConfig, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

import pessimism as ps
from llm.training.trainer import OffPolicyTrainer
from pessimism.trainers.trl import trl_loss
from tests.llm import two_processes
from tests.llm.marks import slow_but
from tests.llm.runs import (
    SMALL,
    G,
    Watched,
    at,
    loaded,
    logged,
    make,
    per_token,
    right,
    rows_of,
    sums,
    trained,
    weights,
)

pytestmark = pytest.mark.usefixtures("seeded")


@pytest.mark.parametrize("name", slow_but([0], ["grpo", "dr_grpo", "dapo", "gspo", "cispo", "luspo", "sapo", "vespo"]))
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
    ("name", "objective"),
    slow_but(
        [0],
        [
            ("grpo", ps.GRPO(eps=1e-4)),
            ("gspo", ps.GSPO(eps=1e-4)),
            ("luspo", ps.LUSPO(eps=1e-4)),
            ("sapo", ps.SAPO(eps=1e-4)),
        ],
    ),
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


@pytest.mark.parametrize(("objective", "level"), slow_but([6, 8], CASES), ids=str)
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


# The same step done otherwise.


@pytest.mark.parametrize("objective", slow_but([1], ["kimi", "tba", "grpo"]))
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
@pytest.mark.slow
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


@pytest.mark.slow
def test_two_processes_resume(two: Path, folder: Path) -> None:
    runs = [torch.load(two / f"resumed-{process}.pt", weights_only=True) for process in (0, 1)]
    for whole, after in runs:
        assert torch.equal(whole, after)
        assert torch.equal(whole, runs[0][0])
    assert not torch.equal(runs[0][0], weights(loaded(folder)[0]))
    files = {path.name for path in (two / "whole" / "checkpoint-3").iterdir()}
    assert {"off_policy_0.pt", "off_policy_1.pt", "rng_state_0.pth", "rng_state_1.pth", "complete.json"} <= files


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


@pytest.mark.parametrize("objective", slow_but([0], ["kimi", "tba", "grpo"]))
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
        (
            {"objective_": Twice()},
            r"objective kimi\(beta=0.01\): the derivative of loss in log_ratio must be -score_weight",
        ),
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
    with pytest.raises(TypeError, match="objective must be an instance, got the class Kimi"):
        make(folder, tmp_path, objective_=ps.Kimi)
    model, tokenizer = loaded(folder)
    with pytest.raises(TypeError, match="args must be an OffPolicyConfig, got NoneType"):
        OffPolicyTrainer(model, right, train_dataset=sums(), processing_class=tokenizer)
