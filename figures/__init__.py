"""Frames turned into pictures: one axes-level function a file (frame and optional `ax` in, `Axes` out).

`python -m figures --out results` writes them all, each as pdf, svg and png with its data (csv) and parameters (json).
"""
