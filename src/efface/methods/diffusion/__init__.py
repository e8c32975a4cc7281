"""Methods that make an identity-conditioned diffusion model forget: one file = one method."""
