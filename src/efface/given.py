"""What a configuration names, read and loaded: the photos and who is in which group, the recogniser, the device."""

import platform
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy
import torch

import efface
from efface.config import AnyRun, Named
from efface.errors import EffaceError
from efface.faces.alignment import AlignmentNotes, align
from efface.faces.cache import CropCache
from efface.faces.crops import Crops
from efface.faces.detection import Detector
from efface.faces.people import People, Photo
from efface.faces.splits import Split, check_request, split
from efface.folder import RunFolder
from efface.methods.unlearner import Request
from efface.progress import Tick, Watcher
from efface.targets.recognition import RecognitionTarget


def check_asked(config: AnyRun) -> None:
    """Raise EffaceError where nobody is to be forgotten, or by no method."""
    if config.method is None:
        raise EffaceError("method: found nothing, expected the name of a method; see `efface methods`")
    if not config.forget:
        raise EffaceError("forget: found nobody, expected the names of the people to forget")


def check_attacks(config: AnyRun) -> None:
    """Raise EffaceError where nobody is to be brought back."""
    if config.attacks and not config.forget:
        raise EffaceError("attacks: found nobody to forget, expected whom to bring back; give --forget")


@dataclass(frozen=True)
class Photos:
    """Everybody's faces and who is in which group."""

    crops: Crops
    """Aligned, or framed as a generator's own pictures."""
    split: Split
    notes: AlignmentNotes

    def request(self) -> Request:
        """What a method may see: the seen photos of the forgotten and of the retained."""
        groups = (self.split.forget, self.split.retain)
        return Request(*(self.crops.take([i for p in group for i in self.split.seen[p]]) for group in groups))

    def summary(self) -> str:
        """One line: how many people and photos, and what was wrong with some."""
        parts = self.split
        people = f"{len(parts.forget)} to forget, {len(parts.retain)} retained, {len(parts.holdout)} held out"
        return f"{len(self.crops)} photos of {len(self.crops.people())} people ({people}); {_wrong(self.notes)}"


Cut = Callable[[People, Detector | None, Tick], tuple[Crops, AlignmentNotes]]
"""cut(people, detector, tick) -> the faces of all photos, and what became of them."""


def read_photos(
    config: AnyRun, watcher: Watcher, cut: Cut | None = None, added: Mapping[str, tuple[Photo, ...]] | None = None
) -> Photos:
    """Read, cut and divide the photos that the configuration names. cut: None cuts aligned crops. added: more people
    and their photos."""
    people = config.faces.value.read()
    both = sorted(set(people.photos) & set(added or ()))
    if both:
        raise EffaceError(f"forget: found {both[0]}, who is in the data set, expected a new name for who is drawn")
    people = replace(people, photos={**people.photos, **(added or {})})
    check_request(people.photos, config.forget, config.retain)  # before hours of alignment
    with watcher.track("aligning faces", sum(map(len, people.photos.values()))) as tick:
        crops, notes = (cut or _aligned)(people, load_detector(config), tick)
    for person in config.forget:
        if person not in crops.identities:
            count = len(people.photos[person])
            raise EffaceError(
                f"forget: found no face in any of the {count} photos of {person}; give photos that show it"
            )
    return Photos(crops, split(crops, config.forget, config.retain), notes)


def _aligned(people: People, detector: Detector | None, tick: Tick) -> tuple[Crops, AlignmentNotes]:
    return align(people, detector, None if detector is None else CropCache.default(), tick)


def load_detector(config: AnyRun) -> Detector | None:
    """The face detector that the configuration names."""
    return None if config.detector is None else Detector.load(config.detector)


def load_target(model: Named, config: AnyRun) -> RecognitionTarget:
    """The recogniser that the configuration names, on its device."""
    assert model.weights is not None
    return RecognitionTarget.load(model.name, model.weights, device_of(config), **model.fields())


def device_of(config: AnyRun) -> torch.device:
    """The configuration's device; `auto` is an accelerator where there is one."""
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if config.device == "auto":
        return found or torch.device("cpu")
    if config.device not in ("cpu", found.type if found else "cpu"):
        raise EffaceError(f"device: found {config.device}, expected cpu or auto: this machine has no such accelerator")
    return torch.device(config.device)


def about(config: AnyRun, photos: Photos) -> dict[str, Any]:
    """What every audit.json says of its run: when, of what, by which versions."""
    parts = photos.split
    return {
        "schema": 1,
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "speaks_of": "suppression",
        "photos": asdict(photos.notes)
        | {"identical": list(parts.identical), "shared": parts.shared, "near_duplicates": parts.near_duplicates},
        "config": config.plain(),
        "versions": {
            "efface": efface.__version__,
            "torch": torch.__version__,
            "numpy": numpy.__version__,
            "python": platform.python_version(),
            "platform": f"{sys.platform} {platform.machine()}",
        },
    }


def _wrong(notes: AlignmentNotes) -> str:
    """What was not plain about the photos, in words."""
    return f"{len(notes.no_face)} without a face, {len(notes.several_faces)} with several"


def seeded(config: AnyRun) -> torch.Generator:
    """A generator at the configuration's seed."""
    return torch.Generator().manual_seed(config.seed)


def log_method(folder: RunFolder, config: AnyRun, cost: dict[str, Any]) -> None:
    """The line that says what the unlearning cost."""
    folder.log("method", f"{config.method.name}: {cost['steps']} steps, {cost['seconds']:.1f} s", cost=cost)
