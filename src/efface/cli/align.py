"""`efface align`: a folder of photos -> a folder of aligned face crops."""

import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from efface.errors import EffaceError
from efface.folder import write_text

if TYPE_CHECKING:
    import numpy as np

    from efface.faces.detection import Detector
    from efface.faces.people import Photo

NOTES = "align.json"
_SHOWN = 10
"""Names that the summary shows of each kind."""
_KEY, _FACES = "efface:content", "efface:faces"
"""Text entries of a crop's PNG: what it was made from (`content_key` in faces/alignment.py), and how many faces."""


def _clear_cache(wanted: bool) -> None:
    if wanted:
        from efface.faces.cache import CropCache

        cache = CropCache.default()
        typer.echo(f"{cache.folder}: {cache.clear()} cached crops deleted")
        raise typer.Exit


def align(
    src: Annotated[Path, typer.Argument(help="Folder of photos, one folder per person.")],
    dst: Annotated[Path, typer.Argument(help="Folder for the crops; what is there already is not done again.")],
    detector: Annotated[Path, typer.Option(help="Folder of the face detector (pnet.pt, rnet.pt, onet.pt).")],
    clear_cache: Annotated[
        bool,
        typer.Option("--clear-cache", is_eager=True, callback=_clear_cache, help="Delete all cached crops, and exit."),
    ] = False,
) -> None:
    """Cut the largest face out of every photo: DST/PERSON/PHOTO.png of 112 × 112 pixels, and DST/align.json."""
    from efface.cli.terminal import Terminal
    from efface.faces.datasets.folder import Folder
    from efface.faces.detection import Detector

    people = Folder(path=src).read()
    _check_apart(src.resolve(), dst.resolve())
    network = Detector.load(detector)
    made = _make_folder(dst)
    todo = [
        (photo, dst / person / name)
        for person, photos in people.photos.items()
        for photo, name in zip(photos, _crop_names(photos), strict=True)
    ]
    no_face, several, broken = [], [], {}
    with Terminal().track("aligning faces", len(todo)) as tick:
        for photo, target in todo:
            try:
                faces = _align_one(photo, target, network)
                no_face += [photo.name] if faces == 0 else []
                several += [photo.name] if faces > 1 else []
            except _Unreadable as error:
                broken[photo.name] = str(error)
            tick(1)
    if len(no_face) == len(todo):
        if made:
            dst.rmdir()
        raise EffaceError(f"{src}: found no face in any of {len(todo)} photos, expected one in each; check the photos")
    notes = {
        "read": len(todo),
        "aligned": len(todo) - len(no_face) - len(broken),
        "no_face": no_face,
        "several_faces": several,
        "unreadable": list(broken),
    }
    try:
        write_text(dst / NOTES, json.dumps(notes, indent=1, ensure_ascii=False) + "\n")
    except OSError as error:
        raise _unwritable(dst / NOTES, error) from error
    _summarise(notes, dst)
    for line in broken.values():
        typer.echo(f"efface: {line}", err=True)
    if broken:
        raise typer.Exit(1)


class _Unreadable(Exception):
    """A photo that cannot be read: told at the end, the others are aligned."""


def _align_one(photo: "Photo", target: Path, detector: "Detector") -> int:
    """Write the crop of one photo if it is not there yet; returns the number of faces."""
    from efface.faces.alignment import align_photo, content_key

    there = _text(target)
    if there is not None and _KEY not in there:
        raise EffaceError(f"{target}: found a file that efface align did not write, expected none; choose another DST")
    try:
        photo = replace(photo, data=photo.encoded())  # read once
        key = content_key(photo, detector)
        if there is not None and there[_KEY] == key:
            return int(there[_FACES])
        found = align_photo(photo, detector)
    except EffaceError as error:
        raise _Unreadable(str(error)) from error
    if found.crop is not None:
        _write_crop(target, found.crop, {_KEY: key, _FACES: str(found.faces)})
    elif there is not None:
        target.unlink()  # of what the photo was before
    return found.faces


def _write_crop(target: Path, crop: "np.ndarray", text: dict[str, str]) -> None:
    """A PNG with text entries, whole or not at all."""
    from PIL import Image, PngImagePlugin

    info = PngImagePlugin.PngInfo()
    for key, value in text.items():
        info.add_text(key, value)
    partial = target.with_name(target.name + ".partial")
    try:
        target.parent.mkdir(exist_ok=True)
        try:
            Image.fromarray(crop).save(partial, "PNG", pnginfo=info)
            os.replace(partial, target)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(target, error) from error


def _text(path: Path) -> dict[str, str] | None:
    """The text entries of a picture; None where there is no file."""
    from PIL import Image

    if not path.exists():
        return None
    try:
        with Image.open(path) as image:
            return {str(key): str(value) for key, value in image.info.items()}
    except OSError:
        return {}


def _crop_names(photos: Sequence["Photo"]) -> list[str]:
    """File names of one person's crops: 1.png for 1.jpg, but 1.jpg.png where there is a 1.gif too."""
    files = [Path(photo.name).name for photo in photos]
    stems = [Path(file).stem for file in files]
    distinct = len({stem.casefold() for stem in stems}) == len(stems)
    return [f"{name}.png" for name in (stems if distinct else files)]


def _check_apart(src: Path, dst: Path) -> None:
    """Crops among the photos would be read as photos the next time."""
    if dst == src or src in dst.parents or dst in src.parents:
        raise EffaceError(f"{dst}: found DST and SRC ({src}) one inside the other, expected two folders apart")


def _make_folder(dst: Path) -> bool:
    """Make sure that DST can be written; True where it was not there."""
    new = not dst.exists()
    try:
        dst.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=dst):
            return new
    except OSError as error:
        raise _unwritable(dst, error) from error


def _unwritable(path: Path, error: OSError) -> EffaceError:
    return EffaceError(f"{path}: cannot be written ({error.strerror or error}); free the disk or choose another DST")


def _summarise(notes: dict[str, Any], dst: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("photos", "number", "names", box=None, pad_edge=False, header_style="bold")
    for label, value in notes.items():
        names = value if isinstance(value, list) else []
        text = ", ".join(names[:_SHOWN]) + (f", ... (all in {dst / NOTES})" if len(names) > _SHOWN else "")
        table.add_row(label.replace("_", " "), str(len(names) if isinstance(value, list) else value), text)
    Console(highlight=False, markup=False).print(table)
