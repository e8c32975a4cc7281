"""A name is a file: `methods/recognition/dispersion.py` is the method `dispersion`.

Every registry package holds modules with exactly one public class that inherits from the package's base class.
Modules are listed without importing them. Plug-ins of other distributions come by entry points of the group
`efface.<kind>` (for example `efface.methods.recognition`), each naming such a module.
"""

import importlib
import inspect
import pkgutil
from importlib.metadata import entry_points
from typing import Any

from efface.errors import EffaceError

KINDS = ("methods.recognition", "metrics.recognition", "models.recognition", "faces.datasets")
"""Packages below `efface` whose modules are found by name."""


def names(kind: str) -> dict[str, str]:
    """Names of a kind -> dotted module, sorted. Two modules of one name are an error."""
    package = importlib.import_module(f"efface.{kind}")
    found = {m.name: f"{package.__name__}.{m.name}" for m in pkgutil.iter_modules(package.__path__)}
    for plugin in entry_points(group=f"efface.{kind}"):
        if found.setdefault(plugin.name, plugin.value) != plugin.value:
            raise EffaceError(
                f"{kind}: the name {plugin.name!r} is claimed by {found[plugin.name]} and by {plugin.value}; "
                "rename or uninstall one"
            )
    return dict(sorted(found.items()))


def get(kind: str, name: str) -> type[Any]:
    """The one class of the module `name`; the module is imported now."""
    known = names(kind)
    if name not in known:
        raise EffaceError(f"{kind}: found {name!r}, expected one of: {', '.join(known)}")
    module = importlib.import_module(known[name])
    classes = [
        c
        for n, c in inspect.getmembers(module, inspect.isclass)
        if c.__module__ == module.__name__ and not n.startswith("_") and hasattr(c, "__dataclass_fields__")
    ]
    if len(classes) != 1:
        found = ", ".join(c.__name__ for c in classes) or "none"
        raise EffaceError(f"{module.__name__}: found {found}, expected exactly one public dataclass")
    return classes[0]
