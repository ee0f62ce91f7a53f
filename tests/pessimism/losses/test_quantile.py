"""QRPO: quantiles under the reference, the partition of a uniform quantile, frequent values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pessimism as ps
from pessimism.losses.registry import make_objective
from tests.pessimism.losses.published import quantile


def test_quantiles_are_those_of_the_reference() -> None:
    q, nu, reward = np.array([0.2, 0.0, 0.8]), np.array([0.5, 0.3, 0.2]), np.array([0.4, 0.1, 0.4])
    found = ps.induced_target(q, reward, "qrpo", beta=0.5, transform="identity", reference=nu).advantage
    log_z = np.log(0.5 * (np.exp(2.0) - 1.0))
    np.testing.assert_allclose(found, np.array([1.0, 0.3, 1.0]) - 0.5 * log_z, rtol=1e-14)
    grouped = make_objective("qrpo", beta=0.5).advantage(np.array([3.0, 1.0, 2.0, 2.0]))
    np.testing.assert_allclose(grouped, np.log([1.0, 0.25, 0.75, 0.75]) - 0.5 * np.log(0.5 / 1.5), rtol=1e-14)
    # A reward below all of the reference's has no quantile: the lowest one instead of a logarithm of 0.
    lowest = make_objective("qrpo").advantage(np.array([1.0, 0.0, 2.0]), np.array([0.25, 0.0, 0.75]))
    assert lowest[1] == lowest[0]


@pytest.mark.parametrize("transform", ["log", "identity"])
def test_the_partition_of_a_uniform_quantile_is_exact(transform: Any) -> None:
    for beta in (1e-4, 0.003, 0.3, 0.999, 1.001, 50.0):
        objective = make_objective("qrpo", beta=beta, transform=transform)
        # In logarithms, the quantile 1 factored out: the integral is over exp((R(q) - R(1))/beta).
        reach = min(1.0, 60.0 * beta)
        edges = np.linspace(1.0 - reach, 1.0, 20001) if transform == "identity" else np.linspace(0.0, 1.0, 200001)
        middle = (edges[1:] + edges[:-1]) / 2
        tilt = np.exp((middle - 1.0) / beta) if transform == "identity" else middle ** (1.0 / beta)
        expected = np.log(np.mean(tilt) * (reach if transform == "identity" else 1.0))
        expected += 1.0 / beta if transform == "identity" else 0.0
        assert objective.log_partition == pytest.approx(expected, rel=1e-4)


def test_frequent_values_make_a_quantile_target_conservative() -> None:
    # No value frequent beside beta: nominal in the quantile, kappa = O(1/(K beta)).
    kappas = []
    for width in (100, 1000):
        target = ps.induced_target(np.full(width, 1 / width), np.arange(width), "qrpo", beta=0.1)
        terms = np.log(quantile(np.full(width, 1 / width), np.arange(width))) / 0.1
        nominal = np.exp(terms - np.logaddexp.reduce(terms))
        assert 0.5 * np.abs(target.policy - nominal).sum() < 3.0 / width
        kappas.append(float(target.kappa))
    assert 8 < kappas[0] / kappas[1] < 12
    assert kappas[1] < 0.01
    # Binary rewards at the published beta: kappa = m log(m/beta), m the pass rate.
    for rate in (0.1, 0.5, 0.9):
        target = ps.induced_target([1 - rate, rate], [0.0, 1.0], "qrpo")
        assert float(target.kappa) == pytest.approx(rate * np.log(rate * (1 + 1 / 0.003)), rel=1e-9)
        assert target.regime == "positive"
