"""What every number of the audit is: a frozen dataclass in `metrics/recognition/`, `metrics/diffusion/` or
`metrics/gan/`, one file a number."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, ClassVar, Generic, Literal, TypeVar

from efface import registry
from efface.metrics.protocol import GROUPS, ByPerson

FARS = (1e-2, 1e-3, 1e-4)
"""False accept rates of the default audit."""
FPIRS = (1e-2, 1e-3)
"""False positive identification rates of the default audit."""

Measured = TypeVar("Measured")
"""What a number is measured on: `protocol.Evaluation`, `drawings.Drawings` or `rebuilding.Rebuilt`."""


class Metric(ABC, Generic[Measured]):
    """A number that is measured person by person. Fields are what varies: a rate, a rank."""

    groups: ClassVar[tuple[str, ...]] = GROUPS
    """Groups of people for which it is defined."""
    unit: ClassVar[str] = "share"
    """`share` (0 to 1), `cosine`, or `1 − cosine`."""
    recognised: ClassVar[Literal["higher", "lower"]] = "higher"
    """Whether a person who is recognised better has a higher or a lower value."""
    pairs_of_people: ClassVar[bool] = False
    """True where every trial is of two people and counts for both: the group's value is the share of all trials
    instead of the mean over people, and its trials are half the sum over people."""
    by_judges: ClassVar[bool] = True
    """False for a number that does not depend on the recogniser that scores."""
    audited: ClassVar[tuple[Mapping[str, Any], ...]] = ({},)
    """The fields of each instance that is in every audit."""

    @property
    @abstractmethod
    def key(self) -> str:
        """The number's name in audit.json, for example `tar@far=1e-3`."""

    @abstractmethod
    def measure(self, evaluation: Measured, group: str) -> ByPerson:
        """The number for each person of one of its groups."""


def rate_text(rate: float) -> str:
    """A rate as it stands in a key.

    >>> rate_text(0.001), rate_text(0.0025)
    ('1e-3', '2.5e-3')
    """
    return format(Decimal(repr(rate)), "e")


def audited_metrics(kind: str = "metrics.recognition") -> dict[str, Metric]:
    """Key -> metric, for all of a kind that is in every audit: what the registry lists, plug-ins included."""
    classes = [registry.get(kind, name) for name in registry.names(kind)]
    metrics = [cls(**fields) for cls in classes for fields in cls.audited]
    return {metric.key: metric for metric in metrics}
