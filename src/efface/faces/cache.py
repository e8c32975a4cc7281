"""Aligned crops kept by content, so that a photo is searched for faces once.

These are pictures of people, kept by a product whose purpose is erasure: entries are readable by their owner only, lie
in one documented folder, and `efface align --clear-cache` deletes them all.
"""

import contextlib
import hashlib
import os
import re
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from efface.errors import EffaceError
from efface.faces.crops import SIZE

_SHAPE = (SIZE, SIZE, 3)
_ENTRY = re.compile(r"[0-9a-f]{64}(\.\w+\.tmp)?")
"""Names of entries, and of those that a killed process left unfinished."""


@dataclass(frozen=True)
class Found:
    """What detection and alignment made of one photo."""

    faces: int
    """How many faces were found."""
    crop: np.ndarray | None
    """uint8 [112, 112, 3] RGB, the largest face aligned; None where none was found."""


class CropCache:
    """A folder of entries. Whatever is wrong with it, a photo is only aligned again: an unreadable entry counts as
    none, and where nothing can be written one warning says so."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writable = True

    @classmethod
    def default(cls) -> "CropCache":
        """`$EFFACE_CACHE/crops`, or `~/.cache/efface/crops`. Raises EffaceError where there is no home either."""
        try:
            root = Path(os.environ.get("EFFACE_CACHE") or Path.home() / ".cache" / "efface")
        except RuntimeError as error:
            raise EffaceError("found no home folder for cached crops; set EFFACE_CACHE to a folder") from error
        return cls(root / "crops")

    def get(self, key: str) -> Found | None:
        """The entry of a key (64 hexadecimal digits); None where there is none or it is damaged."""
        try:
            stored = self._path(key).read_bytes()
        except OSError:
            return None
        digest, content = stored[:32], stored[32:]
        if hashlib.sha256(content).digest() != digest:
            return None
        faces, crop = int.from_bytes(content[:4], "little"), content[4:]
        return Found(faces, np.frombuffer(crop, np.uint8).reshape(_SHAPE) if faces else None)

    def put(self, key: str, found: Found) -> None:
        """Keep an entry; a reader sees all of it or nothing."""
        if not self._writable:
            return
        content = found.faces.to_bytes(4, "little") + (b"" if found.crop is None else found.crop.tobytes())
        path = self._path(key)
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.parent.mkdir(exist_ok=True, mode=0o700)
            handle, partial = tempfile.mkstemp(".tmp", path.name + ".", path.parent)  # only its owner may read it
            try:
                with open(handle, "wb") as file:
                    file.write(hashlib.sha256(content).digest() + content)
                os.replace(partial, path)
            except OSError:
                os.unlink(partial)
                raise
        except OSError as error:
            self._writable = False
            reason = error.strerror or error
            warnings.warn(f"{self.folder}: aligned faces are not cached ({reason}); set EFFACE_CACHE", stacklevel=2)

    def clear(self) -> int:
        """Delete every entry, and nothing else; returns how many there were. Raises EffaceError where one stays."""
        entries = [p for p in self.folder.glob("??/*") if _ENTRY.fullmatch(p.name)]
        try:
            for path in entries:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise EffaceError(f"{error.filename}: cannot be deleted ({error.strerror}); delete it by hand") from error
        for folder in (*self.folder.glob("??"), self.folder):
            with contextlib.suppress(OSError):  # something else is in it
                folder.rmdir()
        return len(entries)

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / key
