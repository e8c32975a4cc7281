"""Whom a face generator is to forget and who else is drawn: the model, everybody's photos, and their latents."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from PIL import Image
from torch import Tensor

from efface.config import GanConfig, Named
from efface.errors import EffaceError
from efface.faces.alignment import AlignmentNotes, alignment_of
from efface.faces.crops import Crops
from efface.faces.detection import Detector
from efface.faces.framing import frame
from efface.faces.people import People, Photo, natural_key
from efface.faces.pose import cameras_of
from efface.faces.splits import Split
from efface.given import Photos, device_of, load_detector, load_target, read_photos
from efface.methods.rebuilding import RebuildRequest
from efface.metrics.generation import generator_of
from efface.metrics.rebuilding import Sources, photo_of, photographed
from efface.metrics.subjects import Subjects
from efface.progress import Tick, Watcher
from efface.targets.gan import GanTarget
from efface.targets.inversion import Shots, optimised
from efface.targets.recognition import RecognitionTarget

SIDES = (0.0, -30.0, 30.0, 15.0, -15.0, 45.0, -45.0)
"""Yaws in degrees of the pictures of one who never existed, in the order of photos: the method is given the first."""


@dataclass(frozen=True, eq=False)
class Scene:
    """The model, everybody's photos as it and the judge see them, and the latents of those who are drawn."""

    target: GanTarget
    judges: Mapping[str, RecognitionTarget]
    photos: Photos
    sources: Sources
    cameras: Tensor
    """float32 [photos, 25], from where each photo was taken, as far as that was asked; else 0."""
    grey: tuple[str, ...]
    """Names of the photos without colour."""

    def request(self, people: Sequence[str], earlier: Sequence[str] = ()) -> RebuildRequest:
        """To forget these people after the earlier ones, each by one latent; with one of every retained person who is
        drawn."""
        subjects, sources = self.sources.subjects, self.sources
        retain = [person for person in self.photos.split.retain if person in subjects.names]
        return RebuildRequest(tuple(people), sources.of(people), sources.of(retain), sources.of(earlier))

    def given(self) -> dict[str, str]:
        """Who is to be forgotten -> the name of the photo that the method is given."""
        subjects, names = self.sources.subjects, self.photos.crops.names
        return {person: names[photo_of(subjects, person)] for person in subjects.groups["forget"]}

    def inverted(self) -> str:
        """One line: how many latents there are, of which photos, and how they were found."""
        how = "by optimisation" if self.target.parts.encoder is None else "by the encoder"
        who = "; ".join(f"{person} by {photo}" for person, photo in self.given().items())
        return f"{len(self.sources.latents)} photos inverted {how}; to be forgotten: {who}"


def prepare(config: GanConfig, watcher: Watcher) -> Scene:
    """Read the model and the photos, embed these, and find everybody's latents."""
    target = load_model(config.model, config)
    judges = {} if config.judge is None else {"judge": load_target(config.judge, config)}
    drawn, added = invented(target, config) if config.latents == "random" else (None, {})
    taken: dict[str, Photo] = {}

    def cut(people: People, detector: Detector | None, tick: Tick) -> tuple[Crops, AlignmentNotes]:
        taken.update((photo.name, photo) for group in people.photos.values() for photo in group)
        return frame(people, *target.framing, detector, tick)

    photos = read_photos(config, watcher, cut, added)
    photos = replace(photos, split=led_by(photos, taken, config.photo))
    crops = photos.crops
    for person in photos.split.forget:
        name = crops.names[photos.split.seen[person][0]]
        if name in photos.notes.several_faces:
            watcher.say(f"{name} shows several faces: the largest is taken for {person} and is what is forgotten")
    grey = tuple(name for name, plain in zip(crops.names, _plain(crops.pixels), strict=True) if plain)
    if grey:
        watcher.say(
            f"{len(grey)} of {len(crops)} photos have no colour ({grey[0]}, ...); they are inverted as they are"
        )
    subjects = Subjects.of(
        photographed(target, judges, crops.pixels, crops.identities), photos.split, most=config.people
    )
    rows = [photo_of(subjects, name) for name in subjects.names]
    asked = {*(rows if target.parts.encoder is None else ())}
    if config.attacks:  # they are given photos, of which they have to know from where they were taken
        asked |= {row for group in ("forget", "control") for p in subjects.groups[group] for row in subjects.given[p]}
    cameras = torch.zeros(len(crops), 25)
    if target.turns and asked:
        places = sorted(asked)
        shown = (taken[crops.names[row]] for row in places)
        cameras[places] = cameras_of(shown, target.parts.face, *target.framing, target.detector)
    latents = _inverted(target, crops.pixels[rows], cameras[rows], config.inversion_steps, watcher)
    for person, w in zip(config.forget, () if drawn is None else drawn, strict=drawn is not None):
        latents[subjects.names.index(person)] = w
    samples = target.sample(config.samples, generator_of("samples", config.seed)).cpu()
    return Scene(target, judges, photos, Sources(subjects, latents, samples), cameras, grey)


