"""An objective of the common suite, with the laws of the suite that it obeys and the reason where it does not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pessimism as ps


@dataclass(frozen=True)
class Case:
    """One setting of an objective.

    ``units`` says how fields scale with the rewards (exponent of the factor; a field without entry: beta, beta1, beta2,
    value, eps 1, eta -1, others 0); None: no scaling makes up for a factor. ``moves_with`` is the field to which a
    constant on all rewards is added. ``softening`` is the field, with the exponent of the scale, that makes the target
    soft; None where nothing does. ``unit_rewards``: rewards must be probabilities, means of Bernoulli rewards.

    The laws, each True unless said otherwise (``because`` gives the reason of every False in one line):
    ``shift`` a constant on all rewards changes nothing; ``split`` splitting an action leaves the ratios; ``descends``
    the target minimizes the population loss; ``routes`` the closed form is the fixed point of the generic route on a
    generic problem that it covers;
    ``gradient`` the policy has a derivative in the reward; ``unique`` no policy beside the target is
    one too; ``plain`` the advantage is the reward minus the baseline;
    ``batch`` the rows of a batch are problems of their own.
    """

    objective: Any
    units: Mapping[str, int] | None = field(default_factory=dict)
    moves_with: str | None = None
    softening: tuple[str, int] | None = ("beta", 1)
    unit_rewards: bool = False
    shift: bool = True
    split: bool = True
    descends: bool = True
    routes: bool = True
    gradient: bool = True
    unique: bool = True
    plain: bool = True
    batch: bool = True
    because: str = ""

    def __post_init__(self) -> None:
        laws = (
            self.shift,
            self.split,
            self.descends,
            self.routes,
            self.gradient,
            self.unique,
            self.plain,
            self.batch,
            self.units is not None,
        )
        assert all(laws) or self.because, f"{self.objective}: say why a law does not hold"


def registered(name: str, hyper: dict[str, Any], **laws: Any) -> Case:
    """A setting of a registered objective."""
    return Case(ps.objectives()[name](**hyper), **laws)
