"""The command advise."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import pessimism as ps
from pessimism.cli.main import main
from tests.pessimism.diagnosis.logs import TRL

FAST = ["--candidates", "nominal", "kimi:beta=1", "--kl-per-step", "0.01"]


def test_the_page_is_that_of_the_result(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["advise", str(TRL), "--objective", "oapl:beta1=0.1,beta2=0.2", *FAST]) == 0
    found = ps.advise(
        TRL, objective="oapl:beta1=0.1,beta2=0.2", candidates=["nominal", "kimi:beta=1"], kl_per_step=0.01
    )
    assert capsys.readouterr().out == found.text + "\n"


def test_json_and_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"loss_type": "grpo", "num_generations": 4, "steps_per_generation": 4}))
    given = ["advise", str(TRL), "--trainer", str(file), "--matched", "kl=0.05", "--share", "0.5", "--json", *FAST]
    assert main(given) == 0
    out, err = capsys.readouterr()
    assert err == ""
    told = json.loads(out)
    assert (told["group_size"], told["matched"]["value"]) == (4, 0.05)
    assert told["objective"] == ps.from_config(file).spec
    assert [row["age"] for row in told["lag"]] == [0, 3, 6]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "give --objective, or --trainer FILE"),
        (
            ["--objective", "kimi", "--matched", "tv=1"],
            "--matched must be kl=, value=, max_ratio= or like=, got 'tv=1'",
        ),
        (["--objective", "kimi", "--kl-per-step", "0"], "--kl-per-step must be a finite number > 0, got 0.0"),
        (["--objective", "kimi", "--share", "2"], "--share must be in (0, 1], got 2.0"),
        (["--objective", "kimi", "--share", "x"], "--share must be a number, got 'x'"),
    ],
)
def test_a_mistake_is_one_line(given: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["advise", str(TRL), *given]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"pessimism: {message}")
    assert err.count("\n") == 1


def test_log_probabilities_are_named_as_the_page_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"prompt": f"p{k}", "reward": float(r), "mine": -1.0 - r} for k in range(12) for r in (1, 0, 0, k % 2)]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = ["advise", str(tmp_path / "log.jsonl"), "--objective", "kimi:beta=1", "--candidates", "nominal"]
    assert main(given) == 0
    assert "the log was read without log-probabilities (log_prob_columns, --log-prob-columns)" in " ".join(
        capsys.readouterr().out.split()
    )
    assert main([*given, "--log-prob-columns", "mine"]) == 0
    assert "without log-probabilities" not in " ".join(capsys.readouterr().out.split())


def test_a_trainer_that_is_not_recognized_is_no_keyword(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.json").write_text('{"learning_rate": 1e-6}')
    assert main(["advise", str(TRL), "--trainer", str(tmp_path / "c.json")]) == 2
    err = capsys.readouterr().err
    assert "or sets nothing that concerns its loss; the trainers known are trl, " in err
    assert "trainer=" not in err


def test_the_page_fits_a_narrow_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    long = "ppo_corrected:eps_high=0.28,correction=mask,cap=3,eps=0.0001"
    assert main(["advise", str(TRL), "--objective", long, *FAST]) == 0
    page = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("objective ") for line in page) == 2
    assert max(map(len, page)) <= 80
