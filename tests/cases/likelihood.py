"""Ratio-free likelihoods: preferences and other pairs, quantiles, standardized groups, REINFORCE."""

from __future__ import annotations

from typing import Any

import pessimism as ps
from tests.cases.case import Case


def _case(name: str, hyper: dict[str, Any], **laws: Any) -> Case:
    return Case(ps.objectives()[name](**hyper), **laws)


# A greedy target is one-hot or shares its mass by the behavior: nothing softens it, and it has no minimum to compare.
_GREEDY: dict[str, Any] = {
    "softening": None,
    "descends": False,
    "routes": False,
    "unique": False,
    "because": "greedy: the optimum lies at infinity, and small changes of its log-ratios leave it where it is",
}
_STOPPED: dict[str, Any] = {
    "descends": False,
    "because": "the gradient does not differentiate the weights, so that their loss is not what descends",
}

_WINS = "the advantage is a win probability"
_DIVIDED = "the advantage is divided by the standard deviation"
_QUANTILE: dict[str, Any] = {
    "units": {"beta": 0},
    "gradient": False,
    "plain": False,
    "because": "the advantage is a quantile, a step function of the reward",
}

CASES: dict[str, Case] = {
    "dpo": _case("dpo", {"beta": 0.3}),
    "dpo-deterministic": _case("dpo", {"beta": 0.3, "preference": "deterministic"}, **_GREEDY),
    "async_dpo": _case("async_dpo", {"beta": 0.3}, **_GREEDY),
    "chi_po": _case("chi_po", {"beta": 0.3, "r_max": 20.0}, units={"r_max": 1}),
    "chi_po-clipped": _case(
        "chi_po",
        {"beta": 0.3, "r_max": 0.15},
        units={"r_max": 1},
        softening=None,
        routes=False,
        unique=False,
        because="clipped pairs make the optimum a set; its nearest element sits where the weight jumps",
    ),
    "copg": _case("copg", {"beta": 0.3}),
    "ipo": _case("ipo", {"beta": 0.2}, units=None, plain=False, because=f"{_WINS}; their sigmoid has no scale"),
    "ipo-deterministic": _case(
        "ipo", {"beta": 0.2, "preference": "deterministic"}, units={"beta": 0}, plain=False, because=_WINS
    ),
    "qrpo": _case("qrpo", {"beta": 0.3}, **_QUANTILE),
    "qrpo-identity": _case("qrpo", {"beta": 0.2, "transform": "identity"}, **_QUANTILE),
    "apa": _case("apa", {"beta": 0.8, "eps": 1e-2}, units={"beta": 0, "eps": 2}, plain=False, because=_DIVIDED),
    "tpo": _case("tpo", {"beta": 0.8}, units={"beta": 0, "min_std": 1}, plain=False, because=_DIVIDED),
    "roirl": _case(
        "roirl", {}, unit_rewards=True, softening=None, shift=False, because="the weight is the reward, from zero on"
    ),
    "roirl-exponential": _case("roirl", {"beta": 0.4, "weight": "exponential"}),
    "reinforce": _case("reinforce", {"value": 0.3}, moves_with="value", **_GREEDY),
    "reinforce-off_policy": _case(
        "reinforce", {"value": -40.0, "sampling": "off_policy"}, moves_with="value", softening=("value", 1)
    ),
    "opo": _case("opo", {}, **_GREEDY),
    "rloo": _case("rloo", {"beta": 0.3}, **_STOPPED),
    "rloo-off_policy": _case("rloo", {"beta": 0.3, "sampling": "off_policy"}, **_STOPPED),
    "topr": _case(
        "topr",
        {"value": -1.0},
        moves_with="value",
        softening=None,
        **_STOPPED,
    ),
}
