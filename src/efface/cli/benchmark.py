"""`efface benchmark`."""

from pathlib import Path
from typing import Annotated

import typer

from efface.cli.options import Settings, Tiny


def benchmark(
    config: Annotated[Path, typer.Argument(help="A YAML file such as configs/benchmark/recognition.yaml.")],
    data: Annotated[
        list[str] | None,
        typer.Option("--data", metavar="NAME", help="Only this data set of the file; may be repeated."),
    ] = None,
    rows: Annotated[
        str,
        typer.Option(metavar="PATTERN", help="Measure only rows of such a name, e.g. 'people/tune/uce*' [all]."),
    ] = "*",
    processes: Annotated[int | None, typer.Option(help="Processes that measure [one for each core].")] = None,
    tables: Annotated[bool, typer.Option("--tables", help="Measure nothing: tables of the results there are.")] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Measure anew what was measured by another configuration.")
    ] = False,
    settings: Settings = None,
    tiny: Tiny = False,
) -> None:
    """Compare methods on several data sets: every row that has no result yet is measured, then tables and figures."""
    from efface.benchmark import configuration, page, running
    from efface.benchmark.results import Results
    from efface.cli.terminal import Terminal
    from efface.errors import EffaceError

    chosen = configuration.load(config, settings or (), data or (), tiny)
    results = Results(chosen, again)
    terminal = Terminal()
    missing = ""
    try:
        if not tables:
            most = running.cores() if processes is None else processes
            missing = running.run(chosen, results, most, terminal, rows)
    except KeyboardInterrupt as error:
        terminal.say("efface: interrupted; the same command continues")
        raise typer.Exit(130) from error
    page.show(chosen, results)
    for path in page.write(chosen, results):
        terminal.say(f"written: {path}")
    if missing:
        raise EffaceError(missing)
