"""TRL's trainer with an objective of pessimism, on data that lag."""
