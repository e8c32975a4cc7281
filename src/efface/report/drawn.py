"""The report on a diffusion model: whom it draws, before and after, from the same noise."""

from collections.abc import Iterable
from typing import Any

from efface.report import DrawnEvidence, drawn_tables
from efface.report.drawn_verdict import ACC, FORGOTTEN_ACC, FORGOTTEN_TAR, TAR, WEAKENED_ACC, drawn_verdict
from efface.report.generated import curve, histograms, strip
from efface.report.html import filled
from efface.report.numbers import MODELS, value
from efface.report.tables import all_numbers, attempts

SHOWN = {"forget": 6, "anchor": 4, "neighbours": 4, "retain": 4, "holdout": 3}
"""People of each group whose pictures are shown, at most."""
FIRST = 3
"""Forgotten people shown on top, each with the anchor and the nearest look-alike."""
LABELS = tuple(f"noise {number}" for number in range(1, 7))
"""What is said of the pictures of each by each model, of which more are not shown."""


def render(evidence: DrawnEvidence) -> str:
    """The whole page."""
    return filled("drawn.html", evidence.audit, evidence.audit["groups"]["forget"], _content(evidence))


def _content(evidence: DrawnEvidence) -> dict[str, Any]:
    audit = evidence.audit
    frozen = audit.get("thresholds", {}).get("recogniser", {}).get("far=1e-2", {}).get("value")
    groups = {group: audit["groups"].get(group, [])[:most] for group, most in SHOWN.items()}
    models = [m for m in MODELS if m in audit["models"]]
    return {
        "verdict": drawn_verdict(audit),
        "forgotten_acc": FORGOTTEN_ACC,
        "forgotten_tar": FORGOTTEN_TAR,
        "weakened_acc": WEAKENED_ACC,
        "value": lambda model, group, metric: value(audit, model, group, metric),
        "both": "unlearned" in models,
        "models": models,
        "tables": drawn_tables,
        "words": MODELS,
        "blocks": {"": audit, **audit.get("judges", {})},
        "attempts": attempts(audit, "attacks.diffusion"),
        "numbers": all_numbers(audit),
        "ACC": ACC,
        "TAR": TAR,
        "threshold": frozen,
        "first": [
            strip(evidence.rows[name], name, title, LABELS, frozen) for name, title in _first(audit, evidence.rows)
        ],
        "strips": {
            drawn_tables.GROUPS[group]: [strip(evidence.rows[name], name, "", LABELS, frozen) for name in who]
            for group, who in groups.items()
            if who
        },
        "histograms": histograms(evidence.scores, frozen),
        "curve": curve(audit.get("curves", [])),
    }


def _first(audit: Any, rows: Any) -> Iterable[tuple[str, str]]:
    """(who, in which part) is shown on top: the forgotten, their anchors and look-alikes, and one retained person."""
    chosen: dict[str, str] = {}
    for person in audit["groups"]["forget"][:FIRST]:
        chosen.setdefault(person, "forgotten")
        if person in audit["anchors"]:
            chosen.setdefault(audit["anchors"][person], f"anchor of {person}")
        for other in audit["neighbours"].get(person, ())[:1]:
            chosen.setdefault(other, f"look-alike of {person}")
    for person in audit["groups"]["retain"]:
        if person not in chosen:
            chosen[person] = "retained"
            break
    return [(name, title) for name, title in chosen.items() if name in rows]
