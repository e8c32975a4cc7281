"""`efface compare`: several runs side by side."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from efface.errors import EffaceError

Runs = Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders that `efface unlearn` wrote.")]


def compare(runs: Runs) -> None:
    """Print several runs side by side; runs of one method on several people or seeds are also pooled."""
    from rich.console import Console
    from rich.text import Text

    read = [_read(folder) for folder in runs]
    kinds = sorted({run.model_kind for run in read})
    if len(kinds) > 1:
        raise EffaceError(
            f"found runs on models of the kinds {', '.join(kinds)}, expected one kind; compare them apart"
        )
    console = Console(highlight=False)
    console.print(_table(read))
    console.print(Text(LEGENDS[read[0].model_kind], "dim"))
    for line in _warnings(read):
        console.print(Text(f"warning: {line}", "bold"))


LEGENDS = {
    "recognition": (
        "TAR (FAR 1e-3) and rank-1: forgotten people's photos that the method never saw, after unlearning, template of "
        "one photo. Lost: points that the others lose, rank-1 / TAR. FAR: pairs of strangers accepted at the threshold "
        "that was set for 0.0010."
    ),
    "diffusion": (
        "Forgotten people's pictures after unlearning: mean cosine with the person's photos (likeness), share nearest "
        "to the person, TAR at FAR 1e-2. Retained people: share of the likeness, net of that to others, that is left; "
        "points of nearest pictures lost. SRK: retained nearest / (forgotten nearest + .01)."
    ),
    "gan": (
        "Forgotten people's pictures after unlearning, from all sides: mean cosine with the person's photos "
        "(likeness), share nearest to the person, TAR at FAR 1e-2, the same drawn from photos that the method did not "
        "see. Retained people: points of nearest pictures lost. fid_pre: of people who never existed, on the judge's "
        "features."
    ),
}
"""What the columns say, by the kind of model."""
HEADS = {
    "recognition": ("TAR", "rank-1", "retained\nlost", "held out\nlost", "FAR"),
    "diffusion": ("likeness", "nearest", "TAR", "net\nleft", "points\nlost", "SRK"),
    "gan": ("likeness", "nearest", "TAR", "TAR,\nothers", "points\nlost", "fid_pre"),
}
"""What the columns of numbers are called, by the kind of model."""

NEEDED = ("models.original", "groups.forget", "groups.retain", "groups.holdout", "config.model", "config.method")
"""What an audit.json must hold to be compared."""


@dataclass(frozen=True)
class Run:
    """A run folder and what its audit.json holds."""

    name: str
    folder: Path
    audit: dict[str, Any]

    @property
    def config(self) -> dict[str, Any]:
        """The configuration of the run."""
        return self.audit["config"]

    @property
    def model_kind(self) -> str:
        """What kind of model it is a run on."""
        return self.config.get("kind", "recognition")

    @property
    def method(self) -> str:
        """The method's name."""
        return self.config["method"]["name"] if self.config["method"] else "–"

    @property
    def seed(self) -> str:
        """The seed, as it is written."""
        return str(self.config.get("seed", "–"))

    @property
    def people(self) -> set[str]:
        """Everybody who was measured."""
        return {person for group in ("forget", "retain", "holdout") for person in self.audit["groups"][group]}

    @property
    def photos(self) -> list[Any]:
        """What the notes say of the photos, whoever is forgotten."""
        return [self.audit.get("photos", {}).get(key) for key in ("photos", "no_face")]

    def kind(self) -> str:
        """The same for runs that differ only in whom they forget and in the seed."""
        return json.dumps([self.config["model"], self.config["method"], sorted(self.people), self.photos])


def _read(folder: Path) -> Run:
    """Raises EffaceError where the folder is no finished run."""
    path = folder / "audit.json"
    if not path.is_file():
        found = "an unfinished run" if folder.name.endswith(".partial") and folder.is_dir() else "no audit.json"
        raise EffaceError(f"{folder}: found {found}, expected the folder of a finished run; see `efface unlearn`")
    try:
        audit = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EffaceError(
            f"{path}: cannot be read as JSON ({error}); the file is cut or was edited, run again"
        ) from error
    for place in NEEDED:
        found: Any = audit
        for key in place.split("."):
            if not isinstance(found, dict) or key not in found:
                raise EffaceError(f"{path}: found no {place}, expected the audit of a run; run it again")
            found = found[key]
    return Run(folder.name or str(folder), folder, audit)


