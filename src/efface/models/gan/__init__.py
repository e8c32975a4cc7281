"""Face generators with latents (StyleGAN2, EG3D): one file = one kind of network and the reading of its files."""
