"""What the commands print: tables, CSV, JSON, and facts in a line."""

from __future__ import annotations

import io
import json

import pandas as pd
import pytest

from pessimism.cli.output import paragraph, print_columns
from pessimism.display import table_lines
from tests.pessimism.cli.console import BANDIT, run


def test_json_writes_null_for_what_is_undefined(capsys: pytest.CaptureFixture[str]) -> None:
    said = json.loads(run(capsys, "target", *BANDIT, "--objective", "asym_re", "--json"))
    assert said["kappa"] is None
    assert said["nominal"] == [None] * 4
    assert said["log_policy"][0] is None  # log 0
    assert said["conservatism"]["pessimism_factor"] is None
    assert said["conservatism"]["regime"] == "positive"


def test_csv_keeps_every_digit_and_a_table_aligns(capsys: pytest.CaptureFixture[str]) -> None:
    columns = {"name": ["kimi", "a, b"], "kappa": [1 / 3, float("nan")], "n": [7, None]}
    print_columns(columns, csv=True)
    frame = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert frame["name"].tolist() == ["kimi", "a, b"]
    assert frame["kappa"][0] == 1 / 3
    assert frame.iloc[1][["kappa", "n"]].isna().all()
    assert table_lines(columns) == ["name  kappa n", "kimi 0.3333 7", "a, b      - -"]


def test_texts_are_wrapped_for_a_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "verdict: " + "a word or two " * 20
    assert paragraph(text) == text
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "60")
    lines = paragraph(text).splitlines()
    assert max(map(len, lines)) <= 60
    assert " ".join(lines).split() == text.split()


def test_a_row_of_csv_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_columns({"prompt": ["a\r\nb", 'say "x", ä'], "n": [1, 2]}, csv=True)
    assert capsys.readouterr().out == 'prompt,n\na\\r\\nb,1\n"say ""x"", ä",2\n'
