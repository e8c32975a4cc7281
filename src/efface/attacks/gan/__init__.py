"""Attempts to bring a forgotten person back from a GAN face generator: one file = one attempt."""
