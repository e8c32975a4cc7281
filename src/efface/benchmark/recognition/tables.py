"""Results of recognisers as tables: the same cells in Markdown and on the terminal. No torch here."""

from collections.abc import Mapping
from typing import Any

from efface.benchmark.grids import label
from efface.benchmark.parts import NOTHING, Table, costs
from efface.benchmark.recognition import rows
from efface.benchmark.recognition.choice import FAR, TAR
from efface.benchmark.recognition.configuration import RecognitionBenchmark
from efface.benchmark.recognition.rows import REFERENCES, RETRAINED, Task
from efface.benchmark.results import Results
from efface.report.numbers import FLOORS, TAR_MULTI, plain, shown
from efface.report.verdict import hides

DRIFT = "template_drift"
ATTACKED = {
    "probe": "tar@layer=penultimate",
    "nearest_inner": "rank1@layer=penultimate",
    "prototype": "rank1@photos",
    "relearning": "tar_recalibrated@steps",
    "streisand": "auc",
    "old_templates": "tar@gallery=old",
}
"""Attack -> the number that a table shows: the last one that begins so, which is that of the largest budget; of other
attacks their TAR."""


def sections(config: RecognitionBenchmark, results: Results) -> dict[str, list[Table]]:
    """Name of a part of the page -> its tables; parts without any result are left out."""
    found = {data: report(config, results, data) for data in config.data}
    found |= {f"{data} settings": settings(config, results, data) for data in config.data}
    found |= {"scale": scale(config, results), "photos": photos(config, results)}
    return {name: made for name, made in found.items() if made}


def found(config: RecognitionBenchmark, results: Results, data: str) -> dict[str, dict[str, Any]]:
    """Row of the report on a data set -> its result, by group; what has not been measured is left out. Titles are
    `original`, `retrained` and the methods."""
    tasks: dict[str, Task | None] = {task.file: task for task in rows.references(config, data)}
    named: dict[str, Task | None] = {
        "original": tasks[f"{data}/report/{REFERENCES}.json"],
        RETRAINED: tasks.get(f"{data}/report/{RETRAINED}.json"),
    }
    named |= {method: rows.reported(config, results, data, method) for method in rows.methods(config)}
    contents = {title: results.get(task) for title, task in named.items() if task}
    return {title: content["groups"] for title, content in contents.items() if content}


def report(config: RecognitionBenchmark, results: Results, data: str) -> list[Table]:
    """For each group of sets: what is left of the forgotten, what it cost, and what attacks still find."""
    tables = []
    contents = found(config, results, data)
    for group, sets in config.data[data].report.items():
        own = {title: groups[group] for title, groups in contents.items() if group in groups}
        if not own:
            continue
        people, seeds = sum(map(len, sets)), len(config.data[data].seeds)
        of = f"{data}, {group} people" if len(config.data[data].report) > 1 else data
        size = f"{len(sets)} sets, {people} people, {seeds} seed{'s' if seeds > 1 else ''}"
        tables.append(_forgotten(config, results, data, f"{of}: the forgotten ({size})", own))
        tables.append(_harm(config, results, data, f"{of}: everybody else, and the cost", own))
        if config.attacks:
            tables.append(_attacks(config, f"{of}: what attacks still find (forgotten / control)", own))
    return tables


def _forgotten(
    config: RecognitionBenchmark, results: Results, data: str, title: str, own: Mapping[str, Mapping[str, Any]]
) -> Table:
    misidentified = next(key for key in _any_numbers(own)["forget"] if key.startswith("misidentified"))
    columns = {
        "rank-1": ("forget", "rank1"),
        "TAR": ("forget", TAR),
        "rank-1, several": ("forget", "rank1_multi"),
        "TAR, several": ("forget", TAR_MULTI),
        "TAR, given photos": ("forget_seen", TAR),
        "TAR, own threshold": ("forget", "tar_recalibrated@far=1e-3"),
        "nearest cosine": ("forget", "compactness_nearest"),
        "misidentified": ("forget", misidentified),
    }
    lines = []
    notes = []
    for name, result in own.items():
        cells = [_entry(result["numbers"], *place) for place in columns.values()]
        if result["numbers"]:
            cells[-1] += f" ({_value(result['numbers'], 'holdout', misidentified)})"
        lines.append((_title(name), _setting(config, results, data, name), *cells))
        if name == "original":
            lines += [
                (_title(f"floor.{matcher}"), "", *(_entry({"forget": numbers}, *place) for place in columns.values()))
                for matcher, numbers in result["floor"].items()
            ]
        if result.get("failed"):
            failed = result["failed"]
            notes.append(f"{_title(name)} failed {len(failed)} times: {failed[0]}")
    return Table(title, ("method", "setting", *columns), lines, notes)


