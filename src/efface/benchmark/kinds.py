"""A benchmark of each kind of model is a folder of modules: `rows` (what has to be measured: `tasks`, `count`; those of
models that draw are in `drawing`), `measuring` (`Bench`, `measure`), `tables` (`sections`) and `figures` (`draw`)."""

from importlib import import_module
from typing import Any, Literal


def module(kind: str, name: Literal["rows", "measuring", "tables", "figures"]) -> Any:
    """One of them, imported now: measuring needs torch, figures need matplotlib."""
    folder = "drawing" if name == "rows" and kind != "recognition" else kind
    return import_module(f"efface.benchmark.{folder}.{name}")
