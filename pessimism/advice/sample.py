"""The groups that stand for a log: all of them, those that are alike solved once, or an even selection."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pessimism.comparison.problems import Solved, solved_on
from pessimism.core.objective import Objective
from pessimism.diagnosis.logged_groups import LoggedGroups

MOST_DISTINCT = 4096  # groups solved for each setting that is tried
_SELECTED = 1024


@dataclass(frozen=True)
class Sample:
    """Groups of a log on which objectives are tried.

    Attributes
    ----------
    logged : LoggedGroups
        The log.

    Examples
    --------
    >>> import pessimism as ps
    >>> report = ps.diagnose("examples/verl_rollouts", "kimi")
    >>> Sample(report.logged).note
    'all 64 groups, 14 of them distinct'
    """

    logged: LoggedGroups

    @cached_property
    def _distinct(self) -> tuple[LoggedGroups, NDArray[np.intp]]:
        return self.logged.distinct()

    @property
    def exact(self) -> bool:
        """Whether all groups are taken."""
        return len(self._distinct[0].groups) <= MOST_DISTINCT

    @cached_property
    def index(self) -> NDArray[np.intp]:
        """Numbers of the groups that are taken."""
        count = len(self.logged.groups)
        return np.arange(count) if self.exact else np.linspace(0, count - 1, _SELECTED).astype(np.intp)

    @property
    def note(self) -> str:
        """What is taken, in words."""
        count = len(self.logged.groups)
        if self.exact:
            return f"all {count:,} groups, {len(self._distinct[0].groups):,} of them distinct"
        return f"{len(self.index):,} of {count:,} groups, evenly spaced over the log"

    def solve(self, objective: Objective) -> Solved:
        """Targets of an objective on the groups that are taken, in their order, as one batch."""
        if self.logged.of_batch(objective):  # what surrounds a group matters
            return Solved([solved_on(self.logged, objective).whole().take(self.index)])
        if self.exact:
            some, like = self._distinct
            return Solved([solved_on(some, objective, like).whole()])
        return Solved([solved_on(self.logged, objective, index=self.index).whole()])
