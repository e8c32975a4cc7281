"""NVIDIA's generators as `efface convert` wrote them: from what the file's header says to a network and to where its
faces lie.

The header holds the constructor's `arguments` and the module's own `attributes`; where both say something, the
attributes count, which training may have changed. What neither says is what the official constructors say.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from efface.errors import EffaceError
from efface.models import eg3d, stylegan2
from efface.models.rendering import Rendering
from efface.models.superresolution import PUBLISHED

AXES = [
    [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    [[1, 0, 0], [0, 0, 1], [0, 1, 0]],
    [[0, 0, 1], [1, 0, 0], [0, 1, 0]],
]
"""Of EG3D's planes: the first two rows of each say what it sees, (x, y), (x, z) and (z, x)."""
KNOWN = {"architecture": "skip", "activation": "lrelu", "lr_multiplier": 0.01, "img_channels": 3}
"""Arguments that change the numbers and have one value here."""

FFHQ = ((192.98, 239.95), (318.90, 240.19), (256.63, 314.02), (201.26, 371.41), (313.09, 371.15))
"""The five landmarks in FFHQ's crops at 512 pixels, (0, 0) being the first pixel's centre: a template that is widely
used in face restoration. That StyleGAN2's faces lie there is ours to say."""
NEAR = (
    (-0.084, 0.084, 0.197), (0.084, 0.084, 0.197), (0.001, -0.006, 0.310), (-0.068, -0.097, 0.221),
    (0.067, -0.097, 0.221),
)  # fmt: skip
"""About where the five landmarks lie in the world of EG3D's faces, ours: a standard head in the scale of its crops. No
official network was at hand to measure it, so it serves losses, and a detector looks for the face where pictures are
judged."""


def generator(told: Mapping[str, str]) -> stylegan2.Generator | eg3d.Generator:
    """The network that a header describes, with any weights. Raises EffaceError where efface has no such network."""
    options = _options(told)
    for name, value in KNOWN.items():
        for found in _said(name, options):
            if found != value:
                raise EffaceError(f"found a network with {name} {found!r}, expected {value!r}; give another network")
    sizes = {
        "z_dim": options["z_dim"],
        "w_dim": options["w_dim"],
        "layers": options.get("mapping_kwargs", {}).get("num_layers", 8),
        "channel_base": options.get("channel_base", 32768),
        "channel_max": options.get("channel_max", 512),
        # StyleGAN2-ADA gives its layers' arguments apart, and then none is no clamp; EG3D's default is 256
        "clamp": options.get("conv_clamp", None if "synthesis_kwargs" in options else 256.0),
    }
    if told["network"] == "stylegan2":
        return stylegan2.Generator(options["img_resolution"], c_dim=options["c_dim"], **sizes)
    axes = json.loads(told.get("plane_axes", json.dumps(AXES)))
    if axes != AXES:
        raise EffaceError(
            f"found planes with the axes {axes}, expected (x, y), (x, z) and (z, x), which are {AXES}; convert the "
            "published network"
        )
    rendering = options.get("rendering_kwargs", {})
    for name in ("avg_camera_pivot", "avg_camera_radius", "superresolution_module"):
        if name not in rendering:
            raise EffaceError(
                f"found no {name} in its rendering_kwargs ({', '.join(rendering) or 'nothing'}), expected it; convert "
                "the published network"
            )
    module = str(rendering["superresolution_module"]).rpartition(".")[2]
    if module not in PUBLISHED:
        raise EffaceError(f"found the super-resolution {module}, expected one of: {', '.join(PUBLISHED)}")
    start, channels = PUBLISHED[module]
    return eg3d.Generator(
        options["img_resolution"],
        start=start,
        super_channels=channels,
        super_clamp=256.0 if options.get("sr_num_fp16_res", 0) else None,
        rendering=Rendering.published(rendering, options.get("neural_rendering_resolution", 64)),
        **sizes,
    )


def face(network: str) -> Tensor:
    """`Parts.face` of StyleGAN2 of FFHQ [5, 2], and about that of EG3D [5, 3]."""
    return (torch.tensor(FFHQ) + 0.5) / 512 if network == "stylegan2" else torch.tensor(NEAR)


def _options(told: Mapping[str, str]) -> dict[str, Any]:
    """The arguments, those of the layers beside them, with the attributes laid over."""
    arguments = json.loads(told["arguments"])
    return {"c_dim": 0} | arguments | arguments.get("synthesis_kwargs", {}) | json.loads(told["attributes"])


def _said(name: str, options: Mapping[str, Any]) -> Iterator[Any]:
    """What an argument is, of the network and of its mapping."""
    for where in (options, options.get("mapping_kwargs", {})):
        if name in where:
            yield where[name]
