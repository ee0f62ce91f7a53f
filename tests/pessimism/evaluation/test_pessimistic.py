"""Lower bounds: published formulas by hand, their order, their limits, and how often they fail."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pessimism import evaluate, make_logs
from pessimism.evaluation.lower_bounds import bernstein_lower, ix_lower, ls_lower, moments_lower
from tests.helpers import Array
from tests.pessimism.evaluation.simulate import BEHAVIOR, POLICY, VALUE, bandit_feedback, draw


def _psi(u: float, lam: float) -> float:
    return float((1 - np.exp(-lam * u)) / lam)


def test_formulas_in_the_papers_costs() -> None:
    """Risks and costs c = -r as printed, negated; one number at a time."""
    feedback, n, delta = bandit_feedback(n=400), 400, 0.1
    p, q, cost = POLICY[feedback["action"]], feedback["pscore"], -feedback["reward"] * 0.9
    feedback["reward"] = -cost
    lam, log = 1 / np.sqrt(n), np.log(1 / delta)
    ls = np.mean([-np.log(1 - lam * (a / b) * c) / lam for a, b, c in zip(p, q, cost, strict=True)])
    ix = np.mean(p * cost / (q + lam / 2))
    es = p * cost / q**0.75
    h = -np.minimum(p / q * -cost, 1 / lam)
    clip = np.minimum(p / q, 20.0) * cost
    log2 = np.log(2 / delta)
    bernstein = clip.mean() + np.sqrt(2 * clip.var(ddof=1) * log2 / n) + 7 * 20.0 * log2 / (3 * (n - 1))
    two = [h.mean() + lam / 2 * (h**2).mean(), es.mean() + lam / 2 * (es**2).mean()]
    four = two[0] + lam**2 / 3 * (h**3).mean() + lam**3 / 4 * (h**4).mean()
    pay = log / (lam * n)
    expected = {
        "ls": (ls, _psi(ls + pay, lam)),
        "ix": (ix, ix + pay),
        "es": (es.mean(), _psi(two[1] + pay, lam)),
        "moments": (h.mean(), _psi(two[0] + pay, lam)),
        "clipped": (clip.mean(), bernstein),
    }
    for estimator, (risk, bound) in expected.items():
        found = evaluate(POLICY, feedback, estimator, delta=delta)
        assert found.value == pytest.approx(-risk, rel=1e-12)
        assert found.lower == pytest.approx(-bound, rel=1e-12)
        assert found.lower > 0.05
        assert found.upper == np.inf
        assert found.guarantee == "finite-sample"
    longer = evaluate(POLICY, feedback, "moments", delta=delta, order=2)
    assert longer.lower == pytest.approx(-_psi(four + pay, lam), rel=1e-12)
    assert evaluate(POLICY, feedback, "es").options["power"] == 0.75


def test_ls_is_the_largest_of_the_family_on_any_log() -> None:
    rng = np.random.default_rng(2)
    below = 0
    for _ in range(300):
        n = int(rng.integers(2, 200))
        q = rng.uniform(0.01, 1, n)
        p = rng.uniform(size=n) ** rng.uniform(0.2, 5)
        reward = rng.uniform(size=n) ** rng.uniform(0.1, 5)
        lam, delta = 10 ** rng.uniform(-3, 1), rng.uniform(0.01, 0.99)
        terms = p / q * reward
        ls = ls_lower(terms, lam, delta)
        others = [ix_lower(p * reward / (q + lam / 2), lam, delta)]
        others += [moments_lower(np.minimum(terms, 1 / lam), lam, delta, order) for order in (1, 2, 5)]
        assert ls >= max(others) - 1e-12 * max(1.0, float(ls))
        below += bool(ls > max(others) + 1e-6)
    assert below > 100  # the comparison is not of zeros


def test_limits() -> None:
    feedback = bandit_feedback()
    ips = evaluate(POLICY, feedback, "ips").value
    for estimator in ("ls", "ix", "moments"):
        assert evaluate(POLICY, feedback, estimator, lam=1e-10).value == pytest.approx(ips, rel=1e-8)
        assert evaluate(POLICY, feedback, estimator, lam=1.0).value < ips - 1e-3
    assert evaluate(POLICY, feedback, "es", power=1.0).value == pytest.approx(ips, rel=1e-14)
    assert evaluate(POLICY, feedback, "clipped", cap=10.0).value == pytest.approx(ips, rel=1e-14)
    assert evaluate(None, {"weight": [1.0], "reward": [1.0]}, "clipped").lower == 0.0
    assert evaluate(POLICY, feedback, "ls", delta=1e-9).lower < evaluate(POLICY, feedback, "ls", delta=0.5).lower


def test_ranges_of_rewards() -> None:
    """Rewards on [-2, 3] give what their images on [0, 1] give."""
    unit = bandit_feedback()
    wide = unit | {"reward": 5 * unit["reward"] - 2}
    for estimator in ("clipped", "ix"):
        a = evaluate(POLICY, unit, estimator)
        b = evaluate(POLICY, wide, estimator, reward_min=-2.0, reward_max=3.0)
        np.testing.assert_allclose([b.value, b.lower], [5 * a.value - 2, 5 * a.lower - 2], rtol=1e-12)
    for estimator in ("ls", "moments", "es"):
        a = evaluate(POLICY, unit | {"reward": 5 * unit["reward"]}, estimator)
        b = evaluate(POLICY, wide, estimator, reward_min=-2.0)
        np.testing.assert_allclose([b.value, b.lower], [a.value - 2, a.lower - 2], rtol=1e-12)


@pytest.mark.parametrize(
    ("estimator", "options", "change", "message"),
    [
        ("ls", {}, {"reward": [-0.1, 1]}, r"^reward\[0\] must be at least reward_min = 0, got -0.1$"),
        ("clipped", {}, {"reward": [0, 1.5]}, r"^reward\[1\] must be at most reward_max = 1, got 1.5$"),
        ("ix", {"reward_max": 0.5}, {}, r"^reward\[1\] must be at most reward_max = 0.5, got 1.0$"),
        ("ix", {"reward_max": 0.0}, {}, r"^reward_max must be greater than 0, got 0.0$"),
        ("ls", {"lam": 0.0}, {}, r"^lam must be greater than 0, got 0.0$"),
        ("clipped", {"cap": -1.0}, {}, r"^cap must be greater than 0, got -1.0$"),
        ("es", {"power": 1.5}, {}, r"^power must be between 0 and 1, got 1.5$"),
        ("moments", {"order": 0}, {}, r"^order must be a positive integer, got 0$"),
    ],
)
def test_refusals(estimator: str, options: dict[str, Any], change: dict[str, Any], message: str) -> None:
    logs = {"action": [0, 1], "reward": [0.0, 1.0], "pscore": [0.5, 0.5]} | change
    with pytest.raises(ValueError, match=message):
        evaluate([0.5, 0.5], logs, estimator, **options)


def test_propensities_are_needed_where_the_formula_has_them() -> None:
    ratios = {"weight": [1.0, 2.0], "reward": [0.0, 1.0]}
    for estimator in ("ix", "es"):
        with pytest.raises(ValueError, match=f"^pscore must be in the logs for estimator {estimator}"):
            evaluate(None, ratios, estimator)
        with pytest.raises(ValueError, match=r"^pscore\[1\] must be a probability, at most 1"):
            evaluate(None, ratios | {"pscore": [0.5, 1.5]}, estimator)
    with pytest.raises(ValueError, match="^power must be given for estimator es: without a policy"):
        evaluate(None, ratios | {"pscore": [0.5, 0.5]}, "es")


def _bounds(lam: float, cap: float, delta: float, seed: int) -> dict[str, Array]:
    action, reward = draw(seed, 2000, 500)
    weight, q = (POLICY / BEHAVIOR)[action], BEHAVIOR[action]
    terms = weight * reward
    return {
        "ls": ls_lower(terms, lam, delta),
        "ix": ix_lower(terms * q / (q + lam / 2), lam, delta),
        "es": moments_lower(terms * q**0.25, lam, delta),
        "moments": moments_lower(np.minimum(terms, 1 / lam), lam, delta),
        "clipped": bernstein_lower(np.minimum(weight, cap) * reward, cap, delta),
    }


ONE_SIDED = ("ls", "ix", "es", "moments", "clipped")


def _lower_by_evaluate(estimator: str, logs: int, delta: float, **options: Any) -> Array:
    """Lower bounds of the first logs of :func:`_bounds`, by the verb."""
    action, reward = draw(11, 2000, 500)
    rounds = zip(action[:logs], reward[:logs], strict=True)
    made = [make_logs(action=a, reward=r, pscore=BEHAVIOR[a]) for a, r in rounds]
    return np.array([evaluate(POLICY, log, estimator, delta=delta, **options).lower for log in made])


@pytest.mark.parametrize("estimator", ONE_SIDED)
def test_evaluate_fails_as_rarely_as_it_says(estimator: str) -> None:
    """300 of the logs through the verb, at its defaults and at bolder settings; the bounds are those of the others."""
    bold: dict[str, Any] = {"cap": 5.0} if estimator == "clipped" else {"lam": 0.1}
    for delta in (0.05, 0.5):
        for options, lam, cap in (({}, 1 / np.sqrt(500), np.sqrt(500)), (bold, 0.1, 5.0)):
            lower = _lower_by_evaluate(estimator, 300, delta, **options)
            np.testing.assert_allclose(lower, _bounds(lam, cap, delta, seed=11)[estimator][:300], rtol=1e-12)
            assert np.mean(lower > VALUE) <= delta
            assert lower.mean() > 0.1


@pytest.mark.parametrize("estimator", ["ls", "ix", "moments"])
def test_failures_of_evaluate_would_be_seen(estimator: str) -> None:
    """Next to no payment for the confidence, next to no shrinkage: the bound is too high in half of the logs."""
    assert np.mean(_lower_by_evaluate(estimator, 300, 0.999, lam=0.001) > VALUE) > 0.3
