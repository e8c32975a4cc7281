"""Search by the layers before the embedding, without training anything.

Ours: the protocol's searches with the features of a layer (docs/attacks.md, "Layers") in place of the embedding, scored
by their cosine. The attacker sets the threshold for that layer, from the pairs of held-out people under the model under
attack.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F

from efface.attacks.attack import Attack, Outcome, Subject, recognised
from efface.metrics.protocol import Evaluation


@dataclass(frozen=True, kw_only=True)
class NearestInner(Attack):
    """The nearest photo in inner features is the person's."""

    access: ClassVar = "the weights"
    control: ClassVar = "retained people"

    def attempt(self, subject: Subject) -> Iterator[Outcome]:
        for layer, features in subject.inner.items():
            space = Evaluation(subject.split, F.normalize(features, dim=1))
            yield from recognised(f"layer={layer}", space, space.searches, space.impostors)
