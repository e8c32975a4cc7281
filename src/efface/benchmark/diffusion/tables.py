"""Results of diffusion models as tables. No torch here."""

from collections.abc import Mapping, Sequence
from typing import Any

from efface.benchmark.diffusion import rows
from efface.benchmark.diffusion.configuration import DiffusionBenchmark
from efface.benchmark.diffusion.rows import Task
from efface.benchmark.grids import label
from efface.benchmark.parts import NOTHING, Table, costs
from efface.benchmark.results import Content, Results
from efface.report.drawn_verdict import OTHERS
from efface.report.numbers import plain, shown

TAR, IDENTIFIED = "tar@far=1e-2", "identified@far=1e-2"
CONTROLS = {"photos": "real photos", "stranger": "strangers' pictures"}
"""Controls, and what to call them."""
ATTACKED = {
    "guidance_inversion": ("anchor=known", "anchor=retained", "anchor=random"),
    "halo": ("cosine=1", "cosine=0.8", "cosine=0.6", "cosine=0.4"),
    "img2img": ("strength=0.9", "strength=0.7", "strength=0.5", "strength=0.3"),
}
"""Attack -> how its budgets begin of which a table shows the ISM."""


def sections(config: DiffusionBenchmark, results: Results) -> dict[str, list[Table]]:
    """Name of a part of the page -> its tables; parts without any result are left out."""
    found: dict[str, list[Table]] = {}
    for data in config.data:
        found[data] = report(config, results, data)
        found[f"{data} attacks"] = attacks(config, results, data)
        found[f"{data} ablations"] = ablations(config, results, data)
        found[f"{data} settings"] = settings(config, results, data)
    return {name: made for name, made in found.items() if made}


def contents(config: DiffusionBenchmark, results: Results, data: str) -> dict[str, tuple[Task, Content]]:
    """Row of the report -> its task and result; what has not been measured, or failed for everybody, is left out.
    Titles are `original` and the methods."""
    tasks: dict[str, Task | None] = {"original": rows.references(config, data)[0]}
    tasks |= {method: rows.reported(config, results, data, method) for method in config.methods}
    found = {title: (task, results.get(task)) for title, task in tasks.items() if task}
    return {title: (task, content) for title, (task, content) in found.items() if content and content.get("numbers")}


def report(config: DiffusionBenchmark, results: Results, data: str) -> list[Table]:
    """What is left of the forgotten, what it cost the others, and both by the judge."""
    own = contents(config, results, data)
    if not own:
        return []
    tables = [_both(config, results, data, own), _harm(data, own), _judge(data, own), _cost(data, own)]
    return [table for table in tables if table.rows]


def _both(config: DiffusionBenchmark, results: Results, data: str, own: Mapping[str, tuple[Task, Content]]) -> Table:
    heads = (
        "method", "setting", "people × seeds", "forgotten: AccU", "ISM", "verified and nearest",
        "by other photos: AccU", "ISM", "retained: AccR", "ISM net", "ISM net kept", "SRK", "SRK by other photos",
        "admissible",
    )  # fmt: skip
    lines, notes = [], []
    for name, (task, content) in own.items():
        chosen = rows.chosen(config, results, data, name) if name != "original" else None
        lines.append(
            (
                _title(name),
                label(chosen[0], config.methods[name]) if chosen else "",
                f"{len(task.people)} × {len(task.seeds)}",
                *_who(content["numbers"]),
                _share(content),
                plain(content["summary"]["srk"]),
                plain(content["summary"]["srk_others"]),
                _admissible(content, chosen),
            )
        )
        for control, groups in content.get("controls", {}).items():
            lines.append((CONTROLS[control], "", "", *_who(groups), *[NOTHING] * 4))
        if content["failed"]:
            notes.append(f"{_title(name)} failed {len(content['failed'])} times: {content['failed'][0]}")
    missing = [task for m in config.methods if m not in own and (task := rows.reported(config, results, data, m))]
    for task in missing:
        content = results.get(task)
        if content:
            notes.append(f"{task.title} failed {len(content['failed'])} times: {content['failed'][0]}")
    return Table(f"{data}: the forgotten and the retained", heads, lines, notes)


def _who(groups: Mapping[str, Any]) -> tuple[str, ...]:
    wanted = (
        ("forget", "acc"), ("forget", "ism"), ("forget", IDENTIFIED), (OTHERS, "acc"), (OTHERS, "ism"),
        ("retain", "acc"), ("retain", "ism_net"),
    )  # fmt: skip
    return tuple(shown(groups.get(group, {}).get(metric)) for group, metric in wanted)


