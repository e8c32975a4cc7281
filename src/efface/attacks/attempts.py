"""Every attempt on every model of an audit."""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch

from efface.attacks.attack import Attack, Subject
from efface.attacks.drawing import Sitter
from efface.attacks.rebuilding import Rebuilder
from efface.errors import EffaceError
from efface.faces.crops import Crops
from efface.metrics.audit import ATTACKS, Audit, conclude
from efface.metrics.generation import DrawingAudit
from efface.metrics.rows import Row, rows_of
from efface.progress import Watcher
from efface.targets.recognition import RecognitionTarget


def attempted(
    audit: Audit,
    attacks: Iterable[Attack],
    targets: Mapping[str, RecognitionTarget],
    crops: Crops,
    generator: torch.Generator,
    watcher: Watcher,
) -> Audit:
    """The audit with what the attacks gave on each of its models.

    targets: the audit's models by name; crops: the photos that it measured; generator: of the bootstrap.
    Raises EffaceError where there is nobody to compare with.
    """
    if not any(audit.evaluations["original"].split.seen.get(p) for p in audit.groups["retain"]):
        raise EffaceError(
            "attacks: found no seen photo of a retained person, expected some; give photos of more people"
        )
    subjects = {name: Subject(targets[name], crops, found) for name, found in audit.evaluations.items()}
    rows = tried(attacks, subjects, watcher)
    return replace(audit, attacks=conclude(rows, generator)["attacks"], people=[*audit.people, *rows])


def drawn(
    audit: DrawingAudit,
    attacks: Iterable[Attack],
    sitters: Mapping[str, Sitter] | Mapping[str, Rebuilder],
    generator: torch.Generator,
    watcher: Watcher,
) -> DrawingAudit:
    """The same for models that draw. sitters: what is attacked of each of the audit's models; generator: of the
    bootstrap."""
    rows = tried(attacks, sitters, watcher)
    attacked = conclude(rows, generator)["attacks"]
    return replace(audit, content=audit.content | {"attacks": attacked}, people=[*audit.people, *rows])


def tried(attacks: Iterable[Attack], subjects: Mapping[str, Any], watcher: Watcher) -> list[Row]:
    """What each attack gives on each model, person by person. subjects: model -> what is attacked."""
    rows: list[Row] = []
    for attack in attacks:
        began = time.perf_counter()
        with watcher.track(f"attack {attack.name}", len(subjects)) as tick:
            for model, subject in subjects.items():
                rows.extend(attempt_rows(attack, model, subject))
                tick(1)
        watcher.say(f"attack {attack.name}: {time.perf_counter() - began:.1f} s for {len(subjects)} models")
    return rows


def attempt_rows(attack: Attack, model: str, subject: Any) -> Iterator[Row]:
    """What one attack gives on one model, person by person."""
    for group, number, found in attack.attempt(subject):
        yield from rows_of(model, group, f"{ATTACKS}{attack.name}.{number}", found)
