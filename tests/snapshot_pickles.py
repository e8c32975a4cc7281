"""Network pickles in the layout of NVIDIA's snapshots, made here: modules that pickle as calls of
`torch_utils.persistence._reconstruct_persistent_obj` with the source text of their class."""

import contextlib
import json
import pickle
import sys
import types
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn


class EasyDict(dict):
    __module__ = "dnnlib.util"


def _reconstruct_persistent_obj(meta):
    raise AssertionError("was called")


_reconstruct_persistent_obj.__module__ = "torch_utils.persistence"


class Part(nn.Module):
    """A persistent module: of any class name, with a source text that leaves a file when it is run."""

    def __init__(self, class_name: str, source: str) -> None:
        super().__init__()
        self._class_name, self._source = class_name, source
        self._init_args, self._init_kwargs = (), EasyDict()

    def __reduce__(self):
        state = {n: v for n, v in self.__dict__.items() if n not in ("_class_name", "_source")}
        meta = {"type": "class", "version": 6, "module_src": self._source, "class_name": self._class_name}
        return _reconstruct_persistent_obj, ({**meta, "state": state},)


class ImportanceRenderer(nn.Module):
    """Not persistent: pickled by its own name, as EG3D's is."""

    __module__ = "training.volumetric_rendering.renderer"

    def __init__(self) -> None:
        super().__init__()
        self.plane_axes = torch.arange(27.0).view(3, 3, 3)


@contextlib.contextmanager
def published() -> Iterator[None]:
    """The modules that the pickles name are there within the block, and not afterwards."""
    contents = {
        "torch_utils": {},
        "torch_utils.persistence": {"_reconstruct_persistent_obj": _reconstruct_persistent_obj},
        "dnnlib": {},
        "dnnlib.util": {"EasyDict": EasyDict},
        "training": {},
        "training.volumetric_rendering": {},
        "training.volumetric_rendering.renderer": {"ImportanceRenderer": ImportanceRenderer},
    }
    try:
        for name, content in contents.items():
            sys.modules[name] = types.ModuleType(name)
            vars(sys.modules[name]).update(content)
        yield
    finally:
        for name in contents:
            sys.modules.pop(name, None)


def dumped(content: object, protocol: int = 4) -> bytes:
    with published():
        return pickle.dumps(content, protocol=protocol)


def network(class_name: str, tensors: Mapping[str, Tensor], buffers: set[str], source: str = "") -> Part:
    """Modules one in another that hold these tensors; those in `buffers` are no parameters."""
    root = Part(class_name, source)
    for name, tensor in tensors.items():
        module = root
        *path, last = name.split(".")
        for step in path:
            if step not in module._modules:
                module.add_module(step, Part("SynthesisLayer", source))
            module = module._modules[step]
        if name in buffers:
            module.register_buffer(last, tensor)
        else:
            module.register_parameter(last, nn.Parameter(tensor, requires_grad=False))
    return root


SHAPES = {
    "mapping.w_avg": (8,),
    "mapping.fc0.weight": (8, 8),
    "mapping.fc0.bias": (8,),
    "synthesis.b4.const": (6, 4, 4),
    "synthesis.b4.resample_filter": (4, 4),
    "synthesis.b4.conv1.weight": (6, 6, 3, 3),
    "synthesis.b4.conv1.noise_strength": (),
    "synthesis.b4.conv1.noise_const": (4, 4),
    "synthesis.b4.conv1.affine.weight": (6, 8),
    "synthesis.b4.torgb.weight": (3, 6, 1, 1),
}
BUFFERS = ("w_avg", "resample_filter", "noise_const")
RENDERING = {
    "superresolution_module": "training.superresolution.SuperresolutionHybrid8XDC",
    "c_gen_conditioning_zero": False,
    "depth_resolution": 48,
    "ray_start": 2.25,
    "ray_end": np.float64(3.3),
    "box_warp": 1,
    "avg_camera_radius": 2.7,
    "avg_camera_pivot": np.array([0, 0, 0.2]),
    "density_reg": np.float32(0.25),
}