def _harm(
    config: RecognitionBenchmark, results: Results, data: str, title: str, own: Mapping[str, Mapping[str, Any]]
) -> Table:
    heads = (
        "method", "strangers accepted ×1e-3 (worst set)", "retained lose", "held out lose", "look-alikes lose",
        "worst-off person, TAR", "drift", "rank-1 in old gallery", "at equal harm", "processor seconds", "steps",
        "parameters", "memory MB",
    )  # fmt: skip
    lines = []
    for name, result in own.items():
        numbers = result["numbers"]
        if not numbers:
            lines.append((_title(name), *[NOTHING] * 7, _equal(config, results, data, name, result), *[NOTHING] * 4))
            continue
        far = _per_mille(numbers["impostors"][FAR]["value"])
        if "far_of_worst_set" in result:
            far += f" ({_per_mille(result['far_of_worst_set'], 1)})"
        lines.append(
            (
                _title(name),
                far,
                *(_lost(result, group) for group in ("retain", "holdout", "neighbours")),
                _worst(result),
                _value(numbers, "retain", DRIFT, 3) if "drops" in result else NOTHING,
                _value(numbers, "retain", "cross_version_rank1"),
                _equal(config, results, data, name, result),
                *costs(result.get("cost", {})),
            )
        )
    return Table(title, heads, lines)


def _attacks(config: RecognitionBenchmark, title: str, own: Mapping[str, Mapping[str, Any]]) -> Table:
    columns: dict[str, tuple[str, str]] = {}
    for attack in (named.name for named in config.attacks):
        known = next((r["attacks"][attack]["forget"] for r in own.values() if attack in r.get("attacks", {})), {})
        prefix = ATTACKED.get(attack, "tar@")
        number = next((n for n in reversed(known) if n.startswith(prefix)), None)
        if number:
            columns[f"{attack} {number}"] = attack, number
    before = own.get("original", {}).get("attacks", {})
    lines = []
    for name, result in own.items():
        after = result.get("attacks")
        if not after:
            continue
        cells = [
            " / ".join(plain(after.get(attack, {}).get(group, {}).get(number)) for group in ("forget", "control"))
            for attack, number in columns.values()
        ]
        hidden = None if name in ("original", RETRAINED) else hides({"attacks": _pairs(before, after)})
        lines.append((_title(name), {True: "yes", False: "no", None: NOTHING}[hidden], *cells))
    return Table(title, ("method", "hides", *columns), lines)


