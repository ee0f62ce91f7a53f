"""Pairs of samples with a logistic loss on labels: -log sigmoid of what the policy makes of the winner and the loser.

The population is that of two independent samples of the behavior and of the label that a model of preferences gives
them. Differences alone enter, so that lam = 0 whatever the behavior.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from array_api_compat import array_namespace

from pessimism.closed_forms import tilts as targets
from pessimism.closed_forms.greedy import greedy
from pessimism.core.objective import MeanBaseline
from pessimism.losses.pairwise import (
    PREFERENCES,
    Preference,
    cross_entropy,
    gaps,
    mean_over_partners,
    preferred,
    sigmoid,
)

if TYPE_CHECKING:
    from pessimism.closed_forms.tilts import Solution
    from pessimism.core.bandit import Bandit

Array = Any


@dataclass(frozen=True)
class DPO(MeanBaseline):
    r"""Direct preference optimization, -log sigmoid(beta (u_w - u_l)) (arXiv 2305.18290).

    Labels follow Bradley-Terry on the reward, P(i beats j) = sigmoid(r_i - r_j), by default: then beta (u_i - u_j) =
    r_i - r_j is the optimum of every pair at once, so that the target is nominal for any behavior with full support.
    ``preference="deterministic"`` lets the larger reward always win (ties one half): no policy is optimal, all
    differences of u grow without bound, and the limit is the reference restricted to the best actions; beta only sets
    the pace. Reference: the initial policy, sum over tokens; beta = 0.1 is the repository's default.

    Examples
    --------
    >>> import pessimism as ps
    >>> ps.induced_target([0.5, 0.5], [0.0, 1.0], DPO(beta=1.0)).policy.round(4)
    array([0.2689, 0.7311])
    >>> ps.induced_target([0.5, 0.5], [0.0, 1.0], DPO(preference="deterministic")).policy
    array([0., 1.])
    """

    name: ClassVar[str] = "dpo"
    title: ClassVar[str] = "Direct preference optimization"
    paper: ClassVar[str] = "2305.18290"
    formula: ClassVar[str] = "mean over labeled pairs -log sigmoid(beta (u_w - u_l))"
    induces: ClassVar[str] = "Bradley-Terry labels: nominal, mu exp(r/beta)/Z; deterministic labels: greedy"
    reference_policy: ClassVar[Literal["behavior", "initial", "none"]] = "initial"
    coupled: ClassVar[bool] = True
    takes_reference: ClassVar[bool] = True
    drops_ties: ClassVar[bool] = False  # pairs of equal deterministic rewards pull nowhere

    beta: float = 0.1
    preference: Preference = "bradley_terry"

    def __post_init__(self) -> None:
        self.require_positive("beta")
        self.require_choice("preference", PREFERENCES)

    def _counts(self, gap: Array) -> Array | float:
        """Which pairs ``(..., K, K)`` are trained on."""
        if self.preference == "bradley_terry" or not self.drops_ties:
            return 1.0
        xp = array_namespace(gap)
        return xp.abs(xp.sign(gap))

    def score_weight(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """g = 2 beta mean over partners of P(i beats j) - sigmoid(beta (u_i - u_j))."""
        gap = gaps(advantage)
        excess = preferred(gap, self.preference) - sigmoid(self.beta * gaps(log_ratio))
        return 2.0 * self.beta * mean_over_partners(self._counts(gap) * excess, weights)

    def loss(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Mean over partners and labels of -log sigmoid(beta (u_w - u_l))."""
        gap = gaps(advantage)
        loss = cross_entropy(preferred(gap, self.preference), self.beta * gaps(log_ratio))
        return mean_over_partners(self._counts(gap) * loss, weights)

    def at_infinity(self, log_ratio: Array, advantage: Array) -> Array | None:
        """Finite log-ratios that stand for those of the limit: deterministic labels drive every gap beyond bounds.

        Actions without mass lie one behind the other in the order of their rewards, each so far that a sigmoid is 0.
        """
        xp = array_namespace(log_ratio)
        better = xp.astype(advantage[..., None, :] > advantage[..., :, None], log_ratio.dtype)
        behind = (700.0 + 50.0 / self.beta) * xp.sum(better, axis=-1)
        return xp.where(xp.isfinite(log_ratio), log_ratio, -behind)

    def closed_form(self, bandit: Bandit, advantage: Array, *, unseen: bool) -> Solution | None:
        """Nominal target for Bradley-Terry labels, the best actions for deterministic ones."""
        if self.preference == "bradley_terry":
            return targets.nominal(bandit, advantage, self.beta)
        limit = greedy(bandit, advantage, unique=not self.drops_ties)
        # Bolder than the nominal target at any temperature, unless all rewards are equal.
        shrinks = bandit.xp.any(bandit.xp.isinf(limit.log_ratio), axis=-1)
        return limit._replace(regime=-bandit.xp.astype(shrinks, bandit.xp.int8))


@dataclass(frozen=True)
class AsyncDPO(DPO):
    r"""Online DPO on stale pairs: best against worst of two own samples by a reward model (arXiv 2410.18252).

    The pairs come from an older policy (the behavior), the log-ratio refers to the SFT policy (``reference``). Labels
    are deterministic: training on a fixed batch of them has no optimum and tends to the reference restricted to the
    best actions, whatever beta; what holds the published runs back is the length of training, not the loss. In the
    published code a tie compares a completion with itself: it pulls nowhere, so that the best actions may share the
    mass in any way ("set_valued"). beta = 0.1; u is summed over tokens. ``preference="bradley_terry"`` draws the label
    from the rewards instead: nominal.

    Examples
    --------
    >>> import pessimism as ps
    >>> target = ps.induced_target([0.5, 0.3, 0.2], [0.0, 1.0, 1.0], AsyncDPO())
    >>> target.policy, str(target.status)
    (array([0. , 0.6, 0.4]), 'set_valued')
    """

    name: ClassVar[str] = "async_dpo"
    title: ClassVar[str] = "Asynchronous online DPO"
    paper: ClassVar[str] = "2410.18252"
    formula: ClassVar[str] = "-log sigmoid(beta (u_best - u_worst)) of two stale samples"
    induces: ClassVar[str] = "greedy: the reference restricted to the best actions"
    drops_ties: ClassVar[bool] = True

    preference: Preference = "deterministic"
