"""What the straight lines of models that draw have in common: the folder, what audit.json says of the training, and the
evidence of a person."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from efface import config as configuration
from efface import report, training
from efface.config import AnyRun
from efface.errors import EffaceError
from efface.folder import RunFolder, run_folder
from efface.given import check_asked, device_of
from efface.metrics.drawings import Drawings
from efface.progress import Watcher
from efface.report.scores import Scores


@contextmanager
def opened(config: AnyRun, watcher: Watcher, resume: bool, mark: str | None, model: str) -> Iterator[RunFolder]:
    """The folder of a run, as `folder.run_folder`. Raises EffaceError where nobody is to be forgotten, or several
    processes were started; `model` says what is unlearned from."""
    check_asked(config)
    with (
        training.processes(device_of(config).type == "cpu") as state,
        run_folder(config.out, configuration.dump(config), resume, watcher.say, mark) as folder,
    ):
        if state.num_processes > 1:
            raise EffaceError(f"found {state.num_processes} processes, expected one for {model}: no torchrun")
        yield folder


def told(session: training.Session, device: torch.device) -> dict[str, Any]:
    """What audit.json says of a training that just ended."""
    return {"cost": session.cost(device), "curves": [training.thinned(curve) for curve in session.curves]}


def row(photo: Tensor | None, models: Mapping[str, Drawings], name: str) -> report.DrawnRow:
    """What the report shows of a person: a photo uint8 [3, size, size], and what each model drew."""
    pictures = {model: drawn.pictures.pixels[drawn.pictures.of(name)] for model, drawn in models.items()}
    return report.DrawnRow(photo, pictures, {model: likeness(drawn, name) for model, drawn in models.items()})


def likeness(drawn: Drawings, name: str) -> tuple[float | None, ...]:
    """Cosine of each picture of one person with the own template; None where no face was found."""
    spread = np.full(len(drawn.people), np.nan)
    spread[drawn.found] = drawn.genuine
    return tuple(None if np.isnan(v) else float(v) for v in spread[drawn.pictures.of(name).numpy()])


def scores_of(models: Mapping[str, Drawings]) -> dict[str, Scores]:
    """Of each model the cosines of pictures with templates, as histograms show them."""
    return {model: _scores(drawn) for model, drawn in models.items()}


def _scores(drawn: Drawings) -> Scores:
    who, impostors = np.array(drawn.pictures.people)[drawn.found], drawn.impostors
    forgotten, anchors = np.isin(who, drawn.group("forget")), np.isin(who, drawn.subjects.gallery, invert=True)
    return Scores(
        drawn.genuine[forgotten],
        drawn.genuine[~forgotten & ~anchors],
        np.repeat(impostors.values, impostors.counts),
    )
