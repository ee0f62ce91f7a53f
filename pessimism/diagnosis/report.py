"""What a diagnosis returns: a row for each prompt group, with what holds for the whole log beside them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pandas as pd

from pessimism.core.objective import Objective
from pessimism.diagnosis.logged_groups import LoggedGroups
from pessimism.diagnosis.verdict import VerdictRules
from pessimism.display import html_table, shares
from pessimism.equality import ByValue
from pessimism.rollouts.prompts import last_user_turn

if TYPE_CHECKING:
    from pessimism.diagnosis.measured import Measured

_SHOWN = ("step", "prompt", "n", "reward_mean", "regime", "pessimism_factor", "kl", "reading")
_ROWS = 10  # in a notebook


@dataclass(frozen=True, repr=False, eq=False)
class Diagnosis(ByValue):
    """Report of :func:`~pessimism.diagnose` on a rollout log: a frame with a row for each group, and a summary.

    It is used as its frame is: ``report["kl"]``, ``report.groupby("step")``, ``len(report)`` and all else that a frame
    answers go to ``report.frame``, which is what functions of pandas take, ``pd.concat`` for one. What holds for the
    log as a whole is kept here, because a frame loses its ``attrs`` when it is concatenated or written.

    Attributes
    ----------
    frame : pandas.DataFrame
        One row for each (step, prompt); :func:`~pessimism.diagnose` describes the columns.
    objective : str or None
        The objective with its hyper-parameters.
    temperature : float or None
        Its temperature, None where it has none.
    temperature_name : str or None
        Name of that hyper-parameter.
    rows : int
        Completions that were read.
    skipped : int
        Malformed lines that were left out.
    step_note : str or None
        What is to be said of a log without a column for the step.
    read : dict
        What was read, in lines and numbers, with a warning for each thing that looks as if it were read wrongly.
    files : list of str
        The files that were read.
    population_note : str or None
        Why ``population_regime`` is undefined in some rows, None where it is defined in all.
    lowering_helps : bool
        Whether, in the first group without a target or with one that gives up completions, a lower baseline keeps more
        of them.
    rules : VerdictRules
        Thresholds of the verdict.
    trained : Objective or None
        The objective itself.
    logged : LoggedGroups or None
        The groups, to solve them again with another setting; None where only the report is here.

    Examples
    --------
    >>> import pessimism as ps
    >>> report = ps.diagnose("examples/verl_rollouts", "kimi", beta=0.1)
    >>> report
    Diagnosis(kimi(beta=0.1), 64 groups: positive 98%, boundary 2%)
    >>> round(float(report["kappa"].median()), 3), report.summary["groups"]
    (1.846, 64)
    >>> report.summary["verdict"]["word"], report.recommendation[:53]
    ('greedy', '63 of 63 groups with a signal are in the positive reg')
    """

    frame: pd.DataFrame
    objective: str | None = None
    temperature: float | None = None
    temperature_name: str | None = None
    rows: int = 0
    skipped: int = 0
    step_note: str | None = None
    read: dict[str, Any] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    population_note: str | None = None
    lowering_helps: bool = False
    rules: VerdictRules = field(default_factory=VerdictRules)
    trained: Objective | None = None
    logged: LoggedGroups | None = None

    @cached_property
    def summary(self) -> dict[str, Any]:
        """The report over all groups: what :func:`~pessimism.summarize` returns."""
        from pessimism.diagnosis.summary import summarize

        return summarize(self)

    @cached_property
    def measured(self) -> Measured | None:
        """What the log-probabilities and versions of the log say of its policy, beside what is predicted.

        None for a log without either. See ``pessimism.diagnosis.measured.Measured``.
        """
        from pessimism.diagnosis.measured import measure

        if self.logged is None or self.trained is None:
            return None
        return measure(self.logged, self.trained, self.frame)

    @property
    def recommendation(self) -> str:
        """What to change, in a sentence or two."""
        return str(self.summary["recommendation"]["text"])

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "frame":  # not while it is copied or unpickled
            raise AttributeError(name)
        return getattr(self.frame, name)

    def __getitem__(self, key: Any) -> Any:
        return self.frame[key]

    def __len__(self) -> int:
        return len(self.frame)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.frame)

    def __contains__(self, key: object) -> bool:
        return key in self.frame

    def __repr__(self) -> str:
        return f"Diagnosis({self.objective}, {len(self)} groups: {shares(self.frame['regime'])})"

    def __str__(self) -> str:
        measured = "" if self.measured is None else f"\n{self.measured}"
        return f"{self!r}\n{self.recommendation}{measured}"

    def _repr_html_(self) -> str:
        head = self.frame[list(_SHOWN)].head(_ROWS)
        asked = [last_user_turn(prompt) for prompt in head["prompt"].astype(str)]
        rows = head.assign(prompt=asked).itertuples(index=False, name=None)
        return html_table(rows, _SHOWN, f"{self!r}. {self.recommendation}")
