"""The straight line for an identity-conditioned diffusion model: configuration -> people -> target -> anchors -> method
-> audit -> folder."""

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from efface import report, training
from efface.attacks import attempts
from efface.attacks.drawing import Sitter
from efface.config import DiffusionConfig, Named
from efface.faces.framing import frame
from efface.faces.splits import Split
from efface.given import (
    Photos,
    about,
    check_attacks,
    device_of,
    load_detector,
    load_target,
    log_method,
    read_photos,
    seeded,
)
from efface.methods.anchors import Chosen
from efface.methods.conditions import DrawRequest, Faces
from efface.metrics.generation import DrawingAudit, audit, look, measure
from efface.metrics.subjects import OWN, Pictures, Subjects
from efface.models import layout
from efface.progress import Watcher
from efface.run_drawing import opened, row, scores_of, told
from efface.targets.diffusion import DiffusionTarget
from efface.targets.recognition import RecognitionTarget


def run(config: DiffusionConfig, watcher: Watcher, resume: bool = False, mark: str | None = None) -> dict[str, Any]:
    """Unlearn, audit and report; returns what audit.json holds. The folder `config.out` appears when all is in it.

    resume: continue a run of the same configuration that was stopped. mark: as `folder.run_folder` says.
    Raises EffaceError for whatever the user can mend.
    """
    with opened(config, watcher, resume, mark, "a diffusion model") as folder:
        scene = prepare(config, watcher)
        folder.log("people", scene.photos.summary(), **asdict(scene.photos.notes))
        folder.log("target", f"{config.model.name} from {config.model.weights}")
        folder.log("anchors", scene.anchored())
        with training.session(folder.checkpoints, watcher) as session:
            unlearned = _unlearn(config, scene)
        trained = told(session, scene.target.device)
        weights = folder.path / "weights"
        shutil.rmtree(weights, ignore_errors=True)  # of a run that was stopped right here
        assert config.method is not None
        changes, whole = unlearned.changes(scene.target), not config.changed_only
        paths = unlearned.save(weights, changes, whole, method=config.method.name)
        log_method(folder, config, trained["cost"])
        found = measured(config, scene, {"original": scene.target, "unlearned": unlearned}, watcher)
        content = contents(config, scene, found) | trained | {"weights": [p.name for p in paths]}
        folder.write_json("audit.json", content)
        found.write_people(folder.path / "people.csv")
        folder.log("audit", f"{len(found.drawings[OWN])} models measured, {config.draws} pictures a person")
        report.write_drawn(folder.path, evidence(content, found))
        folder.log("report", "audit.json, people.csv, report.html and weights written")
    return content


def evaluate(config: DiffusionConfig, unlearned: Path | None, watcher: Watcher) -> dict[str, Any]:
    """Measure the model, and an `unlearned` one if given, from a folder of the same layout or the changed tensors alone
    (`layout.changed_alone`); writes nothing."""
    check_attacks(config)
    scene = prepare(config, watcher)
    watcher.say(scene.photos.summary())
    targets = {"original": scene.target}
    if unlearned is not None and layout.changed_alone(unlearned):
        targets["unlearned"] = scene.target.clone()
        layout.lay_over(targets["unlearned"].parts.unet, unlearned)
    elif unlearned is not None:
        targets["unlearned"] = load_model(Named(config.model.name, config.model.value, unlearned), config)
    return contents(config, scene, measured(config, scene, targets, watcher))


@dataclass(frozen=True, eq=False)
class Scene:
    """The model, everybody's photos as it and the judge see them, and who is drawn instead of the forgotten."""

    target: DiffusionTarget
    judges: Mapping[str, RecognitionTarget]
    photos: Photos
    seen: Pictures
    """The photos and their embeddings."""
    anchors: Chosen
    """One for each of `photos.split.forget`, in that order."""

    def faces(self, *people: str) -> Faces:
        """The seen photos of these people."""
        return seen_faces(self.seen, self.photos.split, people)

    def anchored(self) -> str:
        """One line: who is drawn instead of whom, and how alike they are."""
        rows = zip(self.photos.split.forget, self.anchors.who, self.anchors.cosines, self.anchors.nearest, strict=True)
        return "; ".join(
            f"{person} becomes {who or f'nobody (nearest person {nearest:.2f})'}, cosine {cosine:.2f}"
            for person, who, cosine, nearest in rows
        )


