"""PPO with three policies: one that sampled, the trainer's at that time, around which the ratio is clipped, and pi."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

from array_api_compat import array_namespace

from pessimism.arrays import Array
from pessimism.closed_forms.clipping import optimal_set_of_lengths
from pessimism.losses.clipped import Clipped, require_dual_clip
from pessimism.losses.standardized import Scale, Standardized

if TYPE_CHECKING:
    from pessimism.core.bandit import Bandit
    from pessimism.core.solution import Solution


@dataclass(frozen=True)
class CorrectedPPO(Standardized, Clipped):
    r"""PPO on data of a third policy: rollout correction (TIS, MIS, IcePop) and decoupled PPO, in one formula.

    The behavior sampled (an inference engine, or an older policy), and the reference is the trainer's own policy at the
    time, around which the ratio w = pi/reference is clipped. The loss of a token is ``-c min(w A, clip(w, 1 - eps_low,
    1 + eps_high) A)``, with a weight c of rho = reference/behavior that no gradient passes. It induces PPO's set of
    policies around the reference: w >= 1 + eps_high where A > 0, w <= 1 - eps_low where A < 0, and any w
    where A = 0 or c = 0.

    Parameters
    ----------
    eps_low : float, default 0.2
        The ratio is clipped from below at 1 - eps_low; > 0.
    eps_high : float, default 0.2
        The ratio is clipped from above at 1 + eps_high; > 0.
    dual_clip : float, optional
        Ratio above which an action with A < 0 is not pushed down any more; > 1. See
        :class:`pessimism.losses.clipped.PPO`.
    correction : {"truncate", "mask", "none"}, default "truncate"
        The weight c: min(rho, cap) in truncated importance sampling (``"truncate"``); rho where low <= rho <= cap and 0
        elsewhere in masked importance sampling and IcePop (``"mask"``); 1 where the mismatch is ignored (``"none"``).
    cap : float, default 2.0
        Largest ratio rho of the trainer's policy to the one that sampled; > 0, ``inf`` for none. The default is verl's;
        TRL has 3 and masks.
    low : float, default 0.0
        Least ratio rho that is not masked, >= 0. IcePop has 0.5 and a cap of 5.
    eps : float, default 1e-6
        Added to the standard deviation of the rewards before the advantage is divided by it; > 0.
    scale : {"group", "batch", "leave_one_out", "none"}, default "group"
        What the centered rewards are divided by, see :class:`pessimism.losses.standardized.Standardized`.

    Notes
    -----
    Without ``reference=`` the two policies are one, and this is PPO with a standardized advantage. Decoupled PPO
    clips around a proximal policy and is ``correction="truncate", cap=inf``; AReaL masks what is above its cap
    (``"mask"``). Mean and standard deviation are those of the behavior's samples, as in the frameworks: A is not
    centered under the reference. Where the better actions cannot all reach their clip, those with the largest c A/rho
    are filled first: a cap makes actions that the engine samples too rarely, rho > cap, count for less. In a bandit
    weights of tokens and of sequences are the same.

    References
    ----------
    .. [1] arXiv 2505.24298, eq. 5 (decoupled PPO in AReaL); arXiv 2110.00641 (decoupled PPO).

    Examples
    --------
    >>> import pessimism as ps
    >>> q, trainer = [0.5, 0.3, 0.2], [0.5, 0.2, 0.3]
    >>> ps.induced_target(q, [0.0, 1.0, 0.0], "ppo_corrected", reference=trainer).policy.round(4)
    array([0.4 , 0.36, 0.24])
    """

    name: ClassVar[str] = "ppo_corrected"
    title: ClassVar[str] = "PPO with rollout correction"
    short: ClassVar[str] = "PPO corrected"
    paper: ClassVar[str] = "2505.24298"
    formula: ClassVar[str] = "-c min(w A, clip(w, 1 - eps_low, 1 + eps_high) A), w = pi/nu, c of nu/mu, A standardized"
    induces: ClassVar[str] = "PPO's set around the trainer's policy nu: w >= 1 + eps_high where A > 0, c > 0"
    reference_policy: ClassVar[Literal["behavior", "initial", "proximal", "none"]] = "proximal"
    takes_reference: ClassVar[bool] = True
    takes_share: ClassVar[bool] = True
    kinks_at_reference: ClassVar[bool] = True

    correction: Literal["truncate", "mask", "none"] = "truncate"
    cap: float = 2.0
    low: float = 0.0
    eps: float = 1e-6
    scale: Scale = "group"

    def __post_init__(self) -> None:
        self.require_choice("correction", ("truncate", "mask", "none"))
        self.require_positive("eps_low", "eps_high", "eps")
        require_dual_clip(self)
        self.require_positive("cap", allow_infinite=True)
        self.require_at_least(0, "low")
        self.require_scale()

    def data_weight(self, like: Array, log_share: Array | None) -> Array:
        """Weight c ``(..., K)`` of the data; ``log_share`` is log rho, None where rho is 1."""
        xp = array_namespace(like)
        if self.correction == "none":
            return xp.ones_like(like)
        rho = xp.exp(xp.zeros_like(like) if log_share is None else log_share + xp.zeros_like(like))
        if self.correction == "truncate":
            return xp.minimum(rho, xp.full_like(rho, self.cap))
        return xp.where((rho >= self.low) & (rho <= self.cap), rho, xp.zeros_like(rho))

    def score_weight(
        self, log_ratio: Array, advantage: Array, weights: Array | None = None, *, log_share: Array | None = None
    ) -> Array:
        """Score weight g = c w A where the ratio to the reference is not clipped, 0 where it is."""
        return self.data_weight(log_ratio, log_share) * super().score_weight(log_ratio, advantage, weights)

    def loss(
        self, log_ratio: Array, advantage: Array, weights: Array | None = None, *, log_share: Array | None = None
    ) -> Array:
        """Loss: -c min(w A, clip(w, 1 - eps_low, 1 + eps_high) A)."""
        return self.data_weight(log_ratio, log_share) * super().loss(log_ratio, advantage, weights)

    def closed_form(self, bandit: Bandit, advantage: Array, *, unseen: bool) -> Solution | None:
        """Element of PPO's set around the reference, with advantages c A/rho, that is nearest to it."""
        share = bandit.log_reference_ratio
        if share is None:
            return optimal_set_of_lengths(bandit, self, advantage * self.data_weight(advantage, None), self._edges, 1.0)
        xp = bandit.xp
        nu = bandit.masked(bandit.reference, 0.0)
        mass = xp.sum(nu, axis=-1, keepdims=True)  # of the reference, on the actions that the behavior takes
        around = replace(bandit, behavior=nu / mass, own_reference=None)
        value = advantage * self.data_weight(advantage, share) * xp.exp(-share)
        low, high = (edge + xp.log(mass) for edge in self._edges)
        found = optimal_set_of_lengths(around, self, value, (low, high), 1.0)
        return found._replace(log_ratio=bandit.masked(found.log_ratio - xp.log(mass), 0.0))
