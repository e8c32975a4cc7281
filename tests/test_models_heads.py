"""CosFace and ArcFace heads against pytorch-metric-learning and the formulas written out."""

import math

import pytest
import torch
import torch.nn.functional as F
from pytorch_metric_learning.losses import ArcFaceLoss, CosFaceLoss

from efface.errors import EffaceError
from efface.models.heads import ArcFace, CosFace, head_from_class_means

CLASSES, SIZE, COUNT = 7, 5, 40


@pytest.fixture
def embeddings(generator):
    return F.normalize(torch.randn(COUNT, SIZE, generator=generator), dim=-1)


@pytest.fixture
def labels(generator):
    return torch.randint(CLASSES, (COUNT,), generator=generator)


@pytest.mark.parametrize(
    ("head", "outside"),
    [
        (CosFace(CLASSES, SIZE, 64.0, 0.35), CosFaceLoss(CLASSES, SIZE, margin=0.35, scale=64)),
        (CosFace(CLASSES, SIZE, 20.0, 0.1), CosFaceLoss(CLASSES, SIZE, margin=0.1, scale=20)),
        (ArcFace(CLASSES, SIZE, 64.0, 0.5), ArcFaceLoss(CLASSES, SIZE, margin=math.degrees(0.5), scale=64)),
        (ArcFace(CLASSES, SIZE, 30.0, 1.2), ArcFaceLoss(CLASSES, SIZE, margin=math.degrees(1.2), scale=30)),
    ],
)
def test_logits_loss_and_gradient_are_those_of_pytorch_metric_learning(head, outside, embeddings, labels, generator):
    head.draw(generator)
    with torch.no_grad():
        outside.W.copy_(head.weight.T)
    torch.testing.assert_close(head(embeddings), outside.get_logits(embeddings), rtol=1e-5, atol=1e-4)
    ours, theirs = embeddings.clone().requires_grad_(), embeddings.clone().requires_grad_()
    loss, expected = F.cross_entropy(head(ours, labels), labels), outside(theirs, labels)
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-4)
    loss.backward()
    expected.backward()
    # theirs normalises its input: compare along the sphere
    tangent = ours.grad - (ours.grad * embeddings).sum(1, keepdim=True) * embeddings
    other = theirs.grad - (theirs.grad * embeddings).sum(1, keepdim=True) * embeddings
    torch.testing.assert_close(tangent, other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", [CosFace, ArcFace])
def test_logits_are_the_papers_formula_written_out(kind, embeddings, labels, generator):
    head = kind(CLASSES, SIZE, scale=32.0, margin=0.4).draw(generator)
    logits, weight = head(embeddings, labels).detach(), head.weight.detach()
    for i in range(COUNT):
        for j in range(CLASSES):
            cosine = sum(float(a) * float(b) for a, b in zip(embeddings[i], weight[j], strict=True))
            if j == labels[i]:
                angle = math.acos(cosine)
                if kind is CosFace:
                    cosine -= 0.4
                else:
                    cosine = math.cos(angle + 0.4) if angle + 0.4 < math.pi else cosine - 0.4 * math.sin(0.4)
            assert float(logits[i, j]) == pytest.approx(32 * cosine, abs=1e-3)


@pytest.mark.parametrize("head", [CosFace(3, 2), ArcFace(3, 2)])
def test_the_margin_only_lowers_the_labelled_class(head, generator):
    head.draw(generator)
    angle = torch.linspace(0, 2 * math.pi, 200)
    x = torch.stack([angle.cos(), angle.sin()], 1)
    labels = torch.zeros(200, dtype=torch.long)
    plain, margin = head(x), head(x, labels)
    assert torch.equal(plain[:, 1:], margin[:, 1:])
    assert (margin[:, 0] < plain[:, 0]).all()


def test_arcface_falls_with_the_angle_all_the_way_and_its_gradient_is_finite_at_the_poles():
    head = ArcFace(1, 2, scale=1.0)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[1.0, 0.0]]))
    angle = torch.linspace(0, math.pi, 500)
    x = torch.stack([angle.cos(), angle.sin()], 1).requires_grad_()
    logits = head(x, torch.zeros(500, dtype=torch.long))
    assert (logits.diff(dim=0) < 1e-6).all()
    logits.sum().backward()
    assert x.grad is not None and torch.isfinite(x.grad).all()


@pytest.mark.parametrize("kind", [CosFace, ArcFace])
def test_a_head_from_class_means(kind, embeddings, labels):
    head = head_from_class_means(embeddings, labels, CLASSES, kind)
    assert isinstance(head, kind) and head.weight.requires_grad
    for c in range(CLASSES):
        mean = sum(e for e, label in zip(embeddings, labels, strict=True) if label == c)
        torch.testing.assert_close(head.weight[c].detach(), mean / mean.norm())


def test_a_class_without_embedding_is_one_line(embeddings, labels):
    with pytest.raises(EffaceError, match="no embedding of class 7"):
        head_from_class_means(embeddings, labels, CLASSES + 1)
