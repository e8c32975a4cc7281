"""One run, one straight line: configuration -> people -> target -> method -> audit -> folder."""

import platform
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy
import torch
from accelerate import PartialState
from torch import Tensor

import efface
from efface import config as configuration
from efface import report, training
from efface.attacks.attempts import attempted
from efface.config import Named, RunConfig
from efface.errors import EffaceError
from efface.faces.alignment import AlignmentNotes, align
from efface.faces.cache import CropCache
from efface.faces.crops import Crops
from efface.faces.detection import Detector
from efface.faces.splits import Split, check_request, split
from efface.folder import CHECKPOINTS, run_folder
from efface.methods.unlearner import Request
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
    if config.method is None:
        raise EffaceError("method: found nothing, expected the name of a method; see `efface methods`")
    if not config.forget:
        raise EffaceError("forget: found nobody, expected the names of the people to forget")
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
            paths = unlearned.save(folder.path / "weights", method=config.method.name)
            if unlearned.only_safetensors():
                folder.log("weights", unlearned.only_safetensors())
            folder.log("method", f"{config.method.name}: {cost['steps']} steps, {cost['seconds']:.1f} s", cost=cost)
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


def _unlearn(config: RunConfig, target: RecognitionTarget, photos: "Photos") -> RecognitionTarget:
    assert config.method is not None
    generator = torch.Generator().manual_seed(config.seed)
    return config.method.value.unlearn(target, photos.request(), generator)


def evaluate(config: RunConfig, unlearned: Path | None, watcher: Watcher) -> dict[str, Any]:
    """Measure the model, and `unlearned` weights of the same network if given, by the protocol; writes nothing."""
    if config.attacks and not config.forget:
        raise EffaceError("attacks: found nobody to forget, expected whom to bring back; give --forget")
    targets = {"original": load_target(config.model, config)}
    if unlearned is not None:
        targets["unlearned"] = load_target(Named(config.model.name, config.model.value, unlearned), config)
    photos = read_photos(config, watcher)
    watcher.say(photos.summary())
    measured, _ = measure(config, photos, targets, watcher)
    return contents(config, photos, measured) | targets.get("unlearned", targets["original"]).facts()


@dataclass(frozen=True)
class Photos:
    """Everybody's aligned faces and who is in which group."""

    crops: Crops
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


def read_photos(config: RunConfig, watcher: Watcher) -> Photos:
    """Read, align and divide the photos that the configuration names."""
    people = config.faces.value.read()
    check_request(people.photos, config.forget, config.retain)  # before hours of alignment
    detector = None if config.detector is None else Detector.load(config.detector)
    with watcher.track("aligning faces", sum(map(len, people.photos.values()))) as tick:
        crops, notes = align(people, detector, None if detector is None else CropCache.default(), tick)
    for person in config.forget:
        if person not in crops.identities:
            count = len(people.photos[person])
            raise EffaceError(
                f"forget: found no face in any of the {count} photos of {person}; give photos that show it"
            )
    return Photos(crops, split(crops, config.forget, config.retain), notes)


def load_target(model: Named, config: RunConfig) -> RecognitionTarget:
    """The recogniser that the configuration names, on its device."""
    assert model.weights is not None
    return RecognitionTarget.load(model.name, model.weights, device_of(config), **model.fields())


def device_of(config: RunConfig) -> torch.device:
    """The configuration's device; `auto` is an accelerator where there is one."""
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if config.device == "auto":
        return found or torch.device("cpu")
    if config.device not in ("cpu", found.type if found else "cpu"):
        raise EffaceError(f"device: found {config.device}, expected cpu or auto: this machine has no such accelerator")
    return torch.device(config.device)


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
            "random_network": random_network_embeddings(targets["original"], pixels, _drawing(config), tick),
        }
    judged = embeddings.pop("judge", None)
    audits = {"models": audit(photos.split, embeddings, _drawing(config), floors=floors)}
    if config.attacks:
        attacks = [attack.value for attack in config.attacks]
        audits["models"] = attempted(audits["models"], attacks, everyone, photos.crops, _drawing(config), watcher)
    if judged is not None:
        audits["judge"] = audit(photos.split, {"original": judged}, _drawing(config))
    return audits, embeddings


def contents(config: RunConfig, photos: Photos, measured: dict[str, Audit]) -> dict[str, Any]:
    """What audit.json holds (docs/audit.md)."""
    parts = photos.split
    content = {
        "schema": 1,
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "speaks_of": "suppression",
        **measured["models"].as_dict(),
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
    if "judge" in measured:
        content["judge"] = measured["judge"].as_dict()["models"]
    return content


def _wrong(notes: AlignmentNotes) -> str:
    """What was not plain about the photos, in words."""
    return f"{len(notes.no_face)} without a face, {len(notes.several_faces)} with several"


def _drawing(config: RunConfig) -> torch.Generator:
    """The generator of the bootstrap."""
    return torch.Generator().manual_seed(config.seed)