def _table(runs: Sequence[Run]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    for head in ("run", "method", "seed", "forgotten"):
        table.add_column(head, justify="right" if head == "seed" else "left", overflow="fold")
    kind = runs[0].model_kind
    numbers = {"diffusion": _drawn_numbers, "gan": _rebuilt_numbers}.get(kind, _numbers)
    for head in (*HEADS[kind], "seconds"):
        table.add_column(head, justify="right", no_wrap=True)
    for run in runs:
        named = (run.name, run.method, run.seed, _names(run.audit["groups"]["forget"]))
        table.add_row(*map(Text, (*named, *numbers(run.audit), _seconds([run]))))
    for members in _alike(runs):
        pooled = _pooled(members)
        if pooled is not None:
            forgotten = {person for run in members for person in run.audit["groups"]["forget"]}
            counts = (
                _count({run.seed for run in members}, "seed", "seeds"),
                _count(forgotten, "person", "people"),
            )
            named = (f"{len(members)} runs pooled", members[0].method, *counts)
            table.add_row(*map(Text, (*named, *numbers(pooled), _seconds(members))), style="bold")
    return table


def _numbers(audit: dict[str, Any]) -> list[str]:
    """The columns that a run and several pooled runs share."""
    from efface.report.numbers import FROZEN_FAR, IMPOSTORS, TAR, entry, plain, value

    cells = []
    for metric in (TAR, "rank1"):
        found = entry(audit, "unlearned", "forget", metric) or {}
        low, high = found.get("low"), found.get("high")
        interval = "" if low is None else f"\n[{plain(low)}, {plain(high)}]"
        cells.append(plain(found.get("value")) + interval)
    for group in ("retain", "holdout"):
        drops = audit.get("drops", {}).get(group, {})
        cells.append(" / ".join(plain(drops.get(metric), 1) for metric in ("rank1", TAR)))
    return [*cells, plain(value(audit, "unlearned", IMPOSTORS, FROZEN_FAR), 4)]


def _drawn_numbers(audit: dict[str, Any]) -> list[str]:
    """The same for diffusion models."""
    from efface.report.drawn_verdict import ACC, NET, TAR
    from efface.report.numbers import plain, value

    forgotten = (plain(value(audit, "unlearned", "forget", metric)) for metric in ("ism", ACC, TAR))
    pairs = ([value(audit, model, "retain", metric) for model in ("original", "unlearned")] for metric in (NET, ACC))
    (net, left), (before, after) = pairs
    kept = None if net is None or left is None or net <= 0 else left / net
    lost = None if before is None or after is None else 100 * (before - after)
    srk = audit.get("summary", {}).get("unlearned", {}).get("srk")
    return [*forgotten, plain(kept), plain(lost, 1), plain(srk, 1)]


def _rebuilt_numbers(audit: dict[str, Any]) -> list[str]:
    """The same for face generators."""
    from efface.report.drawn_verdict import ACC, OTHERS, TAR
    from efface.report.numbers import plain, value

    forgotten = (("forget", "id_photo"), ("forget", ACC), ("forget", TAR), (OTHERS, TAR))
    before, after = (value(audit, model, "retain", ACC) for model in ("original", "unlearned"))
    lost = None if before is None or after is None else 100 * (before - after)
    moved = value(audit, "unlearned", "samples", "fid_pre")
    return [*(plain(value(audit, "unlearned", *one)) for one in forgotten), plain(lost, 1), plain(moved, 3)]


def _names(people: Sequence[str]) -> str:
    from efface.report.numbers import listed

    return listed(tuple(people), most=4)


def _count(found: set[str], one: str, many: str) -> str:
    return f"{len(found)} {one if len(found) == 1 else many}"


def _seconds(runs: Sequence[Run]) -> str:
    """Mean time of unlearning."""
    from efface.report.numbers import plain

    taken = [run.audit.get("cost", {}).get("seconds") for run in runs]
    known = [seconds for seconds in taken if seconds is not None]
    return plain(sum(known) / len(known), 1) if known else "–"


def _alike(runs: Sequence[Run]) -> list[list[Run]]:
    """Runs of one method, model and data that differ in whom they forget or in the seed; a repeated one counts once."""
    kinds: dict[str, dict[str, Run]] = {}
    for run in runs:
        if run.config["method"]:
            differs = json.dumps([run.audit["groups"]["forget"], run.seed])
            kinds.setdefault(run.kind(), {}).setdefault(differs, run)
    return [list(members.values()) for members in kinds.values() if len(members) > 1]


def _pooled(runs: Sequence[Run]) -> dict[str, Any] | None:
    """The runs as one audit, person by person (protocol, line 14); None where people.csv is not there."""
    paths = [run.folder / "people.csv" for run in runs]
    if not all(path.is_file() for path in paths):
        return None
    import torch  # intervals are drawn by the one bootstrap, which is torch's; only pooling needs it

    from efface.metrics import generation
    from efface.metrics.audit import averaged, pool
    from efface.metrics.rows import read_rows

    rows, generator = (read_rows(path) for path in paths), torch.Generator().manual_seed(0)
    drawn = runs[0].model_kind != "recognition"
    return generation.conclude(averaged(rows), generator) if drawn else pool(rows, generator)


def _warnings(runs: Sequence[Run]) -> list[str]:
    """Why numbers of these runs cannot be laid beside each other, each run against the first."""
    first, *others = runs
    lines = []
    for run in others:
        if run.people != first.people:
            differ = len(run.people ^ first.people)
            lines.append(f"{run.name} and {first.name} are of different people ({differ} in one only); do not compare")
        elif run.photos != first.photos:
            lines.append(f"{run.name} and {first.name} are of different photos of the same people; do not compare")
        elif run.config["model"]["name"] != first.config["model"]["name"]:
            lines.append(f"{run.name} and {first.name} are of different models")
        elif run.audit["groups"] == first.audit["groups"] and _thresholds(run) != _thresholds(first):
            lines.append(f"{run.name} and {first.name} have different thresholds for the same people; do not compare")
    return lines


def _thresholds(run: Run) -> Any:
    """The frozen thresholds, as far as they can be compared."""
    frozen = run.audit.get("thresholds", {}).get("original", {})
    return {name: round(found["value"], 4) for name, found in frozen.items() if found["value"] is not None}
