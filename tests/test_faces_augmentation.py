"""Variations: deterministic, in range, and geometrically what they say."""

import pytest
import torch
import torch.nn.functional as F

from efface.faces.alignment import align
from efface.faces.augmentation import NUMBERS, draw, vary
from efface.faces.datasets.drawn import Drawn

STILL = torch.full((1, NUMBERS), 0.5)
"""No change of geometry or colour, not mirrored; nothing lost."""
STILL[:, [5, 7, 13]] = 0.999


@pytest.fixture(scope="module")
def crops():
    return align(Drawn(people=8, photos=4).read())[0].pixels


def reduced(crops, size):
    return F.interpolate(crops.float(), (size, size), mode="bilinear", antialias=True)


@pytest.mark.parametrize("size", [40, 64, 112])
def test_without_strength_or_change_the_crop_is_only_reduced(crops, size):
    assert torch.equal(vary(crops, draw(len(crops), torch.Generator()), size, 0.0), reduced(crops, size))
    still = vary(crops, STILL.expand(len(crops), -1), size)
    assert (still - reduced(crops, size)).abs().mean() < 4


def test_the_same_numbers_give_the_same_pictures_alone_or_together(crops, generator):
    kept, drawn = crops.clone(), draw(len(crops), generator)
    together = vary(crops, drawn, 64)
    assert together.shape == (len(crops), 3, 64, 64) and together.is_floating_point()
    assert together.min() >= 0 and together.max() <= 255
    alone = torch.cat([vary(c[None], d[None], 64) for c, d in zip(crops, drawn, strict=True)])
    torch.testing.assert_close(alone, together)
    assert torch.equal(crops, kept)
    others = vary(crops, draw(len(crops), generator), 64)
    assert (together - others).abs().mean() > 10


def test_half_are_mirrored_and_faces_move_as_far_as_they_may(crops, generator):
    mirror = STILL.clone()
    mirror[:, 4] = 0.0
    found = vary(crops[:1], mirror, 64)
    torch.testing.assert_close(found.flip(-1), vary(crops[:1], STILL, 64), rtol=0, atol=0.05)
    assert 0.3 < (draw(1000, generator)[:, 4] < 0.5).float().mean() < 0.7
    spot = torch.zeros(1, 3, 112, 112, dtype=torch.uint8)
    spot[..., 55:57, 55:57] = 255
    moved = STILL.clone()
    moved[:, 2] = 1.0  # the crop is read 5 % further right, so what it shows lies 3.2 of 64 pixels further left
    where = vary(spot, moved, 64)[0, 0].sub(vary(spot, moved, 64).min()).sum(0)
    centre = (where * torch.arange(64)).sum() / where.sum()
    assert float(centre) == pytest.approx(31.5 - 3.2, abs=0.1)


def test_some_lose_colour_detail_or_a_rectangle(crops):
    drawn = STILL.expand(3, -1).clone()
    drawn[0, 7], drawn[1, 5], drawn[1, 6] = 0.0, 0.0, 0.0
    drawn[2, 13:17] = torch.tensor([0.0, 0.0, 0.0, 1.0])
    grey, coarse, hidden = vary(crops[:1].expand(3, -1, -1, -1), drawn, 64)
    still = vary(crops[:1], STILL, 64)[0]
    assert torch.allclose(grey[0], grey[2], atol=1e-3) and not torch.allclose(still[0], still[2], atol=20)
    assert coarse.diff(dim=-1).abs().mean() < 0.7 * still.diff(dim=-1).abs().mean()
    black = (hidden == 0).all(0)
    assert black[:10, :29].all() and black.sum() < 0.2 * 64 * 64
