"""Every stationary point of a target: ends of descent, strict minima, shifts, references, refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize

import pessimism as ps
from tests.helpers import PROBLEMS, Array, cases, is_squared, softmax
from tests.pessimism.closed_forms.regimes import BARELY, NEGATIVE

CASES = cases()


SQUARED = [name for name, objective in CASES.items() if is_squared(objective)]


def loss_and_gradient(q: Array, reward: Array, beta: float, value: float) -> Any:
    advantage = reward - value

    def function(logits: Array) -> tuple[float, Array]:
        top = logits.max()
        log_pi = logits - top - np.log(np.exp(logits - top).sum())
        gap = beta * (log_pi - np.log(q)) - advantage
        pull = q * gap
        return float(q @ gap**2), 2 * beta * (pull - np.exp(log_pi) * pull.sum())

    return function


def descents(q: Array, reward: Array, beta: float, value: float, starts: Array) -> Array:
    """Policies at which BFGS on the logits rests, for starts (n, K)."""
    function = loss_and_gradient(q, reward, beta, value)
    ends = [minimize(function, s, jac=True, method="BFGS", options={"gtol": 1e-10}).x for s in starts]
    return softmax(np.array(ends))


def distances(policies: Array, points: list[ps.StationaryPoint], seen: Array) -> Array:
    """Total variation (n, points)."""
    listed = np.array([p.policy[seen] for p in points])
    return np.asarray(0.5 * np.abs(policies[:, None] - listed).sum(axis=-1))


@pytest.mark.parametrize(("behavior", "reward", "beta", "value"), [*NEGATIVE, BARELY])
def test_stationary_points_are_the_ends_of_descent(behavior: Array, reward: Array, beta: float, value: float) -> None:
    points = ps.stationary_points(behavior, reward, "constant_baseline", beta=beta, value=value)
    seen = behavior > 0
    q, r = behavior[seen], reward[seen]
    for seed in (0, 1):
        starts = np.log(q) + 3.0 * np.random.default_rng(seed).normal(size=(100, len(q)))
        assert distances(descents(q, r, beta, value, starts), points, seen).min(axis=1).max() <= 1e-6
    beside = np.array([p.log_ratio[seen] + np.log(q) for p in points])
    beside = beside + 1e-3 * np.random.default_rng(2).normal(size=beside.shape)
    found = distances(descents(q, r, beta, value, beside), points, seen)
    assert np.diag(found).max() <= 1e-6
    assert found.argmin(axis=1).tolist() == list(range(len(points)))


@pytest.mark.parametrize(("behavior", "reward", "beta", "value"), [*NEGATIVE, BARELY])
def test_stationary_points_are_strict_minima(behavior: Array, reward: Array, beta: float, value: float) -> None:
    points = ps.stationary_points(behavior, reward, "constant_baseline", beta=beta, value=value)
    seen = behavior > 0
    q, r = behavior[seen], reward[seen]
    function = loss_and_gradient(q, r, beta, value)
    assert [p.loss for p in points] == sorted(p.loss for p in points)
    for point in points:
        assert point.policy.sum() == pytest.approx(1.0, abs=1e-12)
        np.testing.assert_array_equal(point.policy[~seen], 0.0)
        logits = np.log(point.policy[seen])
        assert function(logits)[0] == pytest.approx(point.loss, rel=1e-9)
        np.testing.assert_allclose(function(logits)[1], 0.0, atol=1e-10)
        # Hessian on the logits by central differences of the exact gradient; the all-ones direction is free.
        step = 1e-5
        rows = [(function(logits + step * e)[1] - function(logits - step * e)[1]) / (2 * step) for e in np.eye(len(q))]
        curvature = np.linalg.eigvalsh((np.array(rows) + np.array(rows).T) / 2 + np.ones((len(q), len(q))))
        assert curvature.min() > 0
        # The branch tells which action lies beyond w = -1/kappa.
        beyond = np.flatnonzero(seen & (np.exp(point.log_ratio) > -1.0 / point.kappa))
        assert beyond.tolist() == ([] if point.branch is None else [point.branch])


@pytest.mark.parametrize(("behavior", "reward", "beta", "value"), NEGATIVE)
def test_stationary_points_follow_a_shift_and_another_reference(
    behavior: Array, reward: Array, beta: float, value: float
) -> None:
    own = ps.stationary_points(behavior, reward, "constant_baseline", beta=beta, value=value)
    moved = ps.stationary_points(behavior, reward + 2.0, "constant_baseline", beta=beta, value=value + 2.0)
    same = ps.stationary_points(behavior, reward, "constant_baseline", beta=beta, value=value, reference=behavior)
    for other in (moved, same):
        assert [p.branch for p in other] == [p.branch for p in own]
        np.testing.assert_allclose([p.policy for p in other], [p.policy for p in own], rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("name", [n for n in SQUARED if n != "constant_baseline-negative"])
def test_elsewhere_the_minimum_is_unique(name: str) -> None:
    (point,) = ps.stationary_points(*PROBLEMS["generic"], CASES[name])
    target = ps.induced_target(*PROBLEMS["generic"], CASES[name])
    np.testing.assert_allclose(point.policy, target.policy, rtol=1e-12)
    assert point.kappa == float(target.kappa)
    assert point.branch is None
    expected = PROBLEMS["generic"][0] @ CASES[name].loss(target.log_ratio, target.advantage)
    assert point.loss == pytest.approx(expected, rel=1e-12, abs=1e-28)


def test_stationary_points_refuse_what_they_cannot_enumerate() -> None:
    behavior, reward = PROBLEMS["generic"]
    with pytest.raises(ValueError, match=r"^objective nominal\(beta=0.3\) is not an off-policy squared regression"):
        ps.stationary_points(behavior, reward, "nominal", beta=0.3)
    with pytest.raises(ValueError, match="^objective a_star_po.* is not an off-policy squared regression"):
        ps.stationary_points(behavior, reward, "a_star_po")
    with pytest.raises(ValueError, match=r"^reward must be one problem \(K,\), got a batch of shape \(2,\)$"):
        ps.stationary_points(behavior, np.stack([reward, reward]), "kimi")


def test_a_stationary_point_shows_itself() -> None:
    point, _ = ps.stationary_points([0.5, 0.5], [0.0, 1.0], "constant_baseline", beta=0.5, value=3.0)
    assert repr(point).startswith("StationaryPoint(kappa=-2.349, loss=2.752, branch=1, policy=[")
    assert "<tr><th>branch</th><td>1</td></tr>" in point._repr_html_()


@pytest.mark.parametrize("rest", [-0.4, -3.0, -30.0])
def test_a_minimizer_is_found_where_one_action_takes_all_to_rounding(rest: float) -> None:
    """The other action holds e^-40 and less: the mass of the first reaches one at the very end of its range."""
    (point,) = ps.stationary_points([0.3, 0.7], [0.001, rest], "constant_baseline", beta=0.01)
    np.testing.assert_allclose(point.policy, [1.0, 0.0], atol=1e-15)
    assert point.branch == 0
    assert np.log(1 / 0.3) + point.kappa / 0.3 == pytest.approx(0.1, rel=1e-12)  # log w + kappa w = A/beta
    targets = ps.induced_target(
        [0.3, 0.7], [[0.001, rest], [0.3, 0.2]], "constant_baseline", beta=0.01, minimum="lowest", on_error="status"
    )
    assert targets.status.tolist() == ["local_minimum", "converged"]
    np.testing.assert_allclose(targets.policy[0], point.policy, atol=1e-15)


def test_no_minimizer_is_no_empty_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pessimism.closed_forms.tilts.negative_minima", lambda q, z: [])
    with pytest.raises(ArithmeticError, match="^no minimizer of constant_baseline.* is found to working accuracy"):
        ps.stationary_points([0.3, 0.7], [0.001, -0.4], "constant_baseline")
    target = ps.induced_target([0.3, 0.7], [[0.001, -0.4], [0.3, 0.2]], "constant_baseline", minimum="lowest")
    assert target.status.tolist() == ["not_converged", "converged"]
    assert target.message[0,].startswith("not converged: ")
