"""The report on a face generator: whom it rebuilds, before and after, from all sides."""

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from efface.report import RebuiltEvidence, figures, rebuilt_tables
from efface.report.drawn_verdict import ACC, OTHERS, TAR, WEAKENED_ACC
from efface.report.generated import Strip, curve, histograms, strip
from efface.report.html import filled, film
from efface.report.numbers import MODELS, plain, value
from efface.report.pictures import Picture, data_uri
from efface.report.rebuilt_verdict import rebuilt_verdict
from efface.report.tables import all_numbers, attempts

SHOWN = {"forget": 6, "neighbours": 5, "retain": 4, "holdout": 4}
"""People of each group whose pictures are shown, at most."""
PHOTOS = 6
"""Photos of each forgotten person that pictures are drawn from, beside the given one, at most."""
FIRST = 2
"""Forgotten people shown on top, each from another photo too, with the nearest look-alike."""
CURVES = {
    "forget": ("forgotten", figures.FORGOTTEN),
    OTHERS: ("forgotten, other photos", figures.PEOPLE[1]),
    "retain": ("retained", figures.OTHERS),
}
"""Groups whose numbers are shown by yaw."""
STYLES = {"original": "--", "unlearned": "-", "retrained": ":"}
BY_YAW = {TAR: (f"{TAR},yaw={{:g}}", "share accepted"), "id_photo": ("id_photo@yaw={:g}", "cosine with the person")}
"""Number -> (its key at a yaw, what the axis says)."""


def render(evidence: RebuiltEvidence) -> str:
    """The whole page."""
    return filled("rebuilt.html", evidence.audit, evidence.audit["groups"]["forget"], _content(evidence))


@dataclass(frozen=True)
class Turning:
    """A forgotten person, and the frames of each model side by side."""

    name: str
    frames: int
    films: dict[str, str]


def _content(evidence: RebuiltEvidence) -> dict[str, Any]:
    audit = evidence.audit
    frozen = audit.get("thresholds", {}).get("recogniser", {}).get("far=1e-2", {}).get("value")
    models = [m for m in MODELS if m in audit["models"]]
    script = (Path(__file__).parent / "turning.js").read_text(encoding="utf-8")
    labels = [f"yaw {plain(yaw, 0)}°" for yaw in audit["yaws"]]

    def strips(names: Iterable[tuple[str, str]]) -> list[Strip]:
        return [strip(evidence.rows[name], name, title, labels, frozen) for name, title in names]

    return {
        "verdict": rebuilt_verdict(audit),
        "weakened_acc": WEAKENED_ACC,
        "value": lambda model, group, metric: value(audit, model, group, metric),
        "both": "unlearned" in models,
        "models": models,
        "tables": rebuilt_tables,
        "words": MODELS,
        "blocks": {"": audit, **audit.get("judges", {})},
        "attempts": attempts(audit, "attacks.gan"),
        "numbers": all_numbers(audit),
        "ACC": ACC,
        "TAR": TAR,
        "threshold": frozen,
        "first": strips(_first(evidence)),
        "strips": {title: strips(names) for title, names in _groups(evidence) if names},
        "turning": [
            Turning(name, len(next(iter(films.values()))), {model: film(frames) for model, frames in films.items()})
            for name, films in evidence.turning.items()
        ],
        "yaws": audit["yaws"],
        "by_view": _by_view(audit, models) if len(audit["yaws"]) > 1 else [],
        "histograms": histograms(evidence.scores, frozen),
        "curve": curve(audit.get("curves", [])),
        "script": script,
        "digest": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
    }


def _first(evidence: RebuiltEvidence) -> list[tuple[str, str]]:
    """(who, in which part) is shown on top: the forgotten from the given photo and another one, the nearest look-alike,
    and one retained person."""
    audit = evidence.audit
    chosen: dict[str, str] = {}
    for person in audit["groups"]["forget"][:FIRST]:
        chosen.setdefault(person, "to be forgotten, by the photo that the method was given")
        chosen |= {name: "a photo that it did not see" for name in _photos(evidence, person)[:1]}
        for other in audit["neighbours"].get(person, ())[:1]:
            chosen.setdefault(other, f"look-alike of {person}")
    for person in audit["groups"]["retain"]:
        if person not in chosen:
            chosen[person] = "retained"
            break
    return list(chosen.items())


def _photos(evidence: RebuiltEvidence, person: str) -> list[str]:
    """Who of the rows is this forgotten person, drawn from one unseen photo."""
    return [name for name, (who, _) in evidence.by_photo.items() if who == person]


def _groups(evidence: RebuiltEvidence) -> Iterable[tuple[str, list[tuple[str, str]]]]:
    """(what to call a group, its rows with what each is)."""
    groups = evidence.audit["groups"]
    for group, most in SHOWN.items():
        who = groups.get(group, [])[:most]
        yield rebuilt_tables.GROUPS[group], [(name, "") for name in who]
        if group == "forget":
            others = [(name, "") for person in who for name in _photos(evidence, person)[:PHOTOS]]
            yield rebuilt_tables.GROUPS[OTHERS], others


def _by_view(audit: Any, models: list[str]) -> list[Picture]:
    """The numbers by yaw, those that could be measured."""
    yaws, made = audit["yaws"], []
    for key, (at_yaw, what) in BY_YAW.items():
        lines = []
        for group, (title, colour) in CURVES.items():
            for model in models:
                values = [value(audit, model, group, at_yaw.format(yaw)) for yaw in yaws]
                if any(v is not None for v in values):
                    lines.append(figures.ByView(f"{title}, {MODELS[model]}", values, colour, STYLES[model]))
        if lines:
            told = "; ".join(f"{line.label}: {', '.join(plain(v) for v in line.values)}" for line in lines)
            alt = f"{key} from yaw {plain(yaws[0], 0)}° to {plain(yaws[-1], 0)}°. {told}."
            lowest = min(0.0, *(v - 0.05 for line in lines for v in line.values if v is not None))
            made.append(Picture(data_uri(figures.by_view(yaws, lines, what, lowest), "png"), alt))
    return made
