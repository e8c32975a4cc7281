"""Identities and their photos, as a data set tells them."""

import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from efface.errors import EffaceError


def natural_key(text: str) -> list[tuple[int, int, str]]:
    """Sort key that puts s2 before s10 (protocol, line 1). Different texts have different keys, so that an order never
    depends on the file system: where case or leading zeros alone differ, the plain text decides.

    >>> sorted(["s10", "s2", "s1"], key=natural_key)
    ['s1', 's2', 's10']
    """
    parts = [p for p in re.split(r"([0-9]+)", text) if p]
    return [(0, int(p), "") if p[0] in "0123456789" else (1, 0, p.lower()) for p in parts] + [(-1, 0, text)]


@dataclass(frozen=True, slots=True)
class Photo:
    """One photo of one identity: a file, a span of bytes in a file, or bytes in memory."""

    identity: str
    name: str
    """Unique in the data set, for example `s1/10.pgm`."""
    path: Path | None = None
    span: tuple[int, int] | None = None
    """(offset, length) in bytes within `path`; None is the whole file."""
    data: bytes | None = field(default=None, repr=False)
    alignment: tuple[float, ...] | None = None
    """Six numbers, row by row of the 2 × 3 matrix that maps the photo to the 112 × 112 ArcFace template, where it is
    known: no face is looked for then."""
    five: tuple[float, ...] | None = None
    """Ten numbers, (x, y) of the five landmarks in pixels of the photo, where they are known."""

    def encoded(self) -> bytes:
        """The stored bytes of the picture file."""
        if self.data is not None:
            return self.data
        if self.path is None:
            raise EffaceError(f"{self.name}: found neither a file nor bytes, expected one of them")
        try:
            with open(self.path, "rb") as file:
                if self.span is None:
                    return file.read()
                file.seek(self.span[0])
                return file.read(self.span[1])
        except OSError as error:
            raise EffaceError(f"{self.path}: cannot be read ({error.strerror}); check the file") from error

    def pixels(self) -> np.ndarray:
        """Decoded picture, uint8 [height, width, 3], RGB, turned as its EXIF orientation says; a grey one of 16 bits is
        scaled to 8. Raises EffaceError where it is not readable, or its numbers have no fixed range."""
        try:
            with Image.open(io.BytesIO(self.encoded())) as image:
                turned = ImageOps.exif_transpose(image)
                if turned.mode == "F" or turned.mode.startswith("I"):  # convert would cut them off at 255
                    return self._of_16_bits(np.asarray(turned), turned.mode)
                return np.asarray(turned.convert("RGB"))
        except EffaceError:
            raise
        except Exception as error:  # Pillow raises many kinds for a broken file
            where = self.path or self.name
            why = "unknown format" if isinstance(error, UnidentifiedImageError) else error
            raise EffaceError(f"{where}: not a readable picture ({why}); replace or remove it") from error

    def _of_16_bits(self, grey: np.ndarray, mode: str) -> np.ndarray:
        low, high = (float(grey.min()), float(grey.max())) if grey.size else (0.0, 0.0)
        if mode == "F" or low < 0 or high > 65535:
            raise EffaceError(
                f"{self.path or self.name}: found a picture of {low:g} to {high:g} (mode {mode}), expected 8 or 16 "
                "bits; save it as PNG or JPEG"
            )
        small = np.rint(grey / 257).astype(np.uint8)
        return np.repeat(small[:, :, None], 3, 2)


@dataclass(frozen=True)
class People:
    """Who is in a data set. Identities and the photos of each are in natural order."""

    photos: Mapping[str, tuple[Photo, ...]]
    aligned: bool = False
    """True where every photo already is an aligned face crop (ArcFace template)."""
    pairs: tuple[tuple[Photo, Photo, bool], ...] = ()
    """Published verification pairs (photo, photo, same person?), where the data set has them."""

    @classmethod
    def of(
        cls, photos: Iterable[Photo], aligned: bool = False, pairs: Iterable[tuple[Photo, Photo, bool]] = ()
    ) -> "People":
        """Group photos by identity, everything in natural order. Raises EffaceError for two photos of one name."""
        groups: dict[str, list[Photo]] = {}
        names: set[str] = set()
        for photo in photos:
            if photo.name in names:
                raise EffaceError(f"{photo.name}: found two photos of this name, expected one; rename or remove one")
            names.add(photo.name)
            groups.setdefault(photo.identity, []).append(photo)
        return cls(
            {i: tuple(sorted(groups[i], key=lambda p: natural_key(p.name))) for i in sorted(groups, key=natural_key)},
            aligned,
            tuple(pairs),
        )

    def __len__(self) -> int:
        return len(self.photos)


class FaceDataset(Protocol):
    """A reader: a frozen dataclass in `faces/datasets/`, its fields being where and what to read."""

    def read(self) -> People:
        """List the photos (decoding none). Raises EffaceError where the layout is not the expected one."""
        ...
