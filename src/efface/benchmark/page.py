"""The tables on the terminal, and in a Markdown page between its markers with figures beside it."""

import re
from pathlib import Path

from rich.console import Console
from rich.table import Table as Printed
from rich.text import Text

from efface.benchmark.configuration import BenchmarkConfig
from efface.benchmark.kinds import module
from efface.benchmark.parts import markdown
from efface.benchmark.results import Results
from efface.errors import EffaceError
from efface.folder import write_bytes, write_text

WIDTH = 150
"""Columns of a terminal that the tables need."""


def show(config: BenchmarkConfig, results: Results, console: Console | None = None) -> None:
    """Print the tables, without intervals."""
    console = console or Console(highlight=False)
    console = Console(file=console.file, width=max(console.width, WIDTH), highlight=False)
    for made in module(config.kind, "tables").sections(config, results).values():
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
    pictures = module(config.kind, "figures").draw(config, results)
    files = {page.with_name(f"{page.stem}-{name}.png"): picture for name, picture in pictures.items()}
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        for path, picture in files.items():
            write_bytes(path, picture.png)
        text = page.read_text(encoding="utf-8") if page.exists() else "# Benchmark\n"
        for name, made in module(config.kind, "tables").sections(config, results).items():
            own = [f"![{p.title}]({f.name})" for f, p in files.items() if p.section == name]
            text = _between(text, name, "\n\n".join((*own, *map(markdown, made))))
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
