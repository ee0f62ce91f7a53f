"""Kappa, divergences and value from log-ratios, beside the prediction."""
