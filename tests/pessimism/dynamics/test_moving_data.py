"""Data that follow the policy: by hand with autograd, against rounds, and in the two limits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pessimism as ps
from pessimism.dynamics.gradient_descent import sgd
from pessimism.dynamics.lagged_iteration import lagged_iteration
from tests.helpers import Array, softmax
from tests.pessimism.dynamics.fields import PROBLEM, UNEVEN, torch_field

OBJECTIVES = [ps.Kimi(beta=0.5), ps.OAPL(beta1=0.7, beta2=0.5), ps.Nominal(beta=0.5), ps.AWR(beta=0.5)]


def by_hand(objective: Any, behavior: Array, reward: Array, steps: int, lr: float, k: int, lag: int) -> list[Array]:
    """Every policy of a run, by autograd of the published loss; all of them are kept, and the data's looked up."""
    logits = np.log(behavior)
    policies = [np.asarray(behavior)]
    for t in range(steps):
        data = policies[max(0, t // k * k - lag)]
        logits = logits + lr * torch_field(objective, data, reward, logits)
        policies.append(softmax(logits))
    return policies


@pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
@pytest.mark.parametrize(("k", "lag"), [(1, 0), (1, 3), (4, 0), (4, 1), (4, 6), (3, 9)])
def test_descent_on_moving_data_is_that_by_hand(objective: Any, k: int, lag: int) -> None:
    behavior, reward = (np.array(of) for of in PROBLEM)
    run = sgd(behavior, reward, objective, steps=25, lr=0.3, refresh_every=k, lag=lag, record_every=1)
    np.testing.assert_allclose(run.policies, by_hand(objective, behavior, reward, 25, 0.3, k, lag), rtol=1e-9)


@pytest.mark.parametrize(
    ("objective", "reference"),
    [
        (objective, reference)
        for objective in (*OBJECTIVES, ps.GRPO(beta=0.1), ps.PPO())
        for reference in ("behavior", *(["initial"] if objective.takes_reference else []))
    ],
    ids=str,
)
def test_rounds_of_steps_are_descent_that_refreshes_as_often(objective: Any, reference: Any) -> None:
    for k, lag in ((1, 0), (3, 2)):
        options: dict[str, Any] = {"lr": 0.3, "reference": reference}
        run = sgd(*PROBLEM, objective, steps=8 * k, refresh_every=k, lag=k * lag, record_every=k, **options)
        rounds = lagged_iteration(*PROBLEM, objective, rounds=8, steps_per_round=k, lag=lag, policies=True, **options)
        found = rounds[[f"pi_{a}" for a in range(4)]].to_numpy()
        np.testing.assert_allclose(run.policies, found, rtol=1e-12)
        assert rounds["status"].tolist() == ["initial"] + ["stepped"] * 8


def test_many_steps_a_refresh_are_whole_rounds() -> None:
    whole = lagged_iteration(*PROBLEM, "kimi", beta=0.3, rounds=4, lag=1)
    steps = lagged_iteration(*PROBLEM, "kimi", beta=0.3, rounds=4, lag=1, steps_per_round=4000, lr=0.5)
    np.testing.assert_allclose(steps["value"], whole["value"], atol=1e-6)
    run = sgd(*PROBLEM, "kimi", beta=0.3, steps=16000, lr=0.5, refresh_every=4000, lag=4000, record_every=4000)
    np.testing.assert_allclose(run.value, whole["value"], atol=1e-6)
    assert whole["value"].is_monotonic_increasing


@pytest.mark.parametrize("batch", [{}, {"batch_size": 16, "group_size": 4}], ids=["exact", "sampled"])
def test_data_that_never_refresh_are_the_behaviors(batch: dict[str, int]) -> None:
    start = [0.1, 0.2, 0.3, 0.4]
    fixed = sgd(*PROBLEM, "kimi", beta=0.3, steps=60, lr=0.2, start=start, **batch)
    for moving in ({"refresh_every": 60}, {"refresh_every": 1, "lag": 60}):
        again = sgd(*PROBLEM, "kimi", beta=0.3, steps=60, lr=0.2, start=start, **batch, **moving)
        assert again == fixed


def test_data_of_the_policy_itself_are_on_policy() -> None:
    # The score weight at a log-ratio of zero, on samples of the policy: that of the objective that samples on-policy.
    own = sgd(*PROBLEM, "reinforce", sampling="off_policy", steps=40, lr=0.3, refresh_every=1, record_every=1)
    on = sgd(*PROBLEM, "reinforce", sampling="on_policy", steps=40, lr=0.3, record_every=1)
    np.testing.assert_allclose(own.policies, on.policies, rtol=1e-10)
    older = sgd(*PROBLEM, "reinforce", sampling="off_policy", steps=40, lr=0.3, refresh_every=8, record_every=1)
    assert np.abs(older.policies - on.policies).max() > 1e-3


def test_a_sampled_step_on_moving_data_is_unbiased() -> None:
    options: dict[str, Any] = {"steps": 3, "lr": 0.5, "refresh_every": 2, "lag": 1, "record_every": 1}
    exact = sgd(*UNEVEN, ps.AWR(beta=0.2), **options)
    drawn = [
        sgd(*UNEVEN, ps.AWR(beta=0.2), batch_size=400_000, group_size=group, seed=5, **options)
        for group in (None, 400_000)
    ]
    for run in drawn:
        assert np.abs(run.policies - exact.policies).max() < 2e-3
        assert not np.array_equal(run.policies, exact.policies)
    fixed = sgd(*UNEVEN, ps.AWR(beta=0.2), steps=3, lr=0.5, record_every=1)
    assert np.abs(fixed.policies[3] - exact.policies[3]).max() > 1e-2  # which the tolerance above tells apart


def test_a_second_pass_takes_the_same_samples() -> None:
    options: dict[str, Any] = {"lr": 1e-7, "batch_size": 8, "refresh_every": 4, "record_every": 1, "steps": 8}

    def moves(passes: int) -> Array:
        run = sgd(*PROBLEM, "reinforce", sampling="off_policy", passes=passes, **options)
        return np.diff(run.log_policies, axis=0) / 1e-7

    twice, four, once = moves(2), moves(4), moves(1)
    np.testing.assert_allclose(twice[[2, 3, 6, 7]], twice[[0, 1, 4, 5]], atol=1e-5)
    np.testing.assert_allclose(four[1:4], np.repeat(four[:1], 3, axis=0), atol=1e-5)
    for made, rows in ((twice, (0, 1)), (twice, (0, 4)), (four, (0, 4)), (once, (0, 2))):
        assert np.abs(made[rows[0]] - made[rows[1]]).max() > 1e-2
    np.testing.assert_array_equal(once[0], twice[0])


def test_a_seed_fixes_every_byte_on_moving_data() -> None:
    options: dict[str, Any] = {"beta": 0.3, "steps": 50, "lr": 0.1, "batch_size": 8, "group_size": 4}
    moving: dict[str, Any] = {"refresh_every": 4, "lag": 3, "passes": 2}
    runs = [sgd(*PROBLEM, "kimi", seed=seed, **options, **moving).log_policies.tobytes() for seed in (7, 7, 8)]
    assert runs[0] == runs[1] != runs[2]
    rounds = [
        lagged_iteration(
            *PROBLEM, "kimi", rounds=5, steps_per_round=3, lr=0.2, samples=6, runs=2, seed=seed, policies=True
        )
        for seed in (7, 7, 8)
    ]
    assert rounds[0].equals(rounds[1])
    assert not rounds[0].equals(rounds[2])


def test_the_status_of_a_run_on_moving_data() -> None:
    # A penalty to the first policy holds the run at the nominal target around it, whoever draws the data.
    held = sgd(*PROBLEM, "tba", beta=0.3, steps=3000, lr=0.3, refresh_every=5, reference="initial")
    assert (held.status, held.message) == ("converged", "")
    np.testing.assert_allclose(held.policy, ps.nominal_target(*PROBLEM, 0.3), atol=1e-4)
    assert held.field[-1] < 1e-6 < held.field[0]
    # Around its own data nothing holds it: it goes on to the best action.
    moving = sgd(*PROBLEM, "nominal", beta=0.3, steps=60, lr=0.3, refresh_every=5)
    assert moving.status == "not_converged"
    assert moving.message == "60 steps end before an equilibrium of the exact flow on data of the last policy"
    on = sgd(
        [0.5, 0.5], [0.0, 1.0], "reinforce", sampling="off_policy", value=0.5, steps=400, lr=300.0, refresh_every=1
    )
    assert on.status == "collapsed"
    assert on.message.startswith("next to all mass is on one action, and so are its own data; first within 1e-06")
    assert sgd(*PROBLEM, "kimi", beta=1.0, steps=500, lr=50.0, refresh_every=7, lag=3).status == "diverged"
    still = sgd([0.4, 0.6], [1.0, 1.0], "kimi", steps=12, lr=0.5, refresh_every=3)
    assert still.status == "converged"


def test_actions_too_faint_to_be_drawn_are_left_alone() -> None:
    run = sgd([0.5, 0.3, 0.2], [0.0, 1.0, 0.5], "reinforce", sampling="off_policy", steps=6, lr=9000.0, refresh_every=1)
    assert run.policies[-1].min() < 1e-300
    assert np.isfinite(run.log_policies).all()
    np.testing.assert_allclose(run.policies.sum(axis=-1), 1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lag": 1}, "lag needs refresh_every, without which all data are the behavior's, got 1"),
        ({"passes": 2}, "passes needs refresh_every, without which all data are the behavior's, got 2"),
        ({"refresh_every": 0}, "refresh_every must be an integer >= 1, got 0"),
        ({"refresh_every": 2, "lag": -1}, "lag must be an integer >= 0, got -1"),
        ({"refresh_every": 3, "passes": 2}, "passes must divide refresh_every 3, got 2"),
        ({"reference": "first"}, 'reference must be probabilities, "behavior" or "initial", got \'first\''),
    ],
)
def test_bad_options_of_moving_data_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        sgd(*PROBLEM, "kimi", **{"steps": 5, "lr": 0.1, **options})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": 0.1}, "lr needs steps_per_round, without which each round ends at the target, got 0.1"),
        ({"steps_per_round": 3}, "steps_per_round needs lr, a finite number > 0, got None"),
        ({"steps_per_round": 0, "lr": 0.1}, "steps_per_round must be an integer >= 1, got 0"),
        (
            {"steps_per_round": 10**7, "lr": 0.1},
            "rounds times steps_per_round must be at most 10,000,000, got 20,000,000",
        ),
        (
            {"steps_per_round": 2, "lr": 0.1, "unsampled": "drop"},
            "unsampled must be \"keep\" with steps_per_round, got 'drop'",
        ),
        (
            {"steps_per_round": 2, "lr": 0.1, "unseen": True},
            "unseen must be False with steps_per_round: what leaks in a step goes to the other actions",
        ),
    ],
)
def test_bad_options_of_steps_in_rounds_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        lagged_iteration(*PROBLEM, "kimi", **{"rounds": 2, **options})


