"""Objectives against each other: side by side on the same data, and at equal conservatism."""
