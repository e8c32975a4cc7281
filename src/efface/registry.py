"""A name is a file: `methods/recognition/dispersion.py` is the method `dispersion`.

Every registry package holds modules with exactly one public class that inherits from the package's base class.
Modules are listed without importing them. Plug-ins of other distributions come by entry points of the group
`efface.<kind>` (for example `efface.methods.recognition`), each naming such a module.
"""

import ast
import importlib
import importlib.util
import inspect
import pkgutil
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, TypeGuard

from efface.errors import EffaceError

KINDS = (
    "methods.recognition",
    "methods.diffusion",
    "methods.gan",
    "metrics.recognition",
    "metrics.diffusion",
    "metrics.gan",
    "attacks.recognition",
    "attacks.diffusion",
    "attacks.gan",
    "models.recognition",
    "models.diffusion",
    "models.gan",
    "faces.datasets",
    "recipes",
)
"""Packages below `efface` whose modules are found by name."""


def names(kind: str) -> dict[str, str]:
    """Names of a kind -> dotted module, sorted. Two modules of one name are an error."""
    package = importlib.import_module(f"efface.{kind}")
    found = {m.name: f"{package.__name__}.{m.name}" for m in pkgutil.iter_modules(package.__path__)}
    for name, module in _plugins(kind, tuple(sys.path)):
        if found.setdefault(name, module) != module:
            raise EffaceError(
                f"{kind}: the name {name!r} is claimed by {found[name]} and by {module}; rename or uninstall one"
            )
    return dict(sorted(found.items()))


@cache
def _plugins(kind: str, path: tuple[str, ...]) -> list[tuple[str, str]]:
    """Name and module of what other distributions on `path` add; to read all of theirs takes 10 ms."""
    return [(plugin.name, plugin.value) for plugin in entry_points(group=f"efface.{kind}")]


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


@dataclass(frozen=True)
class Field:
    """One field of an entry, as its file states it."""

    name: str
    type: str
    default: str
    """Source text of the default; empty where a value must be given."""
    doc: str


@dataclass(frozen=True)
class Entry:
    """What an entry's file says of it, and those of its bases, read without importing them."""

    name: str
    summary: str
    """First line of the class's docstring."""
    facts: dict[str, str]
    """Class attributes that are plain text, such as `paper`, `origin` and `licence`."""
    fields: tuple[Field, ...]


def describe(kind: str, name: str) -> Entry:
    """Summary, facts and fields of an entry, from its source and that of the dataclasses that it inherits from."""
    known = names(kind)
    if name not in known:
        raise EffaceError(f"{kind}: found {name!r}, expected one of: {', '.join(known)}")
    tree = _source(known[name])
    node = next(n for n in tree.body if isinstance(n, ast.ClassDef) and _is_dataclass(n) and not n.name.startswith("_"))
    facts: dict[str, str] = {}
    fields: dict[str, Field] = {}
    for part in [*_inherited(node, tree, ("efface", known[name].partition(".")[0])), node]:
        for statement, after in zip(part.body, [*part.body[1:], None], strict=True):
            if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
                facts |= _text(statement.targets[0].id, statement.value)
            if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                own, annotation = statement.target.id, ast.unparse(statement.annotation)
                if "ClassVar" in annotation:
                    facts |= _text(own, statement.value)
                else:
                    doc = ast.literal_eval(after.value) if _is_docstring(after) else ""
                    default = "" if statement.value is None else ast.unparse(statement.value)
                    fields[own] = Field(own, annotation, default, inspect.cleandoc(doc))
    summary = (ast.get_docstring(node) or "").partition("\n")[0]
    return Entry(name, summary, facts, tuple(fields.values()))


def _source(module: str) -> ast.Module:
    spec = importlib.util.find_spec(module)
    assert spec is not None and spec.origin is not None
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8"))


def _inherited(node: ast.ClassDef, tree: ast.Module, packages: Collection[str]) -> Iterator[ast.ClassDef]:
    """The dataclasses that a class of a file inherits from, in the order in which dataclasses collect their fields; of
    these packages, since others may take long to import."""
    own = {n.name: n for n in tree.body if isinstance(n, ast.ClassDef)}
    imported = {
        alias.asname or alias.name: (n.module, alias.name)
        for n in tree.body
        if isinstance(n, ast.ImportFrom) and n.module is not None and n.module.partition(".")[0] in packages
        for alias in n.names
    }
    for base in map(ast.unparse, reversed(node.bases)):
        found, its = own.get(base), tree
        if base in imported:
            module, name = imported[base]
            its = _source(module)
            found = next((n for n in its.body if isinstance(n, ast.ClassDef) and n.name == name), None)
        if found is not None:
            yield from _inherited(found, its, packages)
            if _is_dataclass(found):
                yield found


def _is_dataclass(node: ast.ClassDef) -> bool:
    return "dataclass" in map(_called, node.decorator_list)


def _called(decorator: ast.expr) -> str:
    """The bare name of a decorator, called or not."""
    return ast.unparse(decorator.func if isinstance(decorator, ast.Call) else decorator).rpartition(".")[2]


def _text(name: str, value: ast.expr | None) -> dict[str, str]:
    return {name: value.value} if isinstance(value, ast.Constant) and isinstance(value.value, str) else {}


def _is_docstring(node: ast.stmt | None) -> TypeGuard[ast.Expr]:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
