"""The report as one HTML file that needs nothing else: no script, no font, no picture from outside."""

import io
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from efface import registry
from efface.faces.crops import Crops
from efface.report import Evidence, tables
from efface.report.numbers import (
    FROZEN_FAR,
    IMPOSTORS,
    TAR,
    floor_value,
    leading,
    listed,
    percent,
    plain,
    threshold,
    value,
)
from efface.report.pictures import MOST_STRIPS, data_uri, pictures
from efface.report.searches import Search, searches
from efface.report.verdict import FORGOTTEN_RANK1, MOST_RANK1, WEAKENED_RANK1, WEAKENED_TAR, verdict

MOST_PEOPLE = 8
"""Forgotten people who are shown one by one: those whose photos are still accepted most often."""
MOST_SEARCHES = 4
"""Searches shown of each."""
THUMBNAIL = 96
"""Side of a thumbnail in pixels."""
MOST_NAMES = 12
"""Names written out in a list before the rest is counted."""


def render(evidence: Evidence) -> str:
    """The whole page."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["plain"] = plain
    environment.filters["listed"] = listed
    environment.filters["percent"] = percent
    environment.filters["interval"] = interval
    environment.filters["cost"] = cost
    environment.filters["capitalize_first"] = lambda text: text[:1].upper() + text[1:]
    return environment.get_template("page.html").render(_content(evidence))


def interval(text: str) -> Markup:
    """`0.42 [0.31, 0.55]` with the interval set smaller."""
    number, bracket, rest = text.partition(" [")
    return Markup("{} <small>[{}</small>").format(number, rest) if bracket else Markup.escape(text)


def cost(found: Any) -> str:
    """A number of seconds, steps or bytes for people; anything else as it is."""
    if found is None:
        return "–"
    if isinstance(found, float):
        return plain(found, 1)
    return f"{found:,}" if isinstance(found, int) and not isinstance(found, bool) else str(found)


def _content(evidence: Evidence) -> dict[str, Any]:
    audit = evidence.audit
    far, frozen = threshold(audit)
    everybody = _people(evidence, frozen)
    forgotten = _shown(everybody)
    return {
        "audit": audit,
        "config": audit.get("config", {}),
        "css": (Path(__file__).parent / "page.css").read_text(encoding="utf-8"),
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
        "nobody": _nobody(audit.get("config", {})),
        "most_searches": MOST_SEARCHES,
        "searches": sum(len(person.searches) for person in everybody),
        "mistaken": {m: _mistaken(everybody, m) for m in ("original", "unlearned") if m in evidence.embeddings},
        "thumbnail": _Thumbnails(evidence.crops),
        "names": evidence.crops.names,
        "split": evidence.split,
        "photos": len(evidence.crops),
        "yaml": _yaml(audit.get("config")),
        "command": _command(audit.get("config", {})),
        "cost_names": COSTS,
        "notes": _notes(audit.get("photos", {})),
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


class _Thumbnails:
    """Position of a crop -> the crop as a data URI."""

    def __init__(self, crops: Crops) -> None:
        self.crops = crops
        self.made: dict[int, str] = {}

    def __call__(self, position: int) -> str:
        if position not in self.made:
            image = Image.fromarray(self.crops.pixels[position].permute(1, 2, 0).cpu().numpy())
            buffer = io.BytesIO()
            image.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=80)
            self.made[position] = data_uri(buffer.getvalue(), "jpeg")
        return self.made[position]


# Configuration and notes


def _yaml(config: Mapping[str, Any] | None) -> str:
    return "" if not config else yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True, width=100)


def _nobody(config: Mapping[str, Any]) -> str:
    """What a data set of people who never existed says of them; empty for all others."""
    name = config.get("faces", {}).get("name")
    known = name in registry.names("faces.datasets")
    return registry.describe("faces.datasets", name).facts.get("nobody", "") if known else ""


def _command(config: Mapping[str, Any]) -> str:
    out = str(config.get("out", "RUN"))
    return f"efface unlearn {shlex.quote(out + '/config.yaml')} --out {shlex.quote(out + '-again')}"


COSTS = {
    "seconds": "Seconds of unlearning",
    "steps": "Optimiser steps",
    "images_seen": "Images seen",
    "peak_memory_mb": "Peak memory, MB",
    "trainable_parameters": "Trainable parameters",
    "device": "Device",
}
"""What a cost is, by its key in audit.json."""
NOTES = {
    "photos": "Photos in the collection",
    "no_face": "No face found; not measured",
    "several_faces": "Several faces; the largest was taken",
    "identical": "The same picture as an unseen one; kept from the method",
    "shared": "The same picture under the names of several people",
    "near_duplicates": "Nearly the same picture, once seen and once unseen (perceptual hashes within 4 of 64 bits)",
}
"""What a note on photos says, by its key in audit.json."""


def _notes(photos: Mapping[str, Any]) -> list[tuple[str, int | None, str]]:
    """(what, how many, which) for each note on photos."""
    notes = []
    for key, found in photos.items():
        title = NOTES.get(key, key.replace("_", " ").capitalize())
        if isinstance(found, list | tuple):
            which = [" = ".join(one) if isinstance(one, list | tuple) else str(one) for one in found]
            notes.append((title, len(found), listed(which, MOST_NAMES)))
        else:
            notes.append((title, None, str(found)))
    return notes
