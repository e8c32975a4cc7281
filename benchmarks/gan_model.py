"""How well the face generators that come with efface rebuild people whom they never saw.

    python -m benchmarks.gan_model [eg3d | stylegan2 | NAME FOLDER]

The 100 people of the pack who are unknown to every shipped network: each of a person's SEEN seen photos
(docs/protocol.md) is inverted by the encoder and drawn again, by the tri-plane generator also turned by 30°; what is
drawn is compared with the mean of the real unseen photos of all 100, by the recogniser that the encoder uses and by the
judge. Shares are of all photos and of each person's first; beside: the photos themselves. The bar: nearest to the right
person in 80 % (judge 65 %), turned 60 % (45 %). FOLDER: other weights than the shipped ones. Results of the shipped
ones go to benchmarks/results/gan_model.json, a sheet to docs/NAME-people.jpg: of ten people, in rows or columns, the
photo, what is drawn of it from all sides, and a photo that was not used.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from efface import registry
from efface.errors import EffaceError
from efface.faces.datasets.people import ShippedPeople
from efface.faces.framing import frame
from efface.faces.people import People
from efface.folder import write_text
from efface.targets.gan import GanTarget
from efface.targets.recognition import RecognitionTarget

RESULTS = Path(__file__).parent / "results" / "gan_model.json"
DOCS = Path(__file__).parents[1] / "docs"
PEOPLE, SEEN, SHOWN = 100, 5, 10
TURNED = (0.0, -30.0, 30.0)


def judged(embeddings: Tensor, templates: Tensor) -> dict[str, float]:
    """Of unit embeddings [people, k, d]: mean cosine to the own template, and the share nearest to it, of all and of
    the first of each."""
    cosines = embeddings @ templates.T
    own = torch.arange(len(templates))[:, None]
    right = cosines.argmax(2) == own
    return {
        "id": float(cosines.gather(2, own[:, None].expand(-1, embeddings.shape[1], -1)).mean()),
        "nearest": float(right.float().mean()),
        "nearest_first": float(right[:, 0].float().mean()),
    }


def main() -> None:
    """Measure and print."""
    chosen = sys.argv[1:2] or ["eg3d", "stylegan2"]
    folder = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    judge = RecognitionTarget.load("judge", registry.get("models.recognition", "judge").shipped)
    everyone = ShippedPeople().read()
    people = People(dict(list(everyone.photos.items())[:PEOPLE]))
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    for name in chosen:
        weights = folder or registry.get("models.gan", name).shipped
        if weights is None:
            raise EffaceError(
                f"{name}: found no shipped weights; train them with efface train configs/train/{name}.yaml"
            )
        target = GanTarget.load(name, weights)
        found, sheet = measured(target, judge, people)
        print(name)
        for key, figures in found.items():
            print(f"  {key:20}" + "  ".join(f"{figure} {value:.3f}" for figure, value in figures.items()))
        if folder is None:
            results[name] = found
            write_text(RESULTS, json.dumps(results, indent=1) + "\n")
        sheet.save(f"{name}-people.jpg" if folder else DOCS / f"{name}-people.jpg", quality=82, optimize=True)


def measured(
    target: GanTarget, judge: RecognitionTarget, people: People
) -> tuple[dict[str, dict[str, float]], Image.Image]:
    """(row -> figures, the sheet)."""
    photos, _ = frame(people, *target.framing)
    shape = (PEOPLE, len(photos) // PEOPLE)
    seen = photos.pixels.unflatten(0, shape)[:, :SEEN].flatten(0, 1)
    embed = {"recogniser": target.recogniser.embed, "judge": judge.embed}
    crops = target.window(photos.pixels)
    real = {scorer: one(crops).unflatten(0, shape) for scorer, one in embed.items()}
    templates = {scorer: F.normalize(found[:, SEEN:].mean(1), dim=1) for scorer, found in real.items()}
    began = time.perf_counter()
    w = target.invert(seen)
    inverting = (time.perf_counter() - began) / len(seen)
    found = {f"photos, {scorer}": judged(real[scorer][:, :SEEN], templates[scorer]) for scorer in embed}
    began = time.perf_counter()
    for yaw in TURNED if target.turns else (0.0,):
        cameras = target.camera(float(np.radians(yaw))).expand(len(w), -1)
        drawn, _ = target.crops(target.draw(w, cameras), cameras)
        for scorer, one in embed.items():
            found[f"{yaw:g}°, {scorer}"] = judged(one(drawn).unflatten(0, (PEOPLE, SEEN)), templates[scorer])
    seconds = (time.perf_counter() - began) / len(w) / (len(TURNED) if target.turns else 1)
    found["seconds"] = {"invert": inverting, "draw": seconds}
    first = w.unflatten(0, (PEOPLE, SEEN))[:SHOWN, 0]
    yaws = torch.tensor((-45.0, -30.0, -15.0, 0.0, 15.0, 30.0, 45.0) if target.turns else (0.0,)).deg2rad()
    views = target.views(first, target.camera(yaws))
    rows = photos.pixels.unflatten(0, shape)[:SHOWN]
    lines = torch.stack([torch.stack([rows[i, 0], *views[i], rows[i, SEEN]]) for i in range(SHOWN)])
    if not target.turns:
        lines = lines.transpose(0, 1)
    picture = lines.permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1).contiguous().numpy()
    return found, Image.fromarray(picture)


if __name__ == "__main__":
    main()
