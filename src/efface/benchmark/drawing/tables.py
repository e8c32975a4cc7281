"""Tables of what models that draw have in common. No torch here."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from efface.benchmark.drawing import rows
from efface.benchmark.drawing.rows import Benchmark, Task
from efface.benchmark.grids import label
from efface.benchmark.parts import NOTHING, Table, costs
from efface.benchmark.results import Content, Results
from efface.report.numbers import plain

CONTROLS = {"photos": "real photos", "stranger": "strangers' pictures"}
"""Controls, and what to call them."""
ORIGINAL = "original"
"""The row of the original model."""
Found = Mapping[str, tuple[Task, Content]]
"""Row of the report -> its task and result."""
Cells = Callable[[Content], Sequence[str]]
"""Cells of a result that has numbers."""


def contents(config: Benchmark, results: Results, data: str) -> dict[str, tuple[Task, Content]]:
    """Row of the report -> its task and result; what has not been measured, or failed for everybody, is left out.
    Titles are `original` and the methods."""
    tasks: dict[str, Task | None] = {ORIGINAL: rows.references(config, data)[0]}
    tasks |= {method: rows.reported(config, results, data, method) for method in config.methods_on(data)}
    found = {name: (task, results.get(task)) for name, task in tasks.items() if task}
    return {name: (task, content) for name, (task, content) in found.items() if content and content.get("numbers")}


def headed(config: Benchmark, results: Results, data: str, name: str, task: Task) -> tuple[str, str, str]:
    """Cells of a row of the report: its title, the chosen setting, people × seeds."""
    setting = rows.chosen(config, results, data, name) if name != ORIGINAL else None
    said = label(setting[0], config.methods[name]) if setting else ""
    return title(name), said, f"{len(task.people)} × {len(task.seeds)}"


def failures(config: Benchmark, results: Results, data: str, own: Found) -> list[str]:
    """A line for each row of the report that failed on somebody, or on everybody."""
    tasks = {title(name): task for name, (task, _) in own.items()}
    missing = [m for m in config.methods_on(data) if m not in own]
    tasks |= {task.title: task for m in missing if (task := rows.reported(config, results, data, m))}
    return [line for said, task in tasks.items() if (line := failure(said, results.get(task)))]


def failure(said: str, content: Content | None) -> str:
    """What failed of a row, and how often; empty where nothing did."""
    failed = content["failed"] if content else ()
    return f"{said} failed {len(failed)} times: {failed[0]}" if failed else ""


def cost(data: str, own: Found) -> Table:
    """What unlearning cost."""
    heads = ("method", "processor seconds", "steps", "parameters", "memory MB")
    lines = [(title(name), *costs(content["cost"])) for name, (_, content) in own.items() if content["cost"]]
    return Table(f"{data}: the cost", heads, lines)


def attacks(
    config: Benchmark,
    results: Results,
    data: str,
    what: str,
    columns: Callable[[str, Sequence[str]], Mapping[str, str]],
) -> list[Table]:
    """A table for each attack: a number of what it draws, of the forgotten and of the control. what: the number's name;
    columns(attack, numbers) -> head of a column -> its number."""
    if config.attacked is None or not config.data[data].tune:
        return []
    tasks: dict[str, Task | None] = {ORIGINAL: rows.references(config, data)[1]}
    tasks |= {method: rows.attacked(config, results, data, method) for method in config.methods_on(data)}
    found = {name: content for name, task in tasks.items() if task and (content := results.get(task))}
    tables = []
    for attack in (named.name for named in config.attacked.attacks):
        known = next((c["attacks"][attack]["forget"] for c in found.values() if attack in c.get("attacks", {})), {})
        shown = columns(attack, list(known))
        lines, notes = [], []
        for name, content in found.items():
            groups = content.get("attacks", {}).get(attack, {})
            cells = [" / ".join(plain(groups.get(g, {}).get(n)) for g in ("forget", "control")) for n in shown.values()]
            lines.append((title(name), *cells) if groups else (title(name), *[NOTHING] * len(shown)))
            notes += [line] if (line := failure(title(name), content)) else []
        if shown:
            of = counted(config.attacked.people)
            said = f"{data}: {attack}, {what} of the forgotten / a stranger ({of})"
            tables.append(Table(said, ("method", *shown), lines, notes))
    return tables


def ablations(config: Benchmark, results: Results, data: str, heads: Sequence[str], cells: Cells) -> list[Table]:
    """A table for each group."""
    tables = []
    for group, tasks in rows.ablations(config, results, data).items():
        lines, notes = [], []
        for said, task in tasks.items():
            content = results.get(task)
            notes += [line] if (line := failure(said, content)) else []
            if content and content["numbers"]:
                lines.append((said, *cells(content)))
        if lines and config.ablations:
            of = counted(len(config.ablations.people))
            tables.append(Table(f"{data}: `{config.ablations.method}`, {group} ({of})", ("", *heads), lines, notes))
    return tables


def settings(
    config: Benchmark, results: Results, data: str, heads: Sequence[str], cells: Cells, fallback: str
) -> list[Table]:
    """Every setting on the tuning people, and which was chosen. fallback: why one was chosen that is not admissible."""
    lines = []
    for method, grid in config.methods.items():
        choice = rows.chosen(config, results, data, method)
        for task, setting in zip(rows.tuning(config, data, method), grid.settings, strict=False):
            content = results.get(task)
            if content is None:
                continue
            mark = "" if choice is None or choice[0] != setting else "chosen" if choice[1] else fallback
            if content["failed"]:
                mark = f"{mark} failed: {content['failed'][0]}".strip()
            named = (title(method), label(setting, grid))
            if not content["numbers"]:
                lines.append((*named, *[NOTHING] * (len(heads) + 2), mark))
                continue
            passes = "yes" if content["admissible"] else "no"
            lines.append((*named, *cells(content), passes, plain(content["cost"]["processor_seconds"], 1), mark))
    of = counted(len(config.data[data].tune))
    heads = ("method", "setting", *heads, "admissible", "processor seconds", "chosen")
    return [Table(f"{data}: settings on the tuning people ({of}, one seed)", heads, lines)] if lines else []


# --- cells ----------------------------------------------------------------------------------------------------------


def counted(people: int) -> str:
    """So many people."""
    return "1 person" if people == 1 else f"{people} people"


def title(name: str) -> str:
    """A row's first cell."""
    return "original model" if name == ORIGINAL else f"`{name}`"


def value(numbers: Mapping[str, Any], group: str, metric: str) -> float | None:
    """A number of a group; None where there is none."""
    return numbers.get(group, {}).get(metric, {}).get("value")


def cell(numbers: Mapping[str, Any], group: str, metric: str, digits: int = 2) -> str:
    """The same in a table."""
    return plain(value(numbers, group, metric), digits)


def allowed(content: Content, chosen: tuple[Any, bool] | None) -> str:
    """Whether the row keeps the retained as the rule asks; a method none of whose settings did on the tuning people is
    marked."""
    if chosen is None:
        return NOTHING
    here = "yes" if content["admissible"] else "no"
    return here if chosen[1] else f"{here} (no admissible setting)"
