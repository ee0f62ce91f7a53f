r"""Round after round, each policy trained to its target on data that lag: :math:`\pi_{t+1} = T(\pi_{t-L})`.

T maps a behavior to the target that an objective induces on its data (arXiv 2605.28150; docs/theory.md).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from tqdm import tqdm

from pessimism import divergences
from pessimism.arrays import Array, to_numpy
from pessimism.core.bandit import make_bandit
from pessimism.core.objective import Objective, ObjectiveLike
from pessimism.core.validation import FAINTEST, check_amount, check_integer
from pessimism.dynamics.trajectory import has_collapsed
from pessimism.losses.registry import make_objective
from pessimism.target.induced import induced_target

if TYPE_CHECKING:
    import pandas as pd

_ROUNDS, _SAMPLES, _TABLE, _KEPT = 10**5, 2**26, 10**7, 2**27  # rounds, samples, rows, and probabilities held at once
Noise = Literal["bernoulli"] | float | Callable[[np.random.Generator, Array], Array] | None


def lagged_iteration(
    behavior: Any,
    reward: Any,
    objective: str | ObjectiveLike,
    *,
    rounds: int,
    lag: int = 0,
    samples: int | None = None,
    noise: Noise = None,
    unsampled: Literal["keep", "drop"] = "keep",
    runs: int = 1,
    seed: int = 0,
    reference: Literal["behavior", "initial"] = "behavior",
    unseen: bool = False,
    policies: bool = False,
    check: bool = True,
    **hyper: Any,
) -> pd.DataFrame:
    r"""Iterate the induced target: policy t + 1 is the target on data of policy t - lag (0 where that is < 0).

    Every round of every run is one batch of :func:`pessimism.induced_target`.

    Parameters
    ----------
    behavior : array_like, shape (..., K)
        Probabilities of the first policy, round 0.
    reward : array_like, shape (..., K)
        Rewards of the actions.
    objective : str or ObjectiveLike
        As in :func:`pessimism.induced_target`.
    rounds : int
        Number of rounds, at most 100,000.
    lag : int, default 0
        How many rounds the data are behind; 0 stands for the policy's own data. Lag L runs L + 1 chains that never
        meet.
    samples : int, optional
        Completions drawn a round from the behavior, to estimate the rewards by their means. The advantage and the
        weights of the data are those of the behavior restricted to the actions drawn. Default: exact rewards.
    noise : {"bernoulli"}, float or callable, optional
        Noise of an observed reward. "bernoulli": 0 or 1 with the reward as probability; a number: Gaussian of that
        standard deviation; or a function (generator, expected rewards) -> observed rewards of that shape. Default:
        none.
    unsampled : {"keep", "drop"}, default "keep"
        What becomes of actions that were not drawn. "keep" leaves their probabilities as in the behavior, and the
        target divides the mass of the others among those; "drop" takes them for impossible from then on.
    runs : int, default 1
        Independent repetitions, each with a generator of its own spawned from ``seed``: adding runs changes none.
    seed : int, default 0
        Seed of the samples; the same seed gives the same bytes.
    reference : {"behavior", "initial"}, default "behavior"
        Policy in the log-ratio: the one that drew the data, or the one of round 0 in all rounds.
    unseen : bool, default False
        As in :func:`pessimism.induced_target`. Mass that leaks goes to the actions not sampled, in proportion, or is
        renormalized away where there are none.
    policies : bool, default False
        Add a column ``pi_0``, ... for the probability of each action.
    check : bool, default True
        Whether an objective of one's own is checked first, once for each object (:func:`pessimism.check`).
    **hyper : dict
        Hyper-parameters of a registered objective.

    Returns
    -------
    pandas.DataFrame
        A row per problem (C order of the batch), run and round: value (under the true rewards), entropy, kl (to round
        0), max_ratio (to the policy that drew the data), leak, regime, kappa, status, collapsed (all mass but 1e-6 on
        one of several actions). Round 0 has regime "undefined" and status "initial". Where a round has no target
        ("no_target", "not_converged") its row is the run's last; the other runs go on.

    Raises
    ------
    ValueError
        As :func:`pessimism.induced_target`; also for options out of range.

    References
    ----------
    arXiv 2605.28150; docs/theory.md.

    Examples
    --------
    >>> frame = lagged_iteration([0.5, 0.5], [0.0, 1.0], "nominal", beta=1.0, rounds=2)
    >>> frame["value"].round(4).tolist()  # logit of the second action: 0, 1, 2
    [0.5, 0.7311, 0.8808]
    """
    import pandas as pd

    objective = make_objective(objective, check=check, **hyper)
    _check(rounds, lag, samples, noise, unsampled, runs, reference)
    bandit = make_bandit(behavior, reward)
    count, width = bandit.reward.shape
    check_amount("rounds times runs times the number of problems", rounds * runs * count, _TABLE)
    kept = (rounds if policies else min(lag, rounds)) + 1
    what = "rounds" if policies else "lag"
    check_amount(f"{what} times runs times the number of probabilities", kept * runs * count * width, _KEPT)
    if bandit.sampled:
        raise ValueError("behavior must be given: its samples are what the rounds are about")
    if isinstance(noise, str) and bool(bandit.xp.any((bandit.reward < 0) | (bandit.reward > 1))):
        raise ValueError('noise="bernoulli" needs rewards that are probabilities, in [0, 1]')
    start, rewards = (np.repeat(to_numpy(a), runs, axis=0) for a in (bandit.behavior, bandit.reward))
    generators = [np.random.default_rng([seed, *divmod(i, runs)]) for i in range(len(start))]
    lane = np.arange(len(start))
    history = deque([start], maxlen=lag + 1)
    frames = [_rows(lane, 0, start, start, start, rewards, policies)]
    with tqdm(total=rounds, desc="rounds", delay=2, disable=None, leave=False) as bar:
        for time in range(1, rounds + 1):
            if len(lane) == 0:
                break
            data = history[0]
            counts, estimate = _estimate(data, rewards[lane], samples, noise, [generators[i] for i in lane])
            drawn = data > 0 if counts is None else counts > 0
            policy, facts = _step(
                data, drawn, estimate, objective, start[lane] if reference == "initial" else None, unsampled, unseen
            )
            frames.append(_rows(lane, time, policy, data, start[lane], rewards[lane], policies, **facts))
            alive = np.isfinite(policy).all(axis=-1)
            lane = lane[alive]
            history = deque((past[alive] for past in history), maxlen=lag + 1)
            history.append(policy[alive])
            bar.update()
    frame = pd.concat(frames, ignore_index=True)
    frame.insert(0, "problem", frame["lane"] // runs)
    frame.insert(1, "run", frame.pop("lane") % runs)
    return frame.sort_values(["problem", "run", "round"], kind="stable", ignore_index=True)


def _step(
    data: Array,
    drawn: Array,
    reward: Array,
    objective: Objective,
    initial: Array | None,
    unsampled: str,
    unseen: bool,
) -> tuple[Array, dict[str, Array]]:
    """Target of the data's policies ``(n, K)`` on the actions drawn, and what was found about it."""
    mass = np.sum(np.where(drawn, data, 0.0), axis=-1, keepdims=True)
    seen = np.where(drawn, data, 0.0) / mass
    own = None
    if initial is not None:
        own = np.where(drawn, initial, 0.0)
        own = own / own.sum(axis=-1, keepdims=True)
    target = induced_target(seen, reward, objective, reference=own, unseen=unseen, check=False)
    leak, status = np.asarray(target.leak), np.asarray(target.status)
    policy = np.asarray(target.policy)
    rest = np.where(drawn, 0.0, data) if unsampled == "keep" else np.zeros_like(data)
    rest_mass = rest.sum(axis=-1, keepdims=True)
    # What leaks from the actions drawn goes to the others.
    lost = np.where(rest_mass > 0, leak[:, None], 0.0)
    share = np.where(rest_mass > 0, (1.0 - rest_mass), 1.0)
    grown = 1.0 + share * lost / np.where(rest_mass > 0, rest_mass, 1.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        policy = share * policy + rest * grown
        policy = policy / policy.sum(axis=-1, keepdims=True)
    policy = np.where(policy < FAINTEST, 0.0, policy)  # no data of such an action, as where it underflows
    facts = {"leak": leak, "regime": np.asarray(target.regime), "kappa": np.asarray(target.kappa), "status": status}
    return policy, facts


def _estimate(
    data: Array, reward: Array, samples: int | None, noise: Noise, generators: list[np.random.Generator]
) -> tuple[Array | None, Array]:
    """Counts ``(n, K)`` of the actions drawn and their mean observed rewards, 0 where none was drawn."""
    if samples is None:
        return None, reward
    counts, estimate = np.zeros(data.shape, dtype=int), np.zeros_like(reward)
    for row, rng in enumerate(generators):
        # By the inverse of the distribution function: rounding of the policy does not turn into other samples.
        upto = np.cumsum(data[row])
        actions = np.searchsorted(upto / upto[-1], rng.random(samples), side="right")
        counts[row] = np.bincount(actions, minlength=data.shape[-1])
        drawn = counts[row] > 0
        n, mean = counts[row, drawn], reward[row, drawn]
        if noise is None:
            estimate[row, drawn] = mean
        elif isinstance(noise, str):
            estimate[row, drawn] = rng.binomial(n, mean) / n
        elif callable(noise):
            observed = np.asarray(noise(rng, np.repeat(mean, n)), dtype=np.float64)
            if observed.shape != (samples,) or not np.all(np.isfinite(observed)):
                raise ValueError(f"noise must return {samples} finite rewards, got shape {observed.shape}")
            estimate[row, drawn] = np.add.reduceat(observed, np.cumsum(n) - n) / n
        else:
            estimate[row, drawn] = mean + noise / np.sqrt(n) * rng.standard_normal(len(n))
    return counts, estimate


def _rows(
    lane: Array,
    time: int,
    policy: Array,
    data: Array,
    start: Array,
    reward: Array,
    policies: bool,
    *,
    leak: Array | float = 0.0,
    regime: Array | str = "undefined",
    kappa: Array | float = np.nan,
    status: Array | str = "initial",
) -> pd.DataFrame:
    import pandas as pd

    gone = np.isnan(policy).any(axis=-1)
    known = np.where(gone[:, None], start, policy)
    numbers = {
        "value": np.sum(known * reward, axis=-1),
        "entropy": divergences.entropy(known) + 0.0,  # no negative zero
        "kl": divergences.kl_divergence(known, start),
        "max_ratio": divergences.max_ratio(known, data),
    }
    columns = {
        "lane": lane,
        "round": time,
        **{name: np.where(gone, np.nan, column) for name, column in numbers.items()},
        "leak": leak,
        "regime": regime,
        "kappa": kappa,
        "status": status,
        "collapsed": ~gone & has_collapsed(known),
    }
    if policies:
        columns |= {f"pi_{a}": policy[:, a] for a in range(policy.shape[-1])}
    return pd.DataFrame(columns)


def _check(rounds: int, lag: int, samples: int | None, noise: Noise, unsampled: str, runs: int, reference: str) -> None:
    check_integer("rounds", rounds, 1, most=_ROUNDS)
    check_integer("lag", lag, 0)
    check_integer("runs", runs, 1)
    if samples is not None:
        check_integer("samples", samples, 1, most=_SAMPLES)
    if samples is None and (runs != 1 or noise is not None):
        raise ValueError("runs and noise need samples: exact rounds do not differ")
    number = isinstance(noise, int | float) and not isinstance(noise, bool) and 0 <= noise < np.inf
    if not (noise is None or number or callable(noise) or (isinstance(noise, str) and noise == "bernoulli")):
        raise ValueError(f'noise must be None, "bernoulli", a standard deviation >= 0 or a function, got {noise!r}')
    if unsampled not in ("keep", "drop"):
        raise ValueError(f'unsampled must be "keep" or "drop", got {unsampled!r}')
    if reference not in ("behavior", "initial"):
        raise ValueError(f'reference must be "behavior" or "initial", got {reference!r}')
