"""What every GAN face generator states about itself, and how one that efface trained is read and written."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from efface.errors import EffaceError, line_of
from efface.models import eg3d, stylegan2
from efface.models.diffusion_model import Window
from efface.models.encoder import Encoder
from efface.models.layout import filled
from efface.models.rendering import Rendering
from efface.models.weights import read_header, save

GENERATOR, ENCODER = "generator.safetensors", "encoder.safetensors"
"""Files of a folder; the second only where an encoder was trained."""

Generator = stylegan2.Generator | eg3d.Generator


@dataclass
class Parts:
    """A loaded model."""

    generator: Generator
    encoder: Encoder | None
    """None where there is none: photos are inverted by optimisation then."""
    face: Tensor
    """Where the two eyes, the nose and the mouth's corners of the average face lie: [5, 3] in the world of a generator
    that has cameras; else [5, 2] in the picture, in its sides, (0, 0) being the upper left corner."""

    def modules(self) -> tuple[torch.nn.Module, ...]:
        """The networks."""
        return (self.generator,) if self.encoder is None else (self.generator, self.encoder)


class GanModel(ABC):
    """A kind of generator. Subclasses are frozen dataclasses, one a file in `models/gan/`."""

    shipped: ClassVar[Path | None] = None
    """Folder of the weights that come with efface, where there are any."""
    origin: ClassVar[str]
    """Where the published weights come from."""
    licence: ClassVar[str]
    """Licence of the published weights, SPDX identifier or words."""
    commercial: ClassVar[Literal["yes", "no", "unknown"]]
    """Whether the published weights may be used commercially."""
    recogniser: ClassVar[str] = "shipped"
    """Name of the recogniser that methods and metrics use, and the encoder where there is one."""
    size: ClassVar[int] = 128
    """Side in pixels of the framed photos that the encoder takes, ..."""
    window: ClassVar[Window] = Window(left=8, top=12, side=112)
    """... and where the aligned face lies in them."""

    @property
    def name(self) -> str:
        """The registered name: that of the file."""
        return type(self).__module__.rpartition(".")[2]

    @abstractmethod
    def load(self, weights: Path) -> Parts:
        """Read a folder that efface wrote, or a file of `efface convert`. Raises EffaceError naming what is missing, is
        too much or has another shape."""

    def save(self, parts: Parts, folder: Path, **extra: str) -> None:
        """Write the model into an existing folder, float32: what an unlearning changed is kept exactly."""
        write(parts, folder, False, **extra)


def write(parts: Parts, folder: Path, half: bool = False, **extra: str) -> list[Path]:
    """Write the model into an existing folder. half: as float16. extra: for the headers."""
    told = {**extra, **described(parts.generator), "face": json.dumps(parts.face.tolist())}
    paths = [_written(parts.generator, folder / GENERATOR, half, told)]
    if parts.encoder is not None:
        told = {**extra, "network": "encoder", "sizes": json.dumps(parts.encoder.sizes)}
        paths.append(_written(parts.encoder, folder / ENCODER, half, told))
    return paths


def _written(module: torch.nn.Module, path: Path, half: bool, told: Mapping[str, str]) -> Path:
    tensors = {name: t.half() if half and t.is_floating_point() else t for name, t in module.state_dict().items()}
    save(path, {name: t for name, t in tensors.items() if t.is_floating_point()}, told)
    return path


def described(generator: Generator) -> dict[str, str]:
    """What a header says of how a generator is made: `network`, `sizes` and of a tri-plane one `rendering`, as JSON."""
    if isinstance(generator, eg3d.Generator):
        return {
            "network": "eg3d",
            "sizes": json.dumps(generator.sizes),
            "rendering": json.dumps(asdict(generator.rendering)),
        }
    return {"network": "stylegan2", "sizes": json.dumps(generator.sizes)}


def trained(folder: Path, network: str) -> Parts:
    """A model that `write` wrote. Raises EffaceError where it is another network, or something does not fit."""
    path = folder / GENERATOR
    if not path.is_file():
        raise EffaceError(f"{folder}: found no {GENERATOR} there, expected a generator's folder; name that folder")
    told = read_header(path)
    if told.get("network") != network:
        raise EffaceError(f"{path}: found {told.get('network', 'no network')}, expected {network}; name that model")
    generator = _built(path, told)
    filled(generator, path)
    encoder = None
    if (folder / ENCODER).is_file():
        path = folder / ENCODER
        encoder = _made(path, lambda: Encoder(**json.loads(read_header(path)["sizes"])))
        filled(encoder, path)
    return Parts(generator, encoder, _made(path, lambda: torch.tensor(json.loads(told["face"]))))


def _built(path: Path, told: Mapping[str, str]) -> Generator:
    def made() -> Generator:
        sizes = json.loads(told["sizes"])
        if told["network"] == "stylegan2":
            return stylegan2.Generator(**sizes)
        rendering = json.loads(told["rendering"])
        return eg3d.Generator(**sizes, rendering=Rendering(**rendering | {"pivot": tuple(rendering["pivot"])}))

    return _made(path, made)


def _made(path: Path, make: Any) -> Any:
    try:
        return make()
    except EffaceError:
        raise
    except Exception as error:  # whatever a wrong header makes of it
        raise EffaceError(
            f"{path}: its header describes no network of efface ({line_of(error)}); fetch it again"
        ) from error


def triangulated(cameras: np.ndarray, points: np.ndarray) -> np.ndarray:
    """World point [3] nearest to the rays through one picture point of each camera, by least squares.

    cameras: [n, 25] (models/rays.py); points: [n, 2] in sides of the picture.
    """
    pose, inner = cameras[:, :16].reshape(-1, 4, 4), cameras[:, 16:].reshape(-1, 3, 3)
    seen = np.linalg.solve(inner, np.concatenate([points, np.ones((len(points), 1))], 1)[..., None])
    ways = (pose[:, :3, :3] @ seen)[..., 0]
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    aside = np.eye(3) - ways[:, :, None] * ways[:, None, :]
    return np.linalg.solve(aside.sum(0), (aside @ pose[:, :3, 3, None]).sum(0))[:, 0]
