"""The bodies of the commands, and the parser of their settings."""
