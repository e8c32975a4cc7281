"""All numbers of a run on an identity-conditioned diffusion model, by every scoring recogniser: what audit.json and
people.csv hold of it (docs/diffusion.md)."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from efface.errors import EffaceError
from efface.metrics import audit as recognition
from efface.metrics.audit import ATTACKS, figure
from efface.metrics.drawings import Drawings, photographs, strangers_as
from efface.metrics.metric import Metric, audited_metrics, rate_text
from efface.metrics.rows import Row, rows_of, write_rows
from efface.metrics.subjects import GROUPS, OTHERS, OWN, Pictures, Subjects
from efface.progress import Quiet, Tick, Watcher
from efface.targets.diffusion import DiffusionTarget
from efface.targets.recognition import RecognitionTarget

FAR = 1e-2
"""The headline's false accept rate (line 15)."""
CONTROLS, JUDGES = "controls.", "judges."
"""What the model of a control's row begins with, and before it that of a row by a judge, with the judge's name."""
OF_PHOTOS = ("ism", "ism_net", "acc", f"tar@far={rate_text(FAR)}", f"identified@far={rate_text(FAR)}", "quality",
             "sharpness")  # fmt: skip
"""Numbers that are reported for real photos in the place of drawn pictures, ..."""
OF_STRANGERS = ("ism", "ism_net", "acc", f"tar@far={rate_text(FAR)}", f"identified@far={rate_text(FAR)}")
"""... and for strangers' pictures in the place of the person's."""


def look(
    target: DiffusionTarget,
    judges: Mapping[str, RecognitionTarget],
    pixels: Tensor,
    people: Sequence[str],
    framed: bool = False,
    tick: Tick | None = None,
) -> Pictures:
    """What the conditioning recogniser and the judges make of pictures uint8 [n, 3, size, size].

    people: whom each shows or is meant to show. framed: True for photos that were framed as the model's own pictures,
    so that no detector looks for the face. tick: told of the faces that each of them has embedded.
    """
    if framed:
        crops, found = target.window(pixels).round().clamp(0, 255).to(torch.uint8), torch.ones(len(pixels)).bool()
    else:
        crops, found = target.crops(pixels)
    return embedded({OWN: target.recogniser, **judges}, pixels, people, crops, found, tick)


def embedded(
    recognisers: Mapping[str, RecognitionTarget],
    pixels: Tensor,
    people: Sequence[str],
    crops: Tensor,
    found: Tensor,
    tick: Tick | None = None,
) -> Pictures:
    """What recognisers make of the faces of pictures. crops, found: as in Pictures; the rest as in `look`."""
    embeddings = {}
    for name, recogniser in recognisers.items():
        embeddings[name] = torch.zeros(len(pixels), recogniser.spec.embedding_size)
        embeddings[name][found] = recogniser.embed(crops[found], tick=tick)
    return Pictures(pixels, tuple(people), crops, found, embeddings)


def noise_of(target: DiffusionTarget, names: Iterable[str], draws: int, seed: int) -> Tensor:
    """Unit noise [names · draws, c, h, w], `draws` in a row for each name: that of a name and a draw is the same
    whatever the model, the group and the other names."""
    return torch.cat([target.draw(draws, generator_of(name, seed)) for name in names])


