"""What advice is: a verdict, tables, and the computation that each of them comes from."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from pessimism.advice.habits import Habit
from pessimism.diagnosis.report import Diagnosis
from pessimism.diagnosis.summary import json_number
from pessimism.display import html_table
from pessimism.equality import ByValue

SOURCES = {
    "verdict": "from the log: targets of its groups, in-sample; intervals over prompts",
    "recommendation": "from the log: targets of its groups, in-sample, and in the population at the logged n",
    "candidates": "targets of the in-sample groups",
    "bands": "targets of the in-sample groups",
    "least": "population at n = {group_size}, of the law that each group shows",
    "lag": "tabular dynamics on {median}",
}
# Of a recommendation that was tried before it was told.
TRIED = "tried on the targets of the in-sample groups, and in the population at the logged n"


@dataclass(frozen=True, repr=False, eq=False)
class Advice(ByValue):
    """Result of :func:`~pessimism.advise`: what to change, and what it would do.

    Attributes
    ----------
    objective : str
        The present objective.
    trainer : str or None
        What was read of the trainer's settings, None where none were given.
    not_modelled : tuple of str
        What of them is not modelled.
    report : Diagnosis
        The report on the present objective.
    taken : str
        Which groups the candidates were tried on.
    matched : dict
        The measure that candidates are brought to, its value, and why.
    candidates : pandas.DataFrame
        A row for each objective, the present one first: verdict, and medians over the groups with a signal of kl,
        value, gain_share, max_ratio and leak; why it is there; and a note where it could not be matched.
    bands : pandas.DataFrame
        The same for hard, middle and easy prompts.
    group_size : int
        Completions of a group that ``least`` is about.
    drop_equal : bool
        Whether the trainer drops groups whose rewards are all equal.
    least : pandas.DataFrame
        With all groups and without the equal ones: share of the prompts that are negative, as it is and with the least
        shift (in temperatures), beta1 or other baseline.
    laws : str
        Which prompts that is about.
    lag : pandas.DataFrame
        For each KL per step and age of the data: steps to half of the gain, and what the same steps reach.
    lag_note : str
        Why there is no such table, or what it is about.
    lag_answer : str
        What it says of the lag, in words; empty where there is no table.
    kl_from : str
        Where the KL per step is from.
    habits : tuple of Habit
        Where the log disagrees with a habit.
    sources : dict of str to str
        The computation that each part comes from.

    Examples
    --------
    >>> import pessimism as ps
    >>> advice = ps.advise("examples/verl_rollouts", objective="kimi:beta=0.5", candidates=["nominal"])
    >>> advice.report.summary["verdict"]["word"]
    'conservative'
    >>> advice.candidates[["objective", "kl"]].round(2).to_numpy().tolist()
    [['kimi:beta=0.5', 0.26], ['nominal:beta=0.637', 0.26]]
    """

    objective: str
    trainer: str | None
    not_modelled: tuple[str, ...]
    report: Diagnosis
    taken: str
    matched: dict[str, Any]
    candidates: pd.DataFrame
    bands: pd.DataFrame
    group_size: int
    drop_equal: bool
    least: pd.DataFrame
    laws: str
    lag: pd.DataFrame
    lag_note: str
    lag_answer: str
    kl_from: str
    habits: tuple[Habit, ...]
    sources: dict[str, str]

    @cached_property
    def text(self) -> str:
        """The advice as a page."""
        from pessimism.advice.page import page

        return page(self)

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON: None stands for undefined, the largest float for infinity."""
        summary = self.report.summary
        return {
            "objective": self.objective,
            "trainer": self.trainer,
            "not_modelled": list(self.not_modelled),
            **{name: summary[name] for name in ("verdict", "effect", "recommendation")},
            "taken": self.taken,
            "matched": self.matched,
            **{name: records(getattr(self, name)) for name in ("candidates", "bands")},
            "group_size": self.group_size,
            "drop_equal": self.drop_equal,
            "laws": self.laws,
            "least": records(self.least),
            "lag": records(self.lag),
            "lag_note": self.lag_note,
            "lag_answer": self.lag_answer,
            "kl_from": self.kl_from,
            "habits": [asdict(habit) for habit in self.habits],
            "sources": self.sources,
        }

    def __repr__(self) -> str:
        return (
            f"Advice({self.objective}, {self.report.summary['verdict']['word']}, {len(self.candidates) - 1} candidates)"
        )

    def __str__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        columns = ["objective", "verdict", "kl", "value", "gain_share", "max_ratio", "note"]
        rows = self.candidates[columns].itertuples(index=False, name=None)
        return html_table(rows, columns, f"{self!r}. {self.report.recommendation}")


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of a table for JSON.

    Parameters
    ----------
    frame : pandas.DataFrame
        The table.

    Returns
    -------
    list of dict
        A dict for each row.

    Examples
    --------
    >>> records(pd.DataFrame({"x": [1.5, np.nan], "y": ["a", None]}))
    [{'x': 1.5, 'y': 'a'}, {'x': None, 'y': None}]
    """
    return [{str(name): _plain(value) for name, value in row.items()} for row in frame.to_dict("records")]


def _plain(value: Any) -> Any:
    if isinstance(value, float | np.floating):
        return json_number(float(value))
    return value.item() if isinstance(value, np.generic) else value
