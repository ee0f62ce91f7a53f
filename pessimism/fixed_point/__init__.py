"""From a score weight alone to a policy: the fixed point q g = lam pi, by roots, by gradient flow, and its gradient."""
