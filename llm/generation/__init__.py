"""Completions with their log-probabilities: one interface, two engines."""
