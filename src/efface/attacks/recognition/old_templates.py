"""Templates that were enrolled before: new probes in the old gallery, and old probes in the new one.

Ours; the searches of `cross_version_rank1` and their reverse, at the frozen threshold. `gallery=old`: a probe under the
model under attack against the original model's templates. `gallery=new`: a probe that the original model embeds against
templates of the model under attack. Null where the two embeddings have another length.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from efface.attacks.attack import Attack, Outcome, Subject, recognised
from efface.metrics.protocol import Evaluation


@dataclass(frozen=True, kw_only=True)
class OldTemplates(Attack):
    """Templates of the old model find the person in photos that the new model embeds, or the reverse."""

    access: ClassVar = "the embeddings, and templates or embeddings of the original model"
    control: ClassVar = "retained people"

    def attempt(self, subject: Subject) -> Iterator[Outcome]:
        new, old = subject.evaluation, subject.evaluation.frozen
        reverse = Evaluation(subject.split, old.embeddings, new)  # its templates are the new model's
        for gallery, searched in (("old", new), ("new", reverse)):
            yield from recognised(f"gallery={gallery}", new, searched.cross_version_searches, old.impostors)
