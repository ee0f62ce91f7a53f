"""Policies over time: gradient flow, gradient descent, rounds on data that lag."""
