"""What a caller of a face generator does wrong, each in one clear line; and a disk that refuses its weights."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from efface import registry
from efface.errors import EffaceError
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
    ],
)
def test_one_clear_line(call, line):
    target = tiny_target("eg3d")
    w = target.sample(1, torch.Generator().manual_seed(0))
    with pytest.raises(EffaceError) as raised:
        call(target, w)
    assert line in str(raised.value) and "\n" not in str(raised.value)


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
