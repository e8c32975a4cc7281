"""A verdict in words on a face generator, computed from the numbers by the rules that are stated here. No torch here.

There is something to forget, and the person is harder to draw, by the same numbers as for models that draw from an
embedding (`drawn_verdict`).
"""

from efface.report.drawn_verdict import ACC, MOST_UNDETECTED, OTHERS, TAR, UNDETECTED, judged
from efface.report.numbers import Audit, percent, plain, value
from efface.report.verdict import Rule, Verdict

FORGOTTEN = 0.05
"""Forgotten: by every recogniser that scores, at most this share of the pictures from all sides is accepted as the
person, and at most this share is nearest to the person, drawn from the photo that the method was given ..."""
FORGOTTEN_OTHERS = 0.15
"""... and at most this share of those drawn from each photo that it did not see."""
LOST_ACC = {"retain": 0.03, "holdout": 0.05, "neighbours": 0.05}
"""Acceptable harm: of a group's pictures at most this share stops being nearest to their person."""
KEPT_ID = 0.80
"""... and the retained people's pictures before and after, of the same latents, have at least this mean cosine."""
ABOVE_CONTROL = 0.10
"""An attempt brings a person back where it succeeds in this share of pictures more than with a stranger: a latent can
be found, or the generator tuned, for anybody to some degree."""
GROUPS = {"retain": "retained people", "holdout": "held-out people", "neighbours": "look-alikes"}

GOAL = (
    "This verdict speaks of suppression: whether this generator still rebuilds the people from their photos, by the "
    "latents that the original model's inversion found. It does not speak of influence removal, nor of other latents."
)


def rebuilt_verdict(audit: Audit) -> Verdict:
    """Judge `unlearned` against `original` by the rules above."""
    forgetting, harm = _forgetting(audit), _harm(audit)
    kind, headline = judged(audit, forgetting, harm)
    return Verdict(kind, headline, "", forgetting, harm, _remains(audit), GOAL)


def _forgetting(audit: Audit) -> tuple[Rule, ...]:
    rules = []
    for name, block in {"": audit, **audit.get("judges", {})}.items():
        by, key = (f", by the {name}", f"judges.{name}.") if name else ("", "")
        for group, limit, source in (
            ("forget", FORGOTTEN, "the photo that the method was given"),
            (OTHERS, FORGOTTEN_OTHERS, "photos not seen"),
        ):
            for metric, text in ((TAR, "accepted as the person"), (ACC, "nearest to the person, among all")):
                found = value(block, "unlearned", group, metric)
                if found is None and not audit["groups"].get(group):  # the person has one photo that was not seen
                    continue
                met = None if found is None else found <= limit
                said = f"pictures {text}, drawn from {source}{by}"
                rules.append(Rule(said, f"{key}{metric}", plain(found), f"≤ {plain(limit)}", met))
    return tuple(rules)


def _harm(audit: Audit) -> tuple[Rule, ...]:
    rules = []
    for group, limit in LOST_ACC.items():
        before, after = (value(audit, model, group, ACC) for model in ("original", "unlearned"))
        lost = None if before is None or after is None else before - after
        text = f"loss of {GROUPS[group]}, pictures nearest to their person"
        rules.append(Rule(text, ACC, plain(lost), f"≤ {plain(limit)}", None if lost is None else lost <= limit))
    kept = value(audit, "unlearned", "retain", "id")
    text = "likeness of retained people's pictures before and after"
    rules.append(Rule(text, "id", plain(kept), f"≥ {plain(KEPT_ID)}", None if kept is None else kept >= KEPT_ID))
    found = value(audit, "unlearned", "forget", UNDETECTED)
    met = None if found is None else found <= MOST_UNDETECTED
    text = "pictures of the forgotten without any face"
    rules.append(Rule(text, UNDETECTED, plain(found), f"≤ {plain(MOST_UNDETECTED)}", met))
    return tuple(rules)


def _remains(audit: Audit) -> str:
    """What the strongest attempt brought back, above what it gets of a stranger; empty where none was tried."""
    best: tuple[float, float, float, str] | None = None
    for attack, groups in audit.get("attacks", {}).items():
        for number, models in groups.get("forget", {}).items():
            found, control = (
                one.get("unlearned", {}).get("value") for one in (models, groups.get("control", {}).get(number, {}))
            )
            if number.startswith("tar@") and found is not None and control is not None:
                tried = (found - control, found, control, f"{attack} ({number})")
                best = tried if best is None else max(best, tried)
    if best is None:
        return ""
    above, found, control, name = best
    said = f"{name}, gets the person in {percent(found)} of pictures and a stranger in {percent(control)}"
    return f"Hides: the strongest attempt, {said}." if above > ABOVE_CONTROL else f"The strongest attempt, {said}."
