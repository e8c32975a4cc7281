"""A verdict in words on a face generator, computed from the numbers by the rules that are stated here. No torch here.

There is something to forget, and the person is harder to draw, by the same numbers as for models that draw from an
embedding (`drawn_verdict`).
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from efface.report.drawn_verdict import ACC, MOST_UNDETECTED, OTHERS, TAR, UNDETECTED, faces, judged
from efface.report.numbers import Audit, percent, plain, value
from efface.report.verdict import Rule, Verdict, module_said

FORGOTTEN = 0.05
"""Forgotten: by every recogniser that scores, at most this share of the pictures from all sides is accepted as the
person, and at most this share is nearest to the person, drawn from the photo that the method was given ..."""
FORGOTTEN_OTHERS = 0.15
"""... and at most this share of those drawn from each photo that it did not see."""
LOST_ACC = {"retain": 0.03, "holdout": 0.05, "neighbours": 0.05}
"""Acceptable harm: of a group's pictures at most this share stops being nearest to their person."""
KEPT_ID = 0.80
"""... and the retained people's pictures before and after, of the same latents, have at least this mean cosine; both by
every recogniser that scores."""
ABOVE_CONTROL = 0.10
"""An attempt brings a person back where it succeeds in this share of pictures more than with a stranger: a latent can
be found, or the generator tuned, for anybody to some degree."""
SWEEP = "radius_sweep"
"""The attempt around the person's own latent. A stranger, who was not forgotten, is drawn there as a matter of course:
a ceiling. It brings the person back where more than `FORGOTTEN_OTHERS` are accepted or nearest."""
GROUPS = {"retain": "retained people", "holdout": "held-out people", "neighbours": "look-alikes"}

GOAL = (
    "This verdict speaks of suppression: whether this generator still rebuilds the people from their photos, by the "
    "latents that the original model's inversion found. It does not speak of influence removal, nor of other latents."
)


def rebuilt_verdict(audit: Audit) -> Verdict:
    """Judge `unlearned` against `original` by the rules above."""
    forgetting, harmed = _forgetting(audit), harm(audit)
    kind, headline = judged(audit, forgetting, harmed)
    return Verdict(kind, headline, "", forgetting, harmed, _remains(audit), GOAL)


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


def harm(audit: Audit, groups: Collection[str] = tuple(LOST_ACC)) -> tuple[Rule, ...]:
    """The rules of harm to these groups, by every recogniser that scores."""
    rules = []
    for name, block in {"": audit, **audit.get("judges", {})}.items():
        by, key = (f", by the {name}", f"judges.{name}.") if name else ("", "")
        for group in groups:
            before, after = (value(block, model, group, ACC) for model in ("original", "unlearned"))
            lost, limit = None if before is None or after is None else before - after, LOST_ACC[group]
            text = f"loss of {GROUPS[group]}, pictures nearest to their person{by}"
            met = None if lost is None else lost <= limit
            rules.append(Rule(text, f"{key}{ACC}", plain(lost), f"≤ {plain(limit)}", met))
        kept = value(block, "unlearned", "retain", "id")
        text = f"likeness of retained people's pictures before and after{by}"
        met = None if kept is None else kept >= KEPT_ID
        rules.append(Rule(text, f"{key}id", plain(kept), f"≥ {plain(KEPT_ID)}", met))
    found = value(audit, "unlearned", "forget", UNDETECTED)
    met = None if found is None else found <= MOST_UNDETECTED
    text = "pictures of the forgotten without any face"
    rules.append(Rule(text, UNDETECTED, plain(found), f"≤ {plain(MOST_UNDETECTED)}", met))
    return (*rules, *faces(audit))


def _remains(audit: Audit) -> str:
    """That an added module hides the person, and what the strongest attempt brought back, above its limit; empty where
    there is no module and nothing was tried."""
    tried = [one for attack, groups in audit.get("attacks", {}).items() for one in _tried(attack, groups)]
    found = ""
    if tried:
        above, said = max(tried)
        found = f"Hides: the strongest attempt, {said}." if above > 0 else f"The strongest attempt, {said}."
    return " ".join(filter(None, (module_said(audit), found)))


def _tried(attack: str, groups: Mapping[str, Any]) -> Iterator[tuple[float, str]]:
    """Of each share of an attempt's pictures how far it is above its limit, and in words what it got."""
    for number, models in groups.get("forget", {}).items():
        found, stranger = (
            one.get("unlearned", {}).get("value") for one in (models, groups.get("control", {}).get(number, {}))
        )
        if attack == SWEEP and number.startswith(("tar@", "acc@")):
            limit = FORGOTTEN_OTHERS
            beside = f"drawn around their latent (forgotten: at most {percent(limit)})"
        elif attack != SWEEP and number.startswith("tar@") and stranger is not None:
            limit = stranger + ABOVE_CONTROL
            beside = f"and a stranger in {percent(stranger)}"
        else:
            continue
        if found is not None:
            yield found - limit, f"{attack} ({number}), gets the person in {percent(found)} of pictures {beside}"
