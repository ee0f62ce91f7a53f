"""The problem, what an objective is, what a route returns, and the arrays that they live in."""
