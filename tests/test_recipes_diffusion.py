"""`efface train` of a diffusion model: what is written, that an interrupted training ends in the same weights, that it
learns whom to draw; and the parts that it trains: latents, schedule, projector."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from typer.testing import CliRunner

from diffusion_models import tiny_target
from efface import config, recipes
from efface.cli import app
from efface.errors import EffaceError
from efface.faces.alignment import align
from efface.faces.datasets.people import ShippedPeople
from efface.faces.framing import frame, template_in
from efface.faces.people import People
from efface.models.diffusion import tiny
from efface.models.diffusion.shipped import SCHEDULE
from efface.models.latents import PatchLatents
from efface.models.projector import Projector
from efface.models.schedule import Schedule
from efface.models.weights import read_header
from efface.progress import Quiet
from efface.recipes import diffusion
from efface.targets.diffusion import DiffusionTarget
from efface.testing import train_tiny_diffusion

CONFIG = Path(__file__).parents[1] / "configs" / "train" / "diffusion.yaml"
SMALL = {"name": "diffusion", **diffusion.DiffusionRecipe.tiny, "precision": "fp32", "device": "cpu"}


def small(out: Path, **fields):
    return config.load_recipe(None, (), SMALL | {"out": str(out)} | fields)


def log(folder: Path, event: str) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if line["event"] == event]


def test_the_config_runs_tiny_and_writes_everything(tmp_path):
    out = tmp_path / "out"
    done = CliRunner().invoke(app, ["train", str(CONFIG), "--tiny", "--out", str(out)])
    assert done.exit_code == 0, done.output
    expected = {"card.md", "config.yaml", "curve.png", "log.jsonl", "samples.png", "weights"}
    assert {p.name for p in out.iterdir()} == expected
    target = DiffusionTarget.load("shipped", out / "weights")
    embedding = F.normalize(torch.ones(1, 128), dim=1)
    assert target.generate(embedding, 2, torch.Generator().manual_seed(0), steps=2).shape == (2, 3, 128, 128)
    assert "8 people, 32 photos" in read_header(out / "weights" / "unet.safetensors")["origin"]
    assert log(out, "training")[-1]["step"] == log(out, "validation")[-1]["step"] == 4
    assert {"ism", "nearest"} == log(out, "validation")[-1]["figures"].keys()
    assert "8 people, 32 photos" in (out / "card.md").read_text()


def test_the_tiny_model_is_made_by_the_same_recipe(tmp_path, monkeypatch):
    """Its recogniser's embeddings of its own pictures, its size; as the script beside its weights asks for it."""
    kept = {}

    def prepare(recipe, people, spec, *rest):
        kept.update(prepared(recipe, people, spec, *rest), people=people)
        return {name: tensor for name, tensor in kept.items() if name != "people"}

    prepared = diffusion.DiffusionRecipe._prepare
    monkeypatch.setattr(diffusion.DiffusionRecipe, "_prepare", prepare)
    few = {"faces": {"name": "drawn", "people": 6, "photos": 4}, "held_out": 2, "steps": 2, "batch": 4}
    train_tiny_diffusion.train(tmp_path / "made", **few)
    target = DiffusionTarget.load("tiny", tmp_path / "made")
    pixels = frame(kept["people"], 64, 0, 0, 64)[0].pixels
    assert torch.allclose(target.recognise(pixels)[0], kept["embeddings"][:, 0], atol=1e-5)
    assert torch.allclose(target.encode(pixels), kept["latents"][:, 0].float(), atol=1e-2)
    assert target.generate(kept["embeddings"][0, :1], 1, torch.Generator(), steps=2).shape == (1, 3, 64, 64)
    shipped, made = (read_header(folder / "unet.safetensors") for folder in (tiny.WEIGHTS, tmp_path / "made"))
    assert made["licence"] == "Apache-2.0" and shipped.keys() <= made.keys() | {"method"}
    card = (tmp_path / "made" / "tiny.md").read_text()
    assert "4 people, 16 photos" in card and card.count("Command:") == 1
    before, after = (DiffusionTarget.load("tiny", f).parts.unet for f in (tiny.WEIGHTS, tmp_path / "made"))
    assert {n: p.shape for n, p in before.named_parameters()} == {n: p.shape for n, p in after.named_parameters()}


