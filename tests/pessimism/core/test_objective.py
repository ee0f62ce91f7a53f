"""What an objective is: hyper-parameters that are numbers, weights that are coupled or not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pessimism as ps
from pessimism.core.bandit import make_bandit
from pessimism.core.objective import as_objective
from pessimism.losses.registry import make_objective
from tests.helpers import (
    PROBLEMS,
    assert_log_policies_agree,
    cases,
    log_policy,
)
from tests.pessimism.fixed_point.own import Coupled, Uncoupled

GENERIC = PROBLEMS["generic"]


POSITIVE_FIELDS = [
    (name, field, value)
    for name, fields_of in {
        **{n: ["beta"] for n in ("nominal", "kimi", "shifted_mean", "optimal_value", "constant_baseline", "tba")},
        "a_star_po": ["beta1", "beta2"],
        "oapl": ["beta1", "beta2"],
        "std_normalized": ["beta", "eps"],
        "rebel": ["eta"],
        "awr": ["beta", "w_max"],
        "truncated_is": ["beta", "cap"],
        "mixed_chi2_kl": ["beta", "gamma"],
    }.items()
    for field in fields_of
    for value in (0.0, -1.0, float("nan"), "0.1", True, None)
]


@pytest.mark.parametrize(("name", "field", "value"), POSITIVE_FIELDS)
def test_bad_hyper_parameters_are_named(name: str, field: str, value: Any) -> None:
    rule = "must be > 0" if isinstance(value, float) and value <= 0 else "must be a finite number"
    with pytest.raises(ValueError, match=f"^{name}: {field} {rule}, got {value!r}$"):
        make_objective(name, **{field: value})


@pytest.mark.parametrize(
    ("name", "field"),
    [("shifted_mean", "shift"), ("constant_baseline", "value"), ("asym_re", "shift"), ("kimi", "beta")],
)
def test_infinite_hyper_parameters_are_refused(name: str, field: str) -> None:
    with pytest.raises(ValueError, match=f"^{name}: {field} must be a finite number, got inf$"):
        make_objective(name, **{field: float("inf")})


@pytest.mark.parametrize("number", [np.float64(0.5), np.float32(0.5), np.int64(1), 1])
def test_numpy_numbers_are_numbers(number: Any) -> None:
    found = ps.induced_target(*GENERIC, "kimi", beta=number)
    assert_log_policies_agree(found.log_policy, log_policy(*GENERIC, "kimi", beta=float(number)))


CASES = cases()


@pytest.mark.parametrize("name", [n for n in CASES if not CASES[n].takes_propensity])
def test_coupling_is_declared_truthfully(name: str) -> None:
    class Undeclared:
        advantage = staticmethod(CASES[name].advantage)
        score_weight = staticmethod(CASES[name].score_weight)
        loss = staticmethod(CASES[name].loss)

    assert as_objective(Undeclared()).coupled == CASES[name].coupled


def test_own_objectives_are_probed_for_coupling() -> None:
    assert not as_objective(Uncoupled()).coupled
    assert as_objective(Coupled()).coupled


def test_an_object_without_words_is_named_by_its_class() -> None:
    class Loud(Uncoupled):
        def __str__(self) -> str:
            return "loud(2)"

    assert str(as_objective(Uncoupled())) == "Uncoupled"
    assert str(as_objective(Loud())) == "loud(2)"
    assert str(as_objective(ps.Kimi(beta=0.5))) == "kimi(beta=0.5)"


def test_facts_of_the_actions_follow_rows_and_actions() -> None:
    objective = ps.OPO(length=[3.0, 1.0, 2.0])
    assert objective == ps.OPO(length=(3, 1, 2))
    assert hash(objective) == hash(ps.OPO(length=np.array([3.0, 1.0, 2.0])))
    assert (objective.swept, objective.facts, objective.arrays) == ((), ("length",), ("length",))
    assert ps.OPO().facts == ps.OPO(length=2.0).facts == ()
    rows = objective.on_rows(make_bandit(np.full(3, 1 / 3), np.zeros((2, 3))))
    assert rows.length.tolist() == [[3.0, 1.0, 2.0]] * 2
    assert rows.on_row(1, [2, 0]).length == (2.0, 3.0)
    assert ps.OPO(length=2.0).fact("length", np.zeros(3)) == 2.0
    with pytest.raises(ValueError, match=r"^opo: length\[1, 0\] must be >= 1, got 0.5$"):
        ps.OPO(length=[[1.0, 2.0], [0.5, 1.0]])
    with pytest.raises(ValueError, match="^opo: length must be one number for each action here; induced_target takes"):
        make_objective(ps.OPO(length=[[1.0, 2.0]]))
