"""The mean ratio: right propensities are not blamed, however heavy the tails; wrong ones are found."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from pessimism import Evaluation, evaluate
from pessimism.evaluation.ratio_check import check_ratios
from pessimism.evaluation.result import effective_sample_size
from tests.helpers import Array
from tests.pessimism.evaluation.simulate import BEHAVIOR, CHANCE, POLICY, draw

Draw = Callable[[np.random.Generator, int], Array]
SQUASHED = np.log(np.array([0.4, 0.3, 0.2, 0.1])) / 0.5  # what a sampler at temperature 0.5 takes
AT_HALF = np.exp(SQUASHED) / np.exp(SQUASHED).sum()


def _verdicts(sample: Draw, n: int, logs: int, seed: int = 0) -> dict[str, float]:
    """Shares of the verdicts over seeded logs of n ratios."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(logs):
        weight = sample(rng, n)
        found.append(check_ratios(weight, effective_sample_size(weight)).verdict)
    return {name: found.count(name) / logs for name in ("consistent", "rejected", "undecided")}


def _lognormal(spread: float) -> Draw:
    return lambda rng, n: np.exp(spread * rng.standard_normal(n) - spread**2 / 2)


def _pareto(index: float) -> Draw:
    return lambda rng, n: (index - 1) / index * (1 + rng.pareto(index, n))


def _matches(actions: int) -> Draw:
    """A deterministic policy on logs of a uniform behavior."""
    return lambda rng, n: np.where(rng.random(n) < 1 / actions, float(actions), 0.0)


def _of_actions(behavior: Array, policy: Array, pscore: Array) -> Draw:
    return lambda rng, n: (policy / pscore)[rng.choice(len(behavior), n, p=behavior)]


@pytest.mark.parametrize(
    ("sample", "beyond", "blamed"),
    [
        (_lognormal(0.5), 0.0, 0.0),
        (_lognormal(2.0), 0.01, 0.0),
        (_lognormal(4.0), 0.3, 0.0),
        (_lognormal(8.0), 0.9, 0.0),
        (_pareto(1.1), 0.3, 0.02),
        (_pareto(2.0), 0.0, 0.0),
        (_matches(2), 0.0, 0.0),
        (_matches(500), 0.1, 0.0),
        (_of_actions(BEHAVIOR, POLICY, BEHAVIOR), 0.0, 0.0),
    ],
    ids=["even", "uneven", "heavy", "hardly any overlap", "no variance", "barely a variance", "half", "rare", "bandit"],
)
def test_right_propensities_are_not_blamed(sample: Draw, beyond: float, blamed: float) -> None:
    """Four standard errors alone would blame up to all logs; the check a few only where ratios have no variance."""
    for n in (100, 1000):
        found = _verdicts(sample, n, 750)
        assert found["rejected"] <= blamed
        assert found["undecided"] >= beyond


@pytest.mark.parametrize(
    ("pscore", "policy"),
    [
        (BEHAVIOR * 2, POLICY),
        (BEHAVIOR / 2, POLICY),
        (BEHAVIOR * 1.5, POLICY),
        (BEHAVIOR[::-1], POLICY),
        (AT_HALF, POLICY),
    ],
    ids=["twice", "half", "by half more", "of other rows", "of another temperature"],
)
def test_wrong_propensities_are_found(pscore: Array, policy: Array) -> None:
    assert _verdicts(_of_actions(BEHAVIOR, policy, pscore), 2000, 200)["rejected"] == 1


def _evaluated(pscore: Array, n: int = 2000, policy: Array = POLICY, estimator: str = "snips") -> Evaluation:
    action, reward = draw(3, n)
    return evaluate(policy, {"action": action, "reward": reward, "pscore": pscore[action]}, estimator)


def test_a_wrong_mean_ratio_is_reported_and_warned_of() -> None:
    right = _evaluated(BEHAVIOR)
    assert abs(right.mean_ratio - 1) < 4 * right.mean_ratio_error
    assert (right.ratio_check, right.notes) == ("consistent", ())
    with pytest.warns(UserWarning, match="pscore is too large: .*tokens") as caught:
        wrong = _evaluated(2 * BEHAVIOR)
    assert len(caught) == 1
    assert caught[0].filename == __file__  # the caller's line
    assert wrong.mean_ratio == pytest.approx(right.mean_ratio / 2, rel=1e-12)
    assert wrong.notes == (str(caught[0].message),)
    with pytest.warns(UserWarning, match="pscore is too small"):
        _evaluated(BEHAVIOR / 2, estimator="ls")


