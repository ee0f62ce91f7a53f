"""Token trees: what a loss per token induces at every prefix, and the completions that follow."""
