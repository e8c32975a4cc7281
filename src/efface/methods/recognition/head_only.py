"""Control: what taking the forgotten people out of the classifier head, and touching nothing else, does: nothing.

A classifier with such a head never answers with a forgotten person. But recognition compares embeddings, which come
before the head, and a recogniser ships without one: whatever is edited there, the target stays as it is. So this
returns it as it is.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from efface.methods.unlearner import Request, Unlearner
from efface.targets.recognition import RecognitionTarget


@dataclass(frozen=True, kw_only=True)
class HeadOnly(Unlearner):
    """Edit the classifier head, which recognition does not use: the target as it is; forgets nobody."""

    paper: ClassVar = "ours (control)"
    control: ClassVar = True
    objective: ClassVar = "none"

    def unlearn(self, target: RecognitionTarget, request: Request, generator: torch.Generator) -> RecognitionTarget:
        return target.clone()
