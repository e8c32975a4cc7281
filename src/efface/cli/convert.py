"""`efface convert`: an official network pickle -> safetensors."""

from pathlib import Path
from typing import Annotated

import typer

from efface.errors import EffaceError


def convert(
    file: Annotated[Path, typer.Argument(metavar="FILE.pkl", help="A snapshot of StyleGAN2-ADA or EG3D.")],
    out: Annotated[Path, typer.Argument(metavar="OUT.safetensors", help="Where to write; replaced if it is there.")],
) -> None:
    """Read the generator out of NVIDIA's network pickle, executing nothing of it, and write it as safetensors."""
    from efface.models import snapshots, weights

    if out.suffix != ".safetensors" or out.resolve() == file.resolve():
        raise EffaceError(f"{out}: expected another file than the pickle, with a name that ends with .safetensors")
    snapshot = snapshots.read(file)
    weights.save(out, snapshot.tensors, snapshot.header)
    header = snapshot.header
    typer.echo(f"found: {header['network']} ({header['class']}, {snapshot.resolution} px), averaged weights (G_ema)")
    typer.echo(f"  {len(snapshot.tensors)} tensors, {snapshot.parameters:,} parameters")
    typer.echo(f"  sha256 {header['source']}")
    typer.echo(f"written: {out}")
