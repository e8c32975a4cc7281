"""The MobileFaceNet of foamliu, on its published weights."""

import pytest
import torch

from efface import registry
from efface.models import weights
from efface.models.recognition.mobilefacenet import MobileFaceNet, MobileFaceNetRecogniser


def test_it_is_registered():
    assert registry.get("models.recognition", "mobilefacenet") is MobileFaceNetRecogniser
    assert MobileFaceNetRecogniser().name == "mobilefacenet"


def test_parameters_as_published():
    assert sum(p.numel() for p in MobileFaceNet().parameters()) == 999_936


@pytest.mark.real
def test_published_weights_load_in_plain_torch_and_by_the_reader(data, generator):
    path = data / "recogniser-mobilefacenet" / "mobilefacenet.pt"
    published = torch.load(path, map_location="cpu", weights_only=True)
    plain = MobileFaceNet().eval()
    plain.load_state_dict(published)
    assert list(plain.state_dict()) == list(published)
    ours = weights.load(MobileFaceNetRecogniser(), path)
    x = torch.randn(2, 3, 112, 112, generator=generator)
    with torch.no_grad():
        assert torch.equal(plain(x), ours(x))