def test_few_rounds_are_not_warned_of_but_said() -> None:
    few = _evaluated(2 * BEHAVIOR, n=60)
    assert few.ratio_check == "undecided"
    assert "60 rounds" in few.notes[0]
    assert few.notes[0] in str(few)
    alone = evaluate(None, {"weight": [3.0], "reward": [1.0]}, "ips")
    assert np.isnan(alone.mean_ratio_error)
    assert alone.ratio_check == "undecided"


def test_actions_that_no_round_shows_are_named() -> None:
    action, reward = draw(5, 4000)
    some = action != 3  # a behavior that never takes the action which the policy prefers
    pscore = (BEHAVIOR / BEHAVIOR[:3].sum())[action[some]]
    logs = {"action": action[some], "reward": reward[some], "pscore": pscore}
    with pytest.warns(UserWarning, match=r"0\.5 of the policy's probability is on actions that the logs never show"):
        found = evaluate(POLICY, logs, "ips")
    assert found.mean_ratio == pytest.approx(0.5, abs=0.03)
    assert found.ratio_check == "uncovered"


def test_rare_actions_do_not_speak_against_the_propensities() -> None:
    """Random behaviors and policies over 20 actions, nearly disjoint: four errors alone are exceeded by a third."""
    rng = np.random.default_rng(1)
    verdicts = []
    for _ in range(300):
        behavior, policy = rng.dirichlet(np.full(20, 0.2), size=2) + 1e-12
        behavior, policy = behavior / behavior.sum(), policy / policy.sum()
        action = rng.choice(20, 300, p=behavior)
        weight = (policy / behavior)[action]
        absent = np.bincount(action, minlength=20) == 0
        unlogged = float(policy[absent].sum())
        verdicts.append(check_ratios(weight, effective_sample_size(weight), unlogged=unlogged).verdict)
    assert verdicts.count("consistent") < 0.75 * 300
    assert "rejected" not in verdicts


def test_the_cause_follows_from_what_the_ratios_are() -> None:
    rng = np.random.default_rng(0)
    with pytest.warns(UserWarning, match="weight is too large"):
        evaluate(None, {"weight": 3 + rng.random(200), "reward": rng.random(200)}, "snips")
    action = rng.uniform(-1, 1, 4000)
    logs = {"action": action, "reward": 1 - action**2, "pscore": np.full(4000, 0.5)}
    assert evaluate(0.25, logs, "kernel", bandwidth=0.2).ratio_check == "consistent"
    with pytest.warns(UserWarning, match="the kernel reaches beyond"):  # half of it has no data
        assert evaluate(1.0, logs, "kernel", bandwidth=0.2).mean_ratio == pytest.approx(0.5, abs=0.1)
    with pytest.warns(UserWarning, match="density"):
        evaluate(0.25, logs | {"pscore": np.full(4000, 0.1)}, "kernel", bandwidth=0.2)


def test_steps_of_episodes_are_checked_one_by_one() -> None:
    action, reward = draw(6, 500, 4)
    logs = {"action": action.ravel(), "reward": reward.ravel(), "episode": np.repeat(np.arange(500), 4)}
    right = evaluate(POLICY, logs | {"pscore": BEHAVIOR[action].ravel()}, "star")
    assert (right.ratio_check, right.n) == ("consistent", 500)
    assert right.reward_range == (reward.sum(axis=1).min(), reward.sum(axis=1).max())
    with pytest.warns(UserWarning, match="pscore is too large"):
        evaluate(POLICY, logs | {"pscore": np.minimum(2 * BEHAVIOR, 1)[action].ravel()}, "star", window=1)


def test_an_estimate_outside_the_rewards_says_so() -> None:
    logs = {"weight": [0.5, 3.0, 0.5], "reward": [1.0, 1.0, 1.0]}
    outside = evaluate(None, logs, "ips")
    assert outside.value > 1
    assert not outside.in_range
    assert "outside the range of the rewards, [1, 1]" in outside.notes[-1]
    assert evaluate(None, logs, "snips").in_range
    shrunk = evaluate(None, logs, "ls")  # below the rewards seen, not below those that are possible
    assert shrunk.value < shrunk.reward_range[1] == 1.0
    assert shrunk.reward_range[0] == 0.0
    assert evaluate(None, logs, "ips").value == pytest.approx(float(np.mean([0.5, 3.0, 0.5])))


def test_a_result_shows_itself_in_a_notebook() -> None:
    page = _evaluated(BEHAVIOR)._repr_html_()
    assert page.startswith("<table><caption>Evaluation by snips</caption>")
    assert "mean ratio" in page
    assert abs(_evaluated(BEHAVIOR).value - float(POLICY @ CHANCE)) < 0.1
