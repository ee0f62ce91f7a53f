"""What is kept on disk: checkpoints, fingerprints, locks."""
