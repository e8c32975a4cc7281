"""The simple methods for face generators, each against a slow formula; and a run of two stages that is interrupted."""

import math
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from efface import training
from efface.methods.consolidation import fisher
from efface.methods.gan.adapt_then_unlearn import AdaptThenUnlearn
from efface.methods.gan.average_target import AverageTarget
from efface.methods.gan.gradient_ascent import GradientAscent
from efface.methods.gan.lora import Lora
from efface.methods.gan.pcgrad import PcGrad
from efface.methods.gan.sugar import Sugar
from efface.methods.rebuilding_losses import Views, Weights
from efface.methods.replacements import length_unit, replacements
from efface.progress import Quiet
from efface.targets.perceptual import FeatureDistance
from efface.testing.tiny_gan import tiny_request, tiny_target

WEIGHTS = Weights(planes=0.3, perceptual=2.0, identity=0.7, adjacency=0.6, preserved=1.5)
"""No two alike, so that none can stand in another's place."""
VIEWS = Views(count=3)
GUIDE: dict[str, Any] = {"lengths": "mean", "distance": 2.0, "reach": 0.5, "weights": WEIGHTS, "views": VIEWS}


@pytest.fixture(scope="module", params=["eg3d", "stylegan2"])
def target(request):
    return tiny_target(request.param)


@pytest.fixture(scope="module")
def request_(target):
    return tiny_request(target, people=2, retain=3)


@dataclass
class Stage:
    """What a method gave the training loop, and what the loop left."""

    module: nn.Module
    draw: Callable[[torch.Generator], tuple[Tensor, ...]]
    loss: Callable[..., dict[str, Tensor]]
    optimiser: torch.optim.Optimizer
    steps: int
    began: list[Tensor]
    """Its weights at the beginning."""

    def weights(self) -> list[Tensor]:
        """The module's own, which require a gradient again."""
        return [p.requires_grad_(True) for p in self.module.parameters()]


@pytest.fixture
def stages(monkeypatch) -> list[Stage]:
    """Where methods leave their stages: real losses of real draws; instead of steps, each stage's weights are shaken,
    every time
    otherwise and further."""
    found: list[Stage] = []

    @torch.no_grad()
    def fit(module, draw, loss, *, optimiser, steps, generator):
        began = [p.detach().clone() for p in module.parameters()]
        found.append(Stage(module, draw, loss, optimiser, steps, began))
        drawn = torch.Generator().manual_seed(len(found))
        for p in module.parameters():
            p += 0.05 * len(found) * torch.randn(p.shape, generator=drawn)

    monkeypatch.setattr("efface.training.fit", fit)
    return found


@torch.no_grad()
def away(stage: Stage, share: float) -> None:
    """Shake the stage's weights by this share of what they have been shaken by until now."""
    for p, began in zip(stage.module.parameters(), stage.began, strict=True):
        p.lerp_(began, 1 - share)


class Slow:
    """The header's formulas, each picture drawn by itself."""

    def __init__(self, target, synthesis: nn.Module | None = None):
        """synthesis: of the student; None: the student is the source."""
        self.source, self.student = target, target.clone()
        if synthesis is not None:
            self.student.backbone.synthesis = synthesis
        self.distance, self.cameras = FeatureDistance(target.recogniser), VIEWS.cameras(target)

    def both(self, a: Tensor, b: Tensor) -> list[tuple[Any, Tensor, Tensor]]:
        """(model, its latent [1, rows, w_dim], the planes of that): the student's of a, the source's of b."""
        return [(t, w[None], t.planes(w[None])) for t, w in ((self.student, a), (self.source, b))]

    def perceptual(self, a: Tensor, b: Tensor, view: Tensor) -> Tensor:
        """The distance [] of the student's a and the source's b, weighted."""
        pictures = [t.render(planes, w, self.cameras[view]) for t, w, planes in self.both(a, b)]
        return WEIGHTS.perceptual * self.distance(*pictures)[0]

    def pair(self, a: Tensor, b: Tensor, view: Tensor) -> Tensor:
        """L(a, b) []."""
        both, camera = self.both(a, b), self.cameras[view]
        mse = (both[0][2] - both[1][2]).square().mean()
        pictures = [t.render(planes, w, camera) for t, w, planes in both]
        one, other = (self.source.recogniser.forward(self.source.faces(p, camera))[0] for p in pictures)
        away = 1 - F.cosine_similarity(one, other, dim=0)
        perceptual = self.distance(*pictures)[0]
        return WEIGHTS.planes * mse + WEIGHTS.perceptual * perceptual + WEIGHTS.identity * away

    def guide(self, latents: Tensor, wanted: Tensor, view: Tensor) -> dict[str, Tensor]:
        """GUIDE's terms of its five rows."""
        pairs = [self.pair(a, b, view) for a, b in zip(latents[:3], wanted[:3], strict=True)]
        return {
            "local": pairs[0],
            "adjacency": WEIGHTS.adjacency * (pairs[1] + pairs[2]),
            "global": WEIGHTS.preserved * added(self.perceptual(w, w, view) for w in latents[3:]),
        }


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def added(values: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(values)).sum()


