"""Numbers that say whom an identity-conditioned diffusion model draws: one file = one number."""
