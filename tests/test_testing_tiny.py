"""The drawn people and the tiny recogniser that knows them."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from efface import registry
from efface.errors import EffaceError
from efface.faces.datasets.drawn import Drawn
from efface.models import weights
from efface.models.recogniser import initialise
from efface.models.recognition.tiny import TinyRecogniser
from efface.targets.recognition import RecognitionTarget
from efface.testing import TINY
from efface.testing.drawn import draw
from efface.testing.train_tiny import scores, train


@pytest.fixture(scope="module")
def drawn() -> tuple[torch.Tensor, torch.Tensor]:
    people = Drawn().read()
    pictures = np.stack([photo.pixels() for photos in people.photos.values() for photo in photos])
    return torch.from_numpy(pictures).permute(0, 3, 1, 2), torch.arange(12).repeat_interleave(10)


def test_drawn_people_are_a_data_set():
    assert registry.get("faces.datasets", "drawn") is Drawn
    people = Drawn(people=3, photos=2, seed=4).read()
    assert list(people.photos) == ["person-000", "person-001", "person-002"]
    assert people.aligned
    photo = people.photos["person-001"][1]
    assert photo.name == "person-001/1.png"
    assert Image.open(io.BytesIO(photo.encoded())).format == "PNG"
    assert np.array_equal(photo.pixels(), draw(4001, 1))
    assert photo.pixels().shape == (112, 112, 3)


def test_the_same_seeds_draw_the_same_picture_and_others_do_not():
    assert np.array_equal(draw(3, 1), draw(3, 1))
    assert not np.array_equal(draw(3, 1), draw(3, 2))
    assert not np.array_equal(draw(3, 1), draw(4, 1))


@pytest.mark.parametrize("wrong", [{"people": 0}, {"photos": 0}, {"seed": 1000}, {"people": 1001}])
def test_numbers_out_of_range_are_refused_in_one_line(wrong):
    with pytest.raises(EffaceError, match="expected 1 to 1,000") as caught:
        Drawn(**wrong).read()
    assert "\n" not in str(caught.value)


def test_tiny_tells_held_out_drawn_people_apart(drawn):
    figures = scores(RecognitionTarget.load("tiny", TINY).embed(drawn[0]), drawn[1])
    assert figures["rank1"] >= 0.95
    assert figures["auc"] >= 0.99
    assert figures["genuine"] > 0.6 > 0.1 > figures["impostor"]


def test_raw_pixels_and_a_random_network_do_not(drawn, generator):
    pixels, labels = drawn
    raw = torch.nn.functional.normalize((pixels.float() / 255).flatten(1) - 0.5, dim=-1)
    assert scores(raw, labels)["rank1"] < 0.6
    spec = TinyRecogniser()
    untrained = RecognitionTarget(spec, initialise(spec.build(), generator))
    assert scores(untrained.embed(pixels), labels)["rank1"] < 0.7


def test_scores_agree_with_a_slow_formula(generator):
    embeddings = torch.nn.functional.normalize(torch.randn(9, 4, generator=generator), dim=-1)
    labels = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2])
    genuine, impostor, hits = [], [], 0
    for i in range(9):
        best = max((j for j in range(9) if j != i), key=lambda j: float(embeddings[i] @ embeddings[j]))
        hits += int(labels[best] == labels[i])
        for j in range(i):
            (genuine if labels[i] == labels[j] else impostor).append(float(embeddings[i] @ embeddings[j]))
    wins = np.mean([g > i for g in genuine for i in impostor])
    figures = scores(embeddings, labels)
    assert figures["rank1"] == pytest.approx(hits / 9)
    assert figures["genuine"] == pytest.approx(np.mean(genuine), abs=1e-6)
    assert figures["auc"] == pytest.approx(wins, abs=1e-6)


def test_weights_are_small_and_say_where_they_come_from():
    assert TINY.stat().st_size < 500_000
    header = weights.read_header(TINY)
    assert header["network"] == "tiny"
    assert header["licence"] == "Apache-2.0"
    assert "train_tiny" in header["origin"]
    count = sum(p.numel() for p in TinyRecogniser().build().parameters())
    card = TINY.with_suffix(".md").read_text(encoding="utf-8")
    assert f"{count:,} parameters" in card


def test_initialise_depends_on_the_generator_alone():
    first, second, third = (
        initialise(TinyRecogniser().build(), torch.Generator().manual_seed(seed)).state_dict() for seed in (1, 1, 2)
    )
    assert all(torch.equal(first[n], second[n]) for n in first)
    assert not torch.equal(first["linear.weight"], third["linear.weight"])


def test_the_training_runs_and_the_same_seed_gives_the_same_weights(tmp_path, capsys):
    for name in ("a", "b"):
        train(tmp_path / f"{name}.safetensors", people=32, photos=8, epochs=3)
    losses = [float(line.rsplit(" ", 1)[1]) for line in capsys.readouterr().out.splitlines() if "loss" in line]
    assert losses[2] < losses[0] and losses[:3] == losses[3:]
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    weights.load(TinyRecogniser(), tmp_path / "a.safetensors")
    assert "32 drawn people × 8 pictures" in (tmp_path / "a.md").read_text(encoding="utf-8")
