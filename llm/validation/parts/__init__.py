"""The experiments of `validate`, one file each."""
