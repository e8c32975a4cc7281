"""`efface layers`: which cross-attention layers of a diffusion model tell people apart."""

from pathlib import Path
from typing import Annotated

import typer

from efface.cli.options import Config, Detector, Faces, Model, Seed, Settings, Tiny, Weights, configuration
from efface.errors import EffaceError


def layers(
    config: Config = None,
    model: Model = None,
    weights: Weights = None,
    faces: Faces = None,
    detector: Detector = None,
    people: Annotated[int, typer.Option(min=2, help="People at most.")] = 16,
    photos: Annotated[int, typer.Option(min=2, help="Photos of each of them.")] = 4,
    draws: Annotated[int, typer.Option(min=1, help="Noises, each at a timestep of its own.")] = 16,
    out: Annotated[Path | None, typer.Option(help="A PNG of the bars.")] = None,
    settings: Settings = None,
    seed: Seed = None,
    tiny: Tiny = False,
) -> None:
    """Measure how far each cross-attention layer moves people apart, and propose what to train (the method's scope)."""
    import torch
    from rich.console import Console

    from efface.cli.terminal import Terminal
    from efface.config import DiffusionConfig
    from efface.folder import write_bytes
    from efface.methods.sensitivity import proposed_scope, sensitivity
    from efface.report.layers import Row, picture, table
    from efface.run_diffusion import prepare

    kind = [] if config else ["kind=diffusion"]
    loaded = configuration(
        config,
        [*kind, *(settings or [])],
        tiny,
        model=model,
        weights=weights,
        faces=faces,
        detector=detector,
        seed=seed,
    )
    if not isinstance(loaded, DiffusionConfig):
        raise EffaceError(
            f"model: found kind: {loaded.kind}, expected a diffusion model; name a file of kind: diffusion"
        )
    terminal = Terminal()
    scene = prepare(loaded, terminal)
    with terminal.track("measuring layers", draws) as tick:
        found = sensitivity(
            scene.target,
            scene.faces(*scene.photos.split.retain),
            torch.Generator().manual_seed(loaded.seed),
            people=people,
            photos=photos,
            draws=draws,
            tick=tick,
        )
    scope = proposed_scope(found)
    count: dict[str, int] = {}
    rows = []
    for layer in found:
        count[layer.block] = count.get(layer.block, -1) + 1
        name = f"{layer.block} · {count[layer.block]}"
        rows.append(Row(name, layer.separation, layer.share, layer.block in scope))
    if out is not None:
        write_bytes(out, picture(rows, f"Cross-attention layers of {loaded.model.name}"))
        terminal.say(f"{out}: written")
    Console(highlight=False).print(table(rows))
    typer.echo(f"proposed: --set method.scope=[{', '.join(scope)}]")
