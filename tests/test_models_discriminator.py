"""The discriminator that the shipped generators are trained with."""

import pytest
import torch
import torch.nn.functional as F

from efface.errors import EffaceError
from efface.models.discriminator import Conv, Discriminator, _deviation, together
from efface.models.stylegan2 import halved, low_pass
from gradients import check_gradients


def tiny(**changed) -> Discriminator:
    torch.manual_seed(0)
    network = Discriminator(16, **({"channel_base": 64, "channel_max": 6} | changed))
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(std=0.3)
    return network


def test_logits_of_pictures_alone_and_of_views_with_their_cameras():
    assert tiny()(torch.randn(3, 3, 16, 16)).shape == (3,)
    network, c = tiny(colours=6, c_dim=25), torch.randn(4, 25)
    views = together(torch.randn(4, 3, 16, 16), torch.randn(4, 3, 8, 8))
    logits = network(views, c)
    assert logits.shape == (4,)
    assert (network(views, c.flip(0)) - logits).abs().min() > 1e-4  # the camera counts
    raw = views.clone()
    raw[:, 3:] += 0.5
    assert (network(raw, c) - logits).abs().min() > 1e-4  # so does the raw picture


def test_views_are_put_together_with_raw_pictures_enlarged():
    pictures, raw = torch.randn(2, 3, 8, 8), torch.ones(2, 3, 4, 4) * torch.tensor([0.2, 0.7]).view(2, 1, 1, 1)
    both = together(pictures, raw)
    assert torch.equal(both[:, :3], pictures)
    assert torch.allclose(both[:, 3:], raw[:, :, :1, :1].expand(-1, -1, 8, 8))


def test_the_deviation_is_that_of_each_group_of_four():
    x = torch.randn(8, 2, 3, 3)
    found = _deviation(x)
    assert found.shape == (8, 1, 3, 3)
    for first in (0, 1):  # pictures 0 2 4 6 and 1 3 5 7
        group = x[first::2].double()
        slow = (((group - group.mean(0)) ** 2).mean(0) + 1e-8).sqrt().mean()
        assert torch.allclose(found[first::2].double(), slow.expand(4, 1, 3, 3), atol=1e-6)
    assert _deviation(x[:3]).shape == (3, 1, 3, 3) and float(_deviation(x[:1]).max()) < 1e-3


def test_down_sampling_filters_before_it_leaves_pixels_out():
    x = torch.randn(2, 3, 8, 8)
    layer, skip = Conv(3, 4, 3, down=True), Conv(3, 4, 1, down=True, activated=False)
    wide = F.conv2d(x, low_pass().expand(3, 1, 4, 4), padding=2, groups=3)
    slow = F.conv2d(wide, layer.weight / 27**0.5)[:, :, ::2, ::2] + layer.bias.view(-1, 1, 1)
    assert torch.allclose(layer(x), F.leaky_relu(slow, 0.2) * 2**0.5, atol=1e-5)
    flat = F.conv2d(halved(x, low_pass()), skip.weight / 3**0.5)
    assert torch.allclose(skip(x), flat, atol=1e-6) and skip(x).shape == (2, 4, 4, 4)


def test_gradients_are_those_of_finite_differences():
    network = tiny(c_dim=3).double()
    c = torch.randn(4, 3).double()
    check_gradients(network, lambda x: F.softplus(network(x, c)).sum(), torch.randn(4, 3, 16, 16).double())


def test_the_gradient_penalty_has_a_gradient():
    """R1: the gradient of the squared gradient with respect to real pictures."""
    network = tiny().double()
    pictures = torch.randn(4, 3, 16, 16).double().requires_grad_()

    def penalty():
        (gradient,) = torch.autograd.grad(network(pictures).sum(), pictures, create_graph=True)
        return gradient.square().sum()

    weight = network.blocks[0].conv1.weight
    (found,) = torch.autograd.grad(penalty(), weight)
    direction = torch.randn_like(weight)
    with torch.no_grad():
        weight += 1e-6 * direction
    above = penalty()
    with torch.no_grad():
        weight -= 2e-6 * direction
    expected = (above - penalty()) / 2e-6
    assert torch.isclose((found * direction).sum(), expected, rtol=1e-4)


def test_it_learns_to_tell_real_from_drawn():
    generator = torch.Generator().manual_seed(0)
    network = tiny()
    real = torch.randn(8, 3, 1, 1, generator=generator).expand(-1, -1, 16, 16)  # flat colours
    drawn = torch.randn(8, 3, 16, 16, generator=generator)
    optimiser = torch.optim.Adam(network.parameters(), lr=2e-3, betas=(0.0, 0.99))
    for _ in range(80):
        optimiser.zero_grad()
        loss = F.softplus(-network(real)).mean() + F.softplus(network(drawn)).mean()
        loss.backward()
        optimiser.step()
    fresh = torch.randn(8, 3, 16, 16, generator=generator)
    assert (network(real) > 0).all() and (network(fresh) < 0).all()


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: Discriminator(20), "found the resolution 20, expected a power of two of at least 8"),
        (lambda: tiny()(torch.zeros(1, 3, 8, 8)), "found pictures of shape [1, 3, 8, 8], expected [n, 3, 16, 16]"),
        (lambda: tiny(c_dim=3)(torch.zeros(1, 3, 16, 16)), "found no c, expected [1, 3]"),
        (
            lambda: tiny(c_dim=3)(torch.zeros(1, 3, 16, 16), torch.zeros(2, 3)),
            "found c of shape [2, 3], expected [1, 3]",
        ),
    ],
)
def test_bad_input_is_one_line(call, line):
    with pytest.raises(EffaceError) as raised:
        call()
    assert line in str(raised.value) and "\n" not in str(raised.value)
