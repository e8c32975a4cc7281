"""Test-time averaging: embed several views of every photo and take the mean, so that chance averages out.

Ours: the photo, its mirror image, and the four shifts by `pixels` (the border is repeated), six views; their unit
embeddings' mean, normalised, is the photo's. Probes and templates by the protocol. Means of views are closer to each
other than single embeddings, strangers' too, so the attacker sets the threshold anew, from pairs of held-out people
embedded the same way under the model under attack.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import PositiveInt
from torch import Tensor

from efface.attacks.attack import Attack, Outcome, Subject, recognised
from efface.faces.views import DIRECTIONS, shifted
from efface.metrics.protocol import Evaluation


@dataclass(frozen=True, kw_only=True)
class ViewAveraging(Attack):
    """The mean embedding of several views of a photo finds the person."""

    access: ClassVar = "the embeddings"
    control: ClassVar = "retained people, averaged the same way"

    pixels: PositiveInt = 2
    """By how much the shifted views are shifted, of a side of 112."""

    def attempt(self, subject: Subject) -> Iterator[Outcome]:
        space = Evaluation(subject.split, self._averaged(subject))
        yield from recognised(f"views={2 + len(DIRECTIONS)}", space, space.searches, space.impostors)

    def _averaged(self, subject: Subject) -> Tensor:
        """Unit embeddings [n, d]; photos that are in no search and no pair of strangers keep their own."""
        split = subject.split
        used = {*(i for own in split.unseen.values() for i in own)}
        used |= {i for p in split.holdout for i in split.photos.get(p, ())}
        rows = sorted(used)
        pixels = subject.crops.pixels[rows]
        views = [pixels.flip(-1), *(shifted(pixels, self.pixels * x, self.pixels * y) for x, y in DIRECTIONS)]
        means = torch.from_numpy(subject.evaluation.embeddings.copy())
        for view in views:
            means[rows] += subject.target.embed(view)
        return F.normalize(means, dim=1)
