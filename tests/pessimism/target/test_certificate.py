"""The certificate of a target: its columns, and policies beside the target that it rejects."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import pessimism as ps
from tests.helpers import (
    PROBLEMS,
    cases,
    having,
    posed,
)


def test_certificate_columns() -> None:
    target = ps.induced_target(*PROBLEMS["generic"], "kimi", beta=0.3)
    frame = ps.certificate(target)
    assert list(frame) == ["normalization", "support", "stationarity", "nonnegativity", "worst"]
    assert frame.equals(target.certificate())
    np.testing.assert_array_equal(frame["worst"], frame.drop(columns="worst").max(axis=1))


CASES = cases()


@pytest.mark.parametrize("name", having("unique"))
@pytest.mark.parametrize("moved", [[0.2, 0, 0, -0.2, 0, 0, 0], [1e-4, -1e-4, 1e-4, -1e-4, 1e-4, -1e-4, 1e-4]])
def test_certificate_rejects_a_policy_beside_the_target(name: str, moved: list[float]) -> None:
    behavior, reward = posed(name, "generic")
    target = ps.induced_target(behavior, reward, CASES[name])
    log_wrong = target.log_policy + np.array(moved)
    u = log_wrong - np.logaddexp.reduce(log_wrong) - np.log(behavior)
    wrong = replace(target, solution=target.solution._replace(log_ratio=u[None]))
    np.testing.assert_allclose(wrong.policy.sum(), 1.0, rtol=1e-14)
    assert float(wrong.certificate()["worst"].iloc[0]) > 1e-8  # a target is allowed 1e-10


def test_a_row_without_a_target_warns_of_nothing() -> None:
    target = ps.induced_target([[0.5, 0.5], [0.2, 0.9]], [0.0, 1.0], "ppo", on_error="status")
    worst = target.certificate()["worst"]
    assert worst[0] < 1e-9
    assert np.isnan(worst[1])


@pytest.mark.parametrize("name", ["tba", "rebel", "copg", "ipo", "nominal", "kimi", "rloo"])
def test_a_behavior_that_next_to_never_does_what_is_right(name: str) -> None:
    """What is left of a large log-ratio by rounding is no pull: the other two hold all data, and next to no policy."""
    behavior = np.array([5.219590925594697e-28, 1.2371129800157257e-14, 0.0])
    behavior[2] = 1.0 - behavior.sum()
    hyper = {"rloo": {}, "rebel": {"eta": 1 / 0.0015205690712449874}}.get(name, {"beta": 0.0015205690712449874})
    target = ps.induced_target(behavior, [1.0, 0.0, 0.0], name, **hyper)
    assert target.certificate()["worst"][0] < 1e-12


def test_an_advantage_that_is_never_seen_does_not_count() -> None:
    """The weight of tpo is one of all actions: exp(A/beta) of one without probability overflowed to inf times 0."""
    target = ps.induced_target([0.9, 0.1, 0.0], [-0.4, 2.1, 1172335.8], "tpo", beta=0.8)
    assert target.certificate()["worst"][0] < 1e-12
    assert np.isfinite(target.multiplier)
    alone = ps.induced_target([0.9, 0.1], [-0.4, 2.1], "tpo", beta=0.8)
    np.testing.assert_allclose(target.policy[:2], alone.policy, atol=1e-12)
