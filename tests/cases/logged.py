"""Systems that learn from logged bandit data: regularized importance weights and lower bounds."""

from __future__ import annotations

from tests.cases.case import Case, registered

_RARITY = "how far a reward shrinks depends on the action's probability, which splitting it changes"
_BERNOULLI = "rewards are means of Bernoulli rewards, within [0, 1]"
_FLOOR = "rewards must be >= 0"
_WIDTH = "rewards have range 1, and the width of an action depends on its probability"

CASES: dict[str, Case] = {
    "ips": registered("ips", {"beta": 0.3}),
    "weight_clipping": registered(
        "weight_clipping", {"cap": 1.3, "beta": 0.3}, unit_rewards=True, shift=False, because=_FLOOR
    ),
    "weight_clipping-unreached": registered(
        "weight_clipping", {"cap": 1e3, "beta": 0.3}, unit_rewards=True, shift=False, because=_FLOOR
    ),
    "propensity_clipping": registered(
        "propensity_clipping", {"tau": 0.2, "beta": 0.3}, shift=False, split=False, plain=False, because=_RARITY
    ),
    "propensity_clipping-published": registered(
        "propensity_clipping", {"beta": 0.5}, shift=False, split=False, plain=False, because=_RARITY
    ),
    "implicit_exploration": registered(
        "implicit_exploration", {"gamma": 0.1, "beta": 0.3}, shift=False, split=False, plain=False, because=_RARITY
    ),
    "exponential_smoothing": registered(
        "exponential_smoothing", {"alpha": 0.6, "beta": 0.3}, shift=False, split=False, plain=False, because=_RARITY
    ),
    "exponential_smoothing-published": registered(
        "exponential_smoothing", {"beta": 0.5}, shift=False, split=False, plain=False, because=_RARITY
    ),
    "log_smoothing": registered(
        "log_smoothing",
        {"lam": 0.5},
        units=None,
        softening=None,
        unit_rewards=True,
        shift=False,
        because=_BERNOULLI,
    ),
    "log_smoothing-full_support": registered(
        "log_smoothing",
        {"lam": 300.0},
        units=None,
        softening=None,
        unit_rewards=True,
        shift=False,
        because=_BERNOULLI,
    ),
    "log_smoothing_linear": registered(
        "log_smoothing_linear",
        {"lam": 0.3, "beta": 0.3},
        units=None,
        unit_rewards=True,
        shift=False,
        split=False,
        plain=False,
        because=f"{_BERNOULLI}; {_RARITY}",
    ),
    "power_mean": registered(
        "power_mean",
        {"l": 0.2},
        softening=None,
        unit_rewards=True,
        shift=False,
        because=f"{_FLOOR}, and their ratios decide",
    ),
    "power_mean-full_support": registered(
        "power_mean",
        {"l": 0.95},
        softening=None,
        unit_rewards=True,
        shift=False,
        because=f"{_FLOOR}, and their ratios decide",
    ),
    "chi2": registered("chi2", {"beta": 1.0}),
    "chi2-full_support": registered("chi2", {"beta": 30.0}),
    "pevi": registered(
        "pevi",
        {"n": 40.0, "delta": 0.1},
        units=None,
        softening=None,
        split=False,
        routes=False,
        unique=False,
        plain=False,
        because=f"{_WIDTH}; linear: one action keeps all the mass, and any change of the others' logits leaves it so",
    ),
    "pevi_kl": registered(
        "pevi_kl", {"n": 40.0, "delta": 0.1, "beta": 0.3}, units=None, split=False, plain=False, because=_WIDTH
    ),
    "empirical_likelihood_lcb": registered(
        "empirical_likelihood_lcb",
        {"n": 10.0, "z": 1.96},
        units=None,
        softening=None,
        unit_rewards=True,
        shift=False,
        because=_BERNOULLI,
    ),
    "empirical_likelihood_lcb-full_support": registered(
        "empirical_likelihood_lcb",
        {"n": 1.0, "z": 1.96},
        units=None,
        softening=None,
        unit_rewards=True,
        shift=False,
        because=_BERNOULLI,
    ),
}
