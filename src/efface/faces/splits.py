"""Who and which photos are forget, retain and holdout, seen and unseen: the protocol's lines 1 to 3."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from efface.faces.crops import Crops


@dataclass(frozen=True)
class Split:
    """Positions of crops, by person. Groups are in natural order."""

    forget: tuple[str, ...]
    retain: tuple[str, ...]
    holdout: tuple[str, ...]
    seen: Mapping[str, tuple[int, ...]]
    """Identity -> positions in the crops that a method may use (for retained and forgotten people)."""
    unseen: Mapping[str, tuple[int, ...]]
    """Identity -> positions that only the audit uses."""


def split(crops: Crops, forget: Sequence[str]) -> Split:
    """Protocol lines 1–3 (see docs/protocol.md) for any set of people and any choice of whom to forget.

    Raises EffaceError for an unknown person, one named twice, or one with too few photos.
    """
    raise NotImplementedError
