"""What the four commands do with their settings."""
