"""Numbers that say whom a GAN face generator rebuilds: one file = one number."""