def test_an_interrupted_training_ends_in_the_very_same_weights(tmp_path, monkeypatch):
    recipes.train(small(tmp_path / "whole", steps=60), Quiet())
    monkeypatch.setattr(diffusion, "PAUSE", 0.0)
    each = diffusion._Loop._each

    def stopped(loop, done, loss):
        each(loop, done, loss)
        if done == 55:  # the last checkpoint is of step 50
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(diffusion._Loop, "_each", stopped)
        recipes.train(small(tmp_path / "halved", steps=60), Quiet())
    monkeypatch.setattr(diffusion, "frame", only_people_who_are_measured_on(diffusion.frame))
    recipes.train(small(tmp_path / "halved", steps=60), Quiet(), resume=True)
    for name in ("unet", "projector", "latents"):
        whole, resumed = (tmp_path / n / "weights" / f"{name}.safetensors" for n in ("whole", "halved"))
        assert whole.read_bytes() == resumed.read_bytes()


def only_people_who_are_measured_on(frame):
    def framed(people, *rest):
        assert len(people) == SMALL["held_out"], "photos that are prepared already were cut again"
        return frame(people, *rest)

    return framed


def test_it_learns(tmp_path):
    fields = {"faces": {"name": "drawn", "people": 60, "photos": 6}, "channels": [32, 32, 32, 32], "held_out": 12}
    sizes = {"latents": 24, "tokens": 4, "width": 32, "batch": 16, "rate": 3e-3, "average": 0.98}
    recipes.train(small(tmp_path / "out", **fields, **sizes, steps=200), Quiet())
    first, last = (line["terms"]["v"] for line in log(tmp_path / "out", "training"))
    assert last < 0.95 * first < 0.95


def test_the_loss_is_that_of_the_slow_formula():
    target, recipe = tiny_target().clone(), small(Path("unused"), identity=0.3).value
    loop = diffusion._Loop(recipe, target, *(None,) * 4)  # pyright: ignore[reportArgumentType]
    generator = torch.Generator().manual_seed(0)
    clean = torch.randn(4, *target.latent_shape(), generator=generator)
    noise = torch.randn(clean.shape, generator=generator)
    embeddings = F.normalize(torch.randn(4, 128, generator=generator), dim=1)
    embeddings[2] = 0  # nobody: no likeness is asked for
    t = torch.tensor([0, 300, 600, 999])
    with torch.no_grad():
        terms = loop._loss(clean, embeddings, t, noise)
        v_loss, likeness = 0.0, 0.0
        for i in range(4):
            alpha = float(target.parts.schedule.alphas[t[i]])
            z = alpha**0.5 * clean[i] + (1 - alpha) ** 0.5 * noise[i]
            tokens = target.parts.projector(embeddings[i : i + 1])
            v = target.parts.unet(z[None], t[i : i + 1], encoder_hidden_states=tokens).sample[0]
            v_loss += float((v - (alpha**0.5 * noise[i] - (1 - alpha) ** 0.5 * clean[i])).square().mean()) / 4
            x = alpha**0.5 * z - (1 - alpha) ** 0.5 * v
            picture = (target.parts.autoencoder.decode(x[None]) + 1) * 127.5
            found = target.recogniser.forward(target.window(picture))[0]
            likeness += 0.3 * alpha * (0 if i == 2 else 1 - float(found @ embeddings[i])) / 4
    assert float(terms["v"]) == pytest.approx(v_loss, rel=1e-4)
    assert float(terms["identity"]) == pytest.approx(likeness, rel=1e-4)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"held_out": 11}, "held_out: found 11, expected at most 10 of 12 people"),
        ({"batch": 0}, "batch"),
        ({"channels": [16, 16, 16]}, "channels"),
    ],
)
def test_bad_settings_are_one_line_and_leave_nothing(fields, words, tmp_path):
    with pytest.raises(EffaceError, match=words):
        recipes.train(small(tmp_path / "out", **fields), Quiet())
    assert not list(tmp_path.iterdir())


def test_photos_turned_too_far_aside_are_left_out(tmp_path):
    from efface.faces.datasets.people import PACK
    from efface.faces.rendering.reading import records

    people = ShippedPeople().read()
    kept = diffusion._frontal(people, PACK, 20)
    cameras = {name: record.camera.reshape(-1) for name, record in records(PACK).items()}
    turned = {name: abs(np.degrees(np.arctan2(c[3], c[11]))) for name, c in cameras.items()}
    names = {p.name for photos in kept.photos.values() for p in photos}
    assert names == {name for name, yaw in turned.items() if yaw <= 20} and 100 < len(names) < len(turned)


