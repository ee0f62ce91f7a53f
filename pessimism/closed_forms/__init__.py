"""From an advantage to a policy by formula, up to one scalar unknown in each row."""