def generator_of(name: str, seed: int) -> torch.Generator:
    """A generator of its own for each name and seed, the same on every machine."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7]))


@torch.no_grad()
def measure(
    target: DiffusionTarget,
    judges: Mapping[str, RecognitionTarget],
    subjects: Subjects,
    draws: int,
    seed: int,
    watcher: Watcher | None = None,
    *,
    steps: int | None = None,
    guidance: float | None = None,
) -> Pictures:
    """`draws` pictures of everybody in `subjects.names`, in that order, in a row for each.

    judges: name -> recogniser that scores too. steps, guidance: of the sampling; None: the model's own.
    """
    tokens = target.condition(subjects.conditions).repeat_interleave(draws, dim=0)
    people = [name for name in subjects.names for _ in range(draws)]
    noise = noise_of(target, subjects.names, draws, seed)
    with (watcher or Quiet()).track("drawing faces", len(people)) as tick:
        pixels = target.draw_from(target.weighted(tokens, guidance), noise, steps=steps, tick=tick)
    return look(target, judges, pixels, people)


@dataclass(frozen=True, eq=False)
class DrawingAudit:
    """What was measured. Nothing in it is nan: what could not be measured is None."""

    content: dict[str, Any]
    """What audit.json holds of it: `models`, `controls`, `change` and `summary`, the same under `judges.<judge>`,
    `attacks`, `thresholds`, `groups`, `neighbours`, `anchors` and `chance`."""
    people: list[Row]
    """The rows of people.csv."""
    drawings: dict[str, dict[str, Drawings]]
    """drawings.<scorer>.<model>: the scores behind the numbers, for pictures."""

    def write_people(self, path: Any) -> None:
        """Write people.csv."""
        write_rows(path, self.people)


def audit(subjects: Subjects, drawn: Mapping[str, Pictures], generator: torch.Generator) -> DrawingAudit:
    """Measure every model by every recogniser that scored it.

    drawn: what `measure` gave by model: `original`, and any of `unlearned` and `retrained`. generator: of the
    bootstrap. Raises EffaceError without an original.
    """
    if "original" not in drawn:
        raise EffaceError(f"drawn: found {sorted(drawn)}, expected `original` among them")
    metrics = audited_metrics("metrics.diffusion")
    drawings: dict[str, dict[str, Drawings]] = {}
    rows: list[Row] = []
    for scorer in drawn["original"].embeddings:
        before = "" if scorer == OWN else f"{JUDGES}{scorer}."
        original = Drawings(subjects, drawn["original"], scorer)
        models = {name: Drawings(subjects, p, scorer, None if name == "original" else original)
                  for name, p in drawn.items()}  # fmt: skip
        models["original"] = original
        drawings[scorer] = models
        for name, scored in models.items():
            rows += _measured(before + name, scored, metrics)
        few = {key: metrics[key] for key in OF_PHOTOS if key in metrics}
        photos, groups = photographs(subjects, scorer, original), [group for group in GROUPS if group != OTHERS]
        rows += _measured(f"{before}{CONTROLS}photos", photos, few, groups)
        for person in subjects.groups["forget"]:
            few = {key: metrics[key] for key in OF_STRANGERS if key in metrics}
            found = _measured(f"{before}{CONTROLS}stranger", strangers_as(person, original), few, ("forget",))
            rows += [row for row in found if row.person == person]
    concluded = conclude(rows, generator)
    by_judges = {key: metric for key, metric in metrics.items() if metric.by_judges}
    for name in drawn:
        complete(concluded["models"].setdefault(name, {}), metrics)
        for block in concluded["judges"].values():
            complete(block["models"].setdefault(name, {}), by_judges)
    content = concluded | {
        "thresholds": {
            scorer: {f"far={rate_text(FAR)}": threshold_figure(m["original"])} for scorer, m in drawings.items()
        },
        "groups": {group: list(members) for group, members in subjects.groups.items()},
        "neighbours": {person: list(near) for person, near in subjects.neighbours.items()},
        "anchors": dict(subjects.anchors),
        "chance": 1 / len(subjects.gallery),
    }
    return DrawingAudit(content, rows, drawings)


def _measured(
    model: str, scored: Drawings, metrics: Mapping[str, Metric], groups: Sequence[str] = GROUPS
) -> Iterable[Row]:
    for key, metric in metrics.items():
        for group in metric.groups:
            if group in groups and (metric.by_judges or scored.scorer == OWN):
                yield from rows_of(model, group, key, metric.measure(scored, group))


def complete(groups: dict[str, dict[str, Any]], metrics: Mapping[str, Metric]) -> None:
    """A group with nobody in it has all its numbers, and they are null."""
    for key, metric in metrics.items():
        for group in metric.groups:
            groups.setdefault(group, {}).setdefault(key, figure([], None, 0))


def threshold_figure(original: Drawings) -> dict[str, Any]:
    """The headline's threshold by one recogniser, {value, n_trials}."""
    return {"value": original.threshold(FAR), "n_trials": original.impostors.total}


