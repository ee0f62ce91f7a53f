"""Results are equal where all that they hold is: after a copy, a pickle, or a way through another process."""

from __future__ import annotations

import copy
import math
import pickle
import pkgutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields, is_dataclass, replace
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import pessimism as ps
from pessimism.contrib.gaussian import quadratic_target
from pessimism.equality import same
from pessimism.losses.registry import make_objective

EXAMPLES = Path(__file__).parents[2] / "examples"
BEHAVIOR, REWARD = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]]), np.array([0.2, 0.9, 0.4])
GROUP = [1.0, 0.0, 0.0, 1.0]


class Own:
    """An objective of a user."""

    def __init__(self, beta: float) -> None:
        self.beta = beta

    def advantage(self, reward: Any, weights: Any = None) -> Any:
        return reward - (
            reward.mean(-1, keepdims=True) if weights is None else (weights * reward).sum(-1, keepdims=True)
        )

    def score_weight(self, log_ratio: Any, advantage: Any, weights: Any = None) -> Any:
        return advantage - self.beta * log_ratio

    def loss(self, log_ratio: Any, advantage: Any, weights: Any = None) -> Any:
        return (advantage - self.beta * log_ratio) ** 2 / (2 * self.beta)


def logs() -> ps.Logs:
    return ps.make_logs(reward=[1.0, 0.0, 1.0], action=[0, 1, 0], pscore=[0.5, 0.5, 0.5], n_actions=2)


POLICY = np.array([0.6, 0.4])
RESULTS: dict[str, Callable[[], Any]] = {
    "target": lambda: ps.induced_target(BEHAVIOR, REWARD, "kimi"),
    "sweep": lambda: ps.induced_target(BEHAVIOR, REWARD, "kimi", beta=np.array([0.1, 1.0])),
    "own objective": lambda: ps.induced_target(BEHAVIOR[0], REWARD, Own(0.3), check=False),
    "invalid row": lambda: ps.induced_target([[0.5, 0.3, 0.2], [1.0, 1.0, 1.0]], REWARD, "kimi", on_error="status"),
    "unseen": lambda: ps.induced_target(BEHAVIOR[0], REWARD, "constant_baseline", value=5.0, unseen=True),
    "minimizers": lambda: ps.stationary_points(BEHAVIOR[0], REWARD, "constant_baseline"),
    "flow": lambda: ps.gradient_flow(BEHAVIOR[0], REWARD, "kimi"),
    "sgd": lambda: ps.sgd(BEHAVIOR[0], REWARD, "kimi", steps=5, lr=0.1),
    "lagged": lambda: ps.lagged_iteration(BEHAVIOR[0], REWARD, "kimi", rounds=2),
    "finite group": lambda: ps.finite_group("kimi", 4, pass_rate=0.3),
    "finite group of an own objective": lambda: ps.finite_group(Own(0.3), 4, pass_rate=0.3, check=False),
    "affinity": lambda: ps.affinity([[0.1, 0.2]], [[1.0, -1.0]]),
    "diagnosis": lambda: ps.diagnose(EXAMPLES / "verl_rollouts", "kimi", beta=0.1),
    "rollouts": lambda: ps.read_rollouts(EXAMPLES / "verl_rollouts"),
    "logs": logs,
    "evaluation": lambda: ps.evaluate(POLICY, logs(), "snips"),
    "estimators": lambda: dict.fromkeys(ps.estimators()),
    "quadratic": lambda: quadratic_target(1.0, 0.0, 1.0, 0.5),
    "certificate": lambda: ps.induced_target(BEHAVIOR, REWARD, "kimi").certificate(),
}
ROUTES: dict[str, Callable[[Any], Any]] = {
    "pickle": lambda value: pickle.loads(pickle.dumps(value)),
    "deep copy": copy.deepcopy,
}


def asked(value: Any) -> Any:
    """A result of which everything was asked, so that what it remembers travels with it."""
    if isinstance(value, ps.InducedTarget):
        value.to_dict(), value.conservatism(), value.certificate(), repr(value)
    return value


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("name", RESULTS)
def test_a_copy_is_equal(name: str, route: str) -> None:
    value = asked(RESULTS[name]())
    back = ROUTES[route](value)
    assert back is not value
    assert same(back, value)
    if not isinstance(value, pd.DataFrame | dict | tuple):
        assert back == value
        assert back != RESULTS["quadratic" if name != "quadratic" else "flow"]()


@pytest.mark.parametrize("name", ps.objectives())
def test_targets_of_every_objective_and_the_objectives_travel(name: str) -> None:
    target = asked(ps.induced_target([0.5, 0.3, 0.2], [0.2, 0.9, 0.4], name))
    for route in ROUTES.values():
        assert route(target) == target
        assert route(target.objective) == target.objective


SWEPT = {"array": np.array([0.1, 1.0]), "list": [0.1, 1.0], "scalar array": np.array(0.1)}
BETAS = [name for name in ps.objectives() if "beta" in make_objective(name).sweeps]


