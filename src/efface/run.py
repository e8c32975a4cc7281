"""One run, one straight line: configuration -> people -> target -> method -> audit -> folder."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from accelerate import PartialState
from torch import Tensor

from efface import config as configuration
from efface import report, training
from efface.attacks.attempts import attempted
from efface.config import Named, RunConfig
from efface.folder import CHECKPOINTS, run_folder
from efface.given import (
    Photos,
    about,
    check_asked,
    check_attacks,
    device_of,
    load_target,
    log_method,
    read_photos,
    seeded,
)
from efface.metrics.audit import Audit, audit
from efface.metrics.floor import pixel_embeddings, random_network_embeddings
from efface.progress import Quiet, Watcher
from efface.targets.recognition import RecognitionTarget


def run(config: RunConfig, watcher: Watcher, resume: bool = False, mark: str | None = None) -> dict[str, Any]:
    """Unlearn, audit and report; returns what audit.json holds. The folder `config.out` appears when all is in it.
    Of several processes (torchrun) all unlearn together, the first does the rest, and the others return {}.

    resume: continue a run of the same configuration that was stopped. mark: as `folder.run_folder` says.
    Raises EffaceError for whatever the user can mend.
    """
    check_asked(config)
    with training.processes(device_of(config).type == "cpu") as state:
        if not state.is_main_process:
            _take_part(config, state)
            return {}
        with run_folder(config.out, configuration.dump(config), resume, watcher.say, mark) as folder:
            target = load_target(config.model, config)
            with state.main_process_first():
                photos = read_photos(config, watcher)
            folder.log("people", photos.summary(), **asdict(photos.notes))
            folder.log("target", f"{config.model.name} from {config.model.weights}")
            with training.session(folder.checkpoints, watcher) as session:
                unlearned = _unlearn(config, target, photos)
            cost = session.cost(target.device)
            assert config.method is not None
            paths = unlearned.save(folder.path / "weights", method=config.method.name)
            if unlearned.only_safetensors():
                folder.log("weights", unlearned.only_safetensors())
            log_method(folder, config, cost)
            measured, embeddings = measure(config, photos, {"original": target, "unlearned": unlearned}, watcher)
            content = contents(config, photos, measured) | unlearned.facts()
            content |= {"cost": cost, "weights": [p.name for p in paths]}
            folder.write_json("audit.json", content)
            measured["models"].write_people(folder.path / "people.csv")
            folder.log("audit", f"{len(embeddings)} models measured on {len(photos.crops)} photos")
            report.write(folder.path, report.Evidence(content, photos.crops, photos.split, embeddings))
            folder.log("report", "audit.json, people.csv, report.html and weights written")
        state.wait_for_everyone()
    return content


def _take_part(config: RunConfig, state: PartialState) -> None:
    """What all but the first of several processes do: unlearn with it, from the same checkpoints, and write nothing."""
    target = load_target(config.model, config)
    with state.main_process_first():  # by then it has the folder, and the crops are in the cache
        photos = read_photos(config, Quiet())
    with training.session(Path(f"{config.out}.partial") / CHECKPOINTS):
        _unlearn(config, target, photos)
    state.wait_for_everyone()


def _unlearn(config: RunConfig, target: RecognitionTarget, photos: Photos) -> RecognitionTarget:
    assert config.method is not None
    return config.method.value.unlearn(target, photos.request(), seeded(config))


def evaluate(config: RunConfig, unlearned: Path | None, watcher: Watcher) -> dict[str, Any]:
    """Measure the model, and `unlearned` weights of the same network if given, by the protocol; writes nothing."""
    check_attacks(config)
    targets = {"original": load_target(config.model, config)}
    if unlearned is not None:
        targets["unlearned"] = load_target(Named(config.model.name, config.model.value, unlearned), config)
    photos = read_photos(config, watcher)
    watcher.say(photos.summary())
    measured, _ = measure(config, photos, targets, watcher)
    return contents(config, photos, measured) | targets.get("unlearned", targets["original"]).facts()


def measure(
    config: RunConfig, photos: Photos, targets: dict[str, RecognitionTarget], watcher: Watcher
) -> tuple[dict[str, Audit], dict[str, Tensor]]:
    """The audit of the models, and of the judge if there is one; and every model's embeddings."""
    if config.retrained is not None:
        targets = targets | {"retrained": load_target(config.retrained, config)}
    judge = {} if config.judge is None else {"judge": load_target(config.judge, config)}
    everyone = targets | judge
    pixels = photos.crops.pixels
    passes = len(everyone) + 2  # a random network takes two: its BatchNorm statistics and its embeddings
    with watcher.track("embedding photos", passes * len(pixels)) as tick:
        embeddings = {name: target.embed(pixels, tick=tick) for name, target in everyone.items()}
        floors = {
            "raw_pixels": pixel_embeddings(pixels),
            "random_network": random_network_embeddings(targets["original"], pixels, seeded(config), tick),
        }
    judged = embeddings.pop("judge", None)
    audits = {"models": audit(photos.split, embeddings, seeded(config), floors=floors)}
    if config.attacks:
        attacks = [attack.value for attack in config.attacks]
        audits["models"] = attempted(audits["models"], attacks, everyone, photos.crops, seeded(config), watcher)
    if judged is not None:
        audits["judge"] = audit(photos.split, {"original": judged}, seeded(config))
    return audits, embeddings


def contents(config: RunConfig, photos: Photos, measured: dict[str, Audit]) -> dict[str, Any]:
    """What audit.json holds (docs/audit.md)."""
    content = about(config, photos) | measured["models"].as_dict()
    if "judge" in measured:
        content["judge"] = measured["judge"].as_dict()["models"]
    return content
