"""Log-probabilities of a row against sums over all sequences, and what is no log-probability."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from pessimism.arrays import Floats
from pessimism.rollouts.log_probs import FACTS, KNOWN, Facts, LogProbs, choose_log_probs, facts_of
from pessimism.rollouts.read import read_rollouts
from tests.pessimism.rollouts.logs import message

COLUMNS = LogProbs("mu", "pi")
ROW = {"prompt": "p", "reward": 1.0, "mu": [-1.0, -2.0, -0.5], "pi": [-1.5, -1.0, -0.25]}


def facts(
    row: dict[str, Any], columns: LogProbs = COLUMNS, versions: tuple[str, ...] = (), touched: Any = None
) -> dict[str, float]:
    kept = Facts(touched)
    kept.append(facts_of(row, columns, versions))
    return {name: float(column[0]) for name, column in kept.columns().items()}


def test_means_over_all_sequences_are_the_divergences() -> None:
    rng = np.random.default_rng(0)
    first, second = (rng.dirichlet(np.ones(3), size=(2, 4)) for _ in "ab")  # of the policies: by the token before
    whole, mean = np.zeros(4), dict.fromkeys(("token_kl", "token_kl_reverse"), 0.0)
    for tokens in itertools.product(range(3), repeat=3):
        states = (3, *tokens[:-1])
        mu, pi = (
            np.log([t[state, token] for state, token in zip(states, tokens, strict=True)])
            for t in (first[0], second[0])
        )
        p, q = np.exp(pi.sum()), np.exp(mu.sum())
        whole += np.array([p, q, p * np.log(p / q), q * np.log(q / p)])
        found = facts({"mu": mu.tolist(), "pi": pi.tolist()})
        for name in mean:
            mean[name] += q * found[name]
    np.testing.assert_allclose(whole[:2], 1.0, rtol=1e-12)
    assert mean["token_kl"] == pytest.approx(whole[2], rel=1e-12)
    assert mean["token_kl_reverse"] == pytest.approx(whole[3], rel=1e-12)


def test_sums_are_those_of_the_tokens() -> None:
    found = facts(ROW, touched=lambda u, p: (u > 0, (u < 0) & (p > 0.3)))
    u = np.array([-0.5, 1.0, 0.25])
    assert found == pytest.approx(
        {
            "behavior_log_prob": -3.5,
            "policy_log_prob": -2.75,
            "tokens": 3.0,
            "token_kl": sum(np.exp(u[:i].sum()) * (np.exp(u[i]) * u[i] - np.exp(u[i]) + 1.0) for i in range(3)),
            "token_kl_reverse": np.sum(np.exp(u) - 1.0 - u),
            "token_kl_local": np.sum(np.exp(u) * u - np.exp(u) + 1.0),
            "token_ratio": np.exp(u).sum(),
            "token_ratio_square": np.exp(2 * u).sum(),
            "token_log_ratio_min": -0.5,
            "token_log_ratio_max": 1.0,
            "touched_up": 2.0,
            "touched_down": 1.0,
        }
    )


@pytest.mark.parametrize("mask", [[0, 1, 1], [False, True, True], [0.0, 1.0, 1.0], [0, 1, True]])
def test_masked_tokens_count_for_nothing(mask: list[Any]) -> None:
    alone = facts({"mu": ROW["mu"][1:], "pi": ROW["pi"][1:]})
    for hole in (None, float("nan"), 3.0, float("-inf")):
        row = {"mu": [hole, *ROW["mu"][1:]], "pi": [-9.0, *ROW["pi"][1:]], "keep": mask}
        assert facts(row, LogProbs("mu", "pi", "keep")) == alone
        assert facts({**row, "loss_mask": mask}) == alone  # known by its name
    assert facts({**ROW, "loss_mask": None}) == facts({**ROW, "loss_mask": 1.0}) == facts(ROW)
    assert facts({**ROW, "loss_mask": [0, 0, 0]}) == facts({**ROW, "loss_mask": 0.0}) == {"tokens": 0.0}


def test_a_number_for_a_completion() -> None:
    assert facts({"mu": -3.0, "pi": -2}) == {"behavior_log_prob": -3.0, "policy_log_prob": -2.0}
    assert facts({"mu": np.float32(-3.0)}, LogProbs("mu")) == {"behavior_log_prob": -3.0}
    assert facts({"mu": [-3.0, -1.0]}, LogProbs("mu")) == {"behavior_log_prob": -4.0, "tokens": 2.0}


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"mu": [-1.0, None, -0.5]}, "mu[1] is null or nan, no log-probability"),
        ({"pi": [-1.0, -1.0, float("nan")]}, "pi[2] is null or nan, no log-probability"),
        ({"mu": [-1.0, 0.5, -0.5]}, "mu[1] is 0.5, no log-probability: one is finite and at most 0"),
        ({"pi": [float("-inf"), -1.0, -1.0]}, "pi[0] is -inf, no log-probability: one is finite and at most 0"),
        ({"mu": 0.25, "pi": -1.0}, "mu is 0.25, no log-probability: one is finite and at most 0"),
        ({"mu": None}, "mu has one number and pi has 3 values: they must be of the same tokens"),
        ({"pi": [-1.0]}, "mu has 3 values and pi has 1 values: they must be of the same tokens"),
        ({"pi": -1.0}, "mu has 3 values and pi has one number: they must be of the same tokens"),
        ({"loss_mask": [1, 1]}, "mu has 3 values and loss_mask has 2: they must be of the same tokens"),
        ({"loss_mask": [1, 1, None]}, "loss_mask[2] is null or nan, neither 0 nor 1"),
        ({"mu": ["-1", "-2", "-3"]}, "mu is ['-1', '-2', '-3'], neither a number nor a list of numbers"),
        ({"mu": [[-1.0], [-2.0, -3.0]]}, "mu is [[-1.0], [-2.0, -3.0]], neither a number nor a list of numbers"),
        ({"mu": [[-1.0, -2.0, -3.0]]}, "mu is [[-1.0, -2.0, -3.0]], neither a number nor a list of numbers"),
        ({"mu": [True, False, True]}, "mu is [True, False, True], neither a number nor a list of numbers"),
        ({"mu": "[-1, "}, "mu is '[-1, ', neither a number nor a list of numbers"),
        ({"mu": {}}, "mu is {}, neither a number nor a list of numbers"),
    ],
)
def test_what_is_no_log_probability_is_named(row: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]*$") as error:
        facts({**ROW, **row})
    assert str(error.value) == says


def test_rounding_leaves_a_log_probability_a_little_above_0() -> None:
    assert facts({"mu": [1e-6, -1.0], "pi": [0.0, -1.0]})["behavior_log_prob"] == -1.0 + 1e-6


@pytest.mark.parametrize(
    ("given", "ends"),
    [(3, (3.0, 3.0)), ([4, 2, 3], (2.0, 4.0)), ("7", (7.0, 7.0)), (["5", "6"], (5.0, 6.0)), (2.0, (2.0, 2.0))],
)
def test_versions(given: Any, ends: tuple[float, float]) -> None:
    found = facts_of({"v": given}, None, ("v",))
    assert found is not None
    assert found.facts[-2:] == list(ends)


@pytest.mark.parametrize("given", [None, -1, float("nan"), [None], [], "default", ["default"]])
def test_no_version(given: Any) -> None:
    found = facts_of({"v": given}, None, ("v",))
    assert found is not None
    assert np.isnan(found.facts).all()


@pytest.mark.parametrize("given", [0.5, True, {}])
def test_what_is_no_version_is_named(given: Any) -> None:
    with pytest.raises(ValueError, match="v is .*, no number of a version"):
        facts_of({"v": given}, None, ("v",))


def test_columns_are_known_by_their_names() -> None:
    names = ["prompt", "trainer_logprobs", "inference_logprobs", "loss_mask", "head_version", "tail_version"]
    found = choose_log_probs(names, KNOWN, "")
    assert found == (LogProbs("inference_logprobs", "trainer_logprobs", "loss_mask"), ("head_version", "tail_version"))
    assert choose_log_probs(names, None, "") == (None, ())
    assert choose_log_probs(["rollout_log_probs"], KNOWN, "")[0] == LogProbs("rollout_log_probs")
    assert choose_log_probs(["generation_logprobs"], KNOWN, "")[0] == LogProbs("generation_logprobs")
    assert choose_log_probs(["a,b"], "a,b", "")[0] == LogProbs("a,b")
    assert choose_log_probs(["a", "b"], "a, b", "")[0] == LogProbs("a", "b")


def test_tokens_of_many_rows_are_counted_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pessimism.rollouts.log_probs._TOGETHER", 7)
    rng, calls = np.random.default_rng(0), []

    def touched(u: Any, p: Any) -> Any:
        calls.append(len(u))
        return u > 0.5, p < 0.3

    kept, expected = Facts(touched), []
    kept.skip(1)
    for size in (3, 1, 5, 2, 9, 1):
        mu, pi = -rng.exponential(size=(2, size))
        kept.append(facts_of({"mu": mu, "pi": pi}, COLUMNS, ()))
        kept.append(None)
        expected += [(np.sum(pi - mu > 0.5), np.sum(np.exp(mu) < 0.3)), (np.nan, np.nan)]
    found = kept.columns()
    np.testing.assert_array_equal(
        np.stack([found["touched_up"], found["touched_down"]], 1), [(np.nan, np.nan), *expected]
    )
    assert calls == [9, 11, 1]


def test_rows_without_facts_are_nan() -> None:
    kept = Facts()
    assert kept.columns() == {}
    kept.skip(2)
    kept.append(facts_of({"mu": -1.0}, LogProbs("mu"), ()))
    kept.append(None)
    np.testing.assert_array_equal(kept.columns()["behavior_log_prob"], [np.nan, np.nan, -1.0, np.nan])
    assert set(kept.columns()) == {"behavior_log_prob"}


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_every_format_says_the_same(tmp_path: Path, suffix: str) -> None:
    rows = [{**ROW, "sampling_client_step": 3, "loss_mask": mask} for mask in ([1, 1, 1], [0, 1, 1])]
    path = tmp_path / f"log{suffix}"
    frame = pd.DataFrame(rows)
    if suffix == ".parquet":
        frame.to_parquet(path)
    elif suffix == ".csv":
        frame.assign(**{name: frame[name].map(json.dumps) for name in ("mu", "pi", "loss_mask")}).to_csv(
            path, index=False
        )
    else:
        frame.to_json(path, orient="records", lines=True)
    for source in (path, frame):
        found = read_rollouts(source, log_prob_columns="mu,pi")
        told = {"log-probabilities of the behavior": "mu", "of the policy": "pi", "version": "sampling_client_step"}
        assert told.items() <= found.attrs["columns"].items()
        expected = [facts(row, versions=("sampling_client_step",)) for row in rows]
        pd.testing.assert_frame_equal(found[list(expected[0])], pd.DataFrame(expected), check_exact=True)


def test_a_file_without_log_probabilities_among_others(tmp_path: Path) -> None:
    (tmp_path / "1.jsonl").write_text(json.dumps({"prompt": "p", "reward": 0}) + "\n")
    (tmp_path / "2.jsonl").write_text(json.dumps({"prompt": "p", "reward": 0, "rollout_log_probs": [-1.0]}) + "\n")
    found = read_rollouts(tmp_path, log_prob_columns=KNOWN)
    np.testing.assert_array_equal(found["behavior_log_prob"], [np.nan, -1.0])


def test_errors_name_the_line_and_the_columns(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(json.dumps(ROW) + "\n" + json.dumps({**ROW, "pi": [-1.0, 2.0, -1.0]}) + "\n")
    assert message(path, log_prob_columns="mu,pi") == (
        f"{path}:2: pi[1] is 2, no log-probability: one is finite and at most 0"
    )
    assert len(read_rollouts(path, log_prob_columns="mu,pi", skip_bad=True)) == 1
    assert message(path, log_prob_columns="mu,gone").startswith(
        "log_prob_columns: 'gone' is not a column; columns found"
    )
    assert "must be one or two columns" in message(path, log_prob_columns="mu,pi,mu")
    path.write_text(json.dumps(ROW) + "\n" + json.dumps({"prompt": "p", "reward": 1}) + "\n")
    assert message(path, log_prob_columns="mu,pi") == f"{path}:2: missing key 'mu'"


def test_the_outputs_of_a_session_are_one_completion_with_all_of_their_tokens() -> None:
    """verl's SAMPLE_ROLLOUT_OUTPUT: as if the tokens stood in one row, one output without tokens and extremes too."""
    rng = np.random.default_rng(3)
    rows, whole = [], []
    for session in range(6):
        parts = [-rng.exponential(size=(2, int(n))) for n in rng.integers(0, 4, size=3)]
        if session == 5:
            parts = [np.zeros((2, 0))] * 3
        uid, reward = f"a_{session}", float(session % 2)
        for i in rng.permutation(3):
            rows.append((f"{uid}_{i}", reward, parts[i][0].tolist(), parts[i][1].tolist(), session + int(i)))
        mu, pi = np.concatenate(parts, axis=1)
        whole.append((f"{uid}_0", reward, mu.tolist(), pi.tolist(), session))
    names = ["uid", "score", "mu", "pi", "sampling_client_step"]
    logs = [pd.DataFrame(of, columns=names).assign(input="q", output="x") for of in (rows, whole)]

    def touched(u: Floats, _: Floats) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        return u > 0.1, u < -0.1

    found, expected = (
        read_rollouts(log, log_prob_columns="mu,pi", touched=touched, group_column="uid").sort_values(
            "behavior_log_prob", ignore_index=True
        )
        for log in logs
    )
    known = [name for name in FACTS if name in expected and name != "last_version"]
    assert len(known) == 13
    np.testing.assert_allclose(found[known].to_numpy(), expected[known].to_numpy(), rtol=1e-12, atol=1e-14)
    assert (found["last_version"] - found["version"]).tolist() == [2.0] * 6