def values(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def buffers(names: Mapping[str, object]) -> set[str]:
    return {name for name in names if name.rpartition(".")[2] in BUFFERS}


def stylegan2(source: str = "") -> tuple[Part, dict[str, Tensor]]:
    """A tiny StyleGAN2 generator and its tensors."""
    tensors = values(SHAPES)
    found = network("Generator", tensors, buffers(SHAPES), source)
    found.img_resolution, found.num_ws = 16, 6
    found._init_kwargs = EasyDict(
        z_dim=8, c_dim=0, w_dim=8, img_resolution=16, img_channels=3, mapping_kwargs=EasyDict(num_layers=1)
    )
    found._init_kwargs["synthesis_kwargs"] = EasyDict(channel_base=64, channel_max=6, num_fp16_res=4, conv_clamp=256)
    return found, tensors


def eg3d(source: str = "") -> tuple[Part, dict[str, Tensor]]:
    """A tiny EG3D generator and its tensors."""
    shapes = {f"backbone.{name}": shape for name, shape in SHAPES.items()}
    shapes |= {"superresolution.block0.conv0.weight": (4, 6, 3, 3), "decoder.net.0.weight": (8, 6)}
    tensors = values(shapes)
    found = network("TriPlaneGenerator", tensors, buffers(shapes), source)
    found.add_module("renderer", ImportanceRenderer())
    found.decoder.net.add_module("1", nn.Softplus())
    found._init_args = (8, 25)
    found._init_kwargs = EasyDict(w_dim=8, img_resolution=64, img_channels=3, sr_num_fp16_res=4)
    found.rendering_kwargs, found.neural_rendering_resolution, found.img_resolution = EasyDict(RENDERING), 128, 64
    found._last_planes = torch.zeros(3)
    return found, tensors


def snapshot(generator: Part, discriminator: nn.Module | None = None) -> dict[str, object]:
    """What a snapshot holds."""
    return {
        "G": generator,
        "D": discriminator,
        "augment_pipe": None,
        "training_set_kwargs": EasyDict(path="images.zip", resolution=16, labels=np.arange(3)),
        "G_ema": generator,
    }


MANY = b"(" + b"".join(b"M" + i.to_bytes(2, "little") for i in range(2**16)) + b"t\x940"
"""A tuple of 65,536 numbers, in the memo."""
LONG_TEXT = b"X" + (10**6).to_bytes(4, "little") + b"a" * 10**6 + b"\x940"
REPEATED = {
    "tuple": MANY + b"cbuiltins\nset\n\x940]" + b"h\x01h\x00\x85Ra" * 300 + b".",
    "set": b"cbuiltins\nset\n\x940" + MANY + b"h\x00h\x01\x85R\x940]" + b"h\x00h\x02\x85Ra" * 300 + b".",
    "name": LONG_TEXT + b"\x8c\x01A\x940]" + b"h\x00h\x01\x93a" * 1000 + b".",
    "key": b"\x8b" + (10**6).to_bytes(4, "little") + b"\x01" * 10**6 + b"\x940}" + b"h\x00Ns" * 200_000 + b".",
}
"""Pickles that store one large thing and use it over and over."""


def of_manifest(path: Path) -> tuple[Part, dict[str, tuple[int, ...]]]:
    """A generator with all names and shapes of a parity manifest, of zeros, and the shapes."""
    manifest = json.loads(path.read_text())
    told = manifest["tensors"]
    shapes = {name: tuple(entry["shape"]) for name, entry in told.items()}
    tensors = {name: torch.zeros(shape) for name, shape in shapes.items()}
    found = network("Generator", tensors, {n for n, entry in told.items() if entry.get("buffer")})
    found._init_kwargs = EasyDict(manifest["constructor"])
    return found, shapes