@pytest.mark.parametrize("kind", SWEPT)
@pytest.mark.parametrize("name", BETAS)
def test_objectives_with_arrays_are_compared_by_their_numbers(name: str, kind: str) -> None:
    of = type(make_objective(name))
    one, other = (of(beta=copy.deepcopy(SWEPT[kind])) for _ in range(2))  # type: ignore[call-arg]
    assert one == other
    assert one != of(beta=2.0 * np.asarray(SWEPT[kind]))  # type: ignore[call-arg]
    assert one != of(beta=0.1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="unhashable"):
        hash(one)


@pytest.mark.parametrize("name", ps.objectives())
def test_equal_objectives_have_equal_hashes(name: str) -> None:
    one, other = make_objective(name), make_objective(name)
    assert one == other
    assert len({one, other, *map(make_objective, ps.objectives())}) == len(ps.objectives())


def test_the_type_of_a_number_does_not_tell_objectives_apart() -> None:
    alike = {ps.Kimi(beta=1), ps.Kimi(beta=1.0), ps.Kimi(beta=np.float64(1.0))}
    assert alike == {ps.Kimi(beta=1.0)}
    assert ps.Kimi(beta=1.0) != ps.Kimi(beta=2.0)
    assert ps.Kimi(beta=1.0) != "kimi"


def test_objectives_with_lengths_and_objects_of_ones_own() -> None:
    lengths = [ps.LUSPO(length=np.array([1.0, n])) for n in (2.0, 2.0, 3.0)]  # type: ignore[arg-type]
    assert lengths[0] == lengths[1] != lengths[2]
    own = [ps.induced_target(BEHAVIOR[0], REWARD, Own(beta), check=False).objective for beta in (0.3, 0.3, 0.4)]
    assert own[0] == own[1] != own[2]
    assert hash(own[0]) == hash(own[1])


def test_a_tensor_is_no_key() -> None:
    torch = pytest.importorskip("torch")
    one, other = (ps.Kimi(beta=torch.tensor([0.1, 1.0])) for _ in range(2))
    assert one == other
    with pytest.raises(TypeError, match="unhashable: kimi with an array"):
        hash(one)


def test_an_equality_of_ones_own_stays() -> None:
    @dataclass(frozen=True)
    class Never(ps.Kimi):
        def __eq__(self, other: object) -> bool:
            return False

    assert Never() != Never()


def test_no_dataclass_compares_arrays_by_their_truth_value() -> None:
    """The `__eq__` that a dataclass makes raises where a field is an array; objectives have their own."""
    arrays = ("Array", "Floats", "ndarray", "DataFrame", "Series")
    found = []
    for module in pkgutil.walk_packages(ps.__path__, "pessimism."):
        if module.name.endswith("__main__"):
            continue
        for kind in vars(import_module(module.name)).values():
            if not isinstance(kind, type) or kind.__module__ != module.name or not is_dataclass(kind):
                continue
            made = vars(kind).get("__eq__") is not None and not issubclass(kind, ps.Objective)
            types = [str(field.type) for field in fields(kind) if "Callable" not in str(field.type)]
            if made and any(word in said for said in types for word in arrays):
                found.append(kind.__name__)
    assert found == []


def _in_the_pool(name: str) -> Any:
    return ps.induced_target(BEHAVIOR, REWARD, name)


def test_results_come_back_equal_from_a_process_pool() -> None:
    names = ["kimi", "oapl", "constant_baseline", "ppo", "sapo"]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        there = list(pool.map(_in_the_pool, names))
    assert there == [_in_the_pool(name) for name in names]


def test_torch_results_travel() -> None:
    torch = pytest.importorskip("torch")
    target = asked(ps.induced_target(torch.tensor([0.5, 0.5]), torch.tensor([0.0, 1.0]), "kimi"))
    for route in ROUTES.values():
        assert route(target) == target


def test_one_number_tells_two_results_apart() -> None:
    flow = ps.gradient_flow(BEHAVIOR[0], REWARD, "kimi")
    assert flow == replace(flow)
    assert flow != replace(flow, field=np.nextafter(flow.field, np.inf))
    assert flow != replace(flow, status="diverged")
    with pytest.raises(TypeError, match="unhashable"):
        hash(flow)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (math.nan, float("nan"), True),
        (1, 1.0, False),
        (np.array([1.0, math.nan]), np.array([1.0, math.nan]), True),
        (np.array([1.0]), np.array([[1.0]]), False),
        (np.array([1.0]), np.array([1.0], dtype=np.float32), False),
        (np.array(["a"]), np.array(["b"]), False),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, False),
        ((1, [2]), (1, [3]), False),
        (pd.DataFrame({"a": [math.nan]}), pd.DataFrame({"a": [math.nan]}), True),
        (Own(1.0), Own(1.0), True),
        (Own(1.0), Own(2.0), False),
        (object(), object(), False),
    ],
)
def test_values_are_compared_by_what_they_hold(one: Any, other: Any, expected: bool) -> None:
    assert same(one, other) is expected
    assert same(other, one) is expected
