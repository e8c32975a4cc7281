"""Shipped contract checks, a tiny model and drawn people, for everyone who adds a method."""

from efface.models.recognition.tiny import WEIGHTS as TINY

__all__ = ["TINY"]
