"""`pessimism diagnose`: its table, its JSON with every number, the files that it writes."""

from __future__ import annotations

import gzip
import json
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import pessimism as ps
from pessimism.cli.diagnose import _SHOWN, worst_first
from tests.pessimism.cli.console import EXAMPLES, fail, run
from tests.pessimism.rollouts.logs import write


def test_json_of_a_diagnosis_has_every_number(capsys: pytest.CaptureFixture[str]) -> None:
    log = str(EXAMPLES / "verl_rollouts")
    said = json.loads(run(capsys, "diagnose", log, "--objective", "kimi", "--beta", "0.1", "--json"))
    report = ps.diagnose(log, "kimi", beta=0.1)
    for name in ("kappa", "kl", "tv_nominal"):
        assert [row[name] for row in said["groups"]] == report[name].tolist()
    unknown = json.loads(run(capsys, "diagnose", log, "--objective", "asym_re", "--json"))["groups"]
    assert {row["critical_beta"] for row in unknown} == {None}


def test_table_of_a_diagnosis(capsys: pytest.CaptureFixture[str]) -> None:
    log = str(EXAMPLES / "trl_completions")
    table = run(capsys, "diagnose", log, "--objective", "kimi", "--beta", "0.1", "--rows", "2", "--details")
    lines = table.splitlines()
    begins = [line.split(" ")[0] for line in lines]
    assert begins[0] == "read:"
    read, verdict, advice = (begins.index(word) for word in ("read:", "verdict:", "recommendation:"))
    assert read < verdict < advice < begins.index("step")  # before the tables
    header, first = next((line, lines[i + 1]) for i, line in enumerate(lines) if line.endswith("reading"))
    assert header.split()[-1] == "reading"
    assert "positive: " in first
    assert not {"Z", "baseline"} & set(header.split())
    assert "median_tv_nominal: " in table
    ends = ["0.9896 [0.9629, 0.9987]", "0.01042 [0.001264, 0.03712]", "0 [0, 0.01903]"]  # Clopper and Pearson
    shares = ", ".join(map(" ".join, zip(("positive", "boundary", "negative"), ends, strict=True)))
    assert f"\nshare: {shares} (of 192 solved groups, 2 of them without a signal)\n" in table
    assert f"\npopulation_share: {shares} (of 192 groups, 2 of them without a signal)\n" in table
    assert "\nverdict: greedy " in table
    assert "\nhard " in table
    assert "\nby step:\n" in table
    assert "share_of" not in table
    none = run(capsys, "diagnose", log, "--objective", "kimi", "--beta", "0.1", "--rows", "0")
    assert "reading\n" not in none
    assert "median_tv_nominal" not in none
    assert "--details" in none


def test_an_undefined_population_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    out = run(capsys, "diagnose", str(EXAMPLES / "verl_rollouts"), "--objective", "ppo", "--rows", "0", "--details")
    why = "its weight is not affine in the advantage, so that finite groups have no expected advantage"
    none = "0 [0, 0.05601]"
    shares = f"positive {none}, boundary {none}, negative {none}, undefined 1 [0.944, 1]"
    shares += " (of 64 groups, 1 of them without a signal)"
    assert f"\npopulation_share: {shares}; undefined: {why}\n" in out
    assert "population_note" not in out


def test_merged_steps_are_printed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("prompt,reward,Iteration\na,1,1\na,0,2\n")
    out = run(capsys, "diagnose", str(path))
    assert "\nwarning: no step column: all rows are one step (column 'Iteration' looks like one: step_column, or" in out
    assert "no step column" not in run(capsys, "diagnose", str(path), "--step-column", "Iteration")


