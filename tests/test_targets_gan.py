"""What a caller of a face generator does wrong, each in one clear line; and a disk that refuses its weights."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from efface import registry
from efface.errors import EffaceError
from efface.models import rays
from efface.testing.tiny_gan import tiny_request, tiny_target


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda t, w: t.synthesize(w[:, :1], t.camera()), "found w of shape [1, 1, 16], expected [n, "),
        (lambda t, w: t.synthesize(w[..., :8], t.camera()), "16] of this network"),
        (lambda t, w: t.planes(w[0]), "found w of shape ["),
        (lambda t, w: t.views(w * torch.nan, t.camera()), "w: found NaN or infinity, expected finite numbers"),
        (lambda t, w: t.camera(2.0), "found the yaw 2, expected radians between −π/2 and π/2"),
        (lambda t, w: t.camera(0.0, float("nan")), "found the pitch nan"),
        (lambda t, w: t.synthesize(w, t.camera()[:, :16]), "found cameras of shape [1, 16], expected [n, 25]"),
        (lambda t, w: t.synthesize(w, -t.camera()), "camera 0: found "),
        (
            lambda t, w: t.invert(torch.zeros(1, 3, 112, 112, dtype=torch.uint8)),
            "found photos of shape [1, 3, 112, 112]",
        ),
        (
            lambda t, w: t.invert(torch.zeros(1, 1, 128, 128, dtype=torch.uint8)),
            "found photos of shape [1, 1, 128, 128]",
        ),
        (lambda t, w: t.invert(torch.zeros(1, 3, 128, 128)), "found photos of torch.float32, expected uint8, 0 to 255"),
        *(
            (lambda t, w, look=look, change=change: look(t)(*change(t.draw(w, t.camera()), t.camera())), line)
            for look in (lambda t: t.recognise, lambda t: t.crops)
            for change, line in (
                (lambda p, c: (p.float(), c), "found pictures of torch.float32, expected uint8, 0 to 255, as `draw` "),
                (lambda p, c: (p[0], c), "found pictures of shape [3, 32, 32], expected [n, 3, 32, 32]"),
                (lambda p, c: (p[:, :1], c), "found pictures of shape [1, 1, 32, 32]"),
                (lambda p, c: (p[..., 1:, 1:], c), "found pictures of shape [1, 3, 31, 31]"),
                (lambda p, c: (p, c[:, :16]), "found cameras of shape [1, 16], expected [n, 25]"),
                (lambda p, c: (p, c.repeat(2, 1)), "found 2 cameras for 1 pictures, expected one for each"),
                (lambda p, c: (p, -c), "camera 0: found "),
                (lambda p, c: (p, c * torch.nan), "camera 0: found numbers that are not finite"),
            )
        ),
    ],
)
def test_one_clear_line(call, line):
    target = tiny_target("eg3d")
    w = target.sample(1, torch.Generator().manual_seed(0))
    with pytest.raises(EffaceError) as raised:
        call(target, w)
    assert line in str(raised.value) and "\n" not in str(raised.value)


def test_a_generator_of_pictures_asks_for_cameras_too():
    """Of the right shape; where they stand does not matter."""
    target = tiny_target("stylegan2")
    pictures = target.draw(target.w_average[None], target.camera())
    assert target.recognise(pictures, -target.camera())[1].all()
    with pytest.raises(EffaceError, match="found 2 cameras for 1 pictures"):
        target.recognise(pictures, target.camera().repeat(2, 1))


def test_photos_are_inverted_each_by_itself():
    """Also where somebody has left the encoder in training mode, in which its BatchNorm sees the whole batch."""
    target = tiny_target("eg3d")
    assert target.parts.encoder is not None
    photos = torch.randint(256, (3, 3, 128, 128), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    target.parts.encoder.train()
    together = target.invert(photos)
    target.parts.encoder.train()
    torch.testing.assert_close(together[:1], target.invert(photos[:1]), atol=1e-5, rtol=1e-4)


class WithoutFloat64(torch.Tensor):
    """As on a device of that kind (MPS): it becomes float64 on the CPU alone."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func is torch.Tensor.double:
            raise TypeError("found float64, which this device does not have")
        found = super().__torch_function__(func, types, args, kwargs or {})
        return found.as_subclass(torch.Tensor) if func is torch.Tensor.cpu else found


def test_cameras_may_be_on_a_device_without_float64():
    target = tiny_target("eg3d")
    camera = target.camera(0.3)
    there = camera.as_subclass(WithoutFloat64)
    rays.check(there)
    target.parts.face = target.parts.face.as_subclass(WithoutFloat64)
    found = target.five(there)
    target.parts.face = target.parts.face.as_subclass(torch.Tensor)
    assert (found == target.five(camera)).all()


@pytest.mark.parametrize("method", registry.names("methods.gan"))
def test_latents_of_another_generator_are_refused_by_every_method(method):
    """Before anything is trained, and the model stays as it was."""
    target = tiny_target("eg3d")
    request = tiny_request(tiny_target("stylegan2"))
    before = {name: tensor.clone() for name, tensor in target.parts.generator.state_dict().items()}
    assert request.latents.shape[1] != target.backbone.mapping.count
    with pytest.raises(EffaceError, match=r"found w of shape \[1, ") as raised:
        registry.get("methods.gan", method)().unlearn(target, request, torch.Generator().manual_seed(0))
    assert "\n" not in str(raised.value)
    after = target.parts.generator.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path):
    """As on a full disk, a write fails half-way: one line, and neither the folder nor a part of it."""
    code = """
import resource, sys
from pathlib import Path
from efface.testing.tiny_gan import tiny_target
target = tiny_target("eg3d")
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
target.save(Path(sys.argv[1]))
"""
    out = tmp_path / "weights"
    done = subprocess.run(
        [sys.executable, "-c", code, out], capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode != 0 and "EffaceError: " in last and "cannot be written (File too large)" in last, last
    assert list(tmp_path.iterdir()) == []
