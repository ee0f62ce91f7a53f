"""Least changes at a group size, against the groups enumerated one by one."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

import pessimism as ps
from pessimism.advice.group_size import laws_of, least_changes
from tests.helpers import Array
from tests.pessimism.diagnosis.logs import log_of

RATES = (1, 2, 2, 4, 4, 4, 6, 7)
LOG = log_of(*([1.0] * k + [0.0] * (8 - k) for k in RATES), [1.0] * 8, [0.0])


def log_z(p: float, size: int, baseline: Any, beta: float, drop: bool, shift: float = 0.0) -> float:
    """Log Z by all 2^G groups: A_eff(a) = E[r - V | a, kept], without any formula of the package."""
    total = {0: [0.0, 0.0], 1: [0.0, 0.0]}
    for group in itertools.product((0, 1), repeat=size):
        if drop and len(set(group)) == 1:
            continue
        chance = math.prod(p if r else 1 - p for r in group)
        total[group[0]][0] += chance * (group[0] - baseline(np.array(group, dtype=float)))
        total[group[0]][1] += chance
    a = {r: found / mass for r, (found, mass) in total.items()}
    return math.log((1 - p) * math.exp(a[0] / beta + shift) + p * math.exp(a[1] / beta + shift))


def value(beta: float) -> Any:
    return lambda group: beta * np.log(np.mean(np.exp(group / beta)))


def mean(group: Array) -> float:
    return float(group.mean())


def changes(objective: ps.Objective, size: int) -> Any:
    report = ps.diagnose(LOG, objective)
    assert report.logged is not None
    return least_changes(laws_of(report.logged), objective, size)


def test_laws_are_those_of_groups_with_a_signal() -> None:
    report = ps.diagnose(LOG, "kimi")
    assert report.logged is not None
    laws = laws_of(report.logged)
    assert laws.groups == 8
    ((behavior, reward, weights),) = laws.problems
    np.testing.assert_allclose(np.sort(behavior[:, 1]), [1 / 8, 2 / 8, 4 / 8, 6 / 8, 7 / 8])
    assert sorted(weights.tolist()) == [1, 1, 1, 2, 3]
    assert set(reward.ravel()) == {0.0, 1.0}


@pytest.mark.parametrize("drop", [False, True])
def test_the_least_shift_is_that_of_all_groups_enumerated(drop: bool) -> None:
    beta, size = 0.2, 5
    found = changes(ps.OptimalValue(beta=beta), size)
    rows = found[found["drop_equal"] == drop].set_index("change")
    each = np.array([log_z(k / 8, size, value(beta), beta, drop) for k in RATES])
    assert rows.loc["none", "negative"] == pytest.approx((each < 0).mean())
    needed = np.sort(-each)[math.ceil(0.9 * len(RATES)) - 1]
    assert rows.loc["shift", "setting"] == pytest.approx(needed, rel=6e-3)  # rounded up to three digits
    assert rows.loc["shift", "setting"] >= needed
    with_it = np.array([log_z(k / 8, size, value(beta), beta, drop, rows.loc["shift", "setting"]) for k in RATES])
    assert rows.loc["shift", "negative"] == pytest.approx((with_it < 0).mean())
    assert rows.loc["shift", "holds"]
    of_mean = np.array([log_z(k / 8, size, mean, beta, drop) for k in RATES])
    assert rows.loc["mean of the group", "negative"] == pytest.approx((of_mean < 0).mean())


def test_the_least_beta1_is_that_of_all_groups_enumerated() -> None:
    beta2, size = 0.2, 4
    found = changes(ps.OAPL(beta1=0.15, beta2=beta2), size)
    for drop in (False, True):
        rows = found[found["drop_equal"] == drop].set_index("change")
        assert rows.loc["none", "negative"] > 0.1
        at = rows.loc["beta1", "setting"]
        with_it, below = (
            np.array([log_z(k / 8, size, value(b), beta2, drop) for k in RATES]) for b in (at * 1.000001, 0.98 * at)
        )
        assert rows.loc["beta1", "negative"] == pytest.approx((with_it < 0).mean())
        assert (with_it < 0).mean() <= 0.1 < (below < 0).mean()


def test_dropping_equal_groups_makes_the_mean_negative() -> None:
    found = changes(ps.Kimi(beta=5.0), 5)
    kept, dropped = (found[found["drop_equal"] == drop].set_index("change") for drop in (False, True))
    assert kept.loc["none", "negative"] == 0.0
    assert list(kept.index) == ["none"]  # nothing needs to change
    each = np.array([log_z(k / 8, 5, mean, 5.0, True) for k in RATES])
    assert dropped.loc["none", "negative"] == pytest.approx((each < 0).mean())
    assert (each < 0).mean() > 0.1


def test_what_cannot_be_said_says_why() -> None:
    found = changes(ps.PPO(), 4)
    assert found["negative"].isna().all()
    assert found["note"].iloc[0].startswith("its weight is not affine in the advantage")
    assert changes(ps.TBA(beta=1.0), 4)["note"].iloc[0].startswith("its weight couples")


def test_of_many_laws_some_are_taken_and_that_is_said() -> None:
    rng = np.random.default_rng(0)
    report = ps.diagnose(log_of(*rng.normal(size=(100, 5)).tolist()), "kimi", beta=1.0)
    assert report.logged is not None
    laws = laws_of(report.logged)
    assert laws.note == "100 groups with rewards that differ, 64 laws of more than two rewards for all 100"
    assert sum(len(behavior) for behavior, _, _ in laws.problems) == 64
    found = least_changes(laws, ps.Kimi(beta=1.0), 5)
    assert found["negative"].iloc[0] == 0.0
