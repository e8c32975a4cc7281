"""Verification sets as InsightFace packs them: lfw.bin, cfp_fp.bin, agedb_30.bin."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from efface.errors import EffaceError
from efface.faces.layout import file_at
from efface.faces.people import People, Photo
from efface.models.pickles import read_bin


@dataclass(frozen=True, kw_only=True)
class Verification:
    """Pairs of aligned crops with "same person or not", as in lfw.bin, cfp_fp.bin and agedb_30.bin.

    The file does not say who anybody is, and one face comes in several pairs. So every photo stands as an identity
    of its own (pair-00001-a, pair-00001-b, …), and `pairs` carry the truth: for verification, not for forgetting.
    """

    paper: ClassVar[str] = (
        "LFW: Huang et al. 2007; CFP-FP: Sengupta et al. 2016 (WACV); AgeDB-30: Moschoglou et al. 2017 (CVPRW)"
    )
    licence: ClassVar[str] = "of its authors; AgeDB: non-commercial research only"
    commercial: ClassVar[str] = "no"

    path: Path
    """The .bin file."""

    def read(self) -> People:
        """Photos in memory and their pairs, in the file's order. Raises EffaceError where the file is no such set."""
        encoded, same = read_bin(file_at(self.path, "such as lfw.bin"))
        if not same:
            raise EffaceError(f"{self.path}: found no pair, expected a set such as lfw.bin; fetch the file again")
        names = [f"pair-{i // 2 + 1:05d}-{'ab'[i % 2]}" for i in range(len(encoded))]
        photos = [Photo(name, name, data=data) for name, data in zip(names, encoded, strict=True)]
        return People.of(photos, aligned=True, pairs=zip(photos[::2], photos[1::2], same, strict=True))