def seen_faces(photos: Pictures, split: Split, people: Iterable[str]) -> Faces:
    """The seen photos of these people, of everybody's."""
    rows = [i for p in people for i in split.seen[p]]
    return Faces(photos.pixels[rows], photos.embeddings[OWN][rows], tuple(photos.people[i] for i in rows))


def prepare(config: DiffusionConfig, watcher: Watcher) -> Scene:
    """Read the model and the photos, embed these, and choose the anchors."""
    target = load_model(config.model, config)
    judges = {} if config.judge is None else {"judge": load_target(config.judge, config)}
    place, size = target.spec.window, target.spec.size
    photos = read_photos(
        config,
        watcher,
        lambda people, detector, tick: frame(people, size, place.left, place.top, place.side, detector, tick),
    )
    crops, split = photos.crops, photos.split
    with watcher.track("embedding photos", len(crops) * (1 + len(judges))) as tick:
        seen = look(target, judges, crops.pixels, crops.identities, framed=True, tick=tick)
    scene = Scene(target, judges, photos, seen, Chosen(torch.empty(0, target.spec.embedding_size), (), (), ()))
    if not split.forget:
        return scene
    anchors = config.anchor.choose(scene.faces(*split.forget), scene.faces(*split.retain), seeded(config))
    return Scene(target, judges, photos, seen, anchors)


def load_model(model: Named, config: DiffusionConfig) -> DiffusionTarget:
    """The diffusion model that the configuration names, on its device."""
    assert model.weights is not None
    return DiffusionTarget.load(model.name, model.weights, device_of(config), load_detector(config), **model.fields())


def _unlearn(config: DiffusionConfig, scene: Scene) -> DiffusionTarget:
    """The people together, or one after another from the model that forgot the ones before."""
    assert config.method is not None
    forget, retain = scene.photos.split.forget, scene.faces(*scene.photos.split.retain)
    generator, target = seeded(config), scene.target
    for people in [(p,) for p in forget] if config.one_after_another else [forget]:
        anchors = scene.anchors.embeddings[[forget.index(p) for p in people]]
        target = config.method.value.unlearn(target, DrawRequest(scene.faces(*people), retain, anchors), generator)
    return target


def measured(
    config: DiffusionConfig, scene: Scene, targets: Mapping[str, DiffusionTarget], watcher: Watcher
) -> DrawingAudit:
    """The audit of the models, with what the attacks found."""
    subjects = Subjects.of(scene.seen, scene.photos.split, scene.anchors.embeddings, scene.anchors.who, config.people)
    drawn = {
        name: measure(target, scene.judges, subjects, config.draws, config.seed, watcher)
        for name, target in targets.items()
    }
    found = audit(subjects, drawn, seeded(config))
    if not config.attacks:
        return found
    originals = {scorer: models["original"] for scorer, models in found.drawings.items()}
    sitters = {
        name: Sitter(target, scene.judges, subjects, originals, config.draws, config.seed)
        for name, target in targets.items()
    }
    return attempts.drawn(found, [attack.value for attack in config.attacks], sitters, seeded(config), watcher)


def contents(config: DiffusionConfig, scene: Scene, found: DrawingAudit) -> dict[str, Any]:
    """What audit.json holds (docs/diffusion.md)."""
    rows = zip(scene.photos.split.forget, *scene.anchors[1:], strict=True)
    likeness = {person: {"who": who, "cosine": cosine, "nearest": near} for person, who, cosine, near in rows}
    return about(config, scene.photos) | found.content | {"anchoring": likeness}


def evidence(content: dict[str, Any], found: DrawingAudit) -> report.DrawnEvidence:
    """What the report shows: everybody who was drawn, with what each model drew."""
    models = found.drawings[OWN]
    subjects = models["original"].subjects
    rows = {}
    for name in subjects.names:
        if name in subjects.by_photo:
            continue
        photos = subjects.real([name])
        rows[name] = row(subjects.photos.pixels[int(photos[0])] if len(photos) else None, models, name)
    return report.DrawnEvidence(content, rows, scores_of(models))
