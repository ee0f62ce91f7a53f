"""The prompt groups of a rollout log as problems: groups of about one size are solved together, bounded in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pessimism.arrays import Floats
from pessimism.core.bandit import make_bandit
from pessimism.core.objective import Objective
from pessimism.equality import ByValue
from pessimism.groups.target import solve_group
from pessimism.rollouts.log_probs import FACTS
from pessimism.rollouts.rows import rounding
from pessimism.target.induced import induced_target
from pessimism.target.result import InducedTarget

_CHUNK = 2**20  # completions measured at once: memory stays bounded whatever the size of the log
_COLUMNS = ("length", "advantage", "baseline")  # of the completions, beside their rewards
_WIDENING = 1.25  # groups up to this many times as large as the smallest are measured at once, padded


def reads_lengths(objective: Objective) -> bool:
    """Whether an objective knows completions by their length and was given none."""
    return "length" in objective.per_action and objective.settings["length"] is None


def require_replaceable(objective: Objective, given: str) -> None:
    """Raise ``ValueError`` where an advantage, or a baseline, cannot be put in place of an objective's own."""
    if objective.no_advantage_because:
        raise ValueError(
            f"{given}_column: {objective.name} has no advantage to replace, {objective.no_advantage_because}"
        )
    if given == "baseline" and not _is_reward_minus_baseline(objective):
        raise ValueError(
            f"baseline_column: the advantage of {objective.name} is not the reward minus a baseline: give "
            "advantage_column"
        )


def _is_reward_minus_baseline(objective: Objective) -> bool:
    reward = np.array([[0.0, 1.0, 0.25, 0.5], [3.0, -2.0, 0.5, 1.0]])
    left = reward - np.asarray(objective.advantage(reward))
    return bool(np.all(np.ptp(left, axis=-1) <= 1e-12))


