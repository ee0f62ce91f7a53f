r"""Round after round, each policy trained to its target on data that lag: :math:`\pi_{t+1} = T(\pi_{t-L})`.

T maps a behavior to the target that an objective induces on its data (arXiv 2605.28150; docs/theory.md). With
``steps_per_round`` a round is some steps of gradient descent on such data in place of T.
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
from pessimism.core.problem import make_problem
from pessimism.core.validation import FAINTEST, check_amount, check_integer
from pessimism.dynamics.trajectory import EXPLODED, has_collapsed
from pessimism.fixed_point.score import weight_on
from pessimism.losses.registry import make_objective
from pessimism.target.induced import induced_target

if TYPE_CHECKING:
    import pandas as pd

_ROUNDS, _SAMPLES, _TABLE, _KEPT = 10**5, 2**26, 10**7, 2**27  # rounds, samples, rows, and probabilities held at once
_STEPS = 10**7  # of gradient descent in all rounds
Noise = Literal["bernoulli"] | float | Callable[[np.random.Generator, Array], Array] | None


def lagged_iteration(
    behavior: Any,
    reward: Any,
    objective: str | ObjectiveLike,
    *,
    rounds: int,
    lag: int = 0,
    steps_per_round: int | None = None,
    lr: float | None = None,
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
    steps_per_round : int, optional
        Steps of gradient descent on the softmax logits in a round, from where the last round ended, as a trainer takes
        them: its optimizer steps between refreshes of the data. At lag L the data of a step are then L times as many
        steps old, and those of its place in the round. Default: each round ends at the target itself.
    lr : float, optional
        Step size, which ``steps_per_round`` needs.
    samples : int, optional
        Completions drawn a round from the behavior, to estimate the rewards by their means. The advantage and the
        weights of the data are those of the behavior restricted to the actions drawn. Default: exact rewards.
    noise : {"bernoulli"}, float or callable, optional
        Noise of an observed reward. "bernoulli": 0 or 1 with the reward as probability; a number: Gaussian of that
        standard deviation; or a function (generator, expected rewards) -> observed rewards of that shape. Default:
        none.
    unsampled : {"keep", "drop"}, default "keep"
        What becomes of actions that were not drawn. "keep" leaves their probabilities as in the behavior, and the
        target divides the mass of the others among those; "drop" takes them for impossible from then on. Steps know
        "keep" alone: nothing pulls the logits of these actions.
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
        ("no_target", "not_converged") its row is the run's last; the other runs go on. A round of steps has regime
        "undefined" and status "stepped", or "diverged", as for :func:`pessimism.sgd`, which is the run's last, too.

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
    >>> frame = lagged_iteration([0.5, 0.5], [0.0, 1.0], "nominal", beta=1.0, rounds=2, steps_per_round=2, lr=0.1)
    >>> frame["value"].round(4).tolist()  # on the way there
    [0.5, 0.5243, 0.5485]
    """
    import pandas as pd

    objective = make_objective(objective, check=check, **hyper)
    _check(rounds, lag, samples, noise, unsampled, runs, reference)
    _check_steps(rounds, steps_per_round, lr, unsampled, unseen)
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
            initial = start[lane] if reference == "initial" else None
            if steps_per_round is None or lr is None:
                policy, facts = _step(data, drawn, estimate, objective, initial, unsampled, unseen)
            else:
                policy, facts = _descended(history[-1], data, drawn, estimate, objective, initial, steps_per_round, lr)
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
    seen, own = _restricted(data, drawn), None if initial is None else _restricted(initial, drawn)
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


def _restricted(policy: Array, drawn: Array) -> Array:
    """Policies ``(n, K)`` on the actions drawn."""
    kept = np.where(drawn, policy, 0.0)
    return np.asarray(kept / kept.sum(axis=-1, keepdims=True))


def _descended(
    policy: Array,
    data: Array,
    drawn: Array,
    reward: Array,
    objective: Objective,
    initial: Array | None,
    steps: int,
    lr: float,
) -> tuple[Array, dict[str, Array]]:
    """Policies ``(n, K)`` after steps of gradient descent on data of others, nan where logits explode."""
    own = None if initial is None else _restricted(initial, drawn)
    bandit, advantage = make_problem(_restricted(data, drawn), reward, objective, own)
    of_rows, q = objective.on_rows(bandit), to_numpy(bandit.behavior)
    log_reference = np.where(drawn, to_numpy(bandit.log_reference), 0.0)

    def pull(log_policy: Array) -> Array:
        """q g, nothing where nothing was drawn, whatever the log-ratio is there."""
        u = np.where(drawn, log_policy - log_reference, 0.0)
        return np.where(drawn, q * weight_on(bandit, of_rows, u, advantage), 0.0)

    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        log_policy = np.log(policy)
        sizes = [np.abs(pull(at)).sum(axis=-1) for at in (log_reference, log_policy)]
        most = EXPLODED * np.maximum(*sizes)
        exploded = np.zeros(len(policy), dtype=bool)
        for _ in range(steps):
            pulls = pull(log_policy)
            move = pulls - np.exp(log_policy) * pulls.sum(axis=-1, keepdims=True)
            log_policy = log_policy + lr * move
            log_policy = log_policy - np.logaddexp.reduce(log_policy, axis=-1, keepdims=True)
            exploded |= ~(np.abs(move).max(axis=-1) <= np.where(most > 0, most, np.inf))
        moved = np.exp(log_policy)
    exploded |= ~np.isfinite(moved).all(axis=-1)
    moved = np.where(exploded[:, None], np.nan, np.where(moved < FAINTEST, 0.0, moved))
    return moved, {"status": np.where(exploded, "diverged", "stepped")}


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


def _check_steps(rounds: int, steps: int | None, lr: float | None, unsampled: str, unseen: bool) -> None:
    if steps is None:
        if lr is not None:
            raise ValueError(f"lr needs steps_per_round, without which each round ends at the target, got {lr!r}")
        return
    check_integer("steps_per_round", steps, 1)
    check_amount("rounds times steps_per_round", rounds * steps, _STEPS)
    if lr is None or not 0 < lr < np.inf:
        raise ValueError(f"steps_per_round needs lr, a finite number > 0, got {lr!r}")
    if unsampled != "keep":
        raise ValueError(f'unsampled must be "keep" with steps_per_round, got {unsampled!r}')
    if unseen:
        raise ValueError("unseen must be False with steps_per_round: what leaks in a step goes to the other actions")