def test_diagnose_writes_what_it_prints(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    log = str(EXAMPLES / "trl_completions")
    table = run(capsys, "diagnose", log, "--objective", "kimi", "--beta", "0.1", "--rows", "3", "--out", str(tmp_path))
    assert "recommendation: " in table
    assert "189 more groups" in table
    frame = pd.read_csv(tmp_path / "diagnose_kimi.csv")
    summary = json.loads((tmp_path / "diagnose_kimi.json").read_text(encoding="utf-8"))
    assert len(frame) == summary["groups"] == 192
    said = json.loads(run(capsys, "diagnose", log, "--objective", "kimi", "--beta", "0.1", "--json"))
    assert said["summary"] == summary
    assert len(said["groups"]) == 192
    always = {row["critical_beta"] for row in said["groups"] if not row["all_equal"]}
    assert always == {sys.float_info.max}
    assert {type(row["all_equal"]) for row in said["groups"]} == {bool}


def test_thresholds_of_the_verdict_are_options(capsys: pytest.CaptureFixture[str]) -> None:
    log = str(EXAMPLES / "verl_rollouts")
    said = json.loads(run(capsys, "diagnose", log, "--beta", "0.32", "--greedy-gain", "0.5", "--few", "64", "--json"))
    verdict = said["summary"]["verdict"]
    assert (verdict["word"], verdict["alone"]) == ("too few groups", "greedy")
    assert verdict["rules"]["few"] == 64
    wrong = fail(capsys, "diagnose", log, "--leaking-share", "2")
    assert wrong == "pessimism: --leaking-share must be in [0, 1], got 2.0\n"


def test_what_is_measured_stands_beside_what_is_predicted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log.jsonl"
    rows = [
        {"prompt": f"p{i % 4}", "reward": i // 4 % 2, "mu": [-1.0, -2.0], "pi": [-1.0 + 0.1 * (i % 3), -2.0]}
        for i in range(16)
    ]
    log.write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = ["diagnose", str(log), "--objective", "grpo", "--log-prob-columns", "mu,pi", "--rows", "0"]
    out = run(capsys, *arguments)
    assert "measured on 16 of 16 completions, errors over 4 prompts; predicted is where the objective leads" in out
    (line,) = [line for line in out.splitlines() if line.startswith("token_log_ratio_max ")]
    assert line.split() == ["token_log_ratio_max", "0.2", "-", "-", "-", "0"]
    measures = json.loads(run(capsys, *arguments, "--json"))["summary"]["measured"]["measures"]
    assert measures["token_log_ratio_max"]["measured"] == pytest.approx(0.2)
    assert 0 < measures["token_clipped"]["measured"] < 1  # a ratio of 1.22
    plain = run(capsys, *arguments[:4])
    assert "measured" not in plain
    assert json.loads(run(capsys, *arguments[:4], "--json"))["summary"]["measured"] is None


def test_several_logs_patterns_and_packed_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for step in (1, 2):
        rows = [(step, "a", 1.0), (step, "a", 0.0)]
        packed = write(tmp_path / f"{step}.jsonl", rows)
        (tmp_path / f"{step}.jsonl.gz").write_bytes(gzip.compress(packed.read_bytes()))
        packed.unlink()
    names = [str(tmp_path / f"{step}.jsonl.gz") for step in (1, 2)]
    said = run(capsys, "diagnose", str(tmp_path), "--csv")
    assert len(said.splitlines()) == 3
    assert run(capsys, "diagnose", *names, "--csv") == run(capsys, "diagnose", f"{tmp_path}/*.gz", "--csv") == said
    for command in (["compare", "--objectives", "kimi"], ["match", "--objective", "kimi", "--kl", "0.1"]):
        one, both = (run(capsys, command[0], *logs, *command[1:], "--json") for logs in ([str(tmp_path)], names))
        assert one == both


def table(text: str) -> list[str]:
    """Lines of the table of groups, its header first."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.endswith("reading"))
    return lines[start : start + 1 + lines[start:].index("")]


def test_rounding_is_not_printed_as_a_distance(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rows = [f"{p},{r}\n" for p, rewards in enumerate(["10000000", "11100000", "11111110"] * 4) for r in rewards]
    (tmp_path / "log.csv").write_text("prompt,reward\n" + "".join(rows))
    log = str(tmp_path / "log.csv")
    frame = ps.diagnose(log, "optimal_value", beta=1.0)
    assert 0 < frame["tv_nominal"].max() < 1e-14  # the nominal target, to rounding
    out = run(capsys, "diagnose", log, "--objective", "optimal_value", "--beta", "1", "--details")
    assert not re.search(r"\de-1\d", out)


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_tables_fit_the_terminal(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    log = str(EXAMPLES / "trl_completions")
    out = run(capsys, "diagnose", log, "--objective", "grpo", "--rows", "20")
    apart = ("not shown: ", "... ", "medians ", "by step", "--details")
    lines = [line for line in out[out.index("\nmedians ") :].splitlines() if not line.startswith(apart)]
    assert max(map(len, lines)) <= width
    header, *rows = lines[next(i for i, line in enumerate(lines) if line.endswith("reading")) :]
    left_out = out.rpartition("not shown: ")[2].partition(" (")[0].split(", ")
    order = ["kappa", "pessimism_factor", "effective_temperature", "tv_nominal", "advantage_factor", "max_ratio"]
    order += ["reward_mean", "n", "kl", "step", "leak"]  # grpo reads in units of the advantage
    assert left_out == order[: len(left_out)]
    assert header.split() == [name for name in (*_SHOWN[:6], "advantage_factor", *_SHOWN[6:]) if name not in left_out]
    begin = header.index("reading")
    readings = worst_first(ps.diagnose(log, "grpo").frame)["reading"].head(20)
    assert " ".join(line[begin:] for line in rows if line) == " ".join(readings)  # wrapped, and nothing of them lost


def test_the_worst_groups_come_first_and_are_named_by_the_last_user_turn(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    groups = {"equal": [1, 1, 1, 1], "half": [1, 1, 0, 0], "most": [1, 1, 1, 0], "few": [1, 0, 0, 0], "one": [1]}
    rows = [
        {"prompt": [{"role": "system", "content": "Be short."}, {"role": "user", "content": f"{name}?"}], "reward": r}
        for name, rewards in groups.items()
        for r in rewards
    ]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    log = str(tmp_path / "log.jsonl")

    def asked(*options: str) -> list[str]:
        out = run(capsys, "diagnose", log, *options)
        return re.findall(r"(\w+)\?", out[out.index("reading\n") :])

    # By mass that leaks: the rewards about the constant .5 pull mass away where few are right; then the more greedy.
    report = ps.diagnose(log, "constant_baseline", beta=0.5, value=0.5)
    assert report["leak"].tolist() == [0.0, 0.0, 0.0, pytest.approx(report["leak"][3]), 0.0]
    assert report["leak"][3] > 0.01
    gain = report["gain_share"]
    assert abs(gain[1] - 0.5) != abs(gain[2] - 0.5)
    second, third = sorted(("half", "most"), key=lambda name: -abs(gain[["equal", "half", "most"].index(name)] - 0.5))
    shown = asked("--objective", "constant_baseline:beta=0.5,value=0.5")
    assert shown == ["few", second, third, "equal", "one"]
    # For machines the groups keep the order of the log.
    csv = run(capsys, "diagnose", log, "--csv")
    assert re.findall(r"(\w+)\?", csv) == list(groups)


def test_what_has_no_target_comes_before_what_has_one() -> None:
    words = ["no signal", "conservative", "too timid", "greedy", "unmeasured", "no solution", "no target", "leaking"]
    gain, leak = [np.nan, 0.3, 0.02, 0.99, np.nan, 0.5, np.nan, 0.1], [0.0] * 7 + [0.2]
    frame = pd.DataFrame({"verdict": [*words, "leaking"], "gain_share": [*gain, 0.9], "leak": [*leak, 0.6]})
    order = ["leaking", "leaking", "no target", "no solution", "greedy", "too timid", "conservative", "unmeasured"]
    found = worst_first(frame)
    assert found["verdict"].tolist() == [*order, "no signal"]
    assert found["leak"].tolist()[:2] == [0.6, 0.2]


def test_a_factor_in_units_of_the_advantage_stands_beside_its_reading(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    (tmp_path / "log.csv").write_text("prompt,reward\na,10\na,0\na,0\na,0\n")
    header, first, *_ = table(
        run(capsys, "diagnose", str(tmp_path / "log.csv"), "--objective", "std_normalized", "--beta", "1")
    )
    names, values = header.split(), first.split()
    factor = values[names.index("advantage_factor")]
    assert f"as if at {float(factor):.3g} times the temperature in units of the advantage" in first
    assert float(values[names.index("pessimism_factor")]) > 3 * float(factor)
    header, *_ = table(run(capsys, "diagnose", str(tmp_path / "log.csv"), "--objective", "kimi"))
    assert "advantage_factor" not in header