def load_model(model: Named, config: GanConfig) -> GanTarget:
    """The generator that the configuration names, on its device."""
    assert model.weights is not None
    return GanTarget.load(model.name, model.weights, device_of(config), load_detector(config), **model.fields())


def invented(target: GanTarget, config: GanConfig) -> tuple[Tensor, dict[str, tuple[Photo, ...]]]:
    """(latents [forgotten, rows, w_dim] of people who never existed, one drawn at random for each of `config.forget`,
    and pictures of each from `SIDES` in the place of photos). Raises EffaceError for a generator that shows everybody
    in one picture."""
    if not target.turns:
        raise EffaceError(
            f"latents: found random for {config.model.name}, which shows each person in one picture, expected photo: "
            "others are needed to see whether the person is forgotten; or name a generator with cameras"
        )
    cameras = target.camera(torch.tensor(SIDES).deg2rad())
    latents, photos = [], {}
    for person in config.forget:
        w = target.sample(1, generator_of(f"latent of {person}", config.seed)).cpu()
        pictures = target.views(w, cameras)[0]
        _, found = target.crops(pictures, cameras)
        latents.append(w)
        photos[person] = tuple(
            _photo(target, person, number, picture, camera)
            for number, (picture, camera, face) in enumerate(zip(pictures, cameras, found.tolist(), strict=True))
            if face
        )
    return torch.cat(latents) if latents else target.w_average.cpu()[None][:0], photos


def _photo(target: GanTarget, person: str, number: int, picture: Tensor, camera: Tensor) -> Photo:
    """A picture uint8 [3, size, size] from a camera [25], with a face, in the place of a photo."""
    pixels, buffer = picture.permute(1, 2, 0).contiguous().numpy(), io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    five = target.five(camera[None])[0] if target.detector is None else target.detector.find(pixels)[0].landmarks
    aligned = tuple(map(float, alignment_of(five).ravel()))
    places = tuple(map(float, five.ravel()))
    return Photo(person, f"{person}/{number}.png", data=buffer.getvalue(), alignment=aligned, five=places)


def led_by(photos: Photos, taken: Mapping[str, Photo], number: int) -> Split:
    """The split with that seen photo, from 1, before the others of each forgotten person. taken: every photo by its
    name. One without a face that lies among the seen ones counts, and is refused in place of the next being taken."""
    split, names = photos.split, photos.crops.names
    seen = dict(split.seen)
    for person in split.forget:
        own = {names[position]: position for position in seen[person]}
        last = max(map(natural_key, own))
        faceless = [n for n in photos.notes.no_face if taken[n].identity == person and natural_key(n) < last]
        counted = sorted([*own, *faceless], key=natural_key)
        if number > len(counted):
            raise EffaceError(
                f"photo: found {number}, expected 1 to {len(counted)}: {person} has {len(counted)} photos that a "
                "method may see"
            )
        name = counted[number - 1]
        if name in faceless:
            raise EffaceError(
                f"photo: found no face in {name}, photo {number} of {person}, expected one; pick another of the "
                f"{len(counted)} by photo: NUMBER, or take this one away"
            )
        seen[person] = (own.pop(name), *own.values())
    return replace(split, seen=seen)


def _plain(pixels: Tensor) -> list[bool]:
    """Which pictures uint8 [n, 3, h, w] have no colour."""
    return (pixels[:, :1] == pixels[:, 1:]).flatten(1).all(1).tolist()


def _inverted(target: GanTarget, pixels: Tensor, cameras: Tensor, steps: int, watcher: Watcher) -> Tensor:
    """w [n, rows, w_dim] on the CPU of framed photos uint8 [n, 3, s, s]: by the encoder; without one by so many steps
    of optimisation in W+, for which the cameras [n, 25] count."""
    if target.parts.encoder is not None or not len(pixels):
        return target.invert(pixels).cpu()
    with watcher.track("inverting photos", len(pixels)) as tick:
        w, _ = optimised(target, Shots(pixels, cameras, torch.arange(len(pixels))), steps=steps, tick=tick)
    return w.cpu()
