"""Problems that objectives are compared on."""

from __future__ import annotations

import numpy as np
import pytest

import pessimism as ps
from pessimism.comparison.problems import measured, on_log, over_signal, spread_of
from pessimism.core.solution import Status


def test_a_log_gives_the_groups_that_a_diagnosis_has() -> None:
    targets = on_log("examples/verl_rollouts")(ps.Kimi(0.1))
    report = ps.diagnose("examples/verl_rollouts", "kimi", beta=0.1)
    found = np.concatenate([target.conservatism()["kl"] for target in targets])
    np.testing.assert_allclose(np.sort(found), np.sort(report["kl"]), rtol=1e-12)


def test_statistics_are_over_what_has_a_signal() -> None:
    targets = [ps.induced_target(None, [[1.0, 1.0], [0.0, 1.0]], "kimi", beta=0.5)]
    targets += [ps.induced_target(None, [0.0, 1.0, 1.0], "kimi", beta=0.5)]
    assert np.concatenate([spread_of(target) for target in targets]).tolist() == [0, 1, 1]
    kl = np.concatenate([target.conservatism()["kl"] for target in targets])[1:]
    assert over_signal(targets, "kl", "mean") == (pytest.approx(kl.mean()), 2, 2)
    with pytest.raises(ValueError, match="no problem has a signal"):
        over_signal([ps.induced_target(None, [1.0, 1.0], "kimi")], "kl", "mean")
    with pytest.raises(ValueError, match='statistic must be "mean" or "median"'):
        over_signal(targets, "kl", "mode")


def test_what_cannot_be_relied_on_has_no_measure() -> None:
    target = ps.induced_target(None, [0.0, 1.0], "kimi", beta=0.5)
    broken = type(target)(
        target.objective,
        target.bandit,
        target.solution._replace(status=np.array([Status.NOT_CONVERGED])),
        target.advantage_rows,
    )
    assert measured(target, "kl")[0] > 0
    assert np.isnan(measured(broken, "kl")[0])
