"""`efface models`."""

from efface.cli.listing import Name, show


def models(name: Name = None) -> None:
    """List the networks that can be loaded, or one with its fields."""
    show(("models.recognition", "models.diffusion", "models.gan"), name)
