"""Results of face generators as tables. No torch here."""

from collections.abc import Mapping, Sequence
from typing import Any

from efface.benchmark.drawing import rows
from efface.benchmark.drawing import tables as shared
from efface.benchmark.drawing.tables import (
    CONTROLS,
    ORIGINAL,
    Found,
    allowed,
    cell,
    contents,
    failure,
    failures,
    headed,
    title,
    value,
)
from efface.benchmark.gan.configuration import GanBenchmark
from efface.benchmark.parts import NOTHING, Table
from efface.benchmark.results import Content, Results
from efface.report.drawn_verdict import ACC, FACES, OTHERS, TAR
from efface.report.numbers import plain, shown

SAMPLES = "samples"
"""The group of people who never existed."""
ALIKE = "replacement_similarity"
HARMED = {"retain": "retained", "neighbours": "look-alikes", "holdout": "held out"}
"""Groups of everybody else, and what to call them."""


def sections(config: GanBenchmark, results: Results) -> dict[str, list[Table]]:
    """Name of a part of the page -> its tables; parts without any result are left out."""
    found: dict[str, list[Table]] = {}
    for data in config.data:
        found[data] = report(config, results, data)
        found[f"{data} several"] = several(config, results, data)
        found[f"{data} attacks"] = attacks(config, results, data)
        found[f"{data} ablations"] = ablations(config, results, data)
        found[f"{data} settings"] = settings(config, results, data)
    return {name: made for name, made in found.items() if made}


def report(config: GanBenchmark, results: Results, data: str) -> list[Table]:
    """What is left of the forgotten, what it cost the others, and both by the judge."""
    own = contents(config, results, data)
    if not own:
        return []
    tables = [_forgotten(config, results, data, own), _harm(data, own), _judge(data, own), shared.cost(data, own)]
    return [table for table in tables if table.rows]


WHO = (
    "given photo: accepted", "nearest", "like the photos", "other photos: accepted", "nearest", "like the photos",
)  # fmt: skip
"""Heads of `_who`."""


def _who(numbers: Mapping[str, Any], before: Mapping[str, Any]) -> tuple[str, ...]:
    """Of the forgotten: before → after."""
    return tuple(
        moved(numbers, before, group, metric) for group in ("forget", OTHERS) for metric in (TAR, ACC, "id_photo")
    )


def _forgotten(config: GanBenchmark, results: Results, data: str, own: Found) -> Table:
    heads = ("method", "setting", "people × seeds", *WHO, "ID", "ID others", "admissible")
    lines = []
    for name, (task, content) in own.items():
        chosen = rows.chosen(config, results, data, name) if name != ORIGINAL else None
        numbers = content["numbers"]
        ids = (shown(numbers.get(group, {}).get("id")) for group in ("forget", OTHERS))
        who = _who(numbers, _before(content))
        lines.append((*headed(config, results, data, name, task), *who, *ids, allowed(content, chosen)))
        for control, groups in content.get("controls", {}).items():
            lines.append((CONTROLS[control], "", "", *_who(groups, {}), *[NOTHING] * 3))
    return Table(f"{data}: the forgotten", heads, lines, failures(config, results, data, own))


def _harm(data: str, own: Found) -> Table:
    heads = tuple(head for said in HARMED.values() for head in (f"{said}: nearest", "points lost", "ID"))
    heads = ("method", *heads, "FID_pre", "ΔFID_real", "KID", "FID_pre of retained", "undetected", *FACES)
    lines = []
    for name, (_, content) in own.items():
        numbers, before = content["numbers"], _before(content)
        cells = [
            c
            for group in HARMED
            for c in (cell(numbers, group, ACC), plain(lost(numbers, before, group), 1), cell(numbers, group, "id"))
        ]
        cells += [cell(numbers, SAMPLES, metric, 3) for metric in ("fid_pre", "delta_fid_real", "kid")]
        cells += [cell(numbers, "retain", "fid_pre", 3), cell(numbers, "forget", "undetected")]
        cells += [_share_of(numbers, before or numbers, metric) for metric in FACES]
        lines.append((title(name), *cells))
    return Table(f"{data}: everybody else", heads, lines)


def _judge(data: str, own: Found) -> Table:
    heads = ("method", *WHO, "ID", "ID others", "retained: nearest", "points lost", "look-alikes: points lost")
    lines = []
    for name, (_, content) in own.items():
        for judge, numbers in content["judges"].items():
            before = _before(content, judge)
            ids = (cell(numbers, group, "id") for group in ("forget", OTHERS))
            points = (plain(lost(numbers, before, group), 1) for group in ("retain", "neighbours"))
            lines.append((title(name), *_who(numbers, before), *ids, cell(numbers, "retain", ACC), *points))
        for controls in content.get("judges_controls", {}).values():
            lines += [(CONTROLS[c], *_who(groups, {}), *[NOTHING] * 5) for c, groups in controls.items()]
    return Table(f"{data}: by the judge, which no method has seen", heads, lines)


