"""What one setting of `rewire` changes, on ORL's tuning sets 0–4, beside and together with other methods.

    EFFACE_DATA=... python -m benchmarks.rewire [SEEDS]

The table is that of docs/methods.md; the mean over SEEDS seeds (3), but one where
`dispersion` is trained. EFFACE_DATA holds mobilefacenet, detector and ORL.
Everything that is tried changes the last block alone, so what enters it is computed once.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from efface.faces.alignment import align
from efface.faces.cache import CropCache
from efface.faces.crops import Crops
from efface.faces.datasets.folder import Folder
from efface.faces.detection import Detector
from efface.faces.splits import orl_set, split
from efface.methods.recognition.dispersion import Dispersion
from efface.methods.recognition.rewire import Rewire
from efface.methods.seen import LastBlocks
from efface.methods.unlearner import Request, Unlearner
from efface.metrics.audit import audit, pool
from efface.metrics.rows import Row
from efface.targets.recognition import RecognitionTarget

SETTINGS: tuple[tuple[str, Sequence[Unlearner]], ...] = (
    ("–", [Rewire()]),
    ("`share=0` (projection only)", [Rewire(share=0)]),
    ("`share=0`, `directions=4`", [Rewire(share=0, directions=4)]),
    ("`directions=4`", [Rewire(directions=4)]),
    ("`share=0.25`", [Rewire(share=0.25)]),
    ("`amplitude=4`", [Rewire(amplitude=4)]),
    ("`threshold=0.65`", [Rewire(threshold=0.65)]),
    ("`threshold=0.8`", [Rewire(threshold=0.8)]),
    ("`steepness=7`", [Rewire(steepness=7)]),
    ("`steepness=30`", [Rewire(steepness=30)]),
    ("`variation=0`", [Rewire(variation=0)]),
    ("`variation=0.06`", [Rewire(variation=0.06)]),
    ("`positions=5`", [Rewire(positions=5)]),
    ("`shrinkage=0.2`", [Rewire(shrinkage=0.2)]),
    ("`shrinkage=0.5`", [Rewire(shrinkage=0.5)]),
    ("`dispersion` (seed 0)", [Dispersion()]),
    ("projection only, then `dispersion` (seed 0)", [Rewire(share=0, directions=4), Dispersion()]),
    ("`dispersion`, then `rewire` (seed 0)", [Dispersion(), Rewire()]),
    ("`rewire`, then `dispersion`, `steps=60` (seed 0)", [Rewire(), Dispersion(steps=60)]),
)
COLUMNS = ("rank1", "tar@far=1e-3", "rank1_multi", "tar_multi@far=1e-3")
"""Numbers of the forgotten."""


class Ending(RecognitionTarget):
    """The last block of a recogniser; the features that enter it stand in the place of photos."""

    front: RecognitionTarget

    @classmethod
    def of(cls, target: RecognitionTarget) -> "Ending":
        ending = cls(target.spec, LastBlocks(target, 1).tail)
        ending.front = target
        return ending

    def clone(self) -> "Ending":
        twin = Ending(self.spec, super().clone().network)
        twin.front = self.front
        return twin

    def inputs(self, pixels: Tensor) -> Tensor:
        return pixels if pixels.shape[1] != 3 else self.entering(pixels)

    def entering(self, pixels: Tensor) -> Tensor:
        """What photos [n, 3, 112, 112] are when they enter the block."""
        return LastBlocks(self.front, 1).entering(pixels)[0]


def orl(data: Path, seeds: int) -> None:
    """Print a line for each setting."""
    people = Folder(path=data / "faces-orl" / "att_faces").read()
    photos = align(people, Detector.load(data / "detector-mtcnn"), CropCache.default())[0]
    target = Ending.of(RecognitionTarget.load("mobilefacenet", data / "recogniser-mobilefacenet" / "mobilefacenet.pt"))
    crops = Crops(target.entering(photos.pixels), photos.identities, photos.names)
    original = target.embed(crops.pixels)
    headings = (*COLUMNS, "held out lose, TAR", "FAR ×1e-3")
    print("| | " + " | ".join(headings) + " |\n|" + "---|" * (len(headings) + 1), flush=True)
    for title, methods in SETTINGS:
        runs: list[list[Row]] = []
        for k in range(5):
            parts = split(photos, orl_set(k))
            groups = (parts.forget, parts.retain)
            request = Request(*(crops.take([i for p in group for i in parts.seen[p]]) for group in groups))
            for seed in range(1 if any(isinstance(method, Dispersion) for method in methods) else seeds):
                unlearned: RecognitionTarget = target
                for method in methods:
                    unlearned = method.unlearn(unlearned, request, torch.Generator().manual_seed(seed))
                embeddings = {"original": original, "unlearned": unlearned.embed(crops.pixels)}
                runs.append(audit(parts, embeddings, torch.Generator()).people)
        pooled = pool(runs, torch.Generator().manual_seed(0))
        models = pooled["models"]["unlearned"]
        cells = [title, *(f"{models['forget'][metric]['value']:.2f}" for metric in COLUMNS)]
        cells += [f"{pooled['drops']['holdout']['tar@far=1e-3']:.2f}"]
        cells += [f"{1000 * models['impostors']['far_at_frozen_threshold']['value']:.2f}"]
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    orl(Path(os.environ["EFFACE_DATA"]), int(sys.argv[1]) if len(sys.argv) > 1 else 3)
