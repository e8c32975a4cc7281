"""Moments of rendered people as tensors: a photo, and what it looks like from other cameras (efface render --views)."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from efface.errors import EffaceError
from efface.faces.framing import frame
from efface.faces.people import People, Photo
from efface.faces.rendering.reading import album
from efface.faces.rendering.record import PhotoRecord
from efface.models.gan_model import GanModel, triangulated
from efface.models.layout import settings
from efface.progress import Watcher
from efface.targets.gan import template_face
from efface.targets.recognition import RecognitionTarget

Shot = list[tuple[Photo, PhotoRecord]]
"""The photo of a moment, and its other views."""


@dataclass
class Moments:
    """Moments of people: a photo that the encoder sees, and what it looks like from one or several cameras."""

    people: tuple[str, ...]
    labels: Tensor
    """int64 [n], of `people`."""
    photos: Tensor
    """uint8 [n, 3, s, s], framed."""
    embeddings: Tensor
    """Unit [n, 2, d], of the photos and their mirror images."""
    views: Tensor
    """uint8 [n, v, 3, s, s], what has to be drawn; of a generator of pictures one, framed."""
    cameras: Tensor
    """float32 [n, v, 25]."""
    means: Tensor
    """Unit [people, 2, d]: of each person's photos and mirror images."""

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def of(
        cls,
        people: Mapping[str, list[Shot]],
        spec: GanModel,
        recogniser: RecognitionTarget,
        turns: bool,
        watcher: Watcher,
    ) -> "Moments":
        place, names = spec.window, tuple(people)
        photos, embeddings, views, cameras, labels = [], [], [], [], []

        def framed(some: list[Photo]) -> Tensor:
            """In the order of `some`, which are of one person."""
            alone = People({some[0].identity: tuple(some)}, False)
            return frame(alone, spec.size, place.left, place.top, place.side)[0].pixels

        def again(shot: Shot) -> Shot:
            return shot[1:] or shot

        with watcher.track("reading photos", len(names)) as tick:
            for label, name in enumerate(names):
                shots = people[name]
                seen = framed([shot[0][0] for shot in shots])
                photos.append(seen)
                both = torch.stack([seen, seen.flip(3)], 1).flatten(0, 1)
                crops = both[..., place.top : place.top + place.side, place.left : place.left + place.side]
                embeddings.append(recogniser.embed(crops.contiguous()).unflatten(0, (-1, 2)))
                if turns:
                    drawn = [[torch.from_numpy(p.pixels().copy()).permute(2, 0, 1) for p, _ in again(s)] for s in shots]
                    views.append(torch.stack([torch.stack(one) for one in drawn]))
                    cameras.append(torch.from_numpy(np.stack([[r.camera for _, r in again(s)] for s in shots])))
                else:
                    views.append(framed([again(shot)[0][0] for shot in shots])[:, None])
                    cameras.append(torch.zeros(len(shots), 1, 25))
                labels += [label] * len(shots)
                tick(1)
        found = torch.cat(embeddings)
        index = torch.tensor(labels)
        sums = torch.zeros(len(names), *found.shape[1:]).index_add_(0, index, found)
        return cls(
            names, index, torch.cat(photos), found, torch.cat(views), torch.cat(cameras).float(),
            F.normalize(sums, dim=-1),
        )  # fmt: skip


def read_moments(
    path: Path,
    spec: GanModel,
    recogniser: RecognitionTarget,
    *,
    turns: bool,
    turned: float,
    held_out: int,
    watcher: Watcher,
) -> tuple[Moments, Moments, Tensor]:
    """(to train on, of the last `held_out` people, the average face as `Parts.face`) from a folder of `efface render`.

    turns: for a generator with cameras. turned: photos further aside are left out, degrees of yaw. Raises EffaceError
    where too few people would be left.
    """
    told = path / "render.json"
    views = settings(told).get("views", 0) if told.is_file() else 0
    people: dict[str, list[Shot]] = {}
    for photo, record in album(path):
        shots = people.setdefault(record.person, [])
        if record.photo % (1 + views) == 0:
            shots.append([])
        shots[-1].append((photo, record))
    names = list(people)
    if held_out > len(names) - 2:
        raise EffaceError(
            f"held_out: found {held_out}, expected at most {len(names) - 2} of {len(names)} people; lower it"
        )
    kept = {n: [s for s in people[n] if len(s) == 1 + views and _yaw(s[0][1]) <= turned] for n in names}
    groups = names[:-held_out], names[-held_out:]
    some, others = (
        Moments.of({n: kept[n] for n in group if kept[n]}, spec, recogniser, turns, watcher) for group in groups
    )
    if not turns:
        place = spec.window
        return some, others, template_face(place.left, place.top, place.side, spec.size)
    records = [record for n in groups[0] for shot in kept[n] for _, record in shot]
    cameras = np.stack([record.camera for record in records]).astype(np.float64)
    five = (np.stack([record.five for record in records]).astype(np.float64) + 0.5) / spec.size
    face = np.stack([triangulated(cameras, five[:, i]) for i in range(5)])
    return some, others, torch.from_numpy(face).float()


def mirror(cameras: Tensor) -> Tensor:
    """Cameras [..., 25] from which the mirror image of the world gives the mirror image of the picture."""
    flip = torch.tensor([-1.0, 1.0, 1.0, 1.0])
    pose = cameras[..., :16].unflatten(-1, (4, 4)) * flip[:, None] * flip
    inner = cameras[..., 16:].clone()
    inner[..., 2] = 1 - inner[..., 2]
    return torch.cat([pose.flatten(-2), inner], -1)


def _yaw(record: PhotoRecord) -> float:
    """Degrees."""
    camera = record.camera.reshape(-1)
    return abs(float(np.degrees(np.arctan2(camera[3], camera[11]))))