def test_a_round_of_steps_that_explodes_is_the_last() -> None:
    problems = np.array([[0.5, 0.5], [0.5, 0.5]]), np.array([[0.0, 1.0], [1.0, 1.0]])
    frame = lagged_iteration(*problems, "kimi", beta=1.0, rounds=30, steps_per_round=20, lr=1e3, policies=True)
    wild, still = (frame[frame["problem"] == i] for i in (0, 1))
    assert wild["status"].iloc[-1] == "diverged"
    assert np.isnan(wild["value"].iloc[-1])
    assert len(wild) < len(still) == 31
    assert (still["pi_0"] == 0.5).all()


def test_what_is_not_drawn_moves_with_the_rest_alone() -> None:
    # One step on samples: the logits of actions that were not drawn move by - pi sum(q g), all others by q g more.
    frame = lagged_iteration(
        *UNEVEN, "awr", beta=0.5, rounds=1, samples=3, seed=1, steps_per_round=1, lr=0.1, policies=True
    )
    behavior = np.array(UNEVEN[0])
    moved = frame[[f"pi_{a}" for a in range(4)]].to_numpy()[1]
    whole = lagged_iteration(*UNEVEN, "awr", beta=0.5, rounds=1, samples=3, seed=1, policies=True)
    drawn = ~np.isclose(whole[[f"pi_{a}" for a in range(4)]].to_numpy()[1], behavior)
    assert 0 < drawn.sum() < 4
    data, reward = np.where(drawn, behavior, 0.0), np.where(drawn, UNEVEN[1], 0.0)
    data = data / data.sum()
    pull = data * np.exp((reward - data @ reward) / 0.5)
    logits = np.log(behavior) + 0.1 * (pull - behavior * pull.sum())
    np.testing.assert_allclose(moved, softmax(logits), rtol=1e-12)