@dataclass(frozen=True, eq=False)
class LoggedGroups(ByValue):
    """Groups of a log: the completions of one prompt at one step, or of one group id where the log has such.

    Attributes
    ----------
    groups : pandas.DataFrame
        Step, prompt and n, the number of completions, of each group, and group, its number where the log has such; by
        step, then by first appearance of the prompt.
    reward : ndarray, shape (rows,)
        Rewards of the completions, group after group.
    length : ndarray, shape (rows,), or None
        Their lengths, where the log was read with them, or with the log-probabilities of their tokens.
    start : ndarray of int, shape (groups,)
        Where each group starts.
    facts : pandas.DataFrame or None
        What ``pessimism.rollouts.log_probs`` keeps of the completions, where the log was read with it.
    advantage : ndarray, shape (rows,), or None
        Advantages that the log has, nan where it has none.
    baseline : ndarray, shape (rows,), or None
        Baselines that the log has.
    given : {"advantage", "baseline"} or None
        Which of them replaces the objective's own.
    singleton : {"zero", "reward"} or None
        Advantage of the only completion of its group; None for the objective's own.
    dropped : int
        Groups of equal rewards that were left out.
    merged : int
        Groups in which rewards differ by rounding alone and count as equal.
    """

    groups: pd.DataFrame
    reward: Floats
    length: Floats | None
    start: NDArray[np.intp]
    facts: pd.DataFrame | None = None
    advantage: Floats | None = None
    baseline: Floats | None = None
    given: str | None = None
    singleton: str | None = None
    dropped: int = 0
    merged: int = 0

    @classmethod
    def of(cls, log: pd.DataFrame) -> LoggedGroups:
        """Groups of a log as :func:`~pessimism.read_rollouts` returns it."""
        step, code = log["step"].to_numpy(), log["prompt"].cat.codes.to_numpy()
        key = log["group"].to_numpy() if "group" in log else code
        order = np.lexsort((key, step))
        step, key = step[order], key[order]
        start = np.flatnonzero(np.append(True, (np.diff(step) != 0) | (np.diff(key) != 0)))
        prompt = log["prompt"].cat.categories.take(code[order][start])
        groups = pd.DataFrame({"step": step[start], "prompt": prompt, "n": np.diff(np.append(start, len(log)))})
        if "group" in log:
            groups["group"] = key[start]
        reward = log["reward"].to_numpy()[order]
        bound = log["rounding"].to_numpy()[order] if "rounding" in log else rounding(reward)
        tokens = "length" if "length" in log else "tokens" if "tokens" in log and log["tokens"].min() >= 1 else None
        length = None if tokens is None or log[tokens].isna().any() else log[tokens].to_numpy()[order]
        read = [name for name in FACTS if name in log]
        facts = log[read].iloc[order].reset_index(drop=True) if read else None
        others = {n: log[n].to_numpy()[order] for n in _COLUMNS if n in log}
        one = _without_rounding(reward, bound, start)
        made = cls(
            groups,
            one,
            length,
            start,
            facts,
            advantage=others.get("advantage"),
            baseline=others.get("baseline"),
            given=log.attrs.get("used"),
            singleton=log.attrs.get("singleton"),
            merged=int(np.add.reduceat(one != reward, start, dtype=np.intp).astype(bool).sum()),
        )
        return made.without_equal() if log.attrs.get("drop_equal") else made

    def without_equal(self) -> LoggedGroups:
        """The groups whose rewards are not all equal, and those of one completion."""
        kept = self.differ | (self.sizes == 1)
        if not kept.any():
            raise ValueError(f"drop_equal leaves nothing: in each of the {len(kept)} groups all rewards are equal")
        row = np.flatnonzero(np.repeat(kept, self.sizes))
        facts = None if self.facts is None else self.facts.iloc[row].reset_index(drop=True)
        return replace(self._of(np.flatnonzero(kept), row), facts=facts, dropped=int((~kept).sum()))

    def _of(self, index: NDArray[np.intp], row: NDArray[np.intp]) -> LoggedGroups:
        """Some groups, with the rows of their completions, but without the facts of these."""
        groups = self.groups.iloc[index].reset_index(drop=True)
        sizes = groups["n"].to_numpy()
        parts: dict[str, Any] = {name: None if (of := getattr(self, name)) is None else of[row] for name in _COLUMNS}
        start = (np.cumsum(sizes) - sizes).astype(np.intp)
        return replace(self, groups=groups, reward=self.reward[row], start=start, facts=None, **parts)

    @property
    def differ(self) -> NDArray[np.bool_]:
        """Whether the rewards of each group differ."""
        least, most = (of.reduceat(self.reward, self.start) for of in (np.minimum, np.maximum))
        return np.asarray(least < most)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Completions of each group."""
        return self.groups["n"].to_numpy()

    def rows(self, same: NDArray[np.intp]) -> NDArray[np.intp]:
        """Rows ``(groups, n)`` of some groups of one size."""
        return np.asarray(self.start[same, None] + np.arange(self.sizes[same[0]]))

    def objective_on(self, objective: Objective, rows: NDArray[np.intp]) -> Objective:
        """The objective on some completions, with their lengths where it reads them and the log has them."""
        if self.length is None or not reads_lengths(objective):
            return objective
        return replace(objective, length=self.length[rows])  # type: ignore[call-arg]

    def by_size(self, index: NDArray[np.intp]) -> list[NDArray[np.intp]]:
        """Split groups, sorted by their size, into those of one size each."""
        return np.split(index, np.flatnonzero(np.diff(self.sizes[index])) + 1)

    def distinct(self) -> tuple[LoggedGroups, NDArray[np.intp]]:
        """Groups that differ in more than the order of their completions, and for each group here the one it is like.

        A prompt with 3 of 8 right is one problem, however often a log has it. Completions are in order of their
        rewards, so that what is found for a group does not depend on which other groups there are.
        """
        replaced = None if self.given is None else getattr(self, self.given)
        columns = [column for column in (self.reward, self.length, replaced) if column is not None]
        like, found = np.empty(len(self.groups), dtype=np.intp), 0
        first, kept = [np.empty(0, dtype=np.intp)], [np.empty(0, dtype=np.intp)]
        for same in self.by_size(np.argsort(self.sizes, kind="stable")):
            rows = self.rows(same)
            order = np.lexsort([column[rows] for column in reversed(columns)])
            inside = np.take_along_axis(rows, order, axis=-1)
            keys = np.ascontiguousarray(np.concatenate([column[inside] for column in columns], axis=-1))
            bits = keys.view(np.dtype((np.void, keys.dtype.itemsize * keys.shape[-1]))).ravel()
            _, index, number = np.unique(bits, return_index=True, return_inverse=True)
            like[same], found = found + number, found + len(index)
            first.append(same[index])
            kept.append(inside[index].ravel())
        return self._of(np.concatenate(first), np.concatenate(kept)), like

    def targets(
        self, objective: Objective, index: NDArray[np.intp] | None = None, *, shift: float = 0.0
    ) -> Iterator[tuple[NDArray[np.intp], list[InducedTarget]]]:
        """Yield numbers of groups and their targets, those of one size together; the completions are part of a space.

        The batch of an objective with statistics over one (``over_batch``) is a step of the log. With an ``index`` only
        those groups, where there is no batch; a ``shift`` lowers the baseline by so many temperatures, or by so much
        reward under an objective without one.
        """
        for some in self._steps() if self.of_batch(objective) else self._chunks(index):
            yield some, [self._solved(objective, self.rows(same), shift) for same in self.by_size(some)]

    @property
    def why_no_population(self) -> str | None:
        """Why new groups would not be treated as these are, None where they would be."""
        if self.given is not None:
            return f"the {self.given}s are those of the log, and new groups have none"
        if self.dropped:
            return "groups of equal rewards are dropped, and groups drawn anew are all kept here: see finite_group"
        return None

    def of_batch(self, objective: Objective) -> bool:
        """Whether the advantages of a group depend on the others of its step."""
        return objective.over_batch and self.given is None

    def given_on(self, objective: Objective, rows: NDArray[np.intp]) -> Floats | None:
        """Advantages ``(groups, n)`` that replace those of an objective, None where its own hold."""
        if rows.shape[-1] == 1 and self.singleton is not None:
            return self.reward[rows] if self.singleton == "reward" else np.zeros(rows.shape)
        if self.given is None:
            return None
        require_replaceable(objective, self.given)
        values = self.advantage if self.given == "advantage" else self.baseline
        assert values is not None
        return values[rows] if self.given == "advantage" else self.reward[rows] - values[rows]

    def _solved(self, objective: Objective, rows: NDArray[np.intp], shift: float) -> InducedTarget:
        made = self.objective_on(objective, rows)
        given = self.given_on(objective, rows)
        if given is not None:
            higher = given + shift * (made.temperature or 1.0)
            bandit = make_bandit(None, self.reward[rows])
            found = solve_group(made.on_rows(bandit), bandit.behavior, bandit.reward, higher, unseen=True)
            return InducedTarget(made, found.bandit, found.solution, higher)
        target = induced_target(None, self.reward[rows], made, unseen=True, check=False)
        if shift == 0.0:
            return target
        higher = target.advantage_rows + shift * (made.temperature or 1.0)
        # Not by the objective's own formula, which may know what its baseline makes of it: V* gives the nominal target.
        lower = solve_group(target.row_objective, target.behavior, target.reward, higher, unseen=True)
        return InducedTarget(target.objective, target.bandit, lower.solution, higher)

    def _steps(self) -> Iterator[NDArray[np.intp]]:
        """Yield the groups of each step, for objectives whose advantage depends on the batch: that is the step."""
        n = self.sizes
        for step, found in self.groups.groupby("step", sort=True).indices.items():
            index = np.asarray(found, dtype=np.intp)
            if len(set(n[index])) > 1:
                sizes = f"{n[index].min()} and {n[index].max()}"
                raise ValueError(
                    f"the batch of step {step} must have groups of one size for such a baseline, got {sizes}"
                )
            yield index

    def _chunks(self, index: NDArray[np.intp] | None) -> Iterator[NDArray[np.intp]]:
        """Yield groups of about the same size, sorted by it, as many at a time as make a chunk."""
        index = np.arange(len(self.groups)) if index is None else index
        by_size = index[np.argsort(self.sizes[index], kind="stable")]
        sizes, first = self.sizes[by_size], 0
        while first < len(by_size):
            widest = int(_WIDENING * sizes[first])
            last = min(int(np.searchsorted(sizes, widest, side="right")), first + max(1, _CHUNK // widest))
            yield by_size[first:last]
            first = last


def _without_rounding(reward: Floats, bound: Floats, start: NDArray[np.intp]) -> Floats:
    """Rewards of which those of a group that differ by rounding alone are one: the lowest of them.

    Standardized, a difference in the last digit would become the same signal as one between right and wrong.
    """
    group = np.zeros(len(reward), dtype=np.intp)
    group[start[1:]] = 1
    group = np.cumsum(group)
    order = np.lexsort((reward, group))
    ordered, of = reward[order], group[order]
    step, either = np.diff(ordered), bound[order]
    near = (np.diff(of) == 0) & (step <= either[1:] + either[:-1])
    if not np.any(near & (step > 0)):
        return reward
    first = np.flatnonzero(np.append(True, ~near))
    one = np.empty_like(reward)
    one[order] = np.repeat(ordered[first], np.diff(np.append(first, len(reward))))
    return one
