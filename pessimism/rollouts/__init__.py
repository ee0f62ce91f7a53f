"""Rollout logs of trainers, read into one tidy frame."""
