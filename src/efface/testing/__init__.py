"""Shipped contract checks, a tiny model and drawn people, for everyone who adds a method."""

from pathlib import Path

TINY = Path(__file__).with_name("tiny.safetensors")
"""Weights of the recogniser `tiny`."""
