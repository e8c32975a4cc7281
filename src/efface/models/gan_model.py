"""What every GAN face generator states about itself, and how one is read and written: a folder of efface, or a file of
`efface convert`."""

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
from efface.models import eg3d, flows, layout, official, stylegan2
from efface.models.diffusion_model import Window
from efface.models.encoder import Encoder
from efface.models.layout import CHANGED, filled
from efface.models.rendering import Rendering
from efface.models.weights import IGNORED, read, read_header, save

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
    header: Mapping[str, str] | None = None
    """What a file of `efface convert` says of itself; None where efface trained the generator."""

    @property
    def placed(self) -> bool:
        """Whether faces are known to lie there; else it is a guess, good for a loss, and a detector has to judge."""
        return self.header is None or isinstance(self.generator, stylegan2.Generator)

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
    """Write the model into an existing folder. half: as float16. extra: for the headers; of an official network they
    keep what they said."""
    if parts.header is None:
        told = {**extra, **described(parts.generator), "face": json.dumps(parts.face.tolist())}
    else:
        told = {**parts.header, **extra}
    paths = [_written(parts.generator, folder / GENERATOR, half, told | bent(parts.generator))]
    if parts.encoder is not None:
        told = {**extra, "network": "encoder", "sizes": json.dumps(parts.encoder.sizes)}
        paths.append(_written(parts.encoder, folder / ENCODER, half, told))
    return paths


def _written(module: torch.nn.Module, path: Path, half: bool, told: Mapping[str, str]) -> Path:
    tensors = {name: t.half() if half and t.is_floating_point() else t for name, t in module.state_dict().items()}
    save(path, {name: t for name, t in tensors.items() if not name.endswith(IGNORED)}, told)
    return path


def backbone(generator: Generator) -> stylegan2.Generator:
    """The StyleGAN2 generator: of the pictures, or of the planes."""
    return generator.backbone if isinstance(generator, eg3d.Generator) else generator


def described(generator: Generator) -> dict[str, str]:
    """What a header says of how a generator is made: `network`, `sizes` and of a tri-plane one `rendering`, as JSON."""
    if isinstance(generator, eg3d.Generator):
        return {
            "network": "eg3d",
            "sizes": json.dumps(generator.sizes),
            "rendering": json.dumps(asdict(generator.rendering)),
        }
    return {"network": "stylegan2", "sizes": json.dumps(generator.sizes)}


def bent(generator: Generator) -> dict[str, str]:
    """What a header says of a generator's flows, as JSON; nothing where it has none."""
    added = flows.attached(backbone(generator).synthesis)
    return {} if added is None else {"flows": json.dumps(asdict(added))}


def _bend(generator: Generator, path: Path, told: Mapping[str, str]) -> None:
    """Give the generator the flows that a file's header tells of; those that it has go to that t. Their weights are to
    be read afterwards."""
    if "flows" not in told:
        return
    synthesis = backbone(generator).synthesis
    added = _made(path, lambda: flows.Flows(**json.loads(told["flows"])))
    if flows.attached(synthesis) is None:
        flows.attach(synthesis, added)
    flows.turn(synthesis, added.until)


def lay_over(generator: Generator, path: Path) -> None:
    """As `layout.lay_over`, with the flows that the file tells of."""
    file = path / CHANGED if path.is_dir() else path
    _bend(generator, file, read_header(file))
    layout.lay_over(generator, file)


def read_parts(weights: Path, network: str) -> Parts:
    """A model that `write` wrote, or the generator of a file of `efface convert`. Raises EffaceError where it is
    another network, or something does not fit."""
    path = weights / GENERATOR if weights.is_dir() else weights
    if not path.is_file():
        where = weights if path != weights else path.parent
        raise EffaceError(
            f"{where}: found no {path.name} there, expected a generator's folder or a file of efface convert; name one"
        )
    told = read_header(path)
    if told.get("network") != network:
        raise EffaceError(
            f"{path}: found {told.get('network', 'no network')} in its header, expected {network} as efface writes it; "
            "name that model, or convert the file with efface convert"
        )
    published = "arguments" in told
    advice = "convert it again" if published else "fetch it again"
    with torch.device("meta"):
        generator: Generator = _made(path, lambda: (official.generator if published else _built)(told), advice)
        _bend(generator, path, told)
    filled(generator, path, advice=advice)
    if published:
        return Parts(generator, None, official.face(network), told)
    face = _made(path, lambda: _face(generator, told))
    beside = weights / ENCODER
    return Parts(generator, _encoder(beside, generator) if beside.is_file() else None, face)


def _encoder(path: Path, generator: Generator) -> Encoder:
    """The encoder of a folder, which has to invert into the generator's latents."""
    encoder: Encoder = _made(path, lambda: Encoder(**json.loads(read_header(path)["sizes"])))
    mapping = backbone(generator).mapping
    found, expected = (encoder.count, encoder.w_dim), (mapping.count, len(mapping.w_avg))
    if found != expected:
        raise EffaceError(
            f"{path}: found an encoder to latents of {found[0]} × {found[1]}, expected {expected[0]} × {expected[1]} "
            f"as the {GENERATOR} beside it has; give the encoder that was trained with it, or remove this file"
        )
    counters = {name: t for name, t in encoder.state_dict().items() if name.endswith(IGNORED)}
    filled(encoder, path, read(path) | {name: t.float() for name, t in counters.items()})
    return encoder


def _face(generator: Generator, told: Mapping[str, str]) -> Tensor:
    """`Parts.face`, as a header says it."""
    shape = (5, 3 if isinstance(generator, eg3d.Generator) else 2)
    if "face" not in told:
        raise EffaceError(f"found no face in its header, expected five landmarks {list(shape)}; fetch it again")
    face = torch.tensor(json.loads(told["face"]), dtype=torch.float32)
    if face.shape != shape or not face.isfinite().all():
        raise EffaceError(
            f"found a face of {list(face.shape)} in its header, expected five landmarks {list(shape)}, finite numbers; "
            "fetch it again"
        )
    return face


def _built(told: Mapping[str, str]) -> Generator:
    sizes = json.loads(told["sizes"])
    if told["network"] == "stylegan2":
        return stylegan2.Generator(**sizes)
    rendering = json.loads(told["rendering"])
    return eg3d.Generator(**sizes, rendering=Rendering(**rendering | {"pivot": tuple(rendering["pivot"])}))


def _made(path: Path, make: Any, advice: str = "fetch it again") -> Any:
    try:
        return make()
    except EffaceError as error:
        raise EffaceError(f"{path}: {error}") from error
    except Exception as error:  # whatever a wrong header makes of it
        raise EffaceError(f"{path}: its header describes no network of efface ({line_of(error)}); {advice}") from error


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