def flat(value: Tensor, weights: list[Tensor]) -> Tensor:
    """The gradient by all weights, [n]."""
    found = torch.autograd.grad(value, weights, retain_graph=True, materialize_grads=True)
    return torch.cat([g.flatten() for g in found])


def near(one: Tensor, other: Tensor) -> bool:
    """But for what float32 rounds; a picture that is drawn alone differs from one of a batch."""
    return bool((one - other).norm() <= 5e-3 * other.norm())


def check(found: dict[str, Tensor], expected: dict[str, Tensor], weights: list[Tensor]) -> None:
    """The terms are the expected ones, by their values and by their gradients."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert math.isclose(found[name].item(), value.item(), rel_tol=1e-4, abs_tol=1e-6), name
        assert near(flat(found[name], weights), flat(value, weights)), name


def draws(stage: Stage) -> list[tuple[Tensor, ...]]:
    """What thirty steps would be of."""
    generator = seeded(3)
    return [stage.draw(generator) for _ in range(30)]


def of_each(stage: Stage) -> list[tuple[Tensor, ...]]:
    """Two draws, one for each person."""
    found = draws(stage)
    return [next(batch for batch in found if int(batch[2][0]) == person) for person in (0, 1)]


@pytest.mark.parametrize("method", [AverageTarget, GradientAscent, AdaptThenUnlearn, PcGrad])
def test_the_whole_synthesis_is_trained_as_the_fields_say(method, target, request_, stages):
    adapting: dict[str, Any] = {"adapt_steps": 5, "measured": 1} if method is AdaptThenUnlearn else {}
    method(learning_rate=0.25, steps=7, **adapting).unlearn(target, request_, seeded())
    expected = [5, 5, 7] if adapting else [14]  # for each of two people; the second stage is of both
    assert [stage.steps for stage in stages] == expected
    before = list(target.backbone.synthesis.parameters())
    for stage in stages:
        (group,) = stage.optimiser.param_groups
        assert type(stage.optimiser) is torch.optim.Adam and group["lr"] == 0.25 and group["betas"] == (0.9, 0.999)
        assert [id(p) for p in group["params"]] == [id(p) for p in stage.module.parameters()]
        assert all(torch.equal(a, b) for a, b in zip(stage.began, before, strict=True))


def test_average_target_draws_the_average_in_everybodys_place(target, request_, stages):
    AverageTarget(weights=WEIGHTS, views=VIEWS).unlearn(target, request_, seeded())
    (stage,) = stages
    weights, slow = stage.weights(), Slow(target, stage.module)
    mapping = target.backbone.mapping
    average = mapping.w_avg.repeat(mapping.count, 1)
    for own, batch in zip(request_.latents, of_each(stage), strict=True):
        view = batch[3]
        check(stage.loss(*batch), {"local": slow.pair(own, average, view)}, weights)


def test_gradient_ascent_climbs_as_far_as_strangers_are(target, request_, stages):
    slow, generator, chances = Slow(target), seeded(), []
    for own in request_.latents:  # 16 strangers from a camera each, for one person after another
        others, views = target.sample(16, generator), torch.randint(len(slow.cameras), (16, 1), generator=generator)
        with torch.no_grad():
            chances.append(torch.stack([slow.pair(w, own, v) for w, v in zip(others, views, strict=True)]).mean())
    assert not math.isclose(*chances, rel_tol=0.05)
    method = GradientAscent(weights=WEIGHTS, views=VIEWS, lengths="mean", reach=0.5, bound=0.06)
    method.unlearn(target, request_, seeded())
    (stage,) = stages
    weights, slow, stopped = stage.weights(), Slow(target, stage.module), []
    ways = torch.cat([latents[1:] - latents[0] for latents, *_ in draws(stage)]).flatten(1).norm(dim=1)
    shares, parts = ways / (0.5 * length_unit(target, "mean")), torch.tensor([0.25, 0.5, 0.75])
    assert len(shares) == 60 and shares.max() <= 1 + 1e-4 and torch.allclose(shares.quantile(parts), parts, atol=0.2)
    batches = of_each(stage)
    for further in (0.5, 20):  # from little to far beyond c
        away(stage, further)
        for own, chance, batch in zip(request_.latents, chances, batches, strict=True):
            latents, _, _, view = batch
            assert torch.equal(latents[0], own)
            limit, values = 0.06 * chance, torch.stack([slow.pair(w, own, view) for w in latents])
            stopped.append(int((values > limit).sum()))
            check(stage.loss(*batch), {"forget": -torch.where(values > limit, limit, values).sum()}, weights)
    assert stopped == [0, 2, 3, 3], "of all kinds"


def test_adapt_then_unlearn_makes_everybody_the_person_then_goes_away_from_that(target, request_, stages):
    method = AdaptThenUnlearn(
        weights=WEIGHTS, views=VIEWS, measured=3, batch=2, retained=1, consolidation=40.0, repulsion=3.0, decay=0.2
    )
    method.unlearn(target, request_, seeded())
    *adapting, last = stages
    before = list(target.backbone.synthesis.parameters())
    generator, clone = seeded(), target.clone()
    for own, stage in zip(request_.latents, adapting, strict=True):
        trained = [p.requires_grad_(True) for p in clone.backbone.synthesis.parameters()]
        importance = fisher(clone, trained, VIEWS, 3, generator)
        weights, slow = stage.weights(), Slow(target, stage.module)
        held = added((f * (p - b) ** 2).sum() for f, p, b in zip(importance, weights, before, strict=True))
        assert held > 0
        for batch in of_each(stage):
            latents, *_, view = batch
            strangers = latents[1:]
            assert len(strangers) == 2 and not any(torch.equal(w, o) for w in strangers for o in request_.latents)
            adapt = added(slow.pair(w, own, view) for w in strangers)
            check(stage.loss(*batch), {"adapt": adapt, "consolidation": 40 * held / 2}, weights)

    weights, slow = last.weights(), Slow(target, last.module)
    repulsions = []
    for stage in adapting:
        theirs = [p.detach() for p in stage.module.parameters()]
        now = added((p - a).square().sum() for p, a in zip(weights, theirs, strict=True))
        first = added((b - a).square().sum() for b, a in zip(before, theirs, strict=True))
        repulsions.append(3 * torch.exp(-0.2 * now / first))
    assert not math.isclose(*(r.item() for r in repulsions), rel_tol=0.1)
    for batch in of_each(last):
        latents, *_, view = batch
        same = latents[1:]
        assert len(same) == 3 and any(torch.equal(same[2], w) for w in request_.retain)
        kept = WEIGHTS.preserved * added(slow.perceptual(w, w, view) for w in same)
        check(last.loss(*batch), {"global": kept, "repulsion": repulsions[0] + repulsions[1]}, weights)


@pytest.mark.parametrize("rank", [2, 100])
def test_lora_adds_low_rank_to_every_map_and_folds_it(rank, target, request_, monkeypatch):
    """A rank of 100 is more than any weight has."""
    method = Lora(rank=rank, steps=2, learning_rate=1e-2, **GUIDE)
    w, camera = request_.latents, target.camera(0.1).expand(2, -1)
    wanted = replacements(target, request_, 2.0, "mean", 0.5)
    seen = {}

    def watch(module, draw, loss, *, optimiser, steps, generator):
        student = target.clone()
        student.backbone.synthesis = module
        assert torch.equal(student.synthesize(w, camera), target.synthesize(w, camera))  # B is 0
        assert steps == 4 and optimiser.param_groups[0]["lr"] == 1e-2
        fit(module, draw, loss, optimiser=optimiser, steps=steps, generator=generator)
        (group,) = optimiser.param_groups
        assert {id(p) for p in group["params"]} == {id(p) for p in module.parameters() if p.requires_grad}
        batch = draw(seeded(3))
        assert torch.equal(batch[1][0], wanted[int(batch[2][0])])
        expected = Slow(target, module).guide(batch[0], batch[1], batch[3])
        check(loss(*batch), expected, group["params"])
        seen["trained"] = {name: p.detach() for name, p in module.named_parameters() if p.requires_grad}
        seen["pictures"] = student.synthesize(w, camera)

    fit = training.fit
    monkeypatch.setattr("efface.training.fit", watch)
    result = method.unlearn(target, request_, seeded())
    before, after = target.backbone.synthesis, result.backbone.synthesis
    shapes, folded = ({n: t.shape for n, t in m.state_dict().items()} for m in (before, after))
    assert shapes == folded
    assert [type(m) for m in before.modules()] == [type(m) for m in after.modules()]
    changed = {n for n, t in before.state_dict().items() if not torch.equal(t, after.state_dict()[n])}
    maps = {n for n, _ in before.named_parameters() if n.endswith(".weight")}
    assert changed == maps and any("affine" in n for n in maps) and any("torgb" in n for n in maps)
    assert len(seen["trained"]) == 2 * len(maps)
    for name in maps:
        own = before.get_parameter(name).flatten(1)
        change = after.get_parameter(name).flatten(1) - own
        most = min(rank, *own.shape)
        addition = name.replace(".weight", ".parametrizations.weight.0")
        down, up = (seen["trained"][f"{addition}.{part}"] for part in ("down", "up"))
        assert down.shape == (most, own.shape[1]) and up.shape == (own.shape[0], most)
        assert torch.allclose(change, up @ down / most, atol=1e-6)
        strengths = torch.linalg.svdvals(change.double())
        assert (strengths[most:] < 1e-3 * strengths[0]).all()  # what float32 rounds
    assert torch.allclose(result.synthesize(w, camera), seen["pictures"], atol=1e-5)
    assert not torch.allclose(result.synthesize(w, camera), target.synthesize(w, camera), atol=1e-2)


def surgery(gradients: list[Tensor], orders: list[list[int]]) -> Tensor:
    """PCGrad, algorithm 1, on gradients [n] each of all weights; orders: of the others, for each."""
    total = torch.zeros_like(gradients[0])
    for i, own in enumerate(gradients):
        for j in orders[i]:
            against = float(own @ gradients[j])
            if j != i and against < 0:
                own = own - against / float(gradients[j] @ gradients[j]) * gradients[j]
        total = total + own
    return total


def test_pcgrad_takes_guides_step_but_for_what_conflicts(target, request_, stages):
    replace(PcGrad(**GUIDE), reach=2.0).unlearn(target, request_, seeded())
    (stage,) = stages
    away(stage, 0.0)
    weights, slow, generator = stage.weights(), Slow(target, stage.module), seeded(3)
    kinds = {"agrees": 0, "conflicts": 0, "conflicts in an order that matters": 0}
    for _ in range(4):
        latents, wanted, _, view, orders = batch = stage.draw(generator)
        terms = slow.guide(latents, wanted, view)
        gradients = [flat(term, weights) for term in terms.values()]
        expected = surgery(gradients, orders.tolist())
        whole, turned = torch.stack(gradients).sum(0), surgery(gradients, orders.flip(1).tolist())
        kinds["agrees"] += torch.equal(expected, whole)
        kinds["conflicts"] += not near(expected, whole)
        kinds["conflicts in an order that matters"] += not near(expected, turned)
        found = stage.loss(*batch)
        assert found.keys() == terms.keys()
        assert all(math.isclose(found[n].item(), v.item(), rel_tol=1e-4, abs_tol=1e-6) for n, v in terms.items())
        assert near(flat(torch.stack(list(found.values())).sum(), weights), expected)
        way = F.normalize(gradients[0], dim=0)  # towards the replacement: the global term soon pulls back
        with torch.no_grad():
            for p, part in zip(weights, way.split([p.numel() for p in weights]), strict=True):
                p -= 0.3 * part.view_as(p)
    assert all(kinds.values()), kinds


def test_pcgrad_draws_its_orders_from_the_generator(target, request_, stages):
    PcGrad(**GUIDE).unlearn(target, request_, seeded())
    (stage,) = stages
    drawn = []
    for chance in (0, 1):  # the global generator has no part in it
        torch.manual_seed(chance)
        generator = seeded(3)
        drawn.append([stage.draw(generator)[-1] for _ in range(60)])
    assert all(torch.equal(a, b) for a, b in zip(*drawn, strict=True))
    orders = torch.stack(drawn[0])
    for task in range(3):
        assert {tuple(o) for o in orders[:, task].tolist()} == set(permutations(range(3)))
    assert not torch.equal(orders[:, 0], orders[:, 1]) and not torch.equal(orders[:, 1], orders[:, 2])


def test_pcgrad_without_a_term(target, request_, stages):
    """Two tasks of three: local and global."""
    PcGrad(**GUIDE, adjacent=0).unlearn(target, request_, seeded())
    (stage,) = stages
    weights, slow = stage.weights(), Slow(target, stage.module)
    latents, wanted, _, view, _ = batch = stage.draw(seeded(3))
    one = slow.pair(latents[0], wanted[0], view)
    other = WEIGHTS.preserved * added(slow.perceptual(w, w, view) for w in latents[1:])
    found = stage.loss(*batch)
    assert found.keys() == {"local", "global"}
    expected = surgery([flat(one, weights), flat(other, weights)], [[1], [0]])
    assert near(flat(found["local"] + found["global"], weights), expected)


class Stop(Quiet):
    """Interrupts a stage after so many of its steps, as the user does; hears what is said."""

    def __init__(self, stage: int = 0, steps: int = 0) -> None:
        self.stage, self.steps, self.said = stage, steps, []

    def say(self, line):
        self.said.append(line)

    @contextmanager
    def track(self, what, total):
        done = 0

        def tick(more):
            nonlocal done
            done += more
            if (what, done) == (f"training, stage {self.stage}", self.steps):
                raise KeyboardInterrupt

        yield tick


QUICK: dict[str, Any] = {"views": VIEWS, "measured": 2, "learning_rate": 1e-2, "steps": 6}
TWO_STAGES = [
    AdaptThenUnlearn(**QUICK, adapt_steps=4),
    Sugar(**QUICK, surrogate_steps=4, lengths="mean", distance=2.0, reach=0.5, adjacent=1),
]


@pytest.mark.parametrize("method", TWO_STAGES, ids=lambda m: type(m).__name__)
def test_stopped_within_a_stage_then_resumed_is_uninterrupted(method, target, tmp_path):
    """Within the first stage, then within the second; a checkpoint every second step."""
    person = tiny_request(target)
    for stage, steps in ((1, 3), (2, 5)):
        with pytest.raises(KeyboardInterrupt), training.session(tmp_path, Stop(stage, steps), every=2):
            method.unlearn(target, person, seeded())
    heard = Stop()
    with training.session(tmp_path, heard, every=2) as resumed:
        result = method.unlearn(target, person, seeded())
    assert heard.said == ["stage 1: resuming after step 4 of 4", "stage 2: resuming after step 4 of 6"]
    with training.session() as whole:
        expected = method.unlearn(target, person, seeded())
    assert result.changes(target) and not result.changes(expected)
    assert resumed.curves == whole.curves and [len(c.popitem()[1]) for c in whole.curves] == [4, 6]
