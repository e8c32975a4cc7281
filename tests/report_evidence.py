"""Evidence of runs that end as a test wants them to: 40 people who do not exist, as clusters on the sphere."""

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from efface.faces.crops import Crops
from efface.faces.splits import split
from efface.metrics.audit import Audit, audit
from efface.metrics.floor import pixel_embeddings
from efface.report import Evidence
from synthetic_faces import jittered, make_embeddings, unit

PEOPLE = [f"p{i}" for i in range(1, 41)]
PEOPLE[:2] = ["0<script>alert('x')</script>", '0"><img src=x onerror=y>']
PEOPLE[2:4] = ["0{{ audit }} & Søn 佐藤", "0[red]$x_1$[/red]"]
"""The first four are forgotten; their names are what nobody should be called."""
ENDINGS = ("kept", "weakened", "forgotten", "harmful")


@functools.cache
def measured(ending: str, first: int = 0) -> tuple[Audit, Evidence]:
    """The run that forgets four people from number `first` on, and ends like this."""
    rng = np.random.default_rng(3)
    small = torch.from_numpy(rng.uniform(0, 255, (400, 3, 7, 7)).astype(np.float32))
    pixels = F.interpolate(small, (112, 112), mode="bicubic").clamp(0, 255).to(torch.uint8)
    owners = [person for person in PEOPLE for _ in range(10)]
    crops = Crops(pixels, tuple(owners), tuple(f"{person}/{i % 10}" for i, person in enumerate(owners)))
    parts = split(crops, PEOPLE[first : first + 4])
    original = make_embeddings(parts, rng, size=32, noise=0.07)
    unlearned = jittered(original, rng, 0.2 if ending == "harmful" else 0.005)
    gone = [i for p in parts.forget for i in parts.photos[p]]
    if ending == "weakened":
        unlearned[gone] = jittered(original[gone], rng, 0.18)
    elif ending != "kept":
        unlearned[gone] = unit(rng.standard_normal((len(gone), 32)))
    embeddings = {"original": original, "unlearned": unlearned}
    found = audit(
        parts, embeddings, torch.Generator().manual_seed(0), floors={"raw_pixels": pixel_embeddings(crops.pixels)}
    )
    return found, Evidence(found.as_dict() | about(list(parts.forget)), crops, parts, embeddings)


def about(forget: list[str], seed: int = 0, method: str = "dispersion") -> dict[str, Any]:
    """What audit.json holds beside the numbers."""
    return {
        "date": "2026-01-02T03:04:05+0000",
        "cost": {"seconds": 10.25, "steps": 200, "images_seen": 1234567, "peak_memory_mb": 512.0, "device": "cpu"},
        "config": {
            "model": {"name": "tiny"},
            "method": {"name": method, "steps": 200},
            "forget": forget,
            "seed": seed,
            "out": "my runs/a",
        },
        "versions": {"efface": "0.1.0", "torch": "2"},
        "photos": {"photos": 402, "no_face": ["p5/<b>11</b>"], "several_faces": [], "near_duplicates": [["a", "b"]]},
    }


def run_folder(path: Path, found: Audit, evidence: Evidence, **changes: Any) -> Path:
    """The folder of such a run, as far as `compare` reads it. changes: keys of audit.json that are replaced."""
    path.mkdir()
    (path / "audit.json").write_text(json.dumps(dict(evidence.audit) | changes))
    found.write_people(path / "people.csv")
    return path
