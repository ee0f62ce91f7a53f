"""The search outward from where a parameter stands."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from pessimism.arrays import Floats
from pessimism.comparison.search import Crossing, ladders, nearest_crossing


def found(
    measure: Callable[..., Floats],
    wanted: list[float],
    start: float = 1.0,
    accepts: Callable[[float], bool] = lambda x: x > 0,
) -> Crossing:
    return nearest_crossing(measure, np.array(wanted), start, *ladders(start, accepts, 1.0))


def test_each_problem_has_its_own_root() -> None:
    scale = np.array([1.0, 10.0, 1e-3])
    crossing = found(lambda x, row: scale[row] / x, [0.5, 7.0, 2.0])
    np.testing.assert_allclose(crossing.at, scale / [0.5, 7.0, 2.0], rtol=1e-14)
    assert np.abs(crossing.jump - [[0.5], [7.0], [2.0]]).min(axis=1).max() < 1e-12


def test_the_nearest_of_several_is_found() -> None:
    bump = lambda x, _: np.exp(-(np.log(x / 8) ** 2))  # noqa: E731 - the same value at 8 e^-1 and 8 e
    assert found(bump, [np.exp(-1)], 1.0).at[0] == pytest.approx(8 / np.e)
    assert found(bump, [np.exp(-1)], 40.0).at[0] == pytest.approx(8 * np.e)


def test_a_start_that_is_right_stays() -> None:
    crossing = found(lambda x, _: x**2, [4.0], 2.0)
    assert crossing.at[0] == 2.0
    assert crossing.jump[0].tolist() == [4.0, 4.0]


def test_what_is_out_of_reach_has_none() -> None:
    crossing = found(lambda x, _: np.tanh(x), [2.0])
    assert np.isnan(crossing.at[0])
    assert crossing.reach[0].tolist() == [np.tanh(2.0**-40), 1.0]
    assert crossing.ends == (2.0**-40, 2.0**40)


def test_a_jump_shows_both_sides() -> None:
    crossing = found(lambda x, _: np.where(x < 3, x, x + 1), [3.5])
    assert crossing.at[0] == pytest.approx(3.0)
    np.testing.assert_allclose(crossing.jump[0], [3.0, 4.0], rtol=1e-12)


def test_values_without_a_measure_are_passed_over() -> None:
    def gap(low: float, high: float) -> Callable[..., Floats]:
        return lambda x, _: np.where((x > low) & (x < high), np.nan, x)

    assert found(gap(1.9, 2.1), [3.0]).at[0] == pytest.approx(3.0)
    crossing = found(gap(1.5, 5), [3.0])  # the root itself has no measure
    assert np.isnan(crossing.at[0])
    assert crossing.reach[0, 0] < 3 < crossing.reach[0, 1]


def test_a_parameter_of_any_sign_goes_through_zero() -> None:
    assert found(lambda x, _: x, [-3.3], 1.0, lambda x: True).at[0] == pytest.approx(-3.3)
    assert found(lambda x, _: x, [0.3], 0.0, lambda x: abs(x) < 1).at[0] == pytest.approx(0.3)


def test_a_ladder_goes_on_halfway_to_what_is_refused() -> None:
    below, above = ladders(0.2, lambda x: 0 < x <= 1, 1.0)
    assert above[:2] == [0.4, 0.8]
    assert 0.999 < above[-1] <= 1
    assert 0 < below[-1] < 1e-12
