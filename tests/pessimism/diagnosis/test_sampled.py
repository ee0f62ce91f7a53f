"""Which completions of a log have log-probabilities, and what is independent of each other."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pessimism.diagnosis.logged_groups import LoggedGroups
from pessimism.diagnosis.sampled import Sampled
from pessimism.diagnosis.what_was_read import clusters
from pessimism.rollouts.read import read_rollouts


def sampled(columns: str | None, **fields: object) -> Sampled:
    log = pd.DataFrame({"prompt": list("babac"), "reward": [0.0, 1.0, 2.0, 3.0, 4.0], **fields})
    return Sampled(LoggedGroups.of(read_rollouts(log, log_prob_columns=columns)))


def test_completions_are_in_the_order_of_the_groups() -> None:
    found = sampled("mu,pi", mu=[-1.0, -2.0, -3.0, -4.0, -5.0], pi=[-2.0, -2.0, -2.0, -2.0, -2.0])
    np.testing.assert_array_equal(found.reward, [0.0, 2.0, 1.0, 3.0, 4.0])
    np.testing.assert_array_equal(found.behavior, [-1.0, -3.0, -2.0, -4.0, -5.0])
    np.testing.assert_array_equal(found.log_ratio, [-1.0, 1.0, 0.0, 2.0, 3.0])
    np.testing.assert_array_equal(found.cluster, [0, 0, 1, 1, 2])
    assert (found.clustered_by, found.notes, found.why_no_ratios()) == ("prompts", [], None)


def test_one_prompt_has_groups_for_clusters() -> None:
    found = sampled("mu,pi", prompt="p", step=[1, 1, 2, 2, 3], mu=-1.0, pi=[-1.0, -2.0, -1.0, -2.0, -1.0])
    assert found.clustered_by == "groups"
    np.testing.assert_array_equal(found.cluster, [0, 0, 1, 1, 2])


@pytest.mark.parametrize(
    ("columns", "fields", "says"),
    [
        (None, {}, "read without log-probabilities"),
        ("mu", {"mu": [[]] * 5}, "no completion has log-probabilities of a token that counts"),
        ("mu", {"mu": -1.0}, "log-probabilities of the behavior alone"),
        ("mu,pi", {"mu": -1.0, "pi": -1.5}, "all 5 completions have the same log-ratio, -0.5"),
    ],
)
def test_why_there_are_no_ratios(columns: str | None, fields: dict[str, object], says: str) -> None:
    assert says in str(sampled(columns, **fields).why_no_ratios())


def test_what_is_left_out() -> None:
    tokens = [[-1.0], [-1.0], [-1.0], [-1.0], [-1.0]]
    found = sampled("mu,pi", mu=tokens, pi=tokens, loss_mask=[[1], [0], [0], [1], [1]])
    assert found.notes == ["2 completions without a token that counts are left out"]
    assert len(found.rows) == 3


def test_clusters_are_those_of_the_report() -> None:
    """A prompt that stands in two groups of a step: the groups are what was sampled, as the report has them."""
    fields = {
        "prompt": ["a", "a", "a", "b", "b"],
        "id": [1, 1, 2, 3, 3],
        "mu": -1.0,
        "pi": [-1.0, -2.0, -1.0, -2.0, -1.0],
    }
    log = pd.DataFrame({"reward": [0.0, 1.0, 2.0, 3.0, 4.0], **fields})
    logged = LoggedGroups.of(read_rollouts(log, log_prob_columns="mu,pi", group_column="id"))
    found = Sampled(logged)
    np.testing.assert_array_equal(found.cluster, clusters(logged.groups)[found.group])
    np.testing.assert_array_equal(found.cluster, [0, 0, 1, 2, 2])
    assert found.clustered_by == "groups"
