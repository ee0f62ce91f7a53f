"""What goes in: every spelling of logs and policies says the same, and bad ones are refused by name and place."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import pessimism as ps
from pessimism import estimators, evaluate, make_logs
from tests.pessimism.evaluation.simulate import BEHAVIOR, CHANCE, POLICY, bandit_feedback

OPTIONS: dict[str, dict[str, Any]] = {
    "dr": {"reward_model": CHANCE},
    "el": {"weight_max": 10.0},
    "kernel": {"bandwidth": 0.5},
}


def _columns(feedback: dict[str, Any]) -> dict[str, Any]:
    return {name: feedback[name] for name in ("action", "reward", "pscore")}


@pytest.mark.parametrize("estimator", [name for name in estimators() if name != "kernel"])
def test_every_spelling_of_logs_and_policy_agrees(estimator: str) -> None:
    feedback = bandit_feedback()
    options = OPTIONS.get(estimator, {})
    expected = evaluate(POLICY, feedback, estimator, **options)
    frame = pd.DataFrame(_columns(feedback))
    tiled = np.tile(POLICY, (200, 1))
    group = np.arange(200) % 2
    spellings: list[tuple[Any, Any]] = [
        (POLICY.tolist(), frame),
        (POLICY, frame.rename(columns={"pscore": "propensity"})),
        (POLICY, make_logs(**_columns(feedback))),
        (POLICY, feedback | {"position": np.zeros(200, dtype=int)}),
        (torch.tensor(POLICY), {name: torch.tensor(value) for name, value in _columns(feedback).items()}),
        (tiled, feedback),
        (tiled[:, :, None], feedback),
        (np.tile(POLICY, (2, 1)), frame.assign(context=group)),
        ({"a": POLICY, "b": POLICY}, frame.assign(problem=np.array(["a", "b"])[group])),
    ]
    for policy, logs in spellings:
        found = evaluate(policy, logs, estimator, **options)
        np.testing.assert_allclose(
            [found.value, found.lower, found.upper, found.ess],
            [expected.value, expected.lower, expected.upper, expected.ess],
            rtol=1e-13,
        )
    assert (found.estimator, found.n, found.delta) == (estimator, 200, 0.05)


@pytest.mark.parametrize("estimator", ["ips", "snips", "clipped", "ix", "ls", "moments", "el", "star"])
def test_a_column_of_ratios_stands_for_policy_and_action(estimator: str) -> None:
    feedback, options = bandit_feedback(), OPTIONS.get(estimator, {})
    weight = POLICY[feedback["action"]] / feedback["pscore"]
    ratios = {"weight": weight, "reward": feedback["reward"], "pscore": feedback["pscore"]}
    given, direct = evaluate(POLICY, feedback, estimator, **options), evaluate(None, ratios, estimator, **options)
    assert (given.value, given.lower, given.upper) == (direct.value, direct.lower, direct.upper)


def test_ids_pick_the_row_of_their_context() -> None:
    logs = {"action": [0, 1, 0], "reward": [1.0, 1.0, 1.0], "pscore": [0.5] * 3, "context": [1, 0, 1]}
    # Ratios 2 * (0.9, 0.8, 0.9).
    assert evaluate([[0.2, 0.8], [0.9, 0.1]], logs, "ips").value == pytest.approx(5.2 / 3)
    assert evaluate({0: [0.2, 0.8], 1: [0.9, 0.1], 2: [1, 0]}, logs, "ips").value == pytest.approx(5.2 / 3)
    without = {name: value for name, value in logs.items() if name != "context"}
    assert evaluate([[0.9, 0.1], [0.2, 0.8], [0.9, 0.1]], without, "ips").value == pytest.approx(5.2 / 3)


def test_an_induced_target_is_a_policy() -> None:
    behavior, reward = np.stack([BEHAVIOR, BEHAVIOR[::-1]]), np.stack([CHANCE, CHANCE])
    target = ps.induced_target(behavior, reward, "shifted_mean", beta=0.25)
    rng = np.random.default_rng(3)
    context = rng.integers(0, 2, size=20_000)
    action = (rng.random(20_000)[:, None] > behavior.cumsum(axis=1)[context, :3]).sum(axis=1)
    logs = make_logs(
        action=action, reward=rng.binomial(1, CHANCE[action]), pscore=behavior[context, action], context=context
    )
    value = float((target.policy * reward).sum(axis=1).mean())
    found = evaluate(target, logs, "snips")
    assert found.lower < value < found.upper
    assert found.upper - found.lower < 0.03
    assert evaluate(target, logs, "ls").lower < value
    single = ps.induced_target(torch.tensor(behavior[0]), torch.tensor(reward[0]), "kimi", beta=0.25)
    assert evaluate(single, logs, "ips") == evaluate(single.policy.numpy(), logs, "ips")


@pytest.mark.parametrize("estimator", list(estimators()))
def test_inputs_are_only_read(estimator: str) -> None:
    feedback = bandit_feedback() | {"episode": np.repeat(np.arange(100), 2)}
    policy: Any = np.tile(POLICY, (200, 1))
    if estimator == "kernel":
        policy = feedback["context"][:, 0].copy()
    before = {name: np.copy(value) for name, value in feedback.items() if isinstance(value, np.ndarray)}
    for name in before:
        feedback[name].setflags(write=False)
    policy.setflags(write=False)
    evaluate(policy, feedback, estimator, **OPTIONS.get(estimator, {}))
    for name, value in before.items():
        np.testing.assert_array_equal(feedback[name], value)


GOOD: dict[str, Any] = {"action": [0, 1], "reward": [0.0, 1.0], "pscore": [0.5, 0.5]}
HALF = [0.5, 0.5]
BAD_LOGS: dict[str, tuple[dict[str, Any], str]] = {
    "nan reward": ({"reward": [0.0, np.nan]}, r"^reward\[1\] must be finite, got nan$"),
    "text reward": ({"reward": ["a", "b"]}, r"^reward must be real numbers, got values of type <U1$"),
    "missing reward": ({"reward": None}, r"^logs must hold reward, found action, reward, pscore$"),
    "short action": ({"action": [0]}, r"^action must have one entry per round, got 1 entries for 2 rounds$"),
    "wide action": ({"action": [[0], [1]]}, r"^action must have one entry per round, shape \(n_rounds,\), got shape"),
    "no rounds": ({"reward": [], "action": [], "pscore": []}, r"^reward is empty: logs must hold at least one round$"),
    "fraction": ({"action": [0, 0.5]}, r"^action\[1\] must be one of the 2 actions 0, ..., 1 of the policy, got 0.5$"),
    "third action": (
        {"action": [0, 2]},
        r"^action\[1\] must be one of the 2 actions 0, ..., 1 of the policy, got 2.0$",
    ),
    "negative action": ({"action": [-1, 0]}, r"^action\[0\] must be one of the 2 actions"),
    "zero pscore": ({"pscore": [0.5, 0.0]}, r"^pscore\[1\] must be positive, got 0.0$"),
    "large pscore": ({"pscore": [1.5, 0.5]}, r"^pscore\[0\] must be a probability, at most 1 .*, got 1.5$"),
    "tiny pscore": ({"pscore": [0.5, 1e-310]}, r"^pscore\[1\] must not be so small that the ratio overflows"),
    "no pscore": ({"pscore": None}, r"^logs must hold pscore to evaluate a policy$"),
    "two pscores": ({"propensity": [0.5, 0.5]}, r"^logs must hold one of pscore and propensity: both mean pscore$"),
    "slate": ({"position": [0, 2]}, r"^position\[1\] must be 0 \(one action a round, len_list=1\), got 2$"),
    "n_rounds": ({"n_rounds": 3}, r"^n_rounds must be the number of rewards, got 3 for 2 rewards$"),
    "n_actions": ({"n_actions": 3}, r"^policy must have one entry per action, got 2 for 3 actions$"),
    "long n_rounds": ({"n_rounds": np.ones(2)}, r"^n_rounds must be a positive integer, got array\(\[1., 1.\]\)$"),
    "nan n_actions": ({"n_actions": np.nan}, r"^n_actions must be a positive integer, got nan$"),
    "long n_actions": ({"n_actions": np.ones((9, 9))}, r"^n_actions must be a positive integer, got array.*\.\.\.$"),
    "mixed episodes": (
        {"episode": [0, "a"]},
        r"^episode\[1\] must be comparable with episode\[0\], got str and int$",
    ),
    "episodes of no order": ({"episode": [{}, {}]}, r"^episode\[0\] must be comparable with episode\[0\], got dict"),
    "ratios beside a policy": (
        {"weight": [1.0, 1.0]},
        r"^weight must not be in the logs beside a policy: drop it, or give policy None to use it$",
    ),
    "sum of ratios": (
        {"pscore": [4e-309, 3e-309], "reward": [0.0, 0.0]},
        r"^pscore\[1\] must not be so small that the sum of the ratios overflows, got 3e-309$",
    ),
    "bad n_actions": ({"n_actions": 0}, r"^n_actions must be a positive integer, got 0$"),
    "context": (
        {"context": np.zeros((3, 2))},
        r"^context must have one row per round, got shape \(3, 2\) for 2 rounds",
    ),
    "missing id": ({"context": ["a", None]}, r"^context\[1\] must not be missing, got None$"),
    "negative weight": ({"weight": [1.0, -1.0]}, r"^weight\[1\] must not be negative, got -1.0$"),
    "step": ({"step": [0, 1]}, r"^step needs episode"),
    "ragged": ({"action": [[0], [1, 2]]}, r"^action must be a rectangular array: rows differ in length$"),
}
BAD_POLICIES: dict[str, tuple[Any, dict[str, Any], str]] = {
    "none": (None, {}, r"^policy must be given: the logs have no column weight to take the ratios from$"),
    "sum": ([0.5, 0.6], {}, r"^policy must sum to 1 within 1e-06, got 1.1$"),
    "leak": ([0.5, 0.4], {}, r"^policy must sum to 1 within 1e-06, got 0.9 \(mass that leaves the logged actions"),
    "sum in a row": ([HALF, [0.5, 0.6]], {}, r"^policy\[1\] must sum to 1 within 1e-06, got 1.1$"),
    "negative": ([1.5, -0.5], {}, r"^policy\[1\] must be a probability >= 0, got -0.5$"),
    "negative in a row": ([HALF, [1.5, -0.5]], {}, r"^policy\[1, 1\] must be a probability >= 0, got -0.5$"),
    "nan": ([0.5, np.nan], {}, r"^policy\[1\] must be finite, got nan$"),
    "rows": ([HALF] * 3, {}, r"^policy must have shape .*, got shape \(3, 2\) for 2 rounds without integer ids$"),
    "slate": (np.full((2, 2, 3), 0.5), {}, r"^policy must have shape .*len_list=1\), got shape \(2, 2, 3\)$"),
    "scalar": (1.0, {}, r"^policy must have shape .*, got shape \(\)$"),
    "unknown id": ([HALF] * 3, {"context": [0, 3]}, r"^context\[1\] must be the index of one of the 3 rows of policy"),
    "ambiguous": ([HALF] * 2, {"context": [0, 0]}, r"^policy has as many rows as the logs have rounds and"),
    "no entry": ({"a": HALF}, {"context": ["a", "b"]}, r"^policy has no entry for context 'b' \(round 1\)$"),
    "mixed ids": (
        {0: HALF, "a": HALF},
        {"context": np.array([0, "a"], dtype=object)},
        r"^context\[1\] must be comparable with context\[0\], got str and int$",
    ),
    "widths": ({0: HALF, 1: [1.0]}, {"context": [0, 1]}, r"^policy\[1\] must be a vector \(K,\), K the same"),
    "mapping": ({0: HALF}, {}, r"^policy: a mapping needs context ids in the logs"),
}


@pytest.mark.parametrize("rule", BAD_LOGS)
def test_bad_logs(rule: str) -> None:
    change, message = BAD_LOGS[rule]
    with pytest.raises(ValueError, match=message) as caught:
        evaluate(HALF, GOOD | change, "ips")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("rule", BAD_POLICIES)
def test_bad_policies(rule: str) -> None:
    policy, change, message = BAD_POLICIES[rule]
    with pytest.raises(ValueError, match=message):
        evaluate(policy, GOOD | change, "ips")


def test_other_refusals() -> None:
    for delta in (0.0, 1.0, np.nan, "5%", True):
        with pytest.raises(ValueError, match="^delta must be "):
            evaluate(HALF, GOOD, delta=delta)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="^estimator must be one of ips, snips, .*, got 'magic'$"):
        evaluate(HALF, GOOD, "magic")
    with pytest.raises(ValueError, match=r"^estimator must be one of ips, snips, .*, got \['ls'\]$"):
        evaluate(HALF, GOOD, ["ls"])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="^weight must not be in the logs beside a policy"):
        evaluate(0.5, GOOD | {"weight": [1.0, 1.0]}, "kernel", bandwidth=1.0)
    with pytest.raises(ValueError, match=r"^weight\[1\] must not be so large that the sum of the ratios overflows"):
        evaluate(None, {"weight": [1e308, 1.5e308], "reward": [0.0, 0.0]})
    with pytest.raises(ValueError, match="^cap is no option of estimator ls, which takes lam, reward_min$"):
        evaluate(HALF, GOOD, "ls", cap=3.0)
    with pytest.raises(ValueError, match="^cap is no option of estimator ips, which takes none$"):
        evaluate(HALF, GOOD, "ips", cap=3.0)
    with pytest.raises(ValueError, match="^weight_max must be given for estimator el$"):
        evaluate(HALF, GOOD, "el")
    with pytest.raises(ValueError, match="^logs must be a mapping, a frame or made by make_logs, got list$"):
        evaluate(HALF, [1, 2])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="^reward must be in logs or a keyword, not both ways"):
        make_logs(GOOD, reward=[1, 2])
    twice = pd.DataFrame([[0, 1.0, 0.5, 0.5]], columns=["action", "reward", "pscore", "pscore"])
    with pytest.raises(ValueError, match="^logs must hold column 'pscore' once, got 2 columns of that name$"):
        evaluate(HALF, twice)


@pytest.mark.parametrize("estimator", list(estimators()))
def test_numbers_that_overflow_are_refused(estimator: str) -> None:
    """Either every number is finite, or the largest reward is named: never inf or nan, never a warning."""
    ranged = estimator in ("clipped", "ix", "el")
    options = OPTIONS.get(estimator, {}) | ({"reward_max": 1.7e308} if ranged else {})
    logs = {"action": [1, 1, 0, 0], "reward": [1e308, 1.5e308, 0.0, 0.0], "pscore": [0.4] * 4}
    policy: Any = 0.5 if estimator == "kernel" else [0.3, 0.7]
    if estimator == "dr":
        options = options | {"reward_model": [0.0, 0.0]}
    if estimator in ("clipped", "ix", "moments"):  # rewards are divided, or their terms clipped
        found = evaluate(policy, logs, estimator, **options)
        assert np.isfinite([found.value, found.lower]).all()
    else:
        named = "reward[1] and reward_model" if estimator == "dr" else "reward[1]"
        rule = f"{named} must be closer to zero: estimator {estimator} overflows, got 1.5e+308"
        with pytest.raises(ValueError, match=f"^{re.escape(rule)}$"):
            evaluate(policy, logs, estimator, **options)


def test_an_interval_that_overflows_is_refused() -> None:
    """The value is finite, the spread is not."""
    for estimator in ("ips", "snips", "star"):
        with pytest.raises(ValueError, match=rf"^reward\[1\] must be closer to zero: estimator {estimator} overflows"):
            evaluate(HALF, GOOD | {"reward": [0.0, -1e200]}, estimator)
    assert evaluate(HALF, {"action": [0], "reward": [1e200], "pscore": [0.5]}, "ips").upper == np.inf  # of one round


def test_a_result_prints_and_becomes_a_row() -> None:
    found = evaluate(POLICY, bandit_feedback(), "ls")
    assert str(found).startswith("ls: 0.")
    assert f"at least {found.lower:.6g} with probability 0.95 (finite-sample)" in str(found)
    assert list(found.as_dict()) == ["estimator", "value", "lower", "upper", "ess", "n", "delta", "guarantee"]
    assert "in [" in str(evaluate(POLICY, bandit_feedback(), "ips", delta=0.1))
