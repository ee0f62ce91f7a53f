"""Problems that objectives are compared on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import pessimism as ps
from pessimism.comparison.problems import Solved, measured, on_log, over_signal, spread_of
from pessimism.core.solution import Status
from pessimism.losses.registry import make_objective
from pessimism.rollouts.options import LogOptions


def test_a_log_gives_the_groups_that_a_diagnosis_has() -> None:
    for name in ("kimi", "reinforce_pp"):  # the batch of the latter is a step
        solved = on_log("examples/verl_rollouts")(make_objective(name))
        report = ps.diagnose("examples/verl_rollouts", name)
        found = solved.each(target.conservatism()["kl"] for target in solved.targets)
        np.testing.assert_allclose(found, report["kl"], rtol=1e-12)
        assert solved.prompt is not None
        assert solved.prompt.tolist() == report["prompt"].factorize()[0].tolist()


def test_groups_alike_are_solved_once() -> None:
    log = pd.DataFrame({"prompt": [*"aaabbbccc"], "reward": [0.0, 1, 1, 1, 1, 0, 0, 0, 1]})
    solved = on_log(log)(make_objective("kimi", beta=0.5))
    assert sum(len(target.kappa) for target in solved.targets) == 2
    kappa = solved.each(target.kappa for target in solved.targets)
    alone = [ps.induced_target(None, of, "kimi", beta=0.5).kappa for of in ([0.0, 1, 1], [1.0, 1, 0], [0.0, 0, 1])]
    np.testing.assert_allclose(kappa, alone, rtol=1e-12)
    assert kappa[0] == kappa[1]


def test_statistics_are_over_what_has_a_signal() -> None:
    targets = [ps.induced_target(None, [[1.0, 1.0], [0.0, 1.0]], "kimi", beta=0.5)]
    targets += [ps.induced_target(None, [0.0, 1.0, 1.0], "kimi", beta=0.5)]
    assert np.concatenate([spread_of(target) for target in targets]).tolist() == [0, 1, 1]
    kl = np.concatenate([target.conservatism()["kl"] for target in targets])[1:]
    assert over_signal(Solved(targets), "kl", "mean") == (pytest.approx(kl.mean()), 2, 2)
    with pytest.raises(ValueError, match="no problem has a signal"):
        over_signal(Solved([ps.induced_target(None, [1.0, 1.0], "kimi")]), "kl", "mean")
    with pytest.raises(ValueError, match='statistic must be "mean" or "median"'):
        over_signal(Solved(targets), "kl", "mode")


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


def _with_a_gap(length: float | None) -> list[dict[str, Any]]:
    return [
        {"prompt": prompt, "reward": float(i % 3 == 0), "completion_length": length if i == 5 else 7.0}
        for prompt in "abc"
        for i in range(8)
    ]


@pytest.mark.parametrize("length", [None, 0.0])
def test_a_malformed_length_concerns_the_objectives_that_read_lengths(length: float | None) -> None:
    rows = _with_a_gap(length)
    without = [{name: row[name] for name in ("prompt", "reward")} for row in rows]
    table = ps.compare(log=rows, objectives=["kimi", "gspo"])
    assert table.loc[0, "kl"] == ps.compare(log=without, objectives=["kimi"]).loc[0, "kl"]
    assert table.loc[1, "note"].startswith("gspo reads the lengths of completions: row 5: completion_length is ")
    wanted = ps.match(log=without, objective="kimi", kl=0.1)
    assert ps.match(log=rows, objective="kimi", kl=0.1) == wanted
    with pytest.raises(ValueError, match="row 5: completion_length is"):
        ps.compare(log=rows, objectives=["kimi"], length_column="completion_length")


def test_rows_left_out_for_their_length_are_left_out_of_what_reads_lengths() -> None:
    rows = _with_a_gap(None)
    solve = on_log(rows, LogOptions(skip_bad=True))
    sizes = {name: {t.behavior.shape[-1] for t in solve(make_objective(name)).targets} for name in ("kimi", "gspo")}
    assert sizes == {"kimi": {8}, "gspo": {7}}
