"""The report as one HTML file that needs nothing else: no script, no font, no picture from outside."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from efface.report import Evidence, tables
from efface.report.html import filled, thumbnail
from efface.report.numbers import (
    FROZEN_FAR,
    IMPOSTORS,
    TAR,
    floor_value,
    leading,
    threshold,
    value,
)
from efface.report.pictures import MOST_STRIPS, pictures
from efface.report.searches import Search, searches
from efface.report.verdict import FORGOTTEN_RANK1, MOST_RANK1, WEAKENED_RANK1, WEAKENED_TAR, verdict

MOST_PEOPLE = 8
"""Forgotten people who are shown one by one: those whose photos are still accepted most often."""
MOST_SEARCHES = 4
"""Searches shown of each."""


def render(evidence: Evidence) -> str:
    """The whole page."""
    return filled("page.html", evidence.audit, evidence.split.forget, _content(evidence))


def _content(evidence: Evidence) -> dict[str, Any]:
    audit = evidence.audit
    far, frozen = threshold(audit)
    everybody = _people(evidence, frozen)
    forgotten = _shown(everybody)
    return {
        "verdict": verdict(audit),
        "forgotten_rank1": FORGOTTEN_RANK1,
        "most_rank1": MOST_RANK1,
        "weakened_tar": WEAKENED_TAR,
        "weakened_rank1": WEAKENED_RANK1,
        "value": lambda model, group, metric: value(audit, model, group, metric),
        "floor": lambda matcher, metric: floor_value(audit, matcher, "forget", metric),
        "both": "unlearned" in evidence.embeddings,
        "models": [m for m in tables.MODELS if m in audit["models"]],
        "tables": tables,
        "TAR": leading(audit, TAR),
        "FROZEN_FAR": leading(audit, FROZEN_FAR),
        "IMPOSTORS": IMPOSTORS,
        "far": far,
        "one_in": {"1e-3": "1 in 1,000", "1e-2": "1 in 100"}[far],
        "threshold": frozen,
        "pictures": pictures(evidence, [person.name for person in forgotten], frozen, far),
        "people": forgotten,
        "most_strips": MOST_STRIPS,
        "most_searches": MOST_SEARCHES,
        "searches": sum(len(person.searches) for person in everybody),
        "mistaken": {m: _mistaken(everybody, m) for m in ("original", "unlearned") if m in evidence.embeddings},
        "thumbnail": cache(lambda position: thumbnail(evidence.crops.pixels[position])),
        "names": evidence.crops.names,
        "split": evidence.split,
        "photos": len(evidence.crops),
    }


# Forgotten people, one by one


@dataclass(frozen=True)
class Person:
    """One forgotten person and the searches with their unseen photos."""

    name: str
    searches: tuple[Search, ...]

    def likeness(self) -> float:
        """Mean cosine with the own template under the last of the models."""
        own = [list(search.answers.values())[-1].own.cosine for search in self.searches]
        return sum(own) / len(own) if own else 0.0

    def first(self, model: str) -> int:
        """In how many of the searches the own template came first."""
        return sum(s.answers[model].rank == 1 for s in self.searches)

    def accepted(self, model: str) -> int:
        """In how many of the searches the own template was accepted."""
        return sum(s.answers[model].own.accepted for s in self.searches)


def _people(evidence: Evidence, frozen: float | None) -> list[Person]:
    """Every forgotten person, in the split's order."""
    pair = {m: evidence.embeddings[m] for m in ("original", "unlearned") if m in evidence.embeddings}
    return [Person(who, found) for who, found in searches(evidence.split, pair, frozen).items()]


def _shown(everybody: Sequence[Person]) -> list[Person]:
    """Those whose photos still match best, in the split's order."""
    kept = sorted(everybody, key=lambda person: -person.likeness())[:MOST_PEOPLE]
    return [person for person in everybody if person in kept]


def _mistaken(everybody: Sequence[Person], model: str) -> int:
    """In how many searches somebody else than the person was accepted."""
    return sum(any(h.accepted and not h.own for h in s.answers[model].hits) for p in everybody for s in p.searches)
