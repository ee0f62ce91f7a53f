"""Gradient flow on the simplex of three actions: which starts reach the policy that an objective is said to induce."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

import pessimism as ps
from analysis.names import display_name, display_names
from analysis.settings import at_temperature, besides_temperature
from analysis.work import each
from pessimism.arrays import Floats

SMOKE = {"starts": 3, "spacing": 0.05}
_TIMES = np.append(0.0, np.geomspace(1e-3, 1e5, 385))  # recorded, from before anything moves until all is over
_SAME = 1e-6  # largest difference in probability from the target reached; of losses, relative


def default_settings(beta: float, beta1: float) -> dict[str, ps.Objective]:
    """The objectives drawn: those with a temperature at `beta`, OAPL with its V* at `beta1`.

    Parameters
    ----------
    beta : float
        Temperature, in units of reward.
    beta1 : float
        Temperature of OAPL's V*.

    Returns
    -------
    dict of str to pessimism.Objective
        Objective by registry name.

    Examples
    --------
    >>> default_settings(0.2, 0.02)["oapl"]
    OAPL(beta1=0.02, beta2=0.2)
    """
    names = ("nominal", "kimi", "shifted_mean", "asym_re", "oapl", "ppo")
    return at_temperature(beta, names) | {"oapl": ps.OAPL(beta1=beta1, beta2=beta)}


def ring(count: int, margin: float) -> Floats:
    """Policies ``(count, 3)`` evenly spaced along the edges of the simplex, `margin` away from them.

    Parameters
    ----------
    count : int
        Number of policies.
    margin : float
        Least probability of an action.

    Returns
    -------
    ndarray, shape (count, 3)
        The policies.

    Examples
    --------
    >>> ring(3, 0.1).tolist()
    [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]]
    """
    place = 3 * np.arange(count) / count
    corner, share = np.floor(place).astype(int), (place % 1)[:, None]
    edge = (1 - share) * np.eye(3)[corner] + share * np.eye(3)[(corner + 1) % 3]
    return np.asarray((margin + (1 - 3 * margin) * edge).round(12))


def flow_simplex(
    behavior: tuple[float, float, float] = (0.84, 0.06, 0.1),
    reward: tuple[float, float, float] = (0.2, 0.7, 0.8),
    beta: float = 0.2,
    beta1: float = 0.02,
    starts: int = 12,
    margin: float = 0.03,
    spacing: float = 0.01,
) -> pd.DataFrame:
    """Paths of gradient flow of six objectives from starts around the simplex, and the targets that they should reach.

    Parameters
    ----------
    behavior, reward : three floats each
        Behavior probabilities and rewards.
    beta : float
        Temperature of the objectives that have one.
    beta1 : float
        Temperature of OAPL's optimal value; below `beta` it puts OAPL in the negative regime.
    starts : int
        Starts of each objective, evenly around the simplex.
    margin : float
        Least probability at a start, in (0, 1/3).
    spacing : float
        Points of a path differ by at least this in some probability.

    Returns
    -------
    pandas.DataFrame
        `objective`, `setting`, `kind` ("corner", "behavior", "nominal", "induced": all local minima of a regression,
        the induced target of another; "path"), `run` (number of the corner, the minimum or the start), `time`, `end`
        (of a path: "target", within 1e-6 of an induced target; "same loss", an optimum beside it; "elsewhere"),
        `reached` (the minimum, -1 for none), `status` (of a path or an induced target), `policy_0`, `policy_1`,
        `policy_2`, `value` (its expected reward).

    Raises
    ------
    ValueError
        If there are not three actions, starts < 1, margin is not in (0, 1/3), spacing is not positive.

    Examples
    --------
    >>> frame = flow_simplex(starts=1, spacing=0.1)
    >>> frame[frame["kind"] == "path"].drop_duplicates("objective")["end"].tolist()
    ['target', 'target', 'target', 'target', 'target', 'same loss']
    """
    if not len(behavior) == len(reward) == 3:
        raise ValueError(f"behavior and reward must have three entries, got {len(behavior)} and {len(reward)}")
    if starts < 1:
        raise ValueError(f"starts must be >= 1, got {starts!r}")
    if not 0 < margin < 1 / 3:
        raise ValueError(f"margin must be in (0, 1/3), got {margin!r}")
    if not spacing > 0:
        raise ValueError(f"spacing must be > 0, got {spacing!r}")
    settings = [
        (behavior, reward, beta, name, objective, starts, margin, spacing)
        for name, objective in default_settings(beta, beta1).items()
    ]
    found: list[pd.DataFrame] = each(_of_objective, settings, desc="objectives")
    return pd.concat(found, ignore_index=True)


def _of_objective(
    behavior: Sequence[float],
    reward: Sequence[float],
    beta: float,
    name: str,
    objective: ps.Objective,
    starts: int,
    margin: float,
    spacing: float,
) -> pd.DataFrame:
    """Landmarks and paths of one objective."""
    target = ps.induced_target(behavior, reward, objective)
    minima = np.array([target.policy])
    if name in ("kimi", "shifted_mean", "oapl"):
        minima = np.array([point.policy for point in ps.stationary_points(behavior, reward, objective)])
    nominal = ps.nominal_target(behavior, reward, beta=beta)
    blocks = [_rows("corner", np.eye(3), run=np.arange(3)), _rows("behavior", target.behavior[None])]
    blocks += [_rows("nominal", np.asarray(nominal)[None])]
    blocks += [_rows("induced", minima, run=np.arange(len(minima)), status=str(target.status))]
    blocks += [_path(number, start, minima, target, spacing) for number, start in enumerate(ring(starts, margin))]
    frame = pd.concat(blocks, ignore_index=True)
    frame["value"] = frame[["policy_0", "policy_1", "policy_2"]].to_numpy() @ np.asarray(reward)
    frame.insert(0, "objective", name)
    frame.insert(1, "setting", besides_temperature(objective))
    return frame


def _path(number: int, start: Floats, minima: Floats, target: ps.InducedTarget, spacing: float) -> pd.DataFrame:
    flow = ps.gradient_flow(target.behavior, target.reward, target.objective, start=start, times=_TIMES)
    distance = np.abs(minima - flow.policy).max(axis=1)
    reached = int(distance.argmin()) if distance.min() < _SAME else -1
    end = "target" if reached >= 0 else "elsewhere"
    if reached < 0 and flow.status == "converged":
        ours, theirs = (_loss(target, policy) for policy in (flow.policy, target.policy))
        end = "same loss" if abs(ours - theirs) <= _SAME * abs(theirs) else end
    policies, times = np.vstack([flow.policies, flow.policy]), np.append(flow.times, np.inf)
    kept = [0]
    for i, policy in enumerate(policies):
        if np.abs(policy - policies[kept[-1]]).max() >= spacing:
            kept.append(i)
    kept = [*kept, len(times) - 1] if kept[-1] != len(times) - 1 else kept
    return _rows("path", policies[kept], run=number, time=times[kept], end=end, reached=reached, status=flow.status)


def _loss(target: ps.InducedTarget, policy: Floats) -> float:
    """Expected loss of the objective at a policy with mass on all actions."""
    log_ratio = np.log(policy / target.behavior)
    q = target.behavior
    return float(q @ target.objective.loss(log_ratio, target.advantage, q))


def _rows(
    kind: str,
    policies: Floats,
    *,
    run: object = -1,
    time: object = 0.0,
    end: str = "",
    reached: int = -1,
    status: str = "",
) -> pd.DataFrame:
    columns = {f"policy_{action}": policies[:, action] for action in range(3)}
    facts = {"kind": kind, "run": run, "time": time, "end": end, "reached": reached, "status": status}
    return pd.DataFrame(facts | columns)


def ends(frame: pd.DataFrame) -> pd.DataFrame:
    """Per objective: number of starts, of minima, and the share of starts that end in a target or an equal optimum.

    Parameters
    ----------
    frame : pandas.DataFrame
        As `flow_simplex` returns it.

    Returns
    -------
    pandas.DataFrame
        A row per objective with `starts`, `minima`, `target` and `same loss`, the last two as shares.

    Examples
    --------
    >>> ends(flow_simplex(starts=1, spacing=0.1)).loc["ppo"].tolist()
    [1.0, 1.0, 0.0, 1.0]
    """
    paths = frame[frame["kind"] == "path"].drop_duplicates(["objective", "run"])
    minima = frame[frame["kind"] == "induced"].groupby("objective", sort=False).size()
    share = {end: (paths["end"] == end).groupby(paths["objective"]).mean() for end in ("target", "same loss")}
    return pd.DataFrame({"starts": paths["objective"].value_counts(), "minima": minima, **share}).loc[minima.index]


def headline(frame: pd.DataFrame) -> str:
    """Which objectives forget their start, and what the others do."""
    found = ends(frame)
    one = int(((found["target"] == 1) & (found["minima"] == 1)).sum())
    text = f"{one} of {len(found)} objectives reach one target from all starts"
    several, beside = found[found["minima"] > 1], found[found["same loss"] > 0]
    parts = [f"{display_name(name)} has {row['minima']:.0f}" for name, row in several.iterrows()]
    parts += [f"{display_name(name)} stops at the first optimum" for name in beside.index]
    return "; ".join([text, *parts])


def finding(frame: pd.DataFrame) -> str:
    """The same in a sentence."""
    found = ends(frame)
    total = int(found["starts"].sum())
    hit, equal = ((found[end] * found["starts"]).sum() for end in ("target", "same loss"))
    text = f"Of {total} flows {hit:.0f} end in an induced target"
    if equal:
        beside = display_names(found.index[found["same loss"] > 0])
        text += f", {equal:.0f} in another policy of the same loss ({beside})"
    text += f" and {total - hit - equal:.0f} elsewhere"
    paths = frame[frame["kind"] == "path"].drop_duplicates(["objective", "run"])
    for name, minima in found.loc[found["minima"] > 1, "minima"].items():
        reached = paths.loc[paths["objective"] == name, "reached"].value_counts()
        counts = " and ".join(map(str, reached.reindex(range(int(minima)), fill_value=0)))
        text += f"; under {display_name(name)} the minima, lowest loss first, draw {counts} starts"
    return f"{text}."
