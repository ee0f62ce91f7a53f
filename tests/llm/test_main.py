"""The command line: a run from training to its measurement, and errors of one line."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from peft import AutoPeftModelForCausalLM

import pessimism as ps
from llm.__main__ import COMMANDS, main
from llm.models.load import load_model
from tests.llm.console import CONFIGS, CPU, QUICK, arguments


@pytest.mark.usefixtures("seeded")
def test_train_measure_evaluate(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    given = ["train", *arguments(model_name_or_path=str(folder), output_dir=str(run), **QUICK)]
    assert main(given) == 0
    told = json.loads((run / "run.json").read_text())
    assert (told["objective"], told["hyper"], told["level"]) == ("kimi", {"beta": 0.5}, "sequence")
    assert not (run / "run.part").exists()
    card = (run / "README.md").read_text()
    assert ps.Kimi.title in card
    assert f"(https://huggingface.co/papers/{ps.Kimi.paper})" in card
    assert "fine-tuned version of a local model." in card
    assert f'pipeline("text-generation", model="{run}"' in card
    assert main(["measure", *arguments(run=str(run), samples="16", limit="5", out=str(tmp_path / "m.csv"))]) == 0
    frame = pd.read_csv(tmp_path / "m.csv")
    assert list(frame["kind"]) == ["prompt"] * 5 + ["pooled"]
    both = {"policy": str(run), "behavior": str(folder), "max_completion_length": "2", "num_generations": "4"}
    same = {"data": "addition:digits=1", "objective": "kimi", "hyper": '{"beta": 0.5}', "samples": "16", "limit": "5"}
    assert main(["measure", *arguments(**both, **same, out=str(tmp_path / "n.csv"))]) == 0
    assert frame["kappa_fit"].equals(pd.read_csv(tmp_path / "n.csv")["kappa_fit"])
    out = tmp_path / "e.csv"
    asked = {"model": str(run), "data": "addition:digits=1", "limit": "5", "max_completion_length": "2"}
    assert main(["evaluate", *arguments(**asked, samples="4", out=str(out)), "--ks", "1", "4"]) == 0
    said = capsys.readouterr()
    assert said.out.count("kimi(beta=0.5), groups of 4; completions sampled\n") == 2
    assert f"{run} on addition:digits=1, reward exact\n5 prompts, 4 samples each" in said.out
    assert (pd.read_csv(out)["pass@4"] >= pd.read_csv(out)["pass@1"]).all()
    (line,) = said.err.splitlines()
    assert line.startswith("step 4/4: reward ")


@pytest.mark.usefixtures("seeded")
def test_adapters_are_measured_and_evaluated(folder: Path, tmp_path: Path) -> None:
    """With the model that they are of: what the run ended at, and not what it began with."""
    run, adapters = tmp_path / "run", {"use_peft": "true", "lora_r": "2", "lora_target_modules": "all-linear"}
    quick = {**QUICK, "learning_rate": "0.1", "output_dir": str(run), "model_name_or_path": str(folder)}
    assert main(["train", *arguments(**quick, **adapters)]) == 0
    assert (run / "adapter_config.json").exists()
    assert main(["measure", *arguments(run=str(run), exact="true", limit="3", out=str(tmp_path / "m.csv"))]) == 0
    assert (pd.read_csv(tmp_path / "m.csv")["kl"] > 1e-4).all()
    asked = {"data": "addition:digits=1", "limit": "3", "max_completion_length": "2", "samples": "64"}
    for name, model in (("run", run), ("start", folder)):
        assert main(["evaluate", *arguments(model=str(model), out=str(tmp_path / f"{name}.csv"), **asked)]) == 0
    entropies = [pd.read_csv(tmp_path / f"{name}.csv")["sequence_entropy"] for name in ("run", "start")]
    assert (entropies[0] != entropies[1]).all()
    merged = load_model(run)
    assert not any("lora" in name for name, _ in merged.named_parameters())
    ids = torch.arange(6)[None]
    with torch.no_grad():
        ours, theirs, before = (
            model(input_ids=ids).logits
            for model in (merged, AutoPeftModelForCausalLM.from_pretrained(run), load_model(folder))
        )
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)
    assert (ours - before).abs().max() > 1e-2


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "a command must come first: the commands are train"),
        (["tarin"], "unknown command 'tarin'"),
        (["train", "--config"], "--config needs a file"),
        (["train", "--config", "none.yaml"], "--config none.yaml: no such file"),
        (["train", "--config", "a.yaml", "--config", "b.yaml"], "--config must be given once"),
        (["evaluate", "--sample", "3"], "unknown field 'sample'; did you mean 'samples'?"),
        (["measure", "--ru", "x"], "unknown field 'ru'; did you mean 'run'?"),
        ([*CPU, "--lagg", "3"], "unknown field 'lagg'; did you mean 'lag'? python -m llm train --help lists all"),
        ([*CPU, "--max_steps", "x"], "--max_steps/--max-steps: invalid int value: 'x'"),
        ([*CPU, "--lag_mode", "x"], "argument --lag_mode/--lag-mode: invalid choice: 'x' (choose from 'batch'"),
        ([*CPU, "--bf16"], "argument --bf16: expected one argument"),
        (
            ["train", "--config", str(CONFIGS / "cpu.yaml"), "--objective", "kimi"],
            f"'kimi' has no hyper-parameter 'shift'; it has beta; hyper is that of {CONFIGS / 'cpu.yaml'}: --hyper",
        ),
        (
            [*CPU, "--objective", "kimi", "--hyper", '{"shift": 1}'],
            "'kimi' has no hyper-parameter 'shift'; it has beta\n",
        ),
        ([*CPU, "--objective", "kimmi"], "did you mean 'kimi', "),
        ([*CPU, "--model_name_or_path", "tiny:hiden=3"], "unknown setting 'hiden'"),
        # Known before a model is fetched or made: there is none of that name.
        ([*CPU, "--model_name_or_path", "none/none", "--data", "none.jsonl"], "none.jsonl: no such file"),
        (["evaluate", "--model", "none/none", "--reward", "exakt"], "exakt"),
        (
            ["measure", *arguments(policy="none", behavior="none", objective="kimi", data="addition:digits=3")],
            "limit is required",
        ),
        ([*CPU, "--data", "addition:steps= True"], "reward exact is never earned with written steps"),
        ([*CPU, "--chat_template_kwargs", "3"], "chat_template_kwargs must be a mapping, or one in JSON, got '3'"),
        ([*CPU, "--model_name_or_path", "tiny:steps=no"], "tiny:steps=no: steps must be true or false, got 'no'"),
        (["measure", "--run", "nowhere"], "nowhere holds no run"),
        ([*CPU, "--eval_strategy", "steps"], "eval_strategy must be no: there is one data set"),
        ([*CPU, "--data", "addition:digits=0"], "addition:digits=0: digits must be an integer >= 1, got 0"),
        ([*CPU, "--model_name_or_path", "tiny:digits=0"], "tiny:digits=0: digits must be an integer >= 1, got 0"),
        (
            [*CPU, "--output_dir", f"{__file__}/x"],
            f"output_dir {__file__}/x cannot be written (",
        ),
        (["train", *CPU[3:]], "model_name_or_path must be given"),
        (["evaluate", "--model", "x", "--out", "/"], "out / is a folder: name a file"),
        (["evaluate", "--model", "x", "--out", f"{__file__}/x"], f"out {__file__}/x cannot be written ("),
        ([*CPU, "--resume_from_checkpoint", "x"], "resume_from_checkpoint must be left out"),
        ([*CPU, "--save_only_model", "true"], "save_only_model must be false"),
        ([*CPU, "--reward_weights", "2"], "reward_weights must be left out: there is one reward, got [2.0]"),
        ([*CPU, "--reward_weights", "nan"], "reward_weights must be finite, got [nan]"),
        ([*CPU, "--generation", "vllm", "--vllm_mode", "server"], 'vllm_mode must be "colocate"'),
    ],
)
def test_a_mistake_is_one_line(
    given: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(given) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "error", [FloatingPointError("the loss is not finite"), ImportError("vllm is not installed"), ValueError("a\nb")]
)
def test_what_a_user_can_mend_is_one_line(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: list[str]) -> int:
        raise error

    monkeypatch.setitem(COMMANDS, "train", fail)
    assert main(["train"]) == 2
    assert capsys.readouterr().err == f"error: {' '.join(str(error).split())}\n"
