"""`efface attacks`."""

from efface.cli.listing import Name, show


def attacks(name: Name = None) -> None:
    """List the attempts to bring a person back, or one with its budget."""
    show(("attacks.recognition", "attacks.diffusion", "attacks.gan"), name)
