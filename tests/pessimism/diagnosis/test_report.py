"""A report is used as its frame is, and keeps what a frame would lose."""

from __future__ import annotations

import pickle
from pathlib import Path

import pandas as pd
import pytest

import pessimism as ps
from tests.pessimism.diagnosis.logs import TRL, log_of

LOG = log_of([0.2, 0.5, 0.9], [1.0, 0.0, 0.0])


def test_a_report_is_used_as_its_frame() -> None:
    report = ps.diagnose(LOG, "kimi", beta=0.5)
    assert len(report) == 2
    assert "kappa" in report
    assert list(report) == report.columns.tolist()
    pd.testing.assert_series_equal(report["kappa"], report.frame["kappa"])
    pd.testing.assert_frame_equal(report[["n", "kl"]], report.frame[["n", "kl"]])
    assert report.groupby("step")["n"].sum().to_dict() == {0: 6}
    with pytest.raises(AttributeError, match="no_such_column"):
        report.no_such_column  # noqa: B018


def test_a_report_keeps_what_a_file_loses(tmp_path: Path) -> None:
    report = ps.diagnose(TRL, "oapl", beta1=0.1, beta2=0.2)
    assert report.summary == ps.summarize(report)
    assert report.recommendation == report.summary["recommendation"]["text"]
    report.to_csv(tmp_path / "report.csv", index=False)
    again = ps.summarize(pd.read_csv(tmp_path / "report.csv"))
    lost = ("objective", "recommendation", "read")
    assert again["objective"] is None
    assert again["read"] == {}  # what was read of the log is not in its groups
    assert report.summary["read"]["rows"] == 3 * 1024
    assert {k: v for k, v in again.items() if k not in lost} == {
        k: v for k, v in report.summary.items() if k not in lost
    }
    for name in ("extra_shift", "largest_beta", "smallest_beta1"):
        assert again["recommendation"][name] == report.summary["recommendation"][name]
    assert "beta2" in report.recommendation
    assert "beta2" not in again["recommendation"]["text"]


def test_a_report_is_pickled_with_its_facts() -> None:
    report = ps.diagnose(LOG, "kimi", beta=0.5)
    again = pickle.loads(pickle.dumps(report))
    assert (again.objective, again.temperature, again.rows) == ("kimi(beta=0.5)", 0.5, 6)
    pd.testing.assert_frame_equal(again.frame, report.frame)


def test_a_report_shows_itself() -> None:
    report = ps.diagnose(LOG, "kimi", beta=0.5)
    assert repr(report) == "Diagnosis(kimi(beta=0.5), 2 groups: positive 100%)"
    assert str(report).splitlines() == [repr(report), report.recommendation]
    table = report._repr_html_()
    assert table.startswith("<table>")
    assert table.count("<tr>") == 3
