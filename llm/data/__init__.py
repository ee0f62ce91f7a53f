"""Questions, answers and rewards, and prompts as tokens."""
