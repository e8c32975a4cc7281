"""Attempts to bring a forgotten person back from an identity-conditioned diffusion model: one file = one attempt."""
