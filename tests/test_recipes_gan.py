"""`efface train` of a face generator: what is written, that an interrupted training ends in the same weights, and the
geometry that it rests on."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch._subclasses import FakeTensorMode
from typer.testing import CliRunner

from efface import config, recipes
from efface.cli import app
from efface.errors import EffaceError
from efface.faces.datasets.people import PACK
from efface.faces.rendering.reading import album
from efface.models import rays
from efface.models.gan.stylegan2 import StyleGan2
from efface.models.gan_model import triangulated
from efface.models.weights import read_header
from efface.moments import mirror
from efface.progress import Quiet
from efface.recipes import gan
from efface.targets.gan import GanTarget
from efface.testing.tiny_gan import Kind, tiny_target

CONFIGS = Path(__file__).parents[1] / "configs" / "train"
SMALL = {"name": "gan", **gan.GanRecipe.tiny, "precision": "fp32", "device": "cpu", "held_out": 112}


def log(folder: Path, event: str) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if line["event"] == event]


@pytest.mark.parametrize("network", ["eg3d", "stylegan2"])
def test_the_config_runs_tiny_and_writes_everything(tmp_path: Path, network: str):
    out = tmp_path / "out"
    done = CliRunner().invoke(
        app, ["train", str(CONFIGS / f"{network}.yaml"), "--tiny", "--out", str(out), "--set", "held_out=112"]
    )
    assert done.exit_code == 0, f"{done.output}{done.exception}"
    expected = {"card.md", "config.yaml", "curve.png", "inverted.png", "log.jsonl", "samples.png", "weights"}
    assert {p.name for p in out.iterdir()} == expected | ({"turntable.gif"} if network == "eg3d" else set())
    target = GanTarget.load(network, out / "weights")
    assert target.turns == (network == "eg3d")
    photos = torch.randint(256, (2, 3, 128, 128), dtype=torch.uint8)
    w = target.invert(photos)
    assert target.draw(w, target.camera().expand(2, -1)).shape == (2, 3, 128, 128)
    # the mapping was fitted, and offsets count from its average
    assert target.w_average.abs().sum() > 0
    many = target.sample(4000, torch.Generator().manual_seed(0))[:, 0]
    assert torch.allclose(many.mean(0), target.w_average[0], atol=0.1)
    assert read_header(out / "weights" / "generator.safetensors")["network"] == network
    figures = log(out, "validation")[-1]["figures"]
    assert {"id", "nearest"} <= figures.keys() and ("id@-30" in figures) == (network == "eg3d")
    assert "8 rendered people" in (out / "card.md").read_text()
    assert Image.open(out / "samples.png").size == (1280, 384)


def test_an_interrupted_training_ends_in_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def trained(name: str, resume: bool = False) -> dict[str, torch.Tensor]:
        fields = SMALL | {"network": "stylegan2", "steps": 4, "out": str(tmp_path / name)}
        recipes.train(config.load_recipe(None, (), fields), Quiet(), resume)
        return GanTarget.load("stylegan2", tmp_path / name / "weights").parts.generator.state_dict()

    whole = trained("whole")
    monkeypatch.setattr(gan, "PAUSE", 0.0)
    each = gan._Loop._each
    monkeypatch.setattr(gan._Loop, "_each", _stopping(each, 3))
    monkeypatch.setattr(gan.training.Session, "every", 1)
    with pytest.raises(KeyboardInterrupt):
        trained("parts")
    monkeypatch.setattr(gan._Loop, "_each", each)
    again = trained("parts", True)
    assert all(torch.equal(tensor, again[name]) for name, tensor in whole.items())


@pytest.mark.gpu
@pytest.mark.parametrize("network", ["eg3d", "stylegan2"])
def test_it_trains_on_an_accelerator(tmp_path: Path, network: str):
    if not torch.accelerator.is_available():
        pytest.skip("found no accelerator")
    fields = SMALL | {"network": network, "device": "auto", "out": str(tmp_path / "o")}
    recipes.train(config.load_recipe(None, (), fields), Quiet(), False)
    assert GanTarget.load(network, tmp_path / "o" / "weights").w_average.abs().sum() > 0
    assert (torch.accelerator.current_accelerator() or torch.device("cpu")).type in (tmp_path / "o/card.md").read_text()


@pytest.mark.parametrize("network", ["eg3d", "stylegan2"])
def test_the_mapping_is_fitted_where_the_networks_are(monkeypatch: pytest.MonkeyPatch, network: Kind):
    """By tensors that have a device but no numbers, and raise where devices are mixed."""
    target, device, losses = tiny_target(network), torch.device("lazy"), []

    def fit(module, draw, loss, *, generator, **_):
        losses.extend(loss(*(t.to(device) for t in draw(generator))).values())

    monkeypatch.setattr(gan.training, "fit", fit)
    monkeypatch.setattr(torch, "cov", lambda x: x @ x.T)  # the real one looks at numbers, and so does this `if`
    monkeypatch.setattr(gan, "bool", lambda _: False, raising=False)
    with FakeTensorMode() as fake:
        for module in (m for part in target.parts.modules() for m in part.modules()):
            for name, tensor in module._parameters.items():
                if tensor is not None:
                    module._parameters[name] = torch.nn.Parameter(fake.from_tensor(tensor).to(device))
            for name, tensor in module._buffers.items():
                module._buffers[name] = None if tensor is None else fake.from_tensor(tensor).to(device)
        target.device, target.spec = device, Small()
        nothing, side = torch.zeros(0), target.size
        photos, known = torch.zeros(3, 3, side, side, dtype=torch.uint8), torch.zeros(3, 2, 128)
        loop = object.__new__(gan._Loop)
        loop.recipe = gan.GanRecipe(network=network, path=Path())
        loop.target = loop.mean = target
        loop.moments = gan.Moments(("a",), torch.zeros(3), photos, known, nothing, nothing, nothing)
        loop.map(torch.Generator().manual_seed(0))
    assert [loss.device for loss in losses] == [device, device]


class Small(StyleGan2):
    """Photos are as large as the pictures of a tiny generator."""

    size = 32


def _stopping(each, step: int):
    def stopped(loop, done, loss):
        each(loop, done, loss)
        if done == step:
            raise KeyboardInterrupt

    return stopped


def test_the_mirror_image_of_a_camera_sees_the_mirror_image():
    """A point and its mirror image, projected by a camera and by its mirror image, lie at mirrored places."""
    cameras = rays.camera(torch.tensor([0.4, -0.7]), torch.tensor([0.1, -0.2]))
    cameras[:, 16 + 2] = 0.45  # a principal point aside
    point = torch.tensor([0.11, -0.07, 0.2])

    def seen(camera: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        pose, inner = camera[:16].view(4, 4), camera[16:].view(3, 3)
        local = inner @ (pose[:3, :3].T @ (at - pose[:3, 3]))
        return local[:2] / local[2]

    for camera, other in zip(cameras, mirror(cameras), strict=True):
        place, mirrored = seen(camera, point), seen(other, point * torch.tensor([-1.0, 1, 1]))
        assert torch.allclose(mirrored, torch.stack([1 - place[0], place[1]]), atol=1e-5)
    rays.check(mirror(cameras))
    assert torch.allclose(mirror(gan.mirror(cameras)), cameras, atol=1e-6)


def test_a_point_is_found_again_from_where_cameras_see_it():
    cameras = rays.camera(torch.linspace(-0.6, 0.6, 5), torch.linspace(-0.2, 0.3, 5)).double().numpy()
    point = np.array([0.05, -0.03, 0.21])
    pose, inner = cameras[:, :16].reshape(-1, 4, 4), cameras[:, 16:].reshape(-1, 3, 3)
    local = np.einsum("nij,ni->nj", pose[:, :3, :3], point - pose[:, :3, 3])
    seen = np.einsum("nij,nj->ni", inner, local)
    assert triangulated(cameras, seen[:, :2] / seen[:, 2:]) == pytest.approx(point, abs=1e-6)


def test_the_average_face_lies_where_rendered_faces_do():
    """In a photo of the pack, by its own camera, the recorded landmarks are near those of the average face."""
    rows = [(photo, record) for photo, record in album(PACK) if record.photo < 3][:60]
    cameras = np.stack([record.camera for _, record in rows]).astype(np.float64)
    five = (np.stack([record.five for _, record in rows]).astype(np.float64) + 0.5) / 128
    face = np.stack([triangulated(cameras, five[:, i]) for i in range(5)])
    target = tiny_target("eg3d")
    target.parts.face = torch.from_numpy(face).float()
    places = target.five(torch.from_numpy(cameras)) * 128 / target.size + 0.5 * (128 / target.size - 1)
    apart = np.linalg.norm(places - np.stack([r.five for _, r in rows]), axis=2)
    assert apart.mean() < 4  # pixels of 128: people and expressions differ


def test_too_many_held_out_is_one_line(tmp_path: Path):
    fields = SMALL | {"network": "stylegan2", "held_out": 119, "out": str(tmp_path / "o")}
    with pytest.raises(EffaceError, match="held_out: found 119, expected at most 118 of 120 people; lower it"):
        recipes.train(config.load_recipe(None, (), fields), Quiet(), False)
    assert not (tmp_path / "o").exists()


def test_the_encoder_splits_what_layers_share(tmp_path: Path):
    from efface.models.encoder import Encoder, centre

    torch.manual_seed(0)
    encoder = Encoder(32, 8, 3, 5, width=4, hidden=16).eval()
    torch.nn.init.normal_(encoder.each.weight)
    pictures, known = torch.rand(2, 3, 32, 32) * 2 - 1, F.normalize(torch.randn(2, 8), dim=1)
    common, each = encoder.parts(pictures, known)
    found = encoder(pictures, known)
    assert torch.allclose(found, common[:, None] + each) and found.shape == (2, 3, 5)
    assert torch.allclose(found[:1], encoder(pictures[:1], known[:1]), atol=1e-6)  # photos do not see one another
    centre(encoder, torch.ones(5))
    assert torch.allclose(encoder(pictures, known), found - 1, atol=1e-6)
