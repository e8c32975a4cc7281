"""Results of diffusion models as tables. No torch here."""

from collections.abc import Mapping, Sequence
from typing import Any

from efface.benchmark.diffusion.configuration import DiffusionBenchmark
from efface.benchmark.drawing import rows
from efface.benchmark.drawing import tables as shared
from efface.benchmark.drawing.tables import (
    CONTROLS,
    ORIGINAL,
    Found,
    allowed,
    cell,
    contents,
    failures,
    headed,
    title,
)
from efface.benchmark.parts import NOTHING, Table, costs
from efface.benchmark.results import Content, Results
from efface.report.drawn_verdict import OTHERS
from efface.report.numbers import plain, shown

TAR, IDENTIFIED = "tar@far=1e-2", "identified@far=1e-2"
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


def report(config: DiffusionBenchmark, results: Results, data: str) -> list[Table]:
    """What is left of the forgotten, what it cost the others, and both by the judge."""
    own = contents(config, results, data)
    if not own:
        return []
    tables = [_both(config, results, data, own), _harm(data, own), _judge(data, own), shared.cost(data, own)]
    return [table for table in tables if table.rows]


def _both(config: DiffusionBenchmark, results: Results, data: str, own: Found) -> Table:
    heads = (
        "method", "setting", "people × seeds", "forgotten: AccU", "ISM", "verified and nearest",
        "by other photos: AccU", "ISM", "retained: AccR", "ISM net", "ISM net kept", "SRK", "SRK by other photos",
        "admissible",
    )  # fmt: skip
    lines = []
    for name, (task, content) in own.items():
        chosen = rows.chosen(config, results, data, name) if name != ORIGINAL else None
        lines.append(
            (
                *headed(config, results, data, name, task),
                *_who(content["numbers"]),
                _share(content),
                plain(content["summary"]["srk"]),
                plain(content["summary"]["srk_others"]),
                allowed(content, chosen),
            )
        )
        for control, groups in content.get("controls", {}).items():
            lines.append((CONTROLS[control], "", "", *_who(groups), *[NOTHING] * 4))
    return Table(f"{data}: the forgotten and the retained", heads, lines, failures(config, results, data, own))


def _who(groups: Mapping[str, Any]) -> tuple[str, ...]:
    wanted = (
        ("forget", "acc"), ("forget", "ism"), ("forget", IDENTIFIED), (OTHERS, "acc"), (OTHERS, "ism"),
        ("retain", "acc"), ("retain", "ism_net"),
    )  # fmt: skip
    return tuple(shown(groups.get(group, {}).get(metric)) for group, metric in wanted)


def _harm(data: str, own: Found) -> Table:
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
        cells = [cell(numbers, *place) for place in wanted]
        cells.append(" / ".join(cell(numbers, group, "quality") for group in ("forget", "retain")))
        cells.append(" / ".join(cell(numbers, group, "sharpness", 0) for group in ("forget", "retain")))
        cells += [cell(numbers, "retain", "kd", 3), cell(numbers, "retain", "fid")]
        cells.append(cell(numbers, "forget", "undetected"))
        lines.append((title(name), *cells))
    return Table(f"{data}: everybody else", heads, lines)


def _judge(data: str, own: Found) -> Table:
    heads = (
        "method", "forgotten: AccU", "ISM", "verified and nearest", "by other photos: AccU", "ISM", "retained: AccR",
        "ISM net", "look-alikes: acc", "look-alikes: ISM net", "SRK",
    )  # fmt: skip
    lines = []
    for name, (_, content) in own.items():
        for groups in content["judges"].values():
            near = [cell(groups, "neighbours", metric) for metric in ("acc", "ism_net")]
            lines.append((title(name), *_who(groups), *near, plain(srk(groups))))
        for controls in content.get("judges_controls", {}).values():
            lines += [(CONTROLS[c], *_who(groups), *[NOTHING] * 3) for c, groups in controls.items()]
    return Table(f"{data}: by the judge, which no method has seen", heads, lines)


def srk(groups: Mapping[str, Any]) -> float | None:
    """AccR / (AccU + 0.01)."""
    kept, left = (groups[group]["acc"]["value"] for group in ("retain", "forget"))
    return None if kept is None or left is None else kept / (left + 0.01)


def attacks(config: DiffusionBenchmark, results: Results, data: str) -> list[Table]:
    """ISM of what each attempt draws, of the forgotten and of the control."""

    def columns(attack: str, numbers: Sequence[str]) -> dict[str, str]:
        begins = tuple(f"ism@{budget}" for budget in ATTACKED[attack])
        return {n.removeprefix("ism@"): n for n in numbers if ",by=" not in n and n.split(",")[0] in begins}

    return shared.attacks(config, results, data, "ISM", columns)


def ablations(config: DiffusionBenchmark, results: Results, data: str) -> list[Table]:
    """A table for each group."""
    heads = (
        "forgotten: AccU", "ISM", "ISM by the judge", "by other photos: AccU", "ISM", "retained: AccR", "ISM net",
        "ISM net kept", "look-alikes: ISM net", "forgotten like the anchor", "quality, forgotten", "SRK",
        "SRK by other photos", "parameters",
    )  # fmt: skip
    return shared.ablations(config, results, data, heads, _ablated)


def _ablated(content: Content) -> Sequence[str]:
    numbers = content["numbers"]
    judged = [cell(groups, "forget", "ism") for groups in content["judges"].values()] or [NOTHING]
    return (
        cell(numbers, "forget", "acc"),
        cell(numbers, "forget", "ism"),
        judged[0],
        cell(numbers, OTHERS, "acc"),
        cell(numbers, OTHERS, "ism"),
        cell(numbers, "retain", "acc"),
        cell(numbers, "retain", "ism_net"),
        _share(content),
        cell(numbers, "neighbours", "ism_net"),
        cell(numbers, "forget", "anchor_similarity"),
        cell(numbers, "forget", "quality"),
        plain(content["summary"]["srk"]),
        plain(content["summary"]["srk_others"]),
        costs(content["cost"])[2],
    )


def settings(config: DiffusionBenchmark, results: Results, data: str) -> list[Table]:
    """Every setting on the tuning people, and which was chosen."""
    heads = (
        "forgotten: AccU", "by other photos: AccU", "ISM", "quality", "sharpness", "retained: AccR", "ISM net kept",
        "SRK by other photos",
    )  # fmt: skip
    places = (
        ("forget", "acc"), (OTHERS, "acc"), (OTHERS, "ism"), ("forget", "quality"), ("forget", "sharpness"),
        ("retain", "acc"),
    )  # fmt: skip

    def cells(content: Content) -> tuple[str, ...]:
        own = (cell(content["numbers"], *place) for place in places)
        return *own, _share(content), plain(content["summary"]["srk_others"])

    return shared.settings(config, results, data, heads, cells, "highest SRK")


# --- cells ----------------------------------------------------------------------------------------------------------


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
