"""The console script, as a user meets it: tables, JSON, CSV, and one line for every mistake."""

import dataclasses
import io
import json
import re
import subprocess
import sys
from dataclasses import fields
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import pessimism as ps
from pessimism.cli.compare import short_setting
from pessimism.cli.hyper import PHRASES, Hyper, parse_objective
from pessimism.cli.main import main
from pessimism.core.solution import read_status
from pessimism.target.result import FIELDS

EXAMPLES = Path(__file__).parents[3] / "examples"
BANDIT = ["--behavior", "0.4,0.3,0.2,0.1", "--reward", "0.2,0.4,0.6,0.8"]


@pytest.fixture(autouse=True)
def a_terminal_of_100_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever that of the caller is."""
    monkeypatch.setenv("COLUMNS", "100")


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def fail(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """One line on stderr, nothing on stdout, exit code 2."""
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("pessimism: ")
    return err


def test_target_json_has_the_fields_of_the_result(capsys: pytest.CaptureFixture[str]) -> None:
    said = json.loads(run(capsys, "target", *BANDIT, "--objective", "shifted_mean", "--beta", "0.25", "--json"))
    assert tuple(said) == (*FIELDS, "objective", "conservatism")
    target = ps.induced_target([0.4, 0.3, 0.2, 0.1], [0.2, 0.4, 0.6, 0.8], "shifted_mean", beta=0.25)
    assert {name: said[name] for name in FIELDS} == target.to_dict()
    assert said["objective"] == "shifted_mean(beta=0.25, shift=1.0)"
    assert said["conservatism"] == target.conservatism().to_dict("records")[0]
    np.testing.assert_array_equal(said["policy"], target.policy)
    assert said["regime"] == "positive"


def test_json_writes_null_for_what_is_undefined(capsys: pytest.CaptureFixture[str]) -> None:
    said = json.loads(run(capsys, "target", *BANDIT, "--objective", "asym_re", "--json"))
    assert said["kappa"] is None
    assert said["nominal"] == [None] * 4
    assert said["log_policy"][0] is None  # log 0
    assert said["conservatism"]["pessimism_factor"] is None
    assert said["conservatism"]["regime"] == "positive"


def test_target_table_and_csv_show_the_policy(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("target", *BANDIT, "--objective", "kimi", "--beta", "0.25")
    policy = ps.induced_target([0.4, 0.3, 0.2, 0.1], [0.2, 0.4, 0.6, 0.8], "kimi", beta=0.25).policy
    table = run(capsys, *arguments)
    assert all(f"{p:.4g}" in table for p in policy)
    assert "regime positive, kappa 0.2209" in table
    csv = pd.read_csv(pd.io.common.StringIO(run(capsys, *arguments, "--csv")))
    np.testing.assert_allclose(csv["policy"], policy, rtol=1e-12)


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("shape", ["problem a row", "action a row"])
def test_input_files_agree_with_the_library(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, suffix: str, shape: str
) -> None:
    problems = {"a": ([0.5, 0.5], [0.0, 1.0]), "b": ([0.2, 0.3, 0.5], [1.0, 0.0, 0.5])}
    if shape == "problem a row":
        rows = [{"problem": k, "behavior": q, "reward": r} for k, (q, r) in problems.items()]
        frame = pd.DataFrame(rows)
        if suffix == "csv":
            frame["behavior"] = frame["behavior"].map(json.dumps)
            frame["reward"] = frame["reward"].map(lambda r: ",".join(map(str, r)))
    else:
        rows = [
            {"problem": k, "behavior": q, "reward": r}
            for k, pair in problems.items()
            for q, r in zip(*pair, strict=True)
        ]
        frame = pd.DataFrame(rows)
    path = tmp_path / f"bandits.{suffix}"
    if suffix == "csv":
        frame.to_csv(path, index=False)
    elif suffix == "jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_parquet(path)
    said = json.loads(run(capsys, "target", "--input", str(path), "--objective", "kimi", "--beta", "0.5", "--json"))
    assert said["problem"] == ["a", "b"]
    assert said["objective"] == ["kimi(beta=0.5)"] * 2
    assert [row["kappa"] for row in said["conservatism"]] == said["kappa"]
    for policy, (q, r) in zip(said["policy"], problems.values(), strict=True):
        np.testing.assert_array_equal(policy, ps.induced_target(q, r, "kimi", beta=0.5).policy)


def test_reference_reaches_the_solver(capsys: pytest.CaptureFixture[str]) -> None:
    reference = ["--reference", "0.25,0.25,0.25,0.25"]
    said = json.loads(run(capsys, "target", *BANDIT, *reference, "--objective", "kimi", "--beta", "0.25", "--json"))
    expected = ps.induced_target([0.4, 0.3, 0.2, 0.1], [0.2, 0.4, 0.6, 0.8], "kimi", beta=0.25, reference=[0.25] * 4)
    np.testing.assert_array_equal(said["policy"], expected.policy)


def test_compare_covers_the_registry_at_one_temperature(capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads(run(capsys, "compare", *BANDIT, "--beta", "0.25", "--json"))["comparison"]
    assert [row["objective"].partition("(")[0] for row in rows] == list(ps.objectives())
    assert rows[3]["objective"] == "kimi(beta=0.25)"
    policies = {row["objective"].partition("(")[0]: row["pi[0]"] for row in rows}
    nominal = [
        policies[n] for n in ("nominal", "a_star_po", "optimal_value", "tba", "rebel", "awr", "copg", "dpo", "ips")
    ]
    assert np.ptp(nominal) < 1e-12


def test_compare_takes_settings_per_objective(capsys: pytest.CaptureFixture[str]) -> None:
    specs = ["kimi", "shifted_mean:shift=2", "a_star_po:beta1=0.3,sampling=off_policy"]
    out = run(capsys, "compare", *BANDIT, "--beta", "0.25", "--objectives", *specs)
    assert [line.split()[0] for line in out.splitlines()[1:4]] == specs
    assert "Settings not shown: the defaults (pessimism objectives), temperature 0.25." in out
    full = json.loads(run(capsys, "compare", *BANDIT, "--beta", "0.25", "--objectives", *specs, "--json"))
    settings = ["kimi(beta=0.25)", "shifted_mean(beta=0.25, shift=2.0)"]
    assert [row["objective"] for row in full["comparison"]][:2] == settings
    assert full["comparison"][2]["objective"].endswith("sampling='off_policy')")
    defaults = run(capsys, "compare", *BANDIT, "--objectives", "kimi", "oapl", "--csv")
    assert pd.read_csv(io.StringIO(defaults))["objective"].tolist() == [str(ps.Kimi()), str(ps.OAPL())]


def test_compare_with_a_reference_leaves_out_what_takes_none(capsys: pytest.CaptureFixture[str]) -> None:
    reference = ["--reference", "0.25,0.25,0.25,0.25"]
    rows = json.loads(run(capsys, "compare", *BANDIT, *reference, "--json"))["comparison"]
    names = [row["objective"].partition("(")[0] for row in rows]
    assert names == [name for name, cls in ps.objectives().items() if cls.takes_reference]


@pytest.mark.parametrize("beta", [None, 0.25])
@pytest.mark.parametrize("name", list(ps.objectives()))
def test_a_short_setting_is_the_objective_again(name: str, beta: float | None) -> None:
    """Also with every setting changed that has room: numbers halved or one up, switches turned."""
    plain = parse_objective(name, beta)
    assert short_setting(plain, beta) == name
    for f in fields(plain):
        value = getattr(plain, f.name)
        if isinstance(value, bool | float):
            other = not value if isinstance(value, bool) else value + 1.0 if f.name == "length" else 0.5 * value
            changed = dataclasses.replace(plain, **{f.name: other})
            assert parse_objective(short_setting(changed, beta), beta) == changed
    moments = ps.LogSmoothing(second_moment=(0.2, 0.3))
    assert parse_objective(short_setting(moments, None), None) == moments


@pytest.mark.parametrize(("columns", "left_out"), [(80, "max_w, policy"), (100, "max_w"), (120, "")])
@pytest.mark.parametrize("objectives", [(), ("kimi", "oapl:beta1=0.5", "shifted_mean:shift=2")])
def test_a_comparison_fits_the_terminal(
    columns: int,
    left_out: str,
    objectives: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    some = ["--objectives", *objectives] if objectives else []
    at = run(capsys, "compare", *BANDIT, *some, "--beta", "0.25")
    out = run(capsys, "compare", *BANDIT, *some)
    assert max(map(len, at.splitlines())) <= columns
    assert max(map(len, out.splitlines())) <= columns
    names = [line.split()[0].partition(":")[0] for line in out.splitlines()[1:-3]]
    assert names == ([spec.partition(":")[0] for spec in objectives] or list(ps.objectives()))
    if not objectives:
        assert f"Not shown: {left_out}. " in out or not left_out
        assert "vanishing" in out
        assert "set valued" in out
    csv = pd.read_csv(io.StringIO(run(capsys, "compare", *BANDIT, *some, "--csv")))
    assert {"max_ratio", "pessimism_factor", "leak", "status", *(f"pi[{i}]" for i in range(4))} <= set(csv)
    assert csv["objective"].str.contains(r"\(.*=.*\)", regex=True).all()


def test_the_numbers_of_a_comparison(capsys: pytest.CaptureFixture[str]) -> None:
    def cells(*arguments: str) -> list[dict[str, str]]:
        lines = run(capsys, "compare", *arguments).splitlines()
        return [dict(zip(lines[0].split(), line.split(), strict=False)) for line in lines[1:-3]]

    target = ps.induced_target([0.4, 0.3, 0.2, 0.1], [0.2, 0.4, 0.6, 0.8], "kimi", beta=0.25)
    facts = target.conservatism().iloc[0]
    (row,) = cells(*BANDIT, "--objectives", "kimi:beta=0.25")
    assert row["factor"] == f"{facts['pessimism_factor']:.3g}"
    assert row["T_eff"] == f"{facts['effective_temperature']:.3g}"
    assert row["max_w"] == f"{facts['max_ratio']:.3g}"
    assert "leak" not in row
    assert "status" not in row
    leaking = cells(*BANDIT, "--unseen", "--objectives", "constant_baseline:value=0.9", "--beta", "0.25")
    z = np.exp((np.array([0.2, 0.4, 0.6, 0.8]) - 0.9) / 0.25) @ np.array([0.4, 0.3, 0.2, 0.1])
    assert leaking[0]["leak"] == f"{1 - z:.3g}"
    lost = run(capsys, "compare", *BANDIT, "--objectives", "pevi", "asym_re:shift=0.1").splitlines()
    assert lost[1].endswith("   0    0    0 1.00")
    assert "no target" in lost[2]


def test_settings_after_a_colon_everywhere(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    options = run(capsys, "target", *BANDIT, "--objective", "oapl", "--beta1", "0.5", "--beta2", "0.1", "--json")
    assert run(capsys, "target", *BANDIT, "--objective", "oapl:beta1=0.5,beta2=0.1", "--json") == options
    assert run(capsys, "target", *BANDIT, "--objective", "oapl:beta1=0.5", "--beta2", "0.1", "--json") == options
    log = str(EXAMPLES / "trl_completions")
    out = run(capsys, "diagnose", log, "--objective", "kimi:beta=0.1", "--out", str(tmp_path))
    assert "objective: kimi(beta=0.1)" in out
    assert (tmp_path / "diagnose_kimi.csv").is_file()


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "--version") == f"pessimism {ps.__version__}\n"


def test_no_target_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    out = run(capsys, "target", *BANDIT, "--objective", "asym_re", "--shift", "0.1")
    assert read_status("kimi", "converged") is None
    assert str(read_status("mine", "no_target")).startswith("no target: the loss has no fixed point here")
    assert str(read_status("mine", "not_converged")).startswith("not converged: ")
    assert out.endswith("(no_target)\nno target: shift must be below 0, the loss is unbounded\n")


def test_temperature_of_a_comparison() -> None:
    assert parse_objective("oapl", 0.25) == ps.OAPL(beta2=0.25)
    assert parse_objective("oapl:beta2=0.5", 0.25) == ps.OAPL(beta2=0.5)
    assert parse_objective("rebel", 0.25) == ps.REBEL(eta=4.0)
    assert parse_objective("rebel:eta=2", 0.25) == ps.REBEL(eta=2.0)
    assert parse_objective("asym_re", 0.25) == ps.AsymRE()


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
    table = run(capsys, "diagnose", log, "--objective", "kimi", "--beta", "0.1", "--rows", "2")
    header, first = table.splitlines()[:2]
    assert header.split()[-1] == "reading"
    assert "positive: " in first
    assert not {"Z", "baseline"} & set(header.split())
    assert "median_tv_nominal: " in table
    assert "\nshare: positive 0.9896, boundary 0.01042, negative 0 (of 192 solved groups)\n" in table
    assert "\npopulation_share: positive 0.9896, boundary 0.01042, negative 0 (of 192 groups)\n" in table
    assert "share_of" not in table
    none = run(capsys, "diagnose", log, "--objective", "kimi", "--beta", "0.1", "--rows", "0")
    assert none.startswith("objective: kimi(beta=0.1)\n")


def test_an_undefined_population_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    out = run(capsys, "diagnose", str(EXAMPLES / "verl_rollouts"), "--objective", "ppo", "--rows", "0")
    why = "its weight is not affine in the advantage, so that finite groups have no expected advantage"
    shares = "positive 0, boundary 0, negative 0, undefined 1 (of 64 groups)"
    assert f"\npopulation_share: {shares}; undefined: {why}\n" in out
    assert "population_note" not in out


def test_merged_steps_are_printed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("prompt,reward,Iteration\na,1,1\na,0,2\n")
    out = run(capsys, "diagnose", str(path))
    assert "\nno step column: all rows are one step (column 'Iteration' looks like one: step_column, or" in out
    assert "no step column" not in run(capsys, "diagnose", str(path), "--step-column", "Iteration")


def test_objectives_lists_the_registry(capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads(run(capsys, "objectives", "--json"))["objectives"]
    assert [row["name"] for row in rows] == list(ps.objectives())
    assert all(row[key] for row in rows for key in ("title", "paper", "loss", "defaults", "induces"))
    table = run(capsys, "objectives")
    assert all(f"{name}(" in table for name in ps.objectives())


@pytest.mark.parametrize(
    "name", ["kimi", "chord", "divergence_augmented", "kl_regularized", "gspo", "pevi", "a_star_po"]
)
def test_every_kind_of_hyper_parameter_is_read_from_text(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = [(f"--{f.name.replace('_', '-')}", str(f.default)) for f in fields(ps.objectives()[name])]
    said = run(capsys, "target", *BANDIT, "--objective", name, *chain.from_iterable(options), "--json")
    assert json.loads(said)["objective"] == str(ps.objectives()[name]())
    spec = ",".join(f"{f.name}={f.default}" for f in fields(ps.objectives()[name]))
    said = run(capsys, "target", *BANDIT, "--objective", f"{name}:{spec}", "--json")
    assert json.loads(said)["objective"] == str(ps.objectives()[name]())


def test_lists_and_false_are_read(capsys: pytest.CaptureFixture[str]) -> None:
    said = run(capsys, "target", *BANDIT, "--objective", "chord", "--phi", "False", "--json")
    assert json.loads(said)["objective"] == str(ps.CHORD(phi=False))
    moments = ["--second-moment", "0.2,0.3,0.6,0.8"]
    said = run(capsys, "target", *BANDIT, "--objective", "log_smoothing", *moments, "--json")
    assert json.loads(said)["objective"] == str(ps.LogSmoothing(second_moment=(0.2, 0.3, 0.6, 0.8)))
    said = run(capsys, "target", *BANDIT, "--objective", "log_smoothing:second_moment=0.2/0.3/0.6/0.8", "--json")
    assert json.loads(said)["objective"] == str(ps.LogSmoothing(second_moment=(0.2, 0.3, 0.6, 0.8)))


def test_every_hyper_parameter_has_a_phrase_and_its_objectives(capsys: pytest.CaptureFixture[str]) -> None:
    owners = {key: [n for n, cls in ps.objectives().items() if key in {f.name for f in fields(cls)}] for key in PHRASES}
    assert set(PHRASES) == {f.name for f in fields(Hyper)}
    out = " ".join(re.sub("[│╭╮╰╯─]", " ", run(capsys, "target", "--help")).split())
    for key, phrase in PHRASES.items():
        assert 8 < len(phrase) <= 140
        assert not phrase.endswith(".")
        said = f"{phrase}. Of {', '.join(owners[key][:4])}"
        assert said in out, key


def test_every_hyper_parameter_is_an_option() -> None:
    known = {f.name for cls in ps.objectives().values() for f in fields(cls)}
    assert {f.name for f in fields(Hyper)} == known


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "a command must come first: the commands are target, compare, diagnose, objectives"),
        (["--foo"], "a command must come first"),
        (["nonsense"], "unknown command 'nonsense'; the commands are target, compare, diagnose, objectives"),
        (["diagnos", "x"], "unknown command 'diagnos'; did you mean diagnose?"),
        (["target", *BANDIT, "--objective", "kimmi"], "did you mean 'kimi'?"),
        (["target", *BANDIT, "--objective", "kimi", "--json", "--csv"], "--json and --csv exclude each other"),
        (["target", *BANDIT, "--objective", "kimi:beta=1", "--beta", "1"], "beta is given twice"),
        (["target", *BANDIT, "--objective", "kimi:beta=1,beta=2"], "beta is given twice"),
        (["target", *BANDIT, "--objective", "kimi", "--bta", "1"], "unknown option --bta"),
        (
            ["target", *BANDIT, "--objective", "a_star_po", "--sampling", "off"],
            "must be one of off_policy, on_policy, got 'off'",
        ),
        (["target", *BANDIT, "--objective", "kimi", "--beta", "None"], "--beta must be a number, got 'None'"),
        (["compare", *BANDIT, "--objectives", "kimi:"], "nothing after the colon"),
        (["diagnose", "x.csv", "--rows", "-1"], "--rows must be >= 0, got -1"),
        (["diagnose", "x.csv", "--rows", "1.5"], "--rows must be an integer, got '1.5'"),
        (["diagnose", "x.csv", "--out", __file__], "--out must be a folder"),
        (["diagnose", "x.csv", "--out", f"{__file__}/there"], "--out must be a folder"),
        (["target", *BANDIT], "--objective"),
        (["target", *BANDIT, "--objective", "kimi", "--beta", "hot"], "--beta must be a number, got 'hot'"),
        (["target", *BANDIT, "--objective", "kimi", "--beta", "-1"], "kimi: beta must be > 0, got -1.0"),
        (["target", *BANDIT, "--objective", "kimi", "--gamma", "1"], "has no hyper-parameter 'gamma'; it has beta"),
        (["target", *BANDIT, "--objective", "nope"], "unknown objective 'nope'"),
        (["target", "--behavior", "0.5,x", "--reward", "0,1", "--objective", "kimi"], "--behavior must be numbers"),
        (["target", "--behavior", "0.5,0.6", "--reward", "0,1", "--objective", "kimi"], "behavior must sum to 1"),
        (["target", "--behavior", "1", "--reward", "0,1", "--objective", "kimi"], "number of actions"),
        (["target", "--objective", "kimi"], "give --behavior and --reward, or --input FILE"),
        (["target", *BANDIT, "--input", "x.csv", "--objective", "kimi"], "one or the other"),
        (["target", "--input", "missing.csv", "--objective", "kimi"], "missing.csv: no such file"),
        (["target", "--input", "x.txt", "--objective", "kimi"], "x.txt: suffix must be one of"),
        (["compare", *BANDIT, "--objectives", "kimi:beta"], "'beta' must be key=value"),
        (["diagnose", "missing.parquet"], "missing.parquet"),
    ],
)
def test_mistakes_are_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert message in fail(capsys, *arguments)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "behavior,rewards\n0.5,1\n", "no column 'reward'; found behavior, rewards"),
        ("a.csv", "", "the file is empty"),
        ("a.jsonl", "", "the file is empty"),
        ("a.csv", "behavior,reward\n", "no problem in it"),
        (
            "a.csv",
            'behavior,reward\n"0.5,0.5","0,one"\n',
            "row 0: reward must be numbers separated by commas, got 'one'",
        ),
        (
            "a.jsonl",
            '{"behavior": [1], "reward": [1]}\n{"behavior":\n',
            "a.jsonl:2: bad JSON, Expecting value (column 13)",
        ),
        ("a.jsonl", "[1, 2]\n", "a.jsonl:1: expected a JSON object, found [1, 2]"),
        ("a.jsonl", '{"behavior": [0.5, 0.5], "reward": [1, null]}\n', "row 0: reward must be a list of numbers"),
        (
            "a.jsonl",
            '{"problem": "p", "behavior": [0.5, 0.6], "reward": [0, 1]}\n',
            "problem p: behavior must sum to 1",
        ),
    ],
)
def test_bad_files_name_the_place(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str, text: str, message: str
) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    said = fail(capsys, "target", "--input", str(path), "--objective", "kimi", "--beta", "0.5")
    assert str(path) in said
    assert message in said


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_byte_order_marks_and_line_separators(capsys: pytest.CaptureFixture[str], tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    label = "a\u2028b"
    row = json.dumps({"problem": label, "behavior": [0.5, 0.5], "reward": [0, 1]}, ensure_ascii=False)
    table = f'behavior,reward,problem\n"0.5,0.5","0,1",{label}'
    path.write_text((table if suffix == "csv" else row) + "\n", encoding="utf-8-sig")
    assert "regime positive" in run(capsys, "target", "--input", str(path), "--objective", "kimi", "--beta", "0.5")


@pytest.mark.parametrize("command", [[], ["target"], ["compare"], ["diagnose"], ["objectives"]])
def test_help_is_plain(capsys: pytest.CaptureFixture[str], command: list[str]) -> None:
    out = run(capsys, *command, "--help")
    assert not any(noise in out for noise in ("``", "`", "{None}", "default: None", "default: False"))
    assert out.count("  pessimism ") == (3 if not command else 0)


def test_help_is_not_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "diagnose" in capsys.readouterr().out


def test_a_closed_pipe_is_not_a_traceback() -> None:
    command = f"{sys.executable} -m pessimism.cli.main objectives | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.startswith("nominal")
