"""The Gaussian reference: closed form against quadrature, optimizers, a fine grid of actions, gradient descent."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import integrate, optimize, stats

import pessimism as ps
from pessimism.contrib.gaussian import gaussian_kl, gaussian_score, quadratic_target

CASES = [(1.0, 0.0, 0.5, 0.1), (-0.7, 0.4, 0.1, 0.1), (2.0, -1.0, 1.5, 0.5), (0.3, 0.3, 0.05, 0.2)]


def objective(mean: float, log_std: float, peak: float, mean0: float, std0: float, beta: float) -> float:
    """-E_pi[r] + beta KL(pi || pi_0) of a Gaussian policy, written out."""
    variance = np.exp(2 * log_std)
    cost = 0.5 * (variance + (mean - peak) ** 2)
    kl = np.log(std0) - log_std + (variance + (mean - mean0) ** 2) / (2 * std0**2) - 0.5
    return float(cost + beta * kl)


@pytest.mark.parametrize("case", CASES)
def test_quadrature(case: tuple[float, float, float, float]) -> None:
    peak, mean0, std0, beta = case
    target = quadratic_target(*case)

    def density(a: float) -> float:
        return float(stats.norm.pdf(a, mean0, std0) * np.exp(-((a - peak) ** 2) / (2 * beta)))

    ends = target.mean - 12 * target.std, target.mean + 12 * target.std

    def integral(f: Any) -> float:
        return float(integrate.quad(f, *ends, epsabs=1e-14, epsrel=1e-11, limit=200)[0])

    total = integral(density)
    mean = integral(lambda a: a * density(a)) / total
    variance = integral(lambda a: (a - mean) ** 2 * density(a)) / total
    np.testing.assert_allclose([target.mean, target.std], [mean, np.sqrt(variance)], rtol=1e-9)
    pi = stats.norm(target.mean, target.std)
    value = integral(lambda a: -0.5 * (a - peak) ** 2 * pi.pdf(a))
    kl = integral(lambda a: pi.pdf(a) * (pi.logpdf(a) - stats.norm.logpdf(a, mean0, std0)))
    np.testing.assert_allclose([target.value, target.divergence], [value, kl], rtol=1e-9)
    assert target.reference_value == pytest.approx(-0.5 * (std0**2 + (peak - mean0) ** 2), rel=1e-14)
    if peak != mean0:
        assert (target.mean - mean0) / (peak - mean0) == pytest.approx(std0**2 / (std0**2 + beta), rel=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_no_gaussian_is_better(case: tuple[float, float, float, float]) -> None:
    target = quadratic_target(*case)
    found = optimize.minimize(lambda x: objective(*x, *case), [case[1], np.log(case[2])], tol=1e-13)
    np.testing.assert_allclose(found.x, [target.mean, np.log(target.std)], atol=1e-5)
    own = objective(float(target.mean), float(np.log(target.std)), *case)
    assert own == pytest.approx(-float(target.value) + case[3] * float(target.divergence), abs=1e-12)
    assert own <= found.fun + 1e-12


@pytest.mark.parametrize("case", CASES[:3])
def test_a_fine_grid_is_the_same_bandit(case: tuple[float, float, float, float]) -> None:
    """BRAC around the discretized reference, the data coming from somewhere else."""
    peak, mean0, std0, beta = case
    target = quadratic_target(*case)
    low, high = min(mean0 - 9 * std0, target.mean - 9 * target.std), max(mean0 + 9 * std0, target.mean + 9 * target.std)
    grid = np.linspace(low, high, 4001)
    reference = stats.norm.pdf(grid, mean0, std0) + 1e-300
    reference /= reference.sum()
    data = np.full(len(grid), 1 / len(grid))
    policy = ps.induced_target(data, -0.5 * (grid - peak) ** 2, "brac", beta=beta, reference=reference).policy
    mean = policy @ grid
    np.testing.assert_allclose([mean, np.sqrt(policy @ (grid - mean) ** 2)], [target.mean, target.std], rtol=1e-8)


def test_published_numbers() -> None:
    std = np.array([0.5, 0.1, 0.01])
    plain = quadratic_target(1.0, 0.0, std, 0.1)
    quirk = quadratic_target(1.0, 0.0, std, 0.1, variance_as_std=True)
    np.testing.assert_allclose(plain.shift_fraction, [0.714286, 0.0909091, 0.000999001], rtol=1e-5)
    np.testing.assert_allclose(quirk.shift_fraction, [0.384615, 0.000999001, 1e-7], rtol=1e-5)
    np.testing.assert_array_equal(quirk.reference_std, std**2)
    same = quadratic_target(1.0, 0.0, std**2, 0.1)
    np.testing.assert_array_equal(quirk.mean, same.mean)


def test_a_collapsed_reference_breaks_gradient_descent() -> None:
    """One learning rate: the mean arrives where s0 = 0.5, and the same steps blow up where s0 = 0.01."""

    def descend(std0: float, rate: float) -> float:
        mean = 0.9
        for _ in range(200):
            mean -= rate * ((mean - 1.0) - 0.1 * float(gaussian_score(mean, 0.0, std0)))
            if abs(mean) > 1e6:
                break
        return mean

    assert descend(0.5, 0.05) == pytest.approx(float(quadratic_target(1.0, 0.0, 0.5, 0.1).mean), abs=1e-4)
    assert abs(descend(0.01, 0.05)) > 1e6
    assert descend(0.01, 1e-3) == pytest.approx(float(quadratic_target(1.0, 0.0, 0.01, 0.1).mean), abs=1e-4)


def test_score_and_divergence_blow_up_as_the_variance_collapses() -> None:
    std = np.logspace(-1, -6, 6)
    np.testing.assert_allclose(gaussian_score(1.0, 0.0, std) * std**2, -1.0, rtol=1e-12)
    step = 1e-6
    slope = (stats.norm.logpdf(1 + step, 0, 0.3) - stats.norm.logpdf(1 - step, 0, 0.3)) / (2 * step)
    assert gaussian_score(1.0, 0.0, 0.3) == pytest.approx(slope, rel=1e-8)
    kl = gaussian_kl(1.0, 0.5, 0.0, std)
    np.testing.assert_allclose(kl[2:] * std[2:] ** 2, 0.5 * (1.0 + 0.25), rtol=1e-3)
    target = quadratic_target(1.0, 0.0, std, 0.1)
    np.testing.assert_allclose(target.steepness, 0.1 / std**2, rtol=1e-12)
    # The target itself hardly leaves its reference: no sign of trouble in its own divergence.
    np.testing.assert_allclose(target.divergence[2:], 0.5 * (std[2:] / 0.1) ** 2, rtol=1e-3)
    assert np.all(np.diff(target.value) < 0)


def test_extra_conservatism_is_the_divergence_of_the_targets() -> None:
    truth = quadratic_target(1.0, 0.0, 0.5, 0.1)
    for std0 in (0.4, 0.1, 0.02):
        clone = quadratic_target(1.0, 0.0, std0, 0.1)
        pi, best = stats.norm(clone.mean, clone.std), stats.norm(truth.mean, truth.std)
        ends = clone.mean - 10 * clone.std, clone.mean + 10 * clone.std
        kl = integrate.quad(lambda a, p=pi, b=best: p.pdf(a) * (p.logpdf(a) - b.logpdf(a)), *ends, epsrel=1e-11)[0]
        assert float(clone.extra_conservatism(truth)) == pytest.approx(kl, rel=1e-8)
    assert float(truth.extra_conservatism(truth)) == 0.0


def test_limits() -> None:
    wide = quadratic_target(1.0, 0.0, 1e8, 0.1)
    np.testing.assert_allclose([wide.mean, wide.std, wide.shift_fraction], [1.0, np.sqrt(0.1), 1.0], rtol=1e-12)
    narrow = quadratic_target(1.0, 0.0, 1e-12, 0.1)
    np.testing.assert_allclose([narrow.mean, narrow.std], [1e-23, 1e-12], rtol=1e-9)
    cold, hot = quadratic_target(1.0, 0.0, 0.5, 1e-12), quadratic_target(1.0, 0.0, 0.5, 1e12)
    assert cold.mean == pytest.approx(1.0, abs=1e-10)
    assert (float(hot.mean), float(hot.std)) == (pytest.approx(0.0, abs=1e-10), pytest.approx(0.5))


def test_shapes_broadcast() -> None:
    target = quadratic_target([[1.0], [2.0]], 0.0, [0.5, 0.1, 0.01], 0.1)
    assert target.mean.shape == target.std.shape == target.reference_mean.shape == (2, 3)
    assert float(target.mean[1, 1]) == float(quadratic_target(2.0, 0.0, 0.1, 0.1).mean)
    assert isinstance(quadratic_target(1, 0, 1, 1).mean, float)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.nan, 0.0, 0.5, 0.1), "^peak must be a finite number, got nan$"),
        ((1.0, [0.0, np.inf], 0.5, 0.1), r"^reference_mean\[1\] must be a finite number, got inf$"),
        ((1.0, 0.0, 0.0, 0.1), "^reference_std must be a finite number > 0, got 0.0$"),
        ((1.0, 0.0, [[0.1, -1.0]], 0.1), r"^reference_std\[0, 1\] must be a finite number > 0, got -1.0$"),
        ((1.0, 0.0, 0.5, -0.1), "^beta must be a finite number > 0, got -0.1$"),
        ((1.0, 0.0, 0.5, "x"), "^beta must be a number or an array of numbers, got 'x'$"),
    ],
)
def test_bad_input_is_named(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        quadratic_target(*arguments)