def _harm(data: str, own: Mapping[str, tuple[Task, Content]]) -> Table:
    heads = (
        "method", "held out: ISM net", "look-alikes: acc", "look-alikes: ISM net", "anchor: acc", "anchor: ISM",
        "forgotten like the anchor", "quality, forgotten / retained", "sharpness", "KD retained", "FID retained",
        "undetected",
    )  # fmt: skip
    wanted = (
        ("holdout", "ism_net"), ("neighbours", "acc"), ("neighbours", "ism_net"), ("anchor", "acc"), ("anchor", "ism"),
        ("forget", "anchor_similarity"),
    )  # fmt: skip
    lines = []
    for name, (_, content) in own.items():
        numbers = content["numbers"]
        cells = [_value(numbers, *place) for place in wanted]
        cells.append(" / ".join(_value(numbers, group, "quality") for group in ("forget", "retain")))
        cells.append(" / ".join(_value(numbers, group, "sharpness", 0) for group in ("forget", "retain")))
        cells += [_value(numbers, "retain", "kd", 3), _value(numbers, "retain", "fid")]
        cells.append(_value(numbers, "forget", "undetected"))
        lines.append((_title(name), *cells))
    return Table(f"{data}: everybody else", heads, lines)


def _cost(data: str, own: Mapping[str, tuple[Task, Content]]) -> Table:
    heads = ("method", "processor seconds", "steps", "parameters", "memory MB")
    lines = [(_title(name), *costs(content["cost"])) for name, (_, content) in own.items() if content["cost"]]
    return Table(f"{data}: the cost", heads, lines)


def _judge(data: str, own: Mapping[str, tuple[Task, Content]]) -> Table:
    heads = (
        "method", "forgotten: AccU", "ISM", "verified and nearest", "by other photos: AccU", "ISM", "retained: AccR",
        "ISM net", "look-alikes: acc", "look-alikes: ISM net", "SRK",
    )  # fmt: skip
    lines = []
    for name, (_, content) in own.items():
        for groups in content["judges"].values():
            near = [_value(groups, "neighbours", metric) for metric in ("acc", "ism_net")]
            lines.append((_title(name), *_who(groups), *near, plain(srk(groups))))
        for controls in content.get("judges_controls", {}).values():
            lines += [(CONTROLS[c], *_who(groups), *[NOTHING] * 3) for c, groups in controls.items()]
    return Table(f"{data}: by the judge, which no method has seen", heads, lines)


def srk(groups: Mapping[str, Any]) -> float | None:
    """AccR / (AccU + 0.01)."""
    kept, left = (groups[group]["acc"]["value"] for group in ("retain", "forget"))
    return None if kept is None or left is None else kept / (left + 0.01)


def attacks(config: DiffusionBenchmark, results: Results, data: str) -> list[Table]:
    """ISM of what each attempt draws, of the forgotten and of the control."""
    if config.attacked is None:
        return []
    tasks: dict[str, Task | None] = {"original": rows.references(config, data)[1]}
    tasks |= {method: rows.attacked(config, results, data, method) for method in config.methods}
    found = {title: content for title, task in tasks.items() if task and (content := results.get(task))}
    tables = []
    for attack in (named.name for named in config.attacked.attacks):
        known = next((c["attacks"][attack]["forget"] for c in found.values() if attack in c.get("attacks", {})), {})
        begins = tuple(f"ism@{budget}" for budget in ATTACKED[attack])
        columns = [n for n in known if ",by=" not in n and n.split(",")[0] in begins]
        lines = []
        for name, content in found.items():
            groups = content.get("attacks", {}).get(attack, {})
            cells = [" / ".join(plain(groups.get(g, {}).get(n)) for g in ("forget", "control")) for n in columns]
            lines.append((_title(name), *cells) if groups else (_title(name), *[NOTHING] * len(columns)))
        if columns:
            heads = ("method", *(column.removeprefix("ism@") for column in columns))
            of = _people(config.attacked.people)
            tables.append(Table(f"{data}: {attack}, ISM of the forgotten / a stranger ({of})", heads, lines))
    return tables


