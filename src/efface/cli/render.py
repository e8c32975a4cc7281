"""`efface render`: people who never existed."""

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

Format = Literal["folder", "shards", "pack"]


def render(
    heads: Annotated[Path, typer.Option(help="Head model: ict_model.npz, or the folder of ICT-FaceKit.")],
    out: Annotated[Path, typer.Option(help="Folder of the photos; must not exist yet.")],
    people: Annotated[str, typer.Option(help="Numbers of the people, as 100-119,1000-4999.")] = "0-119",
    photos: Annotated[str, typer.Option(help="Numbers of each person's photos.")] = "0-11",
    size: Annotated[int, typer.Option(help="Side of a photo in pixels.")] = 128,
    seed: Annotated[int, typer.Option(help="Another seed gives other people.")] = 0,
    format: Annotated[Format, typer.Option(help="folder, shards (webdataset) or pack (one tar, one safetensors).")] = (
        "folder"
    ),
    views: Annotated[
        int, typer.Option(help="Times that each photo's moment is seen again, mostly by other cameras, before grey.")
    ] = 0,
    processes: Annotated[int | None, typer.Option(help="Processes that render [one for each core].")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue what was stopped.")] = False,
) -> None:
    """Render photos of people who never existed, each with its camera, landmarks, expression and light."""
    from efface.cli.terminal import Terminal
    from efface.faces.rendering import writing

    order = writing.Order(
        people=writing.numbers(people, "--people"),
        photos=writing.numbers(photos, "--photos"),
        size=size,
        seed=seed,
        format=format,
        views=views,
    )
    terminal = Terminal()
    try:
        writing.render(order, heads, out, (os.cpu_count() or 1) if processes is None else processes, resume, terminal)
    except KeyboardInterrupt as error:
        terminal.say("efface: interrupted; the same command with --resume continues")
        raise typer.Exit(130) from error
    terminal.say(f"written: {out}")