def _pairs(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Attacks as an audit.json holds them, of two models."""
    return {
        attack: {
            group: {
                number: {
                    "original": {"value": before.get(attack, {}).get(group, {}).get(number)},
                    "unlearned": {"value": value},
                }
                for number, value in numbers.items()
            }
            for group, numbers in groups.items()
        }
        for attack, groups in after.items()
    }


def settings(config: RecognitionBenchmark, results: Results, data: str) -> list[Table]:
    """Every setting on the tuning sets, and which was chosen."""
    heads = (
        "method", "setting", "rank-1", "TAR", "TAR, several", "strangers accepted ×1e-3 (worst set)", "retained lose",
        "held out lose", "admissible", "processor seconds", "chosen",
    )  # fmt: skip
    lines = []
    for method, grid in config.methods.items():
        choice = rows.chosen(config, results, data, method)
        for task, setting in zip(rows.tuning(config, data, method), grid.settings, strict=True):
            content = results.get(task)
            if content is None:
                continue
            result = content["groups"]["tune"]
            named = (_title(method), label(setting, grid))
            mark = "" if choice is None or choice[0] != setting else "chosen" if choice[1] else "least harm"
            if result["failed"]:
                mark = f"{mark} failed: {result['failed'][0]}".strip()
            if not result["numbers"]:
                lines.append((*named, *[NOTHING] * 8, mark))
                continue
            forget = result["numbers"]["forget"]
            lines.append(
                (
                    *named,
                    *(plain(forget[m]["value"]) for m in ("rank1", TAR, TAR_MULTI)),
                    f"{_per_mille(result['numbers']['impostors'][FAR]['value'])} "
                    f"({_per_mille(result['far_of_worst_set'], 1)})",
                    *(_lost(result, group) for group in ("retain", "holdout")),
                    "yes" if result["admissible"] else "no",
                    plain(result["cost"]["processor_seconds"], 1),
                    mark,
                )
            )
    sets = config.data[data].tune
    title = f"{data}: settings on the tuning sets ({len(sets)} sets, {sum(map(len, sets))} people, one seed)"
    return [Table(title, heads, lines)] if lines else []


def scale(config: RecognitionBenchmark, results: Results) -> list[Table]:
    """Many people at once, and one after another."""
    heads = (
        "method", "people", "requests", "rank-1", "TAR", "TAR, several", "strangers accepted ×1e-3", "retained lose",
        "held out lose", "drift", "processor seconds a request",
    )  # fmt: skip
    lines, notes = [], []
    for method in config.scale.methods if config.scale else ():
        for task in rows.scaled(config, results, method):
            content = results.get(task)
            for result in content["groups"].values() if content else ():
                people = len(next(iter(task.sets.values()))[0])
                if result["failed"]:
                    notes.append(f"{_title(method)}, {people} people: {result['failed'][0]}")
                if task.kind == "at_once" and result["numbers"]:
                    lines.append((_title(method), str(people), "1", *_few(result)))
                if task.kind == "one_after_another" and result["steps"]:
                    last = result["steps"][-1]
                    cells = [plain(last["forget"][m]) for m in ("rank1", TAR, TAR_MULTI)]
                    lost = [_lost(last, group) for group in ("retain", "holdout")]
                    drift, seconds = plain(last["drift"], 3), plain(result["cost"]["processor_seconds"], 1)
                    named = (_title(method), str(last["people"]), str(last["people"]))
                    lines.append((*named, *cells, _per_mille(last[FAR]), *lost, drift, seconds))
    title = f"{config.scale.data}: many people at once, and one after another" if config.scale else ""
    return [Table(title, heads, lines, notes)] if lines else []


def photos(config: RecognitionBenchmark, results: Results) -> list[Table]:
    """Fewer photos of each person."""
    heads = (
        "method", "photos given", "rank-1", "TAR", "TAR, several", "strangers accepted ×1e-3", "retained lose",
        "held out lose", "drift", "processor seconds",
    )  # fmt: skip
    lines, notes = [], []
    for method in config.photos.methods if config.photos else ():
        for task in rows.few_photos(config, results, method):
            content = results.get(task)
            for result in content["groups"].values() if content else ():
                if result["failed"]:
                    notes.append(f"{_title(method)}, {task.seen} photos: {result['failed'][0]}")
                if result["numbers"]:
                    lines.append((_title(method), str(task.seen), *_few(result)))
    title = f"{config.photos.data}: photos that the method is given of each person" if config.photos else ""
    return [Table(title, heads, lines, notes)] if lines else []


def _few(result: Mapping[str, Any]) -> list[str]:
    numbers = result["numbers"]
    return [
        *(_entry(numbers, "forget", metric) for metric in ("rank1", TAR, TAR_MULTI)),
        _per_mille(numbers["impostors"][FAR]["value"]),
        *(_lost(result, group) for group in ("retain", "holdout")),
        _value(numbers, "retain", DRIFT, 3),
        plain(result["cost"]["processor_seconds"], 1),
    ]


# --- cells ----------------------------------------------------------------------------------------------------------


def _any_numbers(own: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    """Some row's numbers, for their names."""
    return next((r["numbers"] for r in own.values() if r["numbers"]), {"forget": {"misidentified": None}})


def _title(name: str) -> str:
    if name == "original":
        return "original model"
    if name == RETRAINED:
        return "Retrain (a model trained without them)"
    return f"floor: {FLOORS[name.removeprefix('floor.')]}" if name.startswith("floor.") else f"`{name}`"


def _setting(config: RecognitionBenchmark, results: Results, data: str, name: str) -> str:
    if name not in config.methods:
        return "variant" if name in config.variants else "control" if name in rows.methods(config) else ""
    setting = rows.chosen(config, results, data, name)
    return label(setting[0], config.methods[name]) if setting else ""


def _equal(config: RecognitionBenchmark, results: Results, data: str, name: str, result: Mapping[str, Any]) -> str:
    """Whether the row passes the gate; a method none of whose settings passed it on the tuning sets is marked."""
    if "admissible" not in result or name == RETRAINED:
        return NOTHING
    setting = rows.chosen(config, results, data, name)
    if setting and not setting[1]:
        return "no admissible setting"
    return "yes" if result["admissible"] else "no"


def _entry(numbers: Mapping[str, Any] | None, group: str, metric: str) -> str:
    return shown((numbers or {}).get(group, {}).get(metric))


def _value(numbers: Mapping[str, Any], group: str, metric: str, digits: int = 2) -> str:
    return plain(numbers.get(group, {}).get(metric, {}).get("value"), digits)


def _per_mille(share: float | None, digits: int = 2) -> str:
    return NOTHING if share is None else plain(1000 * share, digits)


def _lost(result: Mapping[str, Any], group: str) -> str:
    """Points that a group loses, rank-1 / TAR."""
    fallen = result.get("drops", {}).get(group)
    return " / ".join(plain(fallen[metric], 1) for metric in ("rank1", TAR)) if fallen else NOTHING


def _worst(result: Mapping[str, Any]) -> str:
    worst = result.get("worst", {}).get(TAR)
    return f"{worst['person']} {plain(worst['original'])} → {plain(worst['value'])}" if worst else NOTHING
