"""`efface methods`."""

from efface.cli.listing import Name, show


def methods(name: Name = None) -> None:
    """List the unlearning methods, or one with its fields."""
    show(("methods.recognition", "methods.diffusion", "methods.gan"), name)
