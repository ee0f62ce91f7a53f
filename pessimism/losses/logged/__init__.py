"""Objectives of logged bandits: shrunk propensities, smoothing, lower bounds."""
