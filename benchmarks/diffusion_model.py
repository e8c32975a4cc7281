"""What the diffusion model that comes with efface draws of people it never saw.

    python -m benchmarks.diffusion_model [FOLDER]

The 100 people of the pack who are unknown to every shipped network: each is asked for by the mean of the embeddings of
the seen photos (docs/protocol.md) and drawn DRAWS times; what is drawn is compared with the mean of the real unseen
photos of all 100, by the recogniser that conditions the model and by the judge. Beside: the ceiling (each real seen
photo in place of the drawn one, and pairs of photos of one person), chance, a random embedding, and what the
auto-encoder keeps of the photos. The bar: nearest to the right person in 80 % (judge 65 %), mean similarity 0.55,
auto-encoder 0.90. FOLDER: another model than the shipped one. Results of the shipped one go to
benchmarks/results/diffusion_model.json, a sheet of drawn people to docs/diffusion-people.jpg (above each row the real
photos).
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
from efface.faces.datasets.people import ShippedPeople
from efface.faces.framing import frame
from efface.faces.people import People
from efface.folder import write_text
from efface.targets.diffusion import DiffusionTarget
from efface.targets.recognition import RecognitionTarget

RESULTS = Path(__file__).parent / "results" / "diffusion_model.json"
SHEET = Path(__file__).parents[1] / "docs" / "diffusion-people.jpg"
PEOPLE, SEEN, DRAWS = 100, 5, 4


def judged(embeddings: Tensor, templates: Tensor) -> dict[str, float]:
    """Of embeddings [people · k, d], k in a row for each: mean cosine to the own template, share nearest to it, and the
    mean cosine to the others'."""
    cosines = embeddings @ templates.T
    own = torch.arange(len(templates)).repeat_interleave(len(embeddings) // len(templates))
    right = cosines[torch.arange(len(own)), own]
    return {
        "similarity": float(right.mean()),
        "nearest": float((cosines.argmax(1) == own).float().mean()),
        "others": float((cosines.sum() - right.sum()) / (cosines.numel() - len(right))),
    }


def main() -> None:
    """Measure and print."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    weights = folder or registry.get("models.diffusion", "shipped").shipped
    target = DiffusionTarget.load("shipped", weights)
    judge = RecognitionTarget.load("judge", registry.get("models.recognition", "judge").shipped)
    everyone = ShippedPeople().read()
    people = People(dict(list(everyone.photos.items())[:PEOPLE]))
    place = target.spec.window
    photos, _ = frame(people, target.spec.size, place.left, place.top, place.side)
    shape = (PEOPLE, len(photos) // PEOPLE)
    embed = {
        "shipped": lambda pictures: target.recognise(pictures)[0],
        "judge": lambda pictures: judge.embed(target.crops(pictures)[0]),
    }
    real = {name: one(photos.pixels).unflatten(0, shape) for name, one in embed.items()}
    templates = {name: F.normalize(found[:, SEEN:].mean(1), dim=1) for name, found in real.items()}
    conditions = F.normalize(real["shipped"][:, :SEEN].mean(1), dim=1)
    began = time.perf_counter()
    drawn = target.generate(conditions, DRAWS, torch.Generator().manual_seed(0))
    seconds = time.perf_counter() - began
    nobody = F.normalize(torch.randn(conditions.shape, generator=torch.Generator().manual_seed(1)), dim=1)
    strangers = target.generate(nobody, 1, torch.Generator().manual_seed(0))
    rebuilt = target.decode(target.encode(photos.pixels))
    results: dict[str, dict[str, float]] = {}
    for name, one in embed.items():
        pairs = real[name] @ real[name].transpose(1, 2)
        twos = pairs[:, ~torch.eye(shape[1], dtype=torch.bool)].mean()
        asked = (one(strangers) * nobody).sum(1).mean() if name == "shipped" else torch.tensor(float("nan"))
        results[name] = {
            **judged(one(drawn), templates[name]),
            "ceiling": float((real[name][:, :SEEN] * templates[name][:, None]).sum(2).mean()),
            "ceiling_nearest": judged(real[name][:, :SEEN].flatten(0, 1), templates[name])["nearest"],
            "pairs_of_photos": float(twos),
            "chance": 1 / PEOPLE,
            "autoencoder": float((one(rebuilt) * real[name].flatten(0, 1)).sum(1).mean()),
        }
        if name == "shipped":
            results[name]["random_embedding"] = float(asked)
    for name, found in results.items():
        print(f"{name:8}" + "  ".join(f"{key} {value:.3f}" for key, value in found.items()))
    print(f"{len(drawn) / seconds:.1f} pictures a second, {target.spec.steps} steps, guidance {target.spec.guidance}")
    sheet = []
    for i in range(0, 16, 2):
        above = [photos.pixels[j * shape[1] + SEEN + k] for j in (i, i + 1) for k in range(DRAWS)]
        below = [drawn[j * DRAWS + k] for j in (i, i + 1) for k in range(DRAWS)]
        sheet += [torch.cat(above, 2), torch.cat(below, 2)]
    picture = Image.fromarray(np.ascontiguousarray(torch.cat(sheet, 1).permute(1, 2, 0).numpy()))
    if folder is None:
        picture.save(SHEET, quality=82, optimize=True)
        write_text(RESULTS, json.dumps(results, indent=1) + "\n")
    else:
        picture.save("diffusion-people.jpg")


if __name__ == "__main__":
    main()
