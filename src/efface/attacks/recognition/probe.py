"""Ask the layers before the embedding: a logistic regression on inner features.

Source: linear probes, Alain and Bengio 2016 (arXiv 1610.01644). The evaluation page asks for the share of accepted
unseen pairs after a regression over the seen photos of the forgotten and of the retained; the rest is ours:
    features  of a layer (docs/attacks.md, "Layers"), each photo's of length 1
    classes   every forgotten and every retained person, fitted on their seen photos
    loss      ½‖W‖² + strength · Σ cross-entropy (`attacks/logistic.py`)
    space     a photo's class probabilities, of length 1; two photos are scored by their cosine
    decision  probes and templates by the protocol (unseen photos), threshold from the pairs of held-out people
              (never shown to the regression) in the same space of the same model
Tried on ORL's set 0 with the original MobileFaceNet, penultimate layer: log-odds in place of probabilities accept .85
instead of 1.00; a strength of 1 accepts .40, one of 10,000 also 1.00 but more on a random network.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import PositiveFloat
from torch import Tensor

from efface.attacks.attack import Attack, Outcome, Subject, recognised
from efface.attacks.logistic import Logistic
from efface.metrics.protocol import Evaluation


@dataclass(frozen=True, kw_only=True)
class Probe(Attack):
    """A linear probe on inner layers still tells the person's unseen photos apart."""

    access: ClassVar = "the weights, and the photos that the method was given"
    control: ClassVar = "retained people, who are classes of the same probe"

    strength: PositiveFloat = 100.0
    """Weight of the cross-entropy against the L2 penalty (scikit-learn's C)."""

    def attempt(self, subject: Subject) -> Iterator[Outcome]:
        for layer, features in subject.inner.items():
            space = Evaluation(subject.split, self.space(subject, features))
            yield from recognised(f"layer={layer}", space, space.searches, space.impostors)

    def space(self, subject: Subject, features: Tensor) -> Tensor:
        """Unit class probabilities [n, classes] of all photos' features [n, d]."""
        split = subject.split
        photos = [(i, c) for c, p in enumerate((*split.forget, *split.retain)) for i in split.seen.get(p, ())]
        rows, people = torch.tensor(photos).T
        labels = people.unique(return_inverse=True)[1]  # a person without a seen photo is no class
        unit = F.normalize(features, dim=1)
        return F.normalize(Logistic.fit(unit[rows], labels, self.strength).probabilities(unit), dim=1)
