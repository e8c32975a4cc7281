"""How each kind of model is trained from scratch: one file = one recipe, a frozen dataclass whose fields are its
settings, with `train(folder, watcher)` and, as `tiny`, what makes it a dry run."""

from pathlib import Path

import torch

from efface import config, training
from efface.config import Named
from efface.folder import RunFolder, run_folder
from efface.progress import Quiet, Watcher


def train(recipe: Named, watcher: Watcher, resume: bool = False) -> None:
    """Train into the recipe's folder `out`, which appears when all is in it. Of several processes (torchrun) the first
    one writes it.

    resume: continue a training of the same configuration that was stopped.
    Raises EffaceError for whatever the user can mend.
    """
    out: Path = recipe.value.out
    on_cpu = recipe.value.device == "cpu" or not torch.accelerator.is_available()
    with training.processes(on_cpu) as state:
        if state.is_main_process:
            with run_folder(out, config.dump(recipe), resume, watcher.say) as folder:
                recipe.value.train(folder, watcher)
        else:
            partial = Path(f"{out}.partial")
            recipe.value.train(RunFolder(partial, lambda line: None), Quiet())
