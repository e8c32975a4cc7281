"""The straight line for a GAN face generator: configuration -> people -> latents -> method -> audit -> folder."""

import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from efface import report, training
from efface.attacks import attempts
from efface.attacks.rebuilding import Rebuilder
from efface.config import GanConfig, Named
from efface.given import about, check_attacks, log_method, seeded
from efface.metrics.generation import DrawingAudit
from efface.metrics.rebuilding import YAWS, Rebuilt, audit, measure, photo_of
from efface.metrics.subjects import OWN
from efface.models import layout
from efface.models.gan_model import lay_over
from efface.progress import Watcher
from efface.run_drawing import opened, row, scores_of, told
from efface.scene import Scene, load_model, prepare
from efface.targets.gan import GanTarget

TURNED = 2
"""Forgotten people whom the report turns around, at most."""


def run(config: GanConfig, watcher: Watcher, resume: bool = False, mark: str | None = None) -> dict[str, Any]:
    """Unlearn, audit and report; returns what audit.json holds. The folder `config.out` appears when all is in it.

    resume: continue a run of the same configuration that was stopped. mark: as `folder.run_folder` says.
    Raises EffaceError for whatever the user can mend.
    """
    with opened(config, watcher, resume, mark, "a face generator") as folder:
        scene = prepare(config, watcher)
        folder.log("people", scene.photos.summary(), **asdict(scene.photos.notes))
        folder.log("target", f"{config.model.name} from {config.model.weights}")
        folder.log("latents", scene.inverted())
        assert config.method is not None
        with training.session(folder.checkpoints, watcher) as session:
            changed = unlearned(scene, config.method.value, seeded(config), config.one_after_another)
        trained = told(session, scene.target.device)
        weights = folder.path / "weights"
        shutil.rmtree(weights, ignore_errors=True)  # of a run that was stopped right here
        paths = changed.save(weights, changed.changes(scene.target), method=config.method.name)
        log_method(folder, config, trained["cost"])
        targets = {"original": scene.target, "unlearned": changed}
        found = measured(config, scene, targets, watcher)
        content = contents(config, scene, found) | changed.facts() | trained | {"weights": [p.name for p in paths]}
        folder.write_json("audit.json", content)
        found.write_people(folder.path / "people.csv")
        folder.log("audit", f"{len(targets)} models measured, {len(scene.sources.subjects.names)} latents drawn")
        report.write_rebuilt(folder.path, evidence(config, content, scene, found, targets))
        folder.log("report", "audit.json, people.csv, report.html and weights written")
    return content


def evaluate(config: GanConfig, unlearned: Path | None, watcher: Watcher) -> dict[str, Any]:
    """Measure the model, and an `unlearned` one if given, from a folder of efface or the changed tensors alone
    (`changed.safetensors`); writes nothing."""
    check_attacks(config)
    scene = prepare(config, watcher)
    watcher.say(scene.photos.summary())
    targets = {"original": scene.target}
    if unlearned is not None:
        targets["unlearned"] = _changed(config, scene.target, unlearned)
    found = contents(config, scene, measured(config, scene, targets, watcher))
    return found | targets.get("unlearned", scene.target).facts()


def _changed(config: GanConfig, target: GanTarget, weights: Path) -> GanTarget:
    """The model with other weights."""
    if weights.name != layout.CHANGED and not (weights.is_dir() and layout.changed_alone(weights)):
        return load_model(Named(config.model.name, config.model.value, weights), config)
    twin = target.clone()
    lay_over(twin.parts.generator, weights)
    return twin


def unlearned(scene: Scene, method: Any, generator: torch.Generator, one_after_another: bool) -> GanTarget:
    """The model that forgot the people together, or one after another from the model that forgot the ones before."""
    forget, target = scene.photos.split.forget, scene.target
    for people in [(p,) for p in forget] if one_after_another else [forget]:
        request = scene.request(people, forget[: forget.index(people[0])])
        target = method.unlearn(target, request, generator)
    return target


def measured(config: GanConfig, scene: Scene, targets: Mapping[str, GanTarget], watcher: Watcher) -> DrawingAudit:
    """The audit of the models, with what the attacks found."""
    sources = scene.sources
    drawn = {name: measure(target, scene.judges, sources, watcher) for name, target in targets.items()}
    found = audit(sources, drawn, seeded(config))
    if not config.attacks:
        return found
    originals = {scorer: Rebuilt(sources.subjects, drawn["original"], scorer) for scorer in found.drawings}
    rebuilder = Rebuilder(scene.target, scene.judges, sources, originals, scene.cameras, config.seed)
    rebuilders = {name: rebuilder.of(target) for name, target in targets.items()}
    return attempts.drawn(found, [attack.value for attack in config.attacks], rebuilders, seeded(config), watcher)


def contents(config: GanConfig, scene: Scene, found: DrawingAudit) -> dict[str, Any]:
    """What audit.json holds (docs/gan.md)."""
    content = about(config, scene.photos) | found.content | {"given": scene.given()}
    content["photos"] |= {"grey": list(scene.grey)}
    return content


def evidence(
    config: GanConfig,
    content: dict[str, Any],
    scene: Scene,
    found: DrawingAudit,
    targets: Mapping[str, GanTarget],
) -> report.RebuiltEvidence:
    """What the report shows: everybody who was drawn, from all sides, and the forgotten turning."""
    models, subjects = found.drawings[OWN], scene.sources.subjects
    rows = {name: row(subjects.photos.pixels[photo_of(subjects, name)], models, name) for name in subjects.names}
    turning = {}
    if scene.target.turns:
        cameras = scene.target.camera(torch.linspace(YAWS[0], YAWS[-1], config.views).deg2rad())
        for person in subjects.groups["forget"][:TURNED]:
            w = scene.sources.of([person])
            turning[person] = {model: target.views(w, cameras)[0] for model, target in targets.items()}
    return report.RebuiltEvidence(content, rows, scores_of(models), turning, dict(subjects.by_photo))
