"""efface makes a face model forget a person, and proves it."""

from importlib.metadata import version as _version

from efface.errors import EffaceError

__all__ = ["EffaceError", "__version__"]
__version__ = _version("efface")
