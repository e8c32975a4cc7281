"""The tables on the terminal, and in a Markdown page between its markers with figures beside it."""

import os
import re
from pathlib import Path

from rich.console import Console
from rich.table import Table as Printed
from rich.text import Text

from efface.benchmark import figures, tables
from efface.benchmark.configuration import BenchmarkConfig
from efface.benchmark.rows import Results
from efface.benchmark.tables import Table
from efface.errors import EffaceError
from efface.folder import write_text

WIDTH = 150
"""Columns of a terminal that the tables need."""


def sections(config: BenchmarkConfig, results: Results) -> dict[str, list[Table]]:
    """Name of a part of the page -> its tables; parts without any result are left out."""
    found = {data: tables.report(config, results, data) for data in config.data}
    found |= {f"{data} settings": tables.settings(config, results, data) for data in config.data}
    found |= {"scale": tables.scale(config, results), "photos": tables.photos(config, results)}
    return {name: made for name, made in found.items() if made}


def show(config: BenchmarkConfig, results: Results, console: Console | None = None) -> None:
    """Print the tables, without intervals."""
    console = console or Console(highlight=False)
    console = Console(file=console.file, width=max(console.width, WIDTH), highlight=False)
    for made in sections(config, results).values():
        for table in made:
            printed = Printed(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
            for number, head in enumerate(table.heads):
                printed.add_column(
                    head,
                    overflow="fold",
                    no_wrap=number == 0 or head == "setting",
                    justify="left" if number == 0 else "right",
                )
            for line in table.rows:
                printed.add_row(*(Text(re.sub(r" \[[^\]]*\]|`", "", cell)) for cell in line))
            console.print(Text(f"\n{table.title}", "bold"))
            console.print(printed)
            for note in table.notes:
                console.print(Text(note.replace("`", "")))


def write(config: BenchmarkConfig, results: Results) -> list[Path]:
    """Write tables and figures where the configuration says; returns the files. Everything outside the markers
    `<!-- NAME -->` … `<!-- end of NAME -->` stays; a part without markers is added at the end."""
    page = config.page
    if page is None:
        return []
    pictures = figures.draw(config, results)
    files = {page.with_name(f"{page.stem}-{name}.png"): picture for name, picture in pictures.items()}
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        for path, picture in files.items():
            partial = path.with_name(path.name + ".tmp")
            partial.write_bytes(picture.png)
            os.replace(partial, path)
        text = page.read_text(encoding="utf-8") if page.exists() else "# Benchmark\n"
        for name, made in sections(config, results).items():
            own = [f"![{p.title}]({f.name})" for f, p in files.items() if p.section == name]
            text = _between(text, name, "\n\n".join((*own, *map(tables.markdown, made))))
        write_text(page, text)
    except OSError as error:
        raise EffaceError(f"{error.filename or page}: cannot be written ({error.strerror}); set page") from error
    return [page, *files]


def _between(text: str, name: str, content: str) -> str:
    """The page with a part's content between its markers."""
    first, last = f"<!-- {name} -->", f"<!-- end of {name} -->"
    part = f"{first}\n\n{content}\n\n{last}"
    found = re.compile(re.escape(first) + ".*?" + re.escape(last), re.DOTALL)
    if found.search(text):
        return found.sub(lambda _: part, text, count=1)
    return f"{text.rstrip()}\n\n{part}\n"
