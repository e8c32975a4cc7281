"""Benchmarks of GAN face generators."""
