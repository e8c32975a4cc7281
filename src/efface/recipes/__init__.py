"""How each kind of model is trained from scratch: one file = one recipe, a frozen dataclass whose fields are its
settings, with `train(folder, watcher)` and, as `tiny`, what makes it a dry run."""

from datetime import timedelta
from pathlib import Path

import torch
from accelerate import PartialState

from efface import config
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
    state = PartialState(cpu=on_cpu, timeout=timedelta(days=1))  # aligning photos may take hours
    try:
        if state.num_processes > 1 and on_cpu:
            torch.set_num_threads(1)
        if state.is_main_process:
            with run_folder(out, config.dump(recipe), resume, watcher.say) as folder:
                recipe.value.train(folder, watcher)
        else:
            partial = Path(f"{out}.partial")
            recipe.value.train(RunFolder(partial, lambda line: None), Quiet())
    finally:
        if state.num_processes > 1:
            state.destroy_process_group()
