"""A mistake on the command line is one line of plain English."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pessimism.cli.console import BANDIT, fail


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "a command must come first: the commands are target, compare, match, diagnose, advise, objectives, demo"),
        (["--foo"], "a command must come first"),
        (["nonsense"], "unknown command 'nonsense'; the commands are target, compare, match, diagnose, advise,"),
        (["diagnos", "x"], "unknown command 'diagnos'; did you mean diagnose?"),
        (["target", *BANDIT, "--objective", "kimmi"], "unknown objective 'kimmi'; did you mean 'kimi', "),
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


def test_options_of_a_log_have_the_names_of_the_command_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "log.csv").write_text("question,points,advantage_column\na,1,0\na,0,0\n")
    log = str(tmp_path / "log.csv")
    assert fail(capsys, "diagnose", log).startswith("pessimism: --prompt-column is required")
    told = fail(capsys, "match", log, "--objective", "kimi", "--kl", "0.1", "--prompt-column", "question")
    assert told.startswith("pessimism: --reward-column is required")
    named = ("--prompt-column", "question", "--reward-column", "points")
    told = fail(capsys, "compare", log, *named, "--advantage-column", "adv")
    assert told.startswith("pessimism: --advantage-column 'adv' is not a column; ")
    assert "question, points, advantage_column" in told
    told = fail(capsys, "compare", log, *named, "--advantage-column", "a", "--baseline-column", "b")
    assert (
        told == "pessimism: --advantage-column already has the baseline in it: give it or --baseline-column, not both\n"
    )
    told = fail(capsys, "compare", "--behavior", "0.5,0.5", "--reward", "0,1", "--group-column", "id")
    assert told == "pessimism: --group-column is an option of a log, and log is not given\n"