def several(config: GanBenchmark, results: Results, data: str) -> list[Table]:
    """Several people in one run, and how alike their replacements are."""
    heads = (
        "method", "how", *WHO, "ID", "ID others", "alike among themselves", "by the judge", "retained: points lost",
        "FID_pre", "processor seconds",
    )  # fmt: skip
    lines, notes = [], []
    for method, tasks in rows.several(config, results, data).items():
        for how, task in tasks.items():
            content = results.get(task)
            notes += [line] if (line := failure(f"{title(method)}, {how}", content)) else []
            if not content or not content["numbers"]:
                continue
            numbers, before = content["numbers"], _before(content)
            judges = content["judges"].items()
            by = {judge: moved(own, _before(content, judge), "forget", ALIKE) for judge, own in judges}
            cells = [title(method), how.replace("_", " "), *_who(numbers, before)]
            cells += [cell(numbers, group, "id") for group in ("forget", OTHERS)]
            cells += [moved(numbers, before, "forget", ALIKE), *(list(by.values()) or [NOTHING])[:1]]
            cells += [plain(lost(numbers, before, "retain"), 1), cell(numbers, SAMPLES, "fid_pre", 3)]
            lines.append((*cells, plain(content["cost"]["processor_seconds"], 1)))
    of = shared.counted(len(config.several.people)) if config.several else ""
    return [Table(f"{data}: several people in one run ({of})", heads, lines, notes)] if lines else []


def attacks(config: GanBenchmark, results: Results, data: str) -> list[Table]:
    """How many of the pictures that each attempt gets are accepted, and how like the person they are, of the forgotten
    and of the control."""

    def accepted(_attack: str, numbers: Sequence[str]) -> dict[str, str]:
        return _budgets(numbers, "tar@")

    def alike(_attack: str, numbers: Sequence[str]) -> dict[str, str]:
        return _budgets(numbers, "id_photo@")

    return [
        *shared.attacks(config, results, data, "accepted pictures", accepted),
        *shared.attacks(config, results, data, "likeness of the photos", alike),
    ]


def _budgets(numbers: Sequence[str], metric: str) -> dict[str, str]:
    """Budget -> its number by the model's own recogniser."""
    own = [n for n in numbers if n.startswith(metric) and ",by=" not in n]
    return {n.removeprefix(metric).partition(",far=")[0]: n for n in own}


def ablations(config: GanBenchmark, results: Results, data: str) -> list[Table]:
    """A table for each group."""
    heads = (
        "given photo: accepted", "other photos: accepted", "by the judge", "like the photos", "ID", "ID others",
        "retained: points lost", "ID", "look-alikes: points lost", "ID", "FID_pre", "KID", "processor seconds",
    )  # fmt: skip
    return shared.ablations(config, results, data, heads, _ablated)


def _ablated(content: Content) -> tuple[str, ...]:
    numbers, before = content["numbers"], _before(content)
    judged = [cell(groups, OTHERS, TAR) for groups in content["judges"].values()] or [NOTHING]
    return (
        cell(numbers, "forget", TAR),
        cell(numbers, OTHERS, TAR),
        judged[0],
        cell(numbers, OTHERS, "id_photo"),
        cell(numbers, "forget", "id"),
        cell(numbers, OTHERS, "id"),
        plain(lost(numbers, before, "retain"), 1),
        cell(numbers, "retain", "id"),
        plain(lost(numbers, before, "neighbours"), 1),
        cell(numbers, "neighbours", "id"),
        cell(numbers, SAMPLES, "fid_pre", 3),
        cell(numbers, SAMPLES, "kid", 3),
        plain(content["cost"]["processor_seconds"], 1),
    )


def settings(config: GanBenchmark, results: Results, data: str) -> list[Table]:
    """Every setting on the tuning people, and which was chosen."""
    heads = (
        "given photo: accepted", "other photos: accepted", "like the photos", "ID", "ID others",
        "retained: points lost", "ID", "FID_pre",
    )  # fmt: skip

    def cells(content: Content) -> tuple[str, ...]:
        numbers = content["numbers"]
        places = (("forget", TAR), (OTHERS, TAR), (OTHERS, "id_photo"), ("forget", "id"), (OTHERS, "id"))
        own = (cell(numbers, *place) for place in places)
        points = plain(lost(numbers, _before(content), "retain"), 1)
        return *own, points, cell(numbers, "retain", "id"), cell(numbers, SAMPLES, "fid_pre", 3)

    return shared.settings(config, results, data, heads, cells, "best balance")


# --- cells ----------------------------------------------------------------------------------------------------------


def _before(content: Content, judge: str | None = None) -> Mapping[str, Any]:
    """Numbers of the original model in the same runs; none for the original itself."""
    original = content.get("original", {})
    return original.get("numbers", {}) if judge is None else original.get("judges", {}).get(judge, {})


def moved(numbers: Mapping[str, Any], before: Mapping[str, Any], group: str, metric: str) -> str:
    """before → after, with the interval of after; one number where there is no before."""
    after = shown(numbers.get(group, {}).get(metric))
    return after if value(before, group, metric) is None else f"{cell(before, group, metric)} → {after}"


def _share_of(numbers: Mapping[str, Any], before: Mapping[str, Any], metric: str) -> str:
    """Of the forgotten's pictures, by that of the retained's before."""
    after, reference = value(numbers, "forget", metric), value(before, "retain", metric)
    return plain(after / reference if after is not None and reference else None)


def lost(numbers: Mapping[str, Any], before: Mapping[str, Any], group: str) -> float | None:
    """By how many of a hundred pictures fewer are nearest to their person; None for the original itself."""
    pair = value(before, group, ACC), value(numbers, group, ACC)
    return None if None in pair else 100 * (pair[0] - pair[1])  # pyright: ignore[reportOperatorIssue,reportOptionalOperand]
