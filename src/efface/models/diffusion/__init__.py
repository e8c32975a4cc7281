"""Diffusion models whose pictures are conditioned on a face embedding: one file = one kind of model and the reading of
its published files."""
