"""The groups that stand for a log are solved as all of them would be, in their order."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import pessimism as ps
from pessimism.advice import sample as module
from pessimism.advice.sample import Sample
from pessimism.losses.registry import make_objective
from tests.pessimism.diagnosis.logs import log_of, random_log


@pytest.mark.parametrize("name", ["kimi", "oapl", "grpo", "vespo"])
def test_groups_that_are_alike_are_solved_once_and_counted_each(name: str) -> None:
    log = log_of(*([1.0] * k + [0.0] * (6 - k) for k in (1, 3, 3, 0, 5, 1, 1)), [1.0, 0.0, 2.0], [0.0, 2.0, 1.0])
    report = ps.diagnose(log, name)
    assert report.logged is not None
    found = Sample(report.logged)
    assert (found.exact, found.note) == (True, "all 9 groups, 5 of them distinct")
    (target,) = found.solve(make_objective(name)).targets
    np.testing.assert_allclose(target.conservatism()["kl"], report["kl"], rtol=1e-12, atol=1e-15)
    np.testing.assert_array_equal(np.asarray(target.regime), report["regime"])


def test_a_batch_is_solved_whole() -> None:
    log = log_of(*([1.0] * k + [0.0] * (4 - k) for k in (1, 3, 3, 2)))
    report = ps.diagnose(log, "reinforce_pp")
    assert report.logged is not None
    (target,) = Sample(report.logged).solve(make_objective("reinforce_pp")).targets
    np.testing.assert_allclose(target.conservatism()["kl"], report["kl"], rtol=1e-12, atol=1e-15)


def test_of_many_that_differ_some_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_DISTINCT", 20)
    monkeypatch.setattr(module, "_SELECTED", 7)
    report = ps.diagnose(random_log(groups=60), "kimi")
    assert report.logged is not None
    found = Sample(report.logged)
    assert found.note == "7 of 60 groups, evenly spaced over the log"
    assert found.index[[0, -1]].tolist() == [0, 59]
    (target,) = found.solve(make_objective("kimi")).targets
    expected = report.frame.iloc[found.index]
    pd.testing.assert_series_equal(
        target.conservatism()["kl"], expected["kl"].reset_index(drop=True), check_names=False, rtol=1e-12
    )
