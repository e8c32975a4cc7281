"""`efface datasets`."""

from efface.cli.listing import Name, show


def datasets(name: Name = None) -> None:
    """List the data sets that can be read, or one with its fields."""
    show(("faces.datasets",), name)
