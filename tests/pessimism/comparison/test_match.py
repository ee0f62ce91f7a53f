"""The setting at which an objective is as conservative, or as good, as is wanted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from scipy.optimize import brentq

import pessimism as ps
from pessimism.arrays import Array

MU, R = np.array([0.4, 0.3, 0.2, 0.1]), np.array([0.2, 0.4, 0.6, 0.8])


class Own:
    """Methods of an objective of one's own, whose target is the nominal one."""

    beta: float

    def advantage(self, reward: Array, weights: Array | None = None) -> Array:
        return reward

    def score_weight(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        return np.exp(log_ratio) * (advantage - self.beta * log_ratio)

    def loss(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        return np.exp(log_ratio) * (self.beta * (log_ratio - 1) - advantage)


def softmax(beta: float, mu: Array = MU, r: Array = R) -> Array:
    tilted = mu * np.exp((r - r.max()) / beta)
    return tilted / tilted.sum()


def kl(policy: Array, mu: Array = MU) -> float:
    return float(np.sum(policy * np.log(policy / mu)))


def test_nominal_against_a_root_of_ones_own() -> None:
    beta = brentq(lambda b: kl(softmax(b)) - 0.1, 0.01, 10, xtol=1e-14)
    assert ps.match(MU, R, "nominal", kl=0.1).beta == pytest.approx(beta, rel=1e-10)
    beta = brentq(lambda b: softmax(b) @ R - 0.7, 0.01, 10, xtol=1e-14)
    assert ps.match(MU, R, "nominal", value=0.7).beta == pytest.approx(beta, rel=1e-10)
    beta = brentq(lambda b: (softmax(b) / MU).max() - 3, 0.01, 10, xtol=1e-14)
    assert ps.match(MU, R, "nominal", max_ratio=3).beta == pytest.approx(beta, rel=1e-10)


def test_kimi_against_its_equation() -> None:
    """log w + kappa w = A / beta, solved by nested bisection."""

    def of(beta: float) -> float:
        a = (R - MU @ R) / beta

        def ratios(kappa: float) -> Array:
            return np.array([np.exp(brentq(lambda u, x=x: u + kappa * np.exp(u) - x, -50, 50)) for x in a])

        kappa = brentq(lambda k: MU @ ratios(k) - 1, 1e-9, 50)
        return kl(MU * ratios(kappa))

    assert of(ps.match(MU, R, "kimi", kl=0.1).beta) == pytest.approx(0.1, rel=1e-8)


@pytest.mark.parametrize("name", ps.objectives())
def test_every_objective_with_a_temperature(name: str) -> None:
    """What is found has the wanted KL, or the error's reach does not hold it."""
    made = ps.objectives()[name]()
    if made.temperature is None or made.temperature_field is None:
        with pytest.raises(ValueError, match="has no temperature to move: over must name a number"):
            ps.match(MU, R, name, kl=0.05)
        return
    try:
        at = ps.match(MU, R, name, kl=0.05)
    except ValueError as error:
        low, high = map(float, str(error).split("KL of ")[1].split(" as ")[0].split(" to "))
        assert not low <= 0.05 <= high
        return
    assert float(ps.induced_target(MU, R, at).conservatism()["kl"][0]) == pytest.approx(0.05, rel=1e-6)


def test_like_is_the_kl_of_another_objective() -> None:
    at = ps.match(MU, R, "oapl", like="nominal:beta=0.5")
    assert float(ps.induced_target(MU, R, at).conservatism()["kl"][0]) == pytest.approx(kl(softmax(0.5)), rel=1e-9)
    assert ps.match(MU, R, "nominal", like=ps.Nominal(beta=0.5)).beta == pytest.approx(0.5, rel=1e-9)


def test_over_moves_another_hyper_parameter() -> None:
    at = ps.match(MU, R, "shifted_mean", kl=0.02, over="shift", beta=0.25)
    assert at.beta == 0.25
    assert float(ps.induced_target(MU, R, at).conservatism()["kl"][0]) == pytest.approx(0.02, rel=1e-9)
    of_kimi = float(ps.induced_target(MU, R, "kimi", beta=0.25).conservatism()["kl"][0])
    bolder = ps.match(MU, R, "shifted_mean", kl=of_kimi, over="shift", beta=0.25)
    assert bolder.shift == pytest.approx(0.0, abs=1e-9)


def test_a_batch_gets_a_setting_each() -> None:
    rng = np.random.default_rng(0)
    mu, r = rng.dirichlet(np.ones(5), (2, 30)), rng.normal(size=(2, 30, 5))
    at = ps.match(mu, r, "kimi", kl=0.03)
    assert at.beta.shape == (2, 30)
    np.testing.assert_allclose(ps.induced_target(mu, r, at).conservatism()["kl"], 0.03, rtol=1e-9)
    assert at.beta[1, 7] == pytest.approx(ps.match(mu[1, 7], r[1, 7], "kimi", kl=0.03).beta, rel=1e-12)
    wanted = rng.uniform(0.01, 0.05, (2, 30))
    found = ps.induced_target(mu, r, ps.match(mu, r, "kimi", kl=wanted)).conservatism()["kl"]
    np.testing.assert_allclose(found, wanted.ravel(), rtol=1e-9)


@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_one_setting_for_a_batch(statistic: str) -> None:
    rng = np.random.default_rng(1)
    r = rng.integers(0, 2, (40, 8)).astype(float)
    r[:5] = 1.0  # no signal
    at = ps.match(None, r, "grpo", kl=0.002, statistic=statistic)
    per_group = ps.induced_target(None, r[np.ptp(r, axis=1) > 0], at).conservatism()["kl"]
    assert float(getattr(per_group, statistic)()) == pytest.approx(0.002, rel=1e-6)


def test_a_log_is_matched_by_the_mean_of_its_groups() -> None:
    at = ps.match(log="examples/verl_rollouts", objective="kimi", kl=0.1)
    report = ps.diagnose("examples/verl_rollouts", at)
    per_group = report.loc[~report["all_equal"], "kl"]
    assert float(per_group.mean()) == pytest.approx(0.1, rel=1e-9)
    frame = ps.read_rollouts("examples/verl_rollouts")
    assert ps.match(log=frame, objective="kimi", kl=0.1) == at
    like = ps.match(log=frame, objective="oapl", like="kimi:beta=0.5", statistic="median")
    medians = [
        float(found.loc[~found["all_equal"], "kl"].median())
        for found in (ps.diagnose(frame, like), ps.diagnose(frame, "kimi", beta=0.5))
    ]
    assert medians[0] == pytest.approx(medians[1], rel=1e-9)
    with pytest.raises(ValueError, match="log stands in place of behavior, reward and reference"):
        ps.match(MU, R, "kimi", log=frame, kl=0.1)
    with pytest.raises(ValueError, match="objective must be given"):
        ps.match(MU, R, kl=0.1)


def test_groups_without_a_target_are_said() -> None:
    """A policy gradient off-policy has a target where the mean reward is above its baseline: not in the first group."""
    r = np.array([[1.0, 0.0, 0.0, 0.0], [13.0, 10.0, 10.0, 11.0]])
    with pytest.warns(
        RuntimeWarning, match=r"in 1 of 2 problems with a signal: the mean is that of the others$"
    ) as said:
        at = ps.match(None, r, "reinforce:value=5.0,sampling=off_policy", kl=0.03, over="value", statistic="mean")
    assert [one.filename for one in said] == [__file__]
    found = ps.induced_target(None, r, at)
    assert found.status.tolist() == ["no_target", "converged"]
    assert found.conservatism()["kl"][1] == pytest.approx(0.03, rel=1e-6)


def test_an_object_of_ones_own_comes_back() -> None:
    @dataclass(frozen=True)
    class Mine(Own):
        beta: float = 1.0
        temperature_field = "beta"

    at = ps.match(MU, R, Mine(), kl=0.1)
    assert isinstance(at, Mine)
    assert at.beta == pytest.approx(ps.match(MU, R, "nominal", kl=0.1).beta, rel=1e-6)


def test_a_temperature_of_the_class_moves() -> None:
    class Plain(Own):
        beta = 0.5

    mine = Plain()
    at = ps.match(MU, R, mine, kl=0.1)
    assert at.beta == pytest.approx(ps.match(MU, R, "nominal", kl=0.1).beta, rel=1e-6)
    assert mine.beta == 0.5
    table = ps.compare(MU, R, [mine, "nominal"], matched={"kl": 0.1})
    assert table["objective"][0] == "Plain"
    np.testing.assert_allclose(table["kl"], 0.1, rtol=1e-6)


def test_a_jump_is_not_passed_off_as_a_match() -> None:
    @dataclass(frozen=True)
    class Stepped(ps.Kimi):
        """Advantages double where the temperature falls to 0.4."""

        def advantage(self, reward: Array, weights: Array | None = None) -> Array:
            return (1.0 if self.beta > 0.4 else 2.0) * super().advantage(reward, weights)

    above, below = (float(ps.induced_target(MU, R, "kimi", beta=beta).conservatism()["kl"][0]) for beta in (0.4, 0.2))
    assert ps.match(MU, R, Stepped(1.0), kl=0.9 * above).beta > 0.4
    message = f"is jumped over: at beta=0.4 the KL of kimi goes from {above:.4g} to {below:.4g}"
    with pytest.raises(ValueError, match=message):
        ps.match(MU, R, Stepped(1.0), kl=0.5 * (above + below))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kl": 3}, "kl=3 is out of reach: nominal has a KL of .* to 2.30. as beta moves between .* and "),
        ({"kl": -1}, "kl must be >= 0, got -1"),
        ({"kl": 0.1, "value": 0.2}, "just one of kl, value, max_ratio and like must be given, got kl, value"),
        ({}, "just one of kl, value, max_ratio and like must be given, got none"),
        ({"kl": np.nan}, "kl must be a number, got nan"),
        ({"kl": [0.1, 0.2]}, r"kl must be one number, or one for each problem \(\), got \(2,\)"),
        ({"kl": 0.1, "over": "shift"}, r"objective nominal\(beta=.*\) has no hyper-parameter 'shift'; it has beta"),
        ({"kl": 0.1, "statistic": "mode"}, 'statistic must be "mean" or "median", got \'mode\''),
    ],
)
def test_errors(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ps.match(MU, R, ps.Nominal(), **arguments)  # type: ignore[arg-type]


def test_errors_of_batches() -> None:
    mu, r = np.array([MU, MU]), np.array([R, R * 0 + 0.5])
    with pytest.raises(ValueError, match=r"problem \[1\]: kl=0.1 is out of reach"):
        ps.match(mu, r, "kimi", kl=0.1)
    with pytest.raises(ValueError, match=r'takes one eps_low for all problems: give statistic="mean"'):
        ps.match(mu, r, "ppo", kl=0.1, over="eps_low")
    with pytest.raises(ValueError, match="no problem has a signal"):
        ps.match(mu, r * 0, "kimi", kl=0.1, statistic="mean")
    with pytest.raises(ValueError, match="over must name a number that can move, and .* has dual_clip=None"):
        ps.match(MU, R, "ppo", kl=0.1, over="dual_clip")
