"""The one loop: from scratch with a schedule, interrupted anywhere, in several processes."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from efface import training
from efface.models.heads import CosFace, sample_classes

CLASSES, SIZE, BATCH, STEPS = 20, 6, 8, 12


def run(folder: Path | None = None, *, index: int = 0, processes: int = 1, stop: int | None = None) -> nn.Module:
    """A small network and a sampled head, of which this process sees its part of each batch; two optimisers."""
    generator = torch.Generator().manual_seed(0)
    data = torch.randn(64, SIZE, generator=generator)
    labels = torch.randint(CLASSES, (64,), generator=generator)
    network = nn.Sequential(nn.Linear(SIZE, 10), nn.Tanh(), nn.Linear(10, SIZE))
    with torch.no_grad():
        for p in network.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) / 3)
    head = CosFace(CLASSES, SIZE, 16.0, 0.2).draw(generator)

    def draw(generator: torch.Generator) -> tuple[torch.Tensor, ...]:
        rows = torch.randint(64, (BATCH,), generator=generator)
        classes = sample_classes(labels[rows], CLASSES, 0.5, generator)
        own = rows[index * BATCH // processes : (index + 1) * BATCH // processes]
        return data[own], torch.searchsorted(classes, labels[own]), classes

    def loss(x: torch.Tensor, y: torch.Tensor, classes: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"margin": F.cross_entropy(head(F.normalize(network(x), dim=-1), y, classes), y)}

    def each(done: int, value: torch.Tensor) -> None:
        assert value.ndim == 0 and not value.requires_grad
        if done == stop:
            raise KeyboardInterrupt

    module = nn.ModuleDict({"network": network, "head": head})
    with training.session(folder, every=3):
        training.fit(
            module,
            draw,
            loss,
            optimiser=[torch.optim.AdamW(network.parameters(), 0.01), torch.optim.SparseAdam(head.parameters(), 0.02)],
            steps=STEPS,
            generator=generator,
            train_mode=True,
            parted=True,
            schedule=lambda step: 1 - step / STEPS,
            each=each,
        )
    return module


def equal(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.mark.parametrize("stop", [1, 3, 8, STEPS])
def test_interrupted_and_resumed_is_uninterrupted(stop, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, stop=stop)
    assert equal(run(tmp_path), run())


def test_two_processes_are_one_with_the_whole_batch(tmp_path):
    code = (
        "import sys, torch; sys.path.insert(0, sys.argv[1]); import test_training\n"
        "from accelerate import PartialState\n"
        "state = PartialState(cpu=True); torch.set_num_threads(1)\n"
        "module = test_training.run(index=state.process_index, processes=2)\n"
        "torch.save(module.state_dict(), f'{sys.argv[2]}/{state.process_index}.pt')\n"
        "state.wait_for_everyone(); state.destroy_process_group()\n"
    )
    (tmp_path / "code.py").write_text(code)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*torchrun, str(tmp_path / "code.py"), str(Path(__file__).parent), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    first, second = (torch.load(tmp_path / f"{i}.pt") for i in (0, 1))
    alone, short = run().state_dict(), run(processes=2).state_dict()
    for name in alone:
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name], alone[name], rtol=1e-4, atol=1e-5)
    assert any((short[n] - alone[n]).abs().max() > 1e-3 for n in alone), "half a batch would have done as well"


def test_rates_follow_the_schedule_and_only_train_mode_moves_batchnorm(generator):
    rates = []
    norms = []
    for train_mode in (True, False):
        module = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
        optimiser = torch.optim.SGD(module.parameters(), lr=0.5)
        training.fit(
            module,
            lambda g: (torch.randn(4, 3, generator=g),),
            lambda x, module=module: {"loss": module(x).square().mean()},
            optimiser=optimiser,
            steps=3,
            generator=generator,
            train_mode=train_mode,
            schedule=[1.0, 0.5, 0.25].__getitem__,
            each=lambda done, loss, optimiser=optimiser: rates.append(optimiser.param_groups[0]["lr"]),
        )
        norms.append(float(module[1].running_mean.abs().sum()))
    assert rates == [0.5, 0.25, 0.125] * 2
    assert norms[0] > 0 and norms[1] == 0


def test_checkpoints_keep_their_distance_but_the_last_step_has_one(tmp_path):
    def steps(pause: float) -> list[int]:
        kept = []
        module = nn.Linear(2, 1)

        def each(done: int, loss: torch.Tensor) -> None:
            path = tmp_path / "stage-0.pt"
            kept.append(torch.load(path)["step"] if path.exists() else 0)

        with training.session(tmp_path, every=2, pause=pause):
            training.fit(
                module,
                lambda g: (torch.ones(1, 2),),
                lambda x: {"loss": module(x).sum()},
                optimiser=torch.optim.SGD(module.parameters(), lr=0.1),
                steps=6,
                generator=torch.Generator(),
                each=each,
            )
        last = torch.load(tmp_path / "stage-0.pt")["step"]
        (tmp_path / "stage-0.pt").unlink()
        return [*kept, last]

    assert steps(0.0) == [0, 0, 2, 2, 4, 4, 6]
    assert steps(1000.0) == [0, 0, 0, 0, 0, 0, 6]


def test_sampled_classes_hold_the_batch_and_the_share(generator):
    labels = torch.tensor([3, 3, 7, 90])
    seen = torch.zeros(100)
    for _ in range(200):
        classes = sample_classes(labels, 100, 0.1, generator)
        assert len(classes) == 10 and {3, 7, 90} <= set(classes.tolist()) and (classes.diff() > 0).all()
        seen[classes] += 1
    others = seen[[i for i in range(100) if i not in (3, 7, 90)]]
    assert others.min() > 0 and others.mean() == pytest.approx(200 * 7 / 97)
    assert sample_classes(labels, 100, 0.01, generator).tolist() == [3, 7, 90]
    assert sample_classes(labels, 100, 1.0, generator).tolist() == list(range(100))


def test_a_sampled_head_gives_the_logits_and_gradient_of_its_rows(generator):
    head = CosFace(9, 4, 8.0, 0.3).draw(generator)
    x, labels = F.normalize(torch.randn(5, 4, generator=generator), dim=-1), torch.tensor([2, 2, 5, 8, 5])
    rows = torch.tensor([0, 2, 5, 8])
    found = head(x, torch.searchsorted(rows, labels), rows)
    expected = head(x, labels)[:, rows]
    torch.testing.assert_close(found, expected)
    (dense,) = torch.autograd.grad(expected.square().sum(), head.weight)
    (sparse,) = torch.autograd.grad(found.square().sum(), head.weight)
    assert sparse.is_sparse
    torch.testing.assert_close(sparse.to_dense(), dense)


@pytest.mark.parametrize("clip", [None, 0.1, 100.0])
def test_gradients_are_no_longer_than_clip(generator, clip):
    module = nn.Linear(3, 2, bias=False)
    nn.init.ones_(module.weight)
    batch = torch.randn(4, 3, generator=generator)
    training.fit(
        module,
        lambda _: (batch,),
        lambda x: {"loss": module(x).square().mean()},
        optimiser=torch.optim.SGD(module.parameters(), lr=1.0),
        steps=1,
        generator=generator,
        clip=clip,
    )
    gradient = batch.sum(1).view(1, -1) @ batch / 4  # of the mean over 4 · 2 numbers, all weights 1
    taken = 1 - module.weight.detach()
    shorter = 1.0 if clip is None else min(1.0, clip / float(gradient.norm() * 2**0.5))
    assert torch.allclose(taken, shorter * gradient.expand(2, 3), atol=1e-5)
