"""The published objectives, one file a family, their registry and the index of facts about them.

Symbols in the docstrings: pi is the policy in training, mu the behavior that sampled the data, nu the reference policy
of the log-ratio (the behavior unless another is given), r the reward, A the advantage, u = log(pi/nu) the log-ratio of
a whole completion, w = exp(u) the ratio, g the score weight, sg[x] the value of x without its derivative, V*_beta the
optimal value beta log E_mu[exp(r/beta)], and Z, s, c or lam a constant that makes the policy sum to one.
"""
