"""What the methods that weigh each weight do, against slow formulas on the tiny model."""

import pytest
import torch
import torch.nn.functional as F

from efface.errors import EffaceError
from efface.methods.classes import class_head, retained_classes
from efface.methods.importance import of_all_classes, of_outputs, of_true_class
from efface.methods.recognition.fisher import Fisher, noise_variance
from efface.methods.recognition.ssd import Ssd, dampening_factors
from efface.methods.seen import LastBlocks, Seen
from efface.methods.unlearner import Request
from efface.testing.contract import Problem


@pytest.fixture(scope="module")
def problem():
    return Problem.make()


@pytest.fixture(scope="module")
def few(problem):
    """A request of two people to forget and two retained ones, few photos each."""
    request = problem.request()
    return Request(request.forget.take([0, 1, 5, 6]), request.retain.take([0, 1, 5]))


def parts(problem, request, blocks=1):
    part = LastBlocks(problem.target, blocks)
    seen = Seen.of(part, request)
    return part, seen, class_head(seen)


def slope(value, part):
    """The gradient of one number on the trained weights, as plain backward gives it."""
    for p in part.trained():
        p.grad = None
    value.backward(retain_graph=True)
    return [p.grad.clone() for p in part.trained()]


def mean(rows):
    """Mean over photos of their lists of tensors."""
    return [torch.stack(column).mean(0) for column in zip(*rows, strict=True)]


def same(found, expected):
    return all(torch.allclose(a, b, rtol=1e-3, atol=1e-8) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("blocks", [0, 1, 2])
def test_the_importances_are_their_formulas(problem, few, blocks):
    part, seen, head = parts(problem, few, blocks)
    true, every, outputs = [], [], []
    for photo, label in zip(seen.forget, seen.labels, strict=True):
        cosines = part(photo[None])[0] @ F.normalize(head.weight, dim=-1).T
        margin = cosines - 0.35 * F.one_hot(label, len(cosines))
        true.append([g**2 for g in slope(-torch.log_softmax(32 * margin, 0)[label], part)])
        shares = torch.softmax(32 * cosines, 0)
        each = [[p.detach() * g**2 for g in slope(torch.log(p), part)] for p in shares]
        every.append([sum(column) for column in zip(*each, strict=True)])
        outputs.append([g.abs() for g in slope((32 * cosines).square().sum().sqrt(), part)])
    assert same(of_true_class(part, head, seen.forget, seen.labels), mean(true))
    assert same(of_all_classes(part, head, seen.forget), mean(every))
    assert same(of_outputs(part, head, seen.forget), mean(outputs))


def test_a_weight_is_dampened_where_it_matters_more_to_the_forgotten():
    forget, everybody = torch.tensor([4.0, 2.1, 2.0, 1.0, 0.0]), torch.tensor([1.0, 1.0, 1.0, 3.0, 0.0])
    found = dampening_factors(forget, everybody, selection=2.0, dampening=0.5)
    assert torch.allclose(found, torch.tensor([0.5 / 4, 0.5 / 2.1, 1.0, 1.0, 1.0]))
    assert dampening_factors(forget, everybody, selection=2.0, dampening=9.0).max() == 1  # never larger than it was


def test_ssd_multiplies_each_weight_by_its_factor(problem, few, generator):
    part, seen, head = parts(problem, few)
    forget = of_true_class(part, head, seen.forget, seen.labels)
    together = of_true_class(
        part, head, torch.cat([seen.forget, seen.retain]), torch.cat([seen.labels, retained_classes(seen)])
    )
    result = Ssd(selection=1.1, dampening=0.7, blocks=1).unlearn(problem.target, few, generator)
    changed = 0
    for name, found in zip(("linear.weight", "bn.weight", "bn.bias"), range(3), strict=True):
        old, new = problem.target.network.get_parameter(name), result.network.get_parameter(name)
        i_f, i_d = forget[found], together[found]
        slow = torch.where(i_f > 1.1 * i_d, torch.minimum(0.7 * i_d / i_f, torch.tensor(1.0)), torch.tensor(1.0))
        assert torch.allclose(new, old * slow, rtol=1e-3, atol=1e-6)
        changed += int((slow < 1).sum())
    assert changed > 100


def test_ssd_refuses_a_selection_that_nothing_can_meet(problem, few, generator):
    with pytest.raises(EffaceError, match=r"selection: found 1\.8, expected below 1\.75"):
        Ssd(selection=1.8).unlearn(problem.target, few, generator)


def test_the_noise_variance_is_its_formula():
    information = torch.tensor([[0.0, 1.0, 4.0], [2.0, 0.5, 1e-5]])
    one, other = (1000 + 1 + 0.25) / 3, (0.5 + 2 + 1000) / 3
    expected = 3e-5 * torch.tensor([one, other])[:, None].expand(2, 3)
    assert torch.allclose(noise_variance(information, 3e-5), expected)
    vector = noise_variance(torch.tensor([0.0, 0.5]), 3e-5)
    assert torch.allclose(vector, 10 * 3e-5 * torch.tensor([1000.0, 2.0]))


def test_fisher_adds_noise_of_that_variance(problem, few):
    part, seen, head = parts(problem, few)
    variances = [noise_variance(f, 1e-6) for f in of_all_classes(part, head, seen.retain)]
    runs = [
        Fisher(alpha=1e-6).unlearn(problem.target, few, torch.Generator().manual_seed(s)).network for s in range(30)
    ]
    for name, variance in zip(("linear.weight", "bn.weight", "bn.bias"), variances, strict=True):
        old = problem.target.network.get_parameter(name)
        scaled = torch.stack([(run.get_parameter(name) - old) / variance.sqrt() for run in runs]).detach()
        assert abs(float(scaled.mean())) < 0.1 and float(scaled.std()) == pytest.approx(1, abs=0.05)