def ablations(config: DiffusionBenchmark, results: Results, data: str) -> list[Table]:
    """A table for each group."""
    heads = (
        "", "forgotten: AccU", "ISM", "ISM by the judge", "by other photos: AccU", "ISM", "retained: AccR", "ISM net",
        "ISM net kept", "look-alikes: ISM net", "forgotten like the anchor", "quality, forgotten", "SRK",
        "SRK by other photos", "parameters",
    )  # fmt: skip
    tables = []
    for group, tasks in rows.ablations(config, results, data).items():
        lines, notes = [], []
        for title, task in tasks.items():
            content = results.get(task)
            if content and content["failed"]:
                notes.append(f"{title} failed {len(content['failed'])} times: {content['failed'][0]}")
            if content and content["numbers"]:
                lines.append((title, *_ablated(content)))
        if lines and config.ablations:
            of = _people(len(config.ablations.people))
            tables.append(Table(f"{data}: `{config.ablations.method}`, {group} ({of})", heads, lines, notes))
    return tables


def _ablated(content: Content) -> Sequence[str]:
    numbers = content["numbers"]
    judged = [_value(groups, "forget", "ism") for groups in content["judges"].values()] or [NOTHING]
    return (
        _value(numbers, "forget", "acc"),
        _value(numbers, "forget", "ism"),
        judged[0],
        _value(numbers, OTHERS, "acc"),
        _value(numbers, OTHERS, "ism"),
        _value(numbers, "retain", "acc"),
        _value(numbers, "retain", "ism_net"),
        _share(content),
        _value(numbers, "neighbours", "ism_net"),
        _value(numbers, "forget", "anchor_similarity"),
        _value(numbers, "forget", "quality"),
        plain(content["summary"]["srk"]),
        plain(content["summary"]["srk_others"]),
        costs(content["cost"])[2],
    )


def settings(config: DiffusionBenchmark, results: Results, data: str) -> list[Table]:
    """Every setting on the tuning people, and which was chosen."""
    heads = (
        "method", "setting", "forgotten: AccU", "by other photos: AccU", "ISM", "quality", "sharpness",
        "retained: AccR", "ISM net kept", "SRK by other photos", "admissible", "processor seconds", "chosen",
    )  # fmt: skip
    places = (
        ("forget", "acc"), (OTHERS, "acc"), (OTHERS, "ism"), ("forget", "quality"), ("forget", "sharpness"),
        ("retain", "acc"),
    )  # fmt: skip
    lines = []
    for method, grid in config.methods.items():
        choice = rows.chosen(config, results, data, method)
        for task, setting in zip(rows.tuning(config, data, method), grid.settings, strict=True):
            content = results.get(task)
            if content is None:
                continue
            mark = "" if choice is None or choice[0] != setting else "chosen" if choice[1] else "highest SRK"
            if content["failed"]:
                mark = f"{mark} failed: {content['failed'][0]}".strip()
            named = (_title(method), label(setting, grid))
            if not content["numbers"]:
                lines.append((*named, *[NOTHING] * 10, mark))
                continue
            numbers = content["numbers"]
            lines.append(
                (
                    *named,
                    *(_value(numbers, *place) for place in places),
                    _share(content),
                    plain(content["summary"]["srk_others"]),
                    "yes" if content["admissible"] else "no",
                    plain(content["cost"]["processor_seconds"], 1),
                    mark,
                )
            )
    of = _people(len(config.data[data].tune))
    return [Table(f"{data}: settings on the tuning people ({of}, one seed)", heads, lines)] if lines else []


# --- cells ----------------------------------------------------------------------------------------------------------


def _people(count: int) -> str:
    return "1 person" if count == 1 else f"{count} people"


def _title(name: str) -> str:
    return "original model" if name == "original" else f"`{name}`"


def _value(numbers: Mapping[str, Any], group: str, metric: str, digits: int = 2) -> str:
    return plain(numbers.get(group, {}).get(metric, {}).get("value"), digits)


def _share(content: Content) -> str:
    """ISM net of the retained, by that of the original model in the same runs."""
    return plain(kept(content))


def kept(content: Content) -> float | None:
    """The same as a number."""
    if "original" not in content:
        return None
    before = content["original"]["numbers"]["retain"]["ism_net"]["value"]
    after = content["numbers"]["retain"]["ism_net"]["value"]
    return after / before if before and after is not None else None


def _admissible(content: Content, chosen: tuple[Any, bool] | None) -> str:
    """Whether the row keeps the retained as the rule asks; a method none of whose settings did on the tuning people is
    marked."""
    if chosen is None:
        return NOTHING
    return "no admissible setting" if not chosen[1] else "yes" if content["admissible"] else "no"