def test_latents_are_principal_components_and_come_back():
    torch.manual_seed(0)
    pictures = F.interpolate(torch.randn(40, 3, 12, 12), (32, 32), mode="bilinear").clamp(-1, 1)
    latents = PatchLatents(8, 10).fit(pictures.split(16))
    patches = F.unfold(pictures, 8, stride=8).transpose(1, 2).reshape(-1, 192)
    theirs = PCA(10, svd_solver="full").fit(patches.numpy())
    assert np.allclose(np.abs((latents.basis.view(10, -1) @ theirs.components_.T).diagonal()), 1, atol=1e-3)
    rebuilt = theirs.inverse_transform(theirs.transform(patches.numpy())).reshape(40, 16, 192)
    whole = F.fold(torch.from_numpy(rebuilt).transpose(1, 2).float(), (32, 32), 8, stride=8)
    encoded = latents.encode(pictures)
    assert encoded.shape == (40, 10, 4, 4)
    assert torch.allclose(latents.decode(encoded), whole, atol=1e-4)
    assert abs(float(encoded.square().mean()) - 1) < 0.01
    assert torch.allclose(latents.encode(latents.decode(encoded)), encoded, atol=1e-4)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 999), st.sampled_from(["epsilon", "v_prediction"]))
def test_the_schedule_means_what_diffusers_means(t, predicts):
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler

    told = SCHEDULE | {"prediction_type": predicts}
    ours, theirs = Schedule.of(told, "test"), DDIMScheduler.from_config(told)
    generator = torch.Generator().manual_seed(t)
    x, noise = torch.randn(2, 3, 4, 4, generator=generator), torch.randn(2, 3, 4, 4, generator=generator)
    steps = torch.tensor([t, t])
    z = ours.noised(x, noise, steps)
    assert torch.allclose(z, theirs.add_noise(x, noise, steps), atol=1e-6)
    output = noise if predicts == "epsilon" else theirs.get_velocity(x, noise, steps)
    assert torch.allclose(ours.noise(output, z, steps), noise, atol=1e-4)
    if t < 900:
        assert torch.allclose(ours.clean(noise, z, steps), x, atol=1e-3)


def test_sampling_finds_the_one_picture_there_is():
    """Where all pictures are one, the right noise is known, and every start ends at the picture."""
    schedule = Schedule.of(SCHEDULE, "test")
    x = torch.randn(1, 4, 3, 3, generator=torch.Generator().manual_seed(0))

    def known(z, t):
        signal, sigma = schedule.parts(t, z)
        return (z - signal * x) / sigma

    start = torch.randn(5, 4, 3, 3, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(schedule.sample(known, start, 20), x.expand(5, -1, -1, -1), atol=2e-2)
    part = schedule.noised(x.expand(5, -1, -1, -1), start, torch.full((5,), schedule.first(20, 0.5)))
    assert torch.allclose(schedule.sample(known, part, 20, strength=0.5), x.expand(5, -1, -1, -1), atol=2e-2)
    assert schedule.first(20, 0.5) < schedule.first(20, 1.0) == 999


def test_every_face_of_a_batch_has_its_own_tokens():
    projector = Projector(16, 3, 8, layers=1, heads=2).eval()
    faces = F.normalize(torch.randn(5, 16), dim=1)
    one_by_one = torch.cat([projector(face[None]) for face in faces])
    assert torch.allclose(projector(faces), one_by_one, atol=1e-5)
    assert torch.equal(projector.unconditioned(2), projector(torch.zeros(2, 16)))


def test_a_framed_photo_holds_the_aligned_crop():
    people = People(dict(list(ShippedPeople().read().photos.items())[:2]))
    crops, _ = align(people)
    framed, notes = frame(people, 128, 8, 12, 112)
    assert framed.names == crops.names and notes.photos == len(crops)
    assert torch.equal(framed.pixels[..., 12:124, 8:120], crops.pixels)
    half = template_in(frame(people, 64, 4, 6, 56)[0].pixels, (4, 6, 56))
    assert half.shape == crops.pixels.shape and float((half - crops.pixels.float()).abs().mean()) < 6
