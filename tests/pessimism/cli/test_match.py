"""`pessimism match`: the setting that gives what is wanted."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

import pessimism as ps
from tests.pessimism.cli.console import BANDIT, EXAMPLES, fail, run

LOG = str(EXAMPLES / "verl_rollouts")


def test_a_bandit(capsys: pytest.CaptureFixture[str]) -> None:
    lines = run(capsys, "match", *BANDIT, "--objective", "kimi", "--kl", "0.1").splitlines()
    beta = ps.match([0.4, 0.3, 0.2, 0.1], [0.2, 0.4, 0.6, 0.8], "kimi", kl=0.1).beta
    assert lines[0] == f"kimi:beta={beta:.4g}"  # what is significant; JSON has all digits
    found = json.loads(run(capsys, "match", *BANDIT, "--objective", "kimi", "--kl", "0.1", "--json"))
    assert found["match"]["settings"]["beta"] == beta
    assert lines[1].startswith("kl 0.1, value 0.4925, behavior value 0.4, ")


def test_a_log_as_json_and_csv(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("match", LOG, "--objective", "shifted_mean:beta=0.5", "--over", "shift", "--kl", "0.05")
    found = json.loads(run(capsys, *arguments, "--json"))["match"]
    at = ps.match(log=LOG, objective="shifted_mean", beta=0.5, over="shift", kl=0.05)
    assert found["settings"] == {"beta": 0.5, "shift": at.shift}
    (row,) = csv.DictReader(io.StringIO(run(capsys, *arguments, "--csv")))
    assert row["objective"] == found["objective"]
    assert float(row["kl"]) == found["kl"]
    table = run(capsys, *arguments)
    assert "mean kl 0.05 over 63 of 64 problems, whose rewards differ" in table
    assert "medians: kl " in table


def test_like_and_the_median(capsys: pytest.CaptureFixture[str]) -> None:
    out = run(capsys, "match", LOG, "--objective", "nominal", "--like", "nominal:beta=0.5", "--statistic", "median")
    assert float(out.splitlines()[0].removeprefix("nominal:beta=")) == pytest.approx(0.5, rel=1e-9)


def test_the_negative_regime_is_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    out = run(capsys, "match", LOG, "--objective", "oapl:beta1=1", "--kl", "0.03")
    assert "warning: at this setting 63 of 63 problems are in the negative regime" in out
    assert "warning" not in run(capsys, "match", LOG, "--objective", "kimi", "--kl", "0.03")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((LOG, "--objective", "kimi"), "just one of kl, value, max_ratio and like must be given, got none"),
        ((LOG, "--objective", "kimi", "--kl", "9"), "the mean kl=9 is out of reach: kimi has a KL of "),
        (
            (LOG, *BANDIT, "--objective", "kimi", "--kl", "1"),
            "give LOG, or a bandit in --behavior and --reward or --input, not both",
        ),
        (("--objective", "kimi", "--kl", "1"), "give --behavior and --reward, or --input FILE"),
        ((LOG, "--objective", "ppo", "--kl", "0.1"), "ppo has no temperature to move: over must name a number, one of"),
        ((LOG, "--objective", "kimi", "--kl", "x"), "--kl must be a number, got 'x'"),
    ],
)
def test_mistakes(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str) -> None:
    assert message in fail(capsys, "match", *arguments)


def test_groups_without_a_target_are_said_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "two.jsonl"
    path.write_text("".join(f'{{"behavior": [0.5, 0.5], "reward": {reward}}}\n' for reward in ([0, 1], [10, 12])))
    arguments = ["match", "--input", str(path), "--objective", "reinforce:value=5.0,sampling=off_policy"]
    arguments += ["--over", "value", "--kl", "0.03"]
    _, over, _, *_, note = run(capsys, *arguments).splitlines()
    assert over == "mean kl 0.03 over 1 of 2 problems, whose rewards differ"
    assert note.endswith("has no KL in 1 of 2 problems with a signal: the mean is that of the others")
    assert json.loads(run(capsys, *arguments, "--json"))["match"]["note"] == note
