"""Ratio-free likelihoods: preferences and other pairs, quantiles, standardized groups, REINFORCE."""

from __future__ import annotations

from typing import Any

from tests.cases.case import Case, registered

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
    "dpo": registered("dpo", {"beta": 0.3}),
    "dpo-deterministic": registered("dpo", {"beta": 0.3, "preference": "deterministic"}, **_GREEDY),
    "async_dpo": registered("async_dpo", {"beta": 0.3}, **_GREEDY),
    "chi_po": registered("chi_po", {"beta": 0.3, "r_max": 20.0}, units={"r_max": 1}),
    "chi_po-clipped": registered(
        "chi_po",
        {"beta": 0.3, "r_max": 0.15},
        units={"r_max": 1},
        softening=None,
        routes=False,
        unique=False,
        because="clipped pairs make the optimum a set; its nearest element sits where the weight jumps",
    ),
    "copg": registered("copg", {"beta": 0.3}),
    "ipo": registered("ipo", {"beta": 0.2}, units=None, plain=False, because=f"{_WINS}; their sigmoid has no scale"),
    "ipo-deterministic": registered(
        "ipo", {"beta": 0.2, "preference": "deterministic"}, units={"beta": 0}, plain=False, because=_WINS
    ),
    "qrpo": registered("qrpo", {"beta": 0.3}, **_QUANTILE),
    "qrpo-identity": registered("qrpo", {"beta": 0.2, "transform": "identity"}, **_QUANTILE),
    "apa": registered("apa", {"beta": 0.8, "eps": 1e-2}, units={"beta": 0, "eps": 2}, plain=False, because=_DIVIDED),
    "tpo": registered("tpo", {"beta": 0.8}, units={"beta": 0, "min_std": 1}, plain=False, because=_DIVIDED),
    "roirl": registered(
        "roirl", {}, unit_rewards=True, softening=None, shift=False, because="the weight is the reward, from zero on"
    ),
    "roirl-exponential": registered("roirl", {"beta": 0.4, "weight": "exponential"}),
    "reinforce": registered("reinforce", {"value": 0.3}, moves_with="value", **_GREEDY),
    "reinforce-off_policy": registered(
        "reinforce", {"value": -40.0, "sampling": "off_policy"}, moves_with="value", softening=("value", 1)
    ),
    "opo": registered("opo", {}, **_GREEDY),
    "gpg": registered("gpg", {}, **_GREEDY),
    "rloo": registered("rloo", {"beta": 0.3}, **_STOPPED),
    "rloo-off_policy": registered("rloo", {"beta": 0.3, "sampling": "off_policy"}, **_STOPPED),
    "topr": registered(
        "topr",
        {"value": -1.0},
        moves_with="value",
        softening=None,
        **_STOPPED,
    ),
}
