"""Train the tiny diffusion model on drawn people by the recipe of the shipped one (`efface.recipes.diffusion`), and
write its folder, with its card, beside this file. The weights that lie there are older (their card).

python -m efface.testing.train_tiny_diffusion [OUT]       a quarter of an hour on one idle core, or so
"""

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from efface import config, recipes
from efface.cli.terminal import Terminal
from efface.folder import write_text
from efface.models.diffusion.tiny import WEIGHTS

RECIPE = {
    "name": "diffusion",
    "model": "tiny",
    "faces": {"name": "drawn", "people": 920, "photos": 6, "seed": 900},  # no test draws any of them
    "held_out": 20,
    "channels": [16, 16, 16, 16],
    "patch": 8,
    "latents": 24,
    "tokens": 4,
    "width": 32,
    "steps": 3000,
    "batch": 48,
    "rate": 2e-3,
    "identity": 0.5,
    "average": 0.998,
    "precision": "fp32",
    "licence": "Apache-2.0",
    "device": "cpu",
}


def train(folder: Path, **fields: Any) -> None:
    """Draw, train, measure, and write the model and its card. fields: in the place of the recipe's above."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "out"
        recipes.train(config.load_recipe(None, (), RECIPE | fields | {"out": str(out)}), Terminal())
        folder.mkdir(parents=True, exist_ok=True)
        for path in (out / "weights").iterdir():
            shutil.copyfile(path, folder / path.name)
        card = (out / "card.md").read_text(encoding="utf-8")
    told = card[card.index("What:") : card.index("Command:")]
    write_text(folder / "tiny.md", f"{TITLE}\n\n{told}Command: `python -m efface.testing.train_tiny_diffusion`\n")


TITLE = """# tiny: the small diffusion model of the tests

It draws drawn people (`efface.testing.drawn`) from the tiny recogniser's embedding, and no real face."""


if __name__ == "__main__":
    torch.set_num_threads(1)
    train(Path(sys.argv[1]) if len(sys.argv) > 1 else WEIGHTS)
