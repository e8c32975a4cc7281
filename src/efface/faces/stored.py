"""The aligned crops of many photos in a file instead of in memory: what a training of hours reads."""

import contextlib
import json
import math
import os
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from efface.errors import EffaceError
from efface.faces.alignment import AlignmentNotes, align
from efface.faces.cache import CropCache
from efface.faces.crops import SIZE, Crops
from efface.faces.detection import Detector
from efface.faces.people import People
from efface.progress import Tick


def stored_crops(
    folder: Path,
    people: People,
    detector: Detector | None = None,
    cache: CropCache | None = None,
    tick: Tick | None = None,
) -> tuple[Crops, AlignmentNotes]:
    """As `alignment.align`, the pixels being a memory map of `folder/crops.u8`; where an earlier call has filled it, it
    is only opened. These are pictures of people: whoever makes the folder deletes it.

    Raises EffaceError as `align` does, and where the folder holds the crops of other photos; OSError where the disk has
    no room.
    """
    photos = [photo for group in people.photos.values() for photo in group]
    path, record = folder / "crops.u8", folder / "crops.json"
    shape = (len(photos), 3, SIZE, SIZE)
    names = [photo.name for photo in photos]
    if not record.exists():
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".tmp")
        try:
            _reserve(partial, math.prod(shape))
            pixels = torch.from_numpy(np.memmap(partial, np.uint8, "r+", shape=shape))
            crops, notes = align(people, detector, cache, tick, pixels)
        except BaseException:
            partial.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # something else is in it
                folder.rmdir()
            raise
        os.replace(partial, path)
        kept = {"photos": names, "crops": list(crops.names), "notes": asdict(notes)}
        temporary = record.with_suffix(".json.tmp")
        temporary.write_text(json.dumps(kept), encoding="utf-8")
        os.replace(temporary, record)
    kept = json.loads(record.read_text(encoding="utf-8"))
    if kept["photos"] != names:
        raise EffaceError(
            f"{folder}: found the crops of {len(kept['photos'])} other photos, expected those of these {len(names)}; "
            "the photos have changed since the run began: remove its folder and begin anew"
        )
    pixels = torch.from_numpy(np.memmap(path, np.uint8, "c", shape=shape))
    identity = {photo.name: photo.identity for photo in photos}
    crops = Crops(pixels[: len(kept["crops"])], tuple(identity[n] for n in kept["crops"]), tuple(kept["crops"]))
    notes = kept["notes"]
    return crops, AlignmentNotes(notes["photos"], tuple(notes["no_face"]), tuple(notes["several_faces"]))


def _reserve(path: Path, size: int) -> None:
    """A file of so many bytes. The disk is asked now, where it can refuse: a map of a full disk ends the process."""
    with open(path, "wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)