def conclude(rows: Sequence[Row], generator: torch.Generator) -> dict[str, Any]:
    """What follows from people's numbers: `models`, `controls`, `change` and `summary`, the same under
    `judges.<judge>`, and `attacks`. Rows of several runs: `audit.averaged` first."""
    seed = int(torch.randint(2**62, (), generator=generator))
    tried = [row for row in rows if row.metric.startswith(ATTACKS)]
    attacks = recognition.conclude(tried, torch.Generator().manual_seed(seed))["attacks"]
    blocks: dict[str, dict[tuple[str, str, str], list[Row]]] = {"": {}}
    for row in rows:
        if not row.metric.startswith(ATTACKS):
            judge, model = _judge(row.model)
            blocks.setdefault(judge, {}).setdefault((model, row.group, row.metric), []).append(row)
    found = {judge: _block(groups, seed) for judge, groups in blocks.items()}
    return found.pop("") | {"judges": found, "attacks": attacks}


def _judge(model: str) -> tuple[str, str]:
    """("judge", "original") of `judges.judge.original`; ("", "original") of `original`."""
    if not model.startswith(JUDGES):
        return "", model
    judge, _, rest = model.removeprefix(JUDGES).partition(".")
    return judge, rest


def _block(groups: Mapping[tuple[str, str, str], Sequence[Row]], seed: int) -> dict[str, Any]:
    """Everything by one recogniser."""
    models: dict[str, Any] = {}
    controls: dict[str, Any] = {}
    for (model, group, metric), members in groups.items():
        home = controls if model.startswith(CONTROLS) else models
        numbers = home.setdefault(model.removeprefix(CONTROLS), {}).setdefault(group, {})
        numbers[metric] = figure(members, None, seed)
    return {
        "models": models,
        "controls": controls,
        "change": _change(models),
        "summary": {name: _summary(numbers) for name, numbers in models.items()},
    }


def _change(models: Mapping[str, Any]) -> dict[str, dict[str, float | None]]:
    """<group>.<metric> = unlearned − original; null where either is; empty where one was not measured."""
    before, after = models.get("original", {}), models.get("unlearned", {})
    return {
        group: {key: _difference(after[group].get(key), number) for key, number in numbers.items()}
        for group, numbers in before.items()
        if group in after
    }


def _difference(after: Mapping[str, Any] | None, before: Mapping[str, Any]) -> float | None:
    if after is None or after["value"] is None or before["value"] is None:
        return None
    return after["value"] - before["value"]


def _summary(numbers: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, float | None]:
    """What is computed from the numbers of two groups: SRK (PIU, arXiv 2605.22311), the same with what is drawn from
    unseen photos (ours), and the names of the U&ME challenge
    (ECCV 2026), there in per cent, here as shares."""

    def value(group: str, key: str) -> float | None:
        return numbers.get(group, {}).get(key, {}).get("value")

    identified = f"identified@far={rate_text(FAR)}"
    acc_u, acc_r, others = value("forget", "acc"), value("retain", "acc"), value(OTHERS, "acc")
    fa, ra = value("forget", identified), value("retain", identified)
    ea = None if fa is None else 1 - fa
    return {
        "srk": None if acc_u is None or acc_r is None else acc_r / (acc_u + 0.01),
        "fa": fa,
        "ea": ea,
        "ra": ra,
        "ra_hard": value("hard", identified),
        "ra_random": value("random", identified),
        "srk_others": None if others is None or acc_r is None else acc_r / (others + 0.01),
        "erb": None if ea is None or ra is None else 2 * ea * ra / (ea + ra) if ea + ra else 0.0,
    }
