"""The completions of a log that have log-probabilities, with the prompts as what was sampled."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pessimism.arrays import Floats
from pessimism.diagnosis.logged_groups import LoggedGroups
from pessimism.diagnosis.what_was_read import clustered_by, clusters


class Sampled:
    """Completions ``(N,)`` with log-probabilities of the behavior and, if the log has them, of the policy.

    Parameters
    ----------
    logged : LoggedGroups
        The groups of the log.

    Attributes
    ----------
    logged : LoggedGroups
        The groups.
    rows : ndarray of int, shape (N,)
        Numbers of the completions there.
    facts : pandas.DataFrame
        What was read of them.
    group, cluster : ndarray of int, shape (N,)
        Their groups, and what is independent of each other, as for the report: prompts, or groups where several of a
        step have one prompt; also groups where that would be one alone.
    clustered_by : str
        "prompts" or "groups".
    reward, behavior : ndarray, shape (N,)
        Rewards, and log-probabilities under the behavior.
    log_ratio : ndarray, shape (N,), or None
        log(policy / behavior), None in a log without the policy.
    notes : list of str
        Which completions were left out.
    """

    def __init__(self, logged: LoggedGroups) -> None:
        facts = pd.DataFrame(index=range(len(logged.reward))) if logged.facts is None else logged.facts
        group = np.repeat(np.arange(len(logged.groups)), logged.sizes)
        missing = np.full(len(group), np.nan)
        behavior = facts["behavior_log_prob"].to_numpy() if "behavior_log_prob" in facts else missing
        policy = facts["policy_log_prob"].to_numpy() if "policy_log_prob" in facts else None
        known = ~np.isnan(behavior if policy is None else behavior + policy)
        self.rows: NDArray[np.intp] = np.flatnonzero(known)
        self.logged, self.facts, self.group = logged, facts.iloc[self.rows], group[self.rows]
        cluster = clusters(logged.groups)[self.group]
        several = len(np.unique(cluster)) > 1
        self.clustered_by = f"{clustered_by(logged.groups)}s" if several else "groups"
        self.cluster: NDArray[np.intp] = cluster if several else self.group.astype(np.intp)
        self.reward, self.behavior = logged.reward[self.rows], behavior[self.rows]
        self.log_ratio = None if policy is None else (policy - behavior)[self.rows]
        self.notes = _left_out(facts, known) if self.rows.size else []

    def column(self, name: str) -> Floats | None:
        """Return a fact of the completions ``(N,)``, None where one of them lacks it."""
        found = self.facts[name].to_numpy() if name in self.facts else None
        return None if found is None or np.isnan(found).any() else found

    def why_no_ratios(self) -> str | None:
        """Say why nothing can be measured of the policy, None where it can."""
        if not self.rows.size and self.logged.facts is not None and "tokens" in self.logged.facts:
            return "no completion has log-probabilities of a token that counts"
        if not self.rows.size:
            return "the log was read without log-probabilities (log_prob_columns, --log-prob-columns)"
        u = self.log_ratio
        if u is None:
            return (
                "the log has log-probabilities of the behavior alone, not those of the policy on the same completions"
            )
        if np.ptp(u) == 0.0 and u[0] != 0.0 and len(u) > 1:
            return (
                f"all {len(u)} completions have the same log-ratio, {u[0]:.4g}: no two policies differ by a constant "
                "on everything that one of them samples, so that one column is not what it should be (a placeholder?)"
            )
        return None


def _left_out(facts: pd.DataFrame, known: NDArray[np.bool_]) -> list[str]:
    """Say which completions are left out."""
    empty = int(np.sum(facts["tokens"] == 0.0)) if "tokens" in facts else 0
    others = int(np.sum(~known)) - empty
    said = [f"{empty} completions without a token that counts are left out"] if empty else []
    if others and "policy_log_prob" in facts:
        said.append(f"{others} completions without log-probabilities of both policies are left out")
    elif others:
        said.append(f"{others} completions without log-probabilities are left out")
    return said
