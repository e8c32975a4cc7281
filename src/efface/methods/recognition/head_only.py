"""Control: the forgotten people's classes are taken out of the classifier head and nothing else is touched.

A classifier with this head never answers with a forgotten person. A recogniser ships without its head, so the
embeddings, and with them every search, stay exactly as they were.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from efface.methods.classes import class_head
from efface.methods.seen import LastBlocks, Seen
from efface.methods.unlearner import Request, Unlearner
from efface.models.heads import CosFace, MarginHead
from efface.targets.recognition import RecognitionTarget


@dataclass(frozen=True, kw_only=True)
class HeadOnly(Unlearner):
    """Remove classes from the head and leave the embeddings alone; forgets nobody."""

    paper: ClassVar = "ours (control)"
    control: ClassVar = True
    objective: ClassVar = "none"

    def unlearn(self, target: RecognitionTarget, request: Request, generator: torch.Generator) -> RecognitionTarget:
        return target.clone()  # what `edited_head` changes is not part of a recogniser


def edited_head(target: RecognitionTarget, request: Request) -> MarginHead:
    """The head of `class_head` without the forgotten people's rows: class 0 is the first retained person."""
    head = class_head(Seen.of(LastBlocks(target, 1), request))
    rows = head.weight[len(request.forget.people()) :]
    edited = CosFace(*rows.shape, scale=head.scale, margin=head.margin).to(rows)
    with torch.no_grad():
        edited.weight.copy_(rows)
    return edited.requires_grad_(False)
