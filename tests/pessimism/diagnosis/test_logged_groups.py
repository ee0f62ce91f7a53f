"""Groups of a log as problems."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import pessimism as ps
from pessimism.diagnosis.diagnose import diagnose
from pessimism.diagnosis.logged_groups import LoggedGroups, reads_lengths
from pessimism.losses.registry import make_objective
from pessimism.rollouts.read import read_rollouts
from tests.pessimism.diagnosis.logs import log_of

LOG = pd.DataFrame(
    {
        "step": [1, 1, 0, 0, 0, 1, 0, 0],
        "prompt": ["b", "b", "b", "a", "a", "a", "b", "a"],
        "reward": [1.0, 0.0, 0.5, 2.0, 3.0, 4.0, 0.25, 5.0],
        "length": [1, 2, 3, 4, 5, 6, 7, 8],
    }
)


def logged(length: bool = False) -> LoggedGroups:
    return LoggedGroups.of(ps.read_rollouts(LOG, length_column="length" if length else None))


def test_groups_by_step_then_by_first_appearance() -> None:
    groups = logged(length=True)
    assert groups.groups.astype({"prompt": str}).to_numpy().tolist() == [
        [0, "b", 2],
        [0, "a", 3],
        [1, "b", 2],
        [1, "a", 1],
    ]
    assert groups.reward.tolist() == [0.5, 0.25, 2.0, 3.0, 5.0, 1.0, 0.0, 4.0]
    assert groups.length is not None
    assert groups.length.tolist() == [3, 7, 4, 5, 8, 1, 2, 6]
    assert groups.rows(np.array([0, 2])).tolist() == [[0, 1], [5, 6]]


def test_targets_are_those_of_each_group_alone() -> None:
    seen = {}
    for index, targets in logged().targets(ps.OAPL(beta1=0.5, beta2=0.5)):
        rows = [row for target in targets for row in target.policy]
        seen.update(zip(index.tolist(), rows, strict=True))
    rewards = [[0.5, 0.25], [2.0, 3.0, 5.0], [1.0, 0.0], [4.0]]
    assert sorted(seen) == [0, 1, 2, 3]
    for number, reward in enumerate(rewards):
        alone = ps.induced_target(None, reward, "oapl", beta1=0.5, beta2=0.5, unseen=True)
        np.testing.assert_array_equal(seen[number], alone.policy)


def test_lengths_go_with_their_completions() -> None:
    of_log, given = ps.OPO(), ps.OPO(length=3.0)
    assert reads_lengths(of_log)
    assert not reads_lengths(given)
    on = logged(length=True).objective_on(of_log, np.array([[5, 6]]))
    np.testing.assert_array_equal(on.settings["length"], [[1, 2]])


def test_a_batch_is_a_step() -> None:
    with pytest.raises(ValueError, match="the batch of step 0 must have groups of one size for such a baseline"):
        list(logged().targets(ps.ReinforcePP()))


@pytest.mark.parametrize("how", ["float32", "float64", "jsonl", "csv"])
def test_totals_that_differ_by_rounding_are_equal(how: str, tmp_path: Path) -> None:
    """Sums of float32 parts differ by 7e-9 in float64: standardized, that would be a signal of one deviation."""
    kind = np.float64 if how == "float64" else np.float32
    parts = pd.DataFrame({"prompt": ["p"] * 4, "a": [0.1, 0.3, 0.3, 0.2], "b": [0.2, 0.0, 0.0, 0.1]})
    parts = parts.astype({"a": kind, "b": kind})
    source: Any = parts
    if how in ("jsonl", "csv"):
        source = tmp_path / f"log.{how}"
        rows = parts.astype({"a": float, "b": float})
        lines = [json.dumps(row) for row in rows.to_dict("records")]
        source.write_text("\n".join(lines) if how == "jsonl" else rows.to_csv(index=False))
    report = diagnose(source, "std_normalized", reward_column="a,b")
    assert report["all_equal"].tolist() == [True]
    assert report["verdict"].tolist() == ["no signal"]


def test_differences_above_rounding_stay() -> None:
    for rewards in ([1.0, 1.0 + 1e-12], [1e7, 1e7 + 1], [0.0, 1e-300]):
        groups = LoggedGroups.of(read_rollouts(log_of(rewards)))
        assert sorted(groups.reward.tolist()) == rewards
    tiny = LoggedGroups.of(read_rollouts(log_of([0.1 + 0.2, 0.3, 1.0], [1e9, 0.3, 0.1 + 0.2])))
    assert sorted(tiny.reward.tolist()) == [0.3, 0.3, 0.3, 0.3, 1.0, 1e9]


def test_groups_by_id_where_the_log_has_ids() -> None:
    log = ps.read_rollouts(LOG)
    log["group"] = [0, 1, 2, 2, 3, 0, 3, 2]
    log.attrs["grouped"] = True
    for source in (log, ps.read_rollouts(log)):
        found = LoggedGroups.of(source)
        assert found.groups.drop(columns="group").to_dict("list") == {
            "step": [0, 0, 1, 1],
            "prompt": ["b", "a", "b", "b"],
            "n": [3, 2, 2, 1],
        }
        assert found.reward.tolist() == [0.5, 2.0, 5.0, 3.0, 0.25, 1.0, 4.0, 0.0]


def test_groups_that_differ_in_order_alone_are_solved_once():
    log = pd.DataFrame(
        {
            "prompt": [*"aaa", *"bbb", *"cc", *"ddd", *"ee"],
            "reward": [0.0, 1, 1, 1, 0, 1, 0, 1, 1, 1, 2, 0, 1],
        }
    )
    logged = LoggedGroups.of(read_rollouts(log))
    some, like = logged.distinct()
    assert len(some.groups) == 3
    assert like[0] == like[1] != like[3]
    assert like[2] == like[4]
    for group, other in enumerate(like):
        theirs, mine = (of.reward[of.rows(np.array([i]))[0]] for of, i in ((logged, group), (some, other)))
        assert np.array_equal(np.sort(theirs), mine)


def test_lengths_tell_groups_apart():
    log = pd.DataFrame({"prompt": [*"aabbcc"], "reward": [0.0, 1, 1, 0, 0, 1], "length": [3, 5, 5, 3, 5, 3]})
    _, like = LoggedGroups.of(read_rollouts(log, length_column="length")).distinct()
    assert like[0] == like[1] != like[2]


SIGNED = np.array([[-0.6, 1.4, -0.5, -0.3], [0.2, 0.9, -1.0, -0.1], [0.0, 0.0, 0.0, 0.0], [-0.2, -0.1, 0.5, -0.2]])
GIVEN = pd.DataFrame(
    {
        "prompt": np.repeat([*"abcd"], 4),
        "reward": [1.0, 0, 0, 0, 0, 1, 0, 0.5, 1, 1, 1, 1, 0, 0, 1, 0],
        "a": SIGNED.ravel(),
        "b": np.repeat([0.1, 0.4, 0.9, 0.25], 4),
    }
)
NO_ADVANTAGE = {
    *("dpo", "async_dpo", "chi_po", "ipo", "qrpo", "luffy", "chord", "roirl", "cql", "cql_reference", "cql_huber"),
    *("ips", "weight_clipping", "propensity_clipping", "implicit_exploration", "exponential_smoothing"),
    *("log_smoothing", "log_smoothing_linear", "power_mean", "chi2", "pevi", "pevi_kl", "empirical_likelihood_lcb"),
}


@pytest.mark.parametrize("name", sorted(ps.objectives()))
def test_logged_advantages_replace_those_of_the_objective(name: str) -> None:
    """The target is stationary for the score weight at the logged advantages, by the certificate."""
    logged = LoggedGroups.of(ps.read_rollouts(GIVEN, advantage_column="a"))
    objective = make_objective(name)
    if name in NO_ADVANTAGE:
        with pytest.raises(ValueError, match=f"advantage_column: {name} has no advantage to replace, it"):
            list(logged.targets(objective))
        return
    ((index, (target,)),) = logged.targets(objective)
    np.testing.assert_array_equal(np.asarray(target.advantage_rows), SIGNED[index])
    solved = np.asarray(target.status) != "not_converged"
    assert solved.all()
    assert float(target.certificate()["worst"].max()) < 1e-9
    own = LoggedGroups.of(ps.read_rollouts(GIVEN.drop(columns=["a", "b"])))
    ((_, (plain,)),) = own.targets(objective)
    assert not np.array_equal(np.asarray(plain.advantage_rows), SIGNED[index])
    assert not np.allclose(plain.policy, target.policy, atol=1e-6, equal_nan=True)


def test_advantages_that_are_those_of_the_objective_change_nothing() -> None:
    kimi = ps.Kimi(0.5)
    own = np.asarray(kimi.advantage(GIVEN["reward"].to_numpy().reshape(4, 4)))
    log = GIVEN.assign(a=own.ravel(), b=np.repeat(GIVEN["reward"].to_numpy().reshape(4, 4).mean(axis=-1), 4))
    names = ["kl", "value", "kappa", "regime", "max_ratio", "leak"]
    plain = ps.diagnose(GIVEN.drop(columns=["a", "b"]), kimi)[names]
    for options in ({"advantage_column": "a"}, {"baseline_column": "b"}):
        given = ps.diagnose(log, kimi, **options)[names]
        pd.testing.assert_frame_equal(given, plain, rtol=1e-12)
        read = ps.read_rollouts(log, **options)  # what is used stays with the frame
        pd.testing.assert_frame_equal(ps.diagnose(read, kimi)[names], plain, rtol=1e-12)
    assert "theorem" in ps.diagnose(GIVEN.drop(columns=["a", "b"]), kimi).recommendation
    report = ps.diagnose(log, kimi, advantage_column="a")
    assert "theorem" not in report.recommendation
    assert (report["population_regime"] == "undefined").all()
    assert report.population_note == "the advantages are those of the log, and new groups have none"


def test_a_logged_baseline_is_what_is_subtracted() -> None:
    for objective in (ps.Kimi(0.5), ps.OAPL(beta1=0.5, beta2=0.5), ps.TBA(beta=0.5)):
        ((index, (target,)),) = LoggedGroups.of(ps.read_rollouts(GIVEN, baseline_column="b")).targets(objective)
        expected = (GIVEN["reward"] - GIVEN["b"]).to_numpy().reshape(4, 4)[index]
        np.testing.assert_allclose(np.asarray(target.advantage_rows), expected, rtol=1e-15)
    for name in ("grpo", "std_normalized", "max_rl"):
        with pytest.raises(ValueError, match=f"baseline_column: the advantage of {name} is not the reward minus a"):
            ps.diagnose(GIVEN, name, baseline_column="b")


def test_a_shift_lowers_the_logged_baseline() -> None:
    """By 0.7 temperatures of 0.5, as a baseline that was logged lower by 0.35 does."""
    logged = LoggedGroups.of(ps.read_rollouts(GIVEN, baseline_column="b"))
    lower = LoggedGroups.of(ps.read_rollouts(GIVEN.assign(b=GIVEN["b"] - 0.35), baseline_column="b"))
    ((_, (shifted,)),) = logged.targets(ps.Kimi(0.5), shift=0.7)
    ((_, (other,)),) = lower.targets(ps.Kimi(0.5))
    np.testing.assert_allclose(shifted.policy, other.policy, rtol=1e-12)


@pytest.mark.parametrize("name", ["kimi", "grpo", "oapl", "ppo", "awr"])
def test_the_only_completion_of_a_group(name: str) -> None:
    log = pd.DataFrame({"prompt": [*"aabc"], "reward": [1.0, 0.0, 0.7, -0.7]})
    zero = ps.diagnose(log, name, singleton="zero")
    reward = ps.diagnose(log, name, singleton="reward")
    assert not zero["all_equal"].iloc[1:].any()
    assert zero["reading"].iloc[1:].str.startswith("no signal: one completion").all()
    assert zero["leak"].tolist()[1:] == [0.0, 0.0]
    assert zero["verdict"].tolist()[1:] == ["no signal"] * 2
    assert reward["verdict"].iloc[1] == "unmeasured"
    assert reward["verdict"].iloc[2] == ("no signal" if name == "awr" else "leaking")
    assert (zero.summary["unmeasured"], reward.summary["unmeasured"]) == (0, 1)
    assert "1 group of a single completion with a positive advantage has no verdict" in reward.recommendation
    assert reward["leak"].iloc[1] == 0.0  # a positive weight keeps its only completion
    assert reward["regime"].iloc[2] == "negative" or name == "awr"
    if reward["regime"].iloc[1] != "undefined":
        assert reward["reading"].iloc[1].startswith("one completion, with a positive advantage: it gains")
    assert reward["population_regime"].iloc[1:].tolist() == ["undefined"] * 2  # new groups of one would have none
    assert reward["population_kappa"].iloc[1:].isna().all()
    assert reward["population_regime"].iloc[0] == zero["population_regime"].iloc[0]
    assert reward.summary["population_note"]
    assert zero["kl"].iloc[0] == reward["kl"].iloc[0]
    assert ps.diagnose(ps.read_rollouts(log, singleton="reward"), name)["leak"].tolist() == reward["leak"].tolist()


def test_equal_groups_are_left_out() -> None:
    log = GIVEN.drop(columns=["a", "b"])
    report = ps.diagnose(log, "kimi", drop_equal=True)
    assert report["prompt"].tolist() == ["a", "b", "d"]
    whole = ps.diagnose(log, "kimi").frame
    names = ["prompt", "n", "reward_mean", "kl", "value", "reading"]
    left = whole[whole["prompt"] != "c"].reset_index(drop=True)[names]
    left["reading"] = report["reading"]  # in the population equal groups are dropped, too
    pd.testing.assert_frame_equal(report[names], left)
    assert (report["population_regime"] == "undefined").all()
    assert "1 group of equal rewards left out, as asked (drop_equal)" in report.read["warnings"]
    with pytest.raises(ValueError, match="drop_equal leaves nothing: in each of the 1 groups all rewards are equal"):
        ps.diagnose(log[log["prompt"] == "c"], "kimi", drop_equal=True)
