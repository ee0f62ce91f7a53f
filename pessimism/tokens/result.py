"""The result of :func:`pessimism.token_target`: a policy at every prefix, and the completions that it makes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pessimism.arrays import Floats
from pessimism.closed_forms.regime import lambert_fit
from pessimism.core.bandit import make_bandit
from pessimism.core.objective import Objective
from pessimism.core.solution import Solution, Status
from pessimism.display import as_call, shares
from pessimism.equality import ByValue
from pessimism.target.conservatism import numbers
from pessimism.target.result import InducedTarget
from pessimism.tokens.solve import Prefixes, Solved
from pessimism.tokens.tree import TokenTree

if TYPE_CHECKING:
    import pandas as pd

_REGIMES = np.array(["negative", "boundary", "positive"])
_LABELS = np.array([status.label for status in Status])


@dataclass(frozen=True, repr=False, eq=False)
class TokenTarget(ByValue):
    """Policy that an objective per token really converges to, at every prefix of a token tree.

    Attributes
    ----------
    tree : TokenTree
        The tree: N nodes, E edges, C completions.
    objective : Objective
        The objective.
    policy, log_policy, log_ratio : ndarray, shape (E,)
        Probability of each token after its prefix, its logarithm, and log(policy / reference).
    kappa : ndarray, shape (N,)
        Lambert curvature at each prefix, nan where the target is of no such kind.
    multiplier : ndarray, shape (N,)
        Multiplier lam of q E[m g] = lam pi at each prefix.
    regime, status : ndarray of str, shape (N,)
        At each prefix, as in :class:`pessimism.InducedTarget`; "undefined" where the policy does not choose.
    completion_policy, completion_log_ratio : ndarray, shape (C,)
        Probability of each completion, and log(policy / reference) of it, in the order given.
    kl, value, entropy, effective_temperature : float
        Of the whole: KL(policy || behavior) and expected reward of completions, entropy of the policy, and temperature
        of the nominal target of completions with the same expected reward.
    leak : float
        Mass that no leaf has.
    at_largest_rest : TokenTarget or None
        Where the tree bounds the reward of what is not listed, this target has the least and that one the largest.
    solved : Solved
        What the routes found at the prefixes.
    prefixes : Prefixes or None
        The problems at the prefixes, None for a loss of completions.
    whole : InducedTarget or None
        Target of a loss of completions, on the bandit of the leaves.

    Examples
    --------
    >>> import pessimism as ps
    >>> policy = {(): {0: 0.5, 1: 0.5}, (1,): {0: 0.2, 1: 0.8}}
    >>> tree = ps.TokenTree.from_table(policy, lambda y: float(y == (1, 0)))
    >>> target = ps.token_target(tree, "kimi", beta=0.5)
    >>> round(target.kl, 4), round(target.value, 4), round(target.effective_temperature, 4)
    (0.1405, 0.2899, 0.768)
    """

    tree: TokenTree
    objective: Objective
    solved: Solved
    prefixes: Prefixes | None
    whole: InducedTarget | None = None
    at_largest_rest: TokenTarget | None = None

    @property
    def log_ratio(self) -> Floats:
        """Log-ratios of the tokens, ``(E,)``."""
        return self.solved.log_ratio

    @cached_property
    def log_policy(self) -> Floats:
        """Log-probabilities of the tokens, ``(E,)``."""
        own = self.tree.log_reference
        return np.asarray((self.tree.log_behavior if own is None else own) + self.log_ratio)

    @cached_property
    def policy(self) -> Floats:
        """Probabilities of the tokens, ``(E,)``."""
        return np.exp(self.log_policy)

    @property
    def kappa(self) -> Floats:
        """Lambert curvature of each prefix, ``(N,)``."""
        return self.solved.kappa

    @cached_property
    def regime(self) -> NDArray[np.str_]:
        """Regime of each prefix, ``(N,)``."""
        known = self.tree.chosen & (self.prefixes is not None)
        return np.where(known, _REGIMES[self.solved.regime + 1], "undefined")

    @cached_property
    def status(self) -> NDArray[np.str_]:
        """How the search at each prefix ended, ``(N,)``."""
        return np.where(self.tree.chosen, _LABELS[self.solved.status], "undefined")

    @cached_property
    def multiplier(self) -> Floats:
        """Multiplier of each prefix, ``(N,)``, nan where there is none: no choice, or a loss of completions."""
        found = np.full(len(self.tree.start) - 1, np.nan)
        for nodes, target in self._targets():
            found[nodes] = target.multiplier
        return found

    def certificate(self) -> pd.DataFrame:
        """Residuals of q E[m g] = lam pi on the full law below each token: a frame with a row for each prefix.

        See :func:`pessimism.target.certificate.certificate` for the columns; ``node`` is the number of the prefix.
        """
        import pandas as pd

        if self.whole is not None:
            return self.whole.certificate()
        frames = [target.certificate().assign(node=nodes) for nodes, target in self._targets()]
        joined: pd.DataFrame = pd.concat(frames).sort_values("node").reset_index(drop=True)
        return joined

    def _targets(self) -> Any:
        if self.prefixes is None:
            return iter(())
        return self.prefixes.targets(self.solved, np.arange(len(self.tree.start) - 1))

    @cached_property
    def _leaf_log_policy(self) -> Floats:
        return self.tree.along(self.log_policy)[self.tree.leaf]

    @cached_property
    def completion_policy(self) -> Floats:
        """Probability of each completion, ``(C,)``."""
        return np.exp(self._leaf_log_policy[: len(self.tree.truncated)])

    @cached_property
    def completion_log_ratio(self) -> Floats:
        """Log-ratio of each completion, ``(C,)``."""
        return self.tree.along(self.log_ratio)[self.tree.leaf[: len(self.tree.truncated)]]

    @cached_property
    def completions(self) -> InducedTarget:
        """The policy as one of whole completions, and the rest: a target of the bandit whose actions are the leaves."""
        if self.whole is not None:
            return self.whole
        own = self.tree.log_reference
        reference = None if own is None else np.exp(self.tree.along(own)[self.tree.leaf])
        bandit = make_bandit(np.exp(self.tree.leaf_log_prob), self.tree.leaf_reward, reference)
        log_ratio = self.tree.along(self.log_ratio)[self.tree.leaf][None]
        advantage = bandit.reward - np.vecdot(bandit.behavior, bandit.reward)[:, None]
        lam = np.zeros(1)
        kappa, regime = lambert_fit(bandit, self.objective, advantage, log_ratio, lam)
        leak = np.array([max(0.0, 1.0 - float(np.exp(self._leaf_log_policy).sum()))])
        leak = np.where(leak > 1e-12, leak, 0.0)
        found = Solution(log_ratio, kappa, regime, leak, np.zeros(1, dtype=np.int8))
        return InducedTarget(self.objective, bandit, found, advantage)

    @cached_property
    def _numbers(self) -> dict[str, float]:
        return {name: of[0] for name, of in numbers(self.completions).items() if name != "regime"}

    @property
    def kl(self) -> float:
        """Divergence KL(policy || behavior) of completions."""
        return float(self._numbers["kl"])

    @property
    def value(self) -> float:
        """Expected reward of the policy."""
        return float(self._numbers["value"])

    @property
    def entropy(self) -> float:
        """Entropy of the completions."""
        return float(self._numbers["entropy"])

    @property
    def effective_temperature(self) -> float:
        """Temperature of the nominal target of completions with the same expected reward."""
        return float(self._numbers["effective_temperature"])

    @property
    def leak(self) -> float:
        """Mass that no leaf has."""
        return float(self._numbers["leak"])

    @cached_property
    def reached(self) -> Floats:
        """Probability that the behavior reaches each prefix, ``(N,)``: the weights of shares over prefixes."""
        return np.exp(self.tree.node_log_prob)

    @property
    def negative_share(self) -> float:
        """Share of the behavior's visits to prefixes, where the policy chooses, that are in the negative regime."""
        if self.prefixes is None:
            return float("nan")
        visits = self.reached * self.tree.chosen
        return float(visits @ (self.regime == "negative") / visits.sum())

    @cached_property
    def prefix_kl(self) -> Floats:
        """Divergence KL(policy || reference) of the next token after each prefix, ``(N,)``."""
        own = self.tree.log_reference
        reference = np.exp(self.tree.log_behavior if own is None else own)
        gone = np.isneginf(self.log_ratio)
        u = np.where(gone, 0.0, self.log_ratio)
        term = np.where(gone, reference, reference * (np.exp(u) * u - np.expm1(u)))  # each at least 0
        return np.asarray(np.add.reduceat(term, self.tree.start[:-1]))

    def merged(self, probability: Any) -> Floats:
        """Probabilities of completions with those below each unstable prefix added up.

        Below a prefix whose status is "unstable" training goes to some completion, but which one no prediction can say;
        the mass of the prefix can be said.

        Parameters
        ----------
        probability : array_like, shape (C,)
            Probabilities of the completions, of this policy or of another.

        Returns
        -------
        ndarray, shape (M,)
            One probability for each unstable prefix that no other is above, and for each completion below none.
        """
        given = np.asarray(probability, dtype=np.float64)
        if given.shape != self.tree.truncated.shape:
            raise ValueError(f"probability must have shape {self.tree.truncated.shape}, got {given.shape}")
        tree = self.tree
        top = np.where(self.solved.status == Status.UNSTABLE, np.arange(len(self.solved.status)), -1)
        for edge in np.flatnonzero(tree.child >= 0):  # by depth, so that the upper one is known first
            above = top[tree.node[edge]]
            if above >= 0:
                top[tree.child[edge]] = above
        of_leaf = top[tree.node[tree.leaf[: len(given)]]]
        label = np.where(of_leaf >= 0, of_leaf, len(top) + np.arange(len(given)))
        return np.asarray(np.bincount(np.unique(label, return_inverse=True)[1], weights=given), dtype=np.float64)

    def __repr__(self) -> str:
        facts: list[tuple[str, Any]] = [("", self.objective), ("completions", len(self.tree.truncated))]
        if self.prefixes is not None:
            facts += [("prefixes", shares(self.regime)), ("status", shares(self.status))]
        return as_call("TokenTarget", [*facts, ("kl", self.kl), ("value", self.value)])
