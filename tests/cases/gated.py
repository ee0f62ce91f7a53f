"""Objectives with smooth gates, lengths, statistics of a batch or a third policy."""

from __future__ import annotations

from typing import Any

from tests.cases.case import Case, registered

_SET = "a set of optima: generic routes end elsewhere in it, and policies beside the target may belong to it"
_GATE = "not concave: the flow from the behavior decides which of many fixed points is the target"


def _set(name: str, hyper: dict[str, Any], **laws: Any) -> Case:
    return registered(name, hyper, softening=None, routes=False, because=_SET, **laws)


CASES: dict[str, Case] = {
    "luspo": _set("luspo", {"length": 500.0}),
    "luspo-tight": registered("luspo", {"length": 3.0, "eps_low": 0.3, "eps_high": 1.5}, softening=None),
    "gmpo": _set("gmpo", {}),
    "sapo": registered("sapo", {"eps": 1e-2}, softening=None, split=False, descends=False, unique=False, because=_GATE),
    "vespo": registered(
        "vespo", {"eps": 1e-2}, softening=None, split=False, descends=False, unique=False, because=_GATE
    ),
    "ppo_corrected": _set("ppo_corrected", {}),
    "ppo_corrected-mask": _set("ppo_corrected", {"correction": "mask", "low": 0.5, "cap": 5.0}),
    "reinforce_pp": registered(
        "reinforce_pp",
        {"eps": 1e-4},
        units={"eps": 2},
        softening=None,
        routes=False,
        plain=False,
        batch=False,
        because=f"{_SET}; whitened over the batch",
    ),
}
