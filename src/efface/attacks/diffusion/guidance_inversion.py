"""Guidance, inverted: a model that was trained to PIU's target holds the person's prediction in plain sight.

PIU (arXiv 2605.22311) trains ε_u(c_f) = ε(c_a) − η (ε(c_f) − ε(c_a)), ε of the original model, and wants everybody else
kept, so ε_u(c_a) = ε(c_a). Solved for the person: ε(c_f) = ((1 + η) ε_u(c_a) − ε_u(c_f)) / η, with no training, by
anybody who knows the anchor's embedding. Ours. Classifier-free guidance is laid over the result as over any other.

Who does not know η, or the anchor, searches them: each candidate's pictures are compared with the attacker's own photos
of the person by the recogniser that conditions the model, and the best one is taken; what is judged is drawn anew. The
candidates are every strength with the anchor, with centroids of retained people (the anchor may be among them) or with
random directions.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from efface.attacks.attack import Attack, Outcome
from efface.attacks.drawing import Sitter, Sought
from efface.errors import EffaceError
from efface.metrics.generation import look
from efface.metrics.subjects import OWN


@dataclass(frozen=True, kw_only=True)
class GuidanceInversion(Attack[Sitter]):
    """The difference between what is predicted for the anchor and for the person, turned round, draws the person."""

    access: ClassVar = "the weights, the person's embedding; the anchor's, or photos of the person to search it with"
    control: ClassVar = "strangers who were never given to the method, by the same anchors and by their own search"

    etas: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = (1.0, 1.5, 3.0)
    """Strengths of the negative guidance that are turned round, each with every anchor; PIU's default is 1."""
    candidates: PositiveInt = 16
    """Anchors that a search tries, at most."""
    tries: PositiveInt = 2
    """Pictures by which a candidate is judged."""

    def attempt(self, subject: Sitter) -> Iterator[Outcome]:
        sought = subject.sought()
        names = [one.person for one in sought]
        own = torch.stack([subject.subjects.condition(p) for p in names])
        candidates = {f"{where},tried={self.candidates}": [anchors] * len(sought) for where, anchors in {
            "retained": self._retained(subject), "random": self._random(subject)}.items()}  # fmt: skip
        people = [name for name in names for _ in range(subject.draws)]
        for how, anchors in {"known": [one.anchor[None] for one in sought], **candidates}.items():
            pixels = []
            for one, condition, tried in zip(sought, own, anchors, strict=True):
                anchor, eta = self._searched(subject, one, condition, tried)
                noise = subject.noise([one.person], subject.draws)
                pixels.append(self._drawn(subject, condition[None], anchor[None], eta, noise))
            yield from subject.judged(f"anchor={how}", torch.cat(pixels), people)

    def _drawn(self, subject: Sitter, own: Tensor, anchors: Tensor, eta: float, noise: Tensor) -> Tensor:
        """Pictures uint8 [n, 3, size, size] of people [m, d] by these anchors [m, d] from noise [n, c, h, w], n / m in
        a row for each."""
        target = subject.target
        draws = len(noise) // len(own)
        tokens, replaced = (target.condition(e).repeat_interleave(draws, dim=0) for e in (own, anchors))
        # what guidance gives the condition's prediction goes to the inverted one's two parts
        *nobody, (scale, _) = target.weighted(tokens)
        inverted = [(scale * (1 + eta) / eta, replaced), (-scale / eta, tokens)]
        return target.draw_from([*nobody, *inverted], noise)

    def _searched(self, subject: Sitter, one: Sought, own: Tensor, anchors: Tensor) -> tuple[Tensor, float]:
        """Of anchors [k, d] and all strengths those with which the pictures of the person, condition [d], are most like
        the attacker's photos: ([d], η)."""
        if len(anchors) == len(self.etas) == 1:
            return anchors[0], self.etas[0]
        noise = subject.noise([one.person], self.tries, "search ").repeat(len(anchors), 1, 1, 1)
        photos = subject.subjects.photos.embeddings[OWN][list(subject.subjects.given[one.person])]
        likeness = []
        for eta in self.etas:
            pixels = self._drawn(subject, own.expand(len(anchors), -1), anchors, eta, noise)
            drawn = look(subject.target, {}, pixels, (one.person,) * len(pixels)).embeddings[OWN]
            likeness.append((drawn @ F.normalize(photos.sum(0), dim=0)).view(len(anchors), self.tries).mean(1))
        strength, anchor = divmod(int(torch.stack(likeness).argmax()), len(anchors))
        return anchors[anchor], self.etas[strength]

    def _retained(self, subject: Sitter) -> Tensor:
        """Centroids of some retained people."""
        subjects = subject.subjects
        known = [p for p in subjects.retained if subjects.given[p]]
        if not known:
            raise EffaceError(
                "guidance_inversion: found no retained person with a seen photo, expected some as anchors"
            )
        some = torch.randperm(len(known), generator=subject.generator("candidates"))[: self.candidates]
        return torch.stack([subjects.condition(known[i]) for i in some])

    def _random(self, subject: Sitter) -> Tensor:
        """Unit vectors, even on the sphere."""
        size = subject.subjects.conditions.shape[1]
        return F.normalize(torch.randn(self.candidates, size, generator=subject.generator("directions")), dim=1)
