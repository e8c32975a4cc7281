"""Methods that make a GAN face generator forget: one file = one method."""
