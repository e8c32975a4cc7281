"""How fast the GAN generators draw, and their modulated convolution beside other ways to the same numbers.

    python -m benchmarks.generators     about three minutes on one free core

Processor seconds of one thread, the least of REPEATS: a busy machine changes them little. The ways of the convolution
take turns. `grouped` scales the weights for each picture and convolves all pictures at once in groups, `maps` scales
the maps before and after instead, `ours` is efface.models.stylegan2.modulated, which chooses. The full-size generator
is EG3D's of faces at 512 pixels, its weights as training begins; peak memory is that of a process of its own.
"""

import argparse
import math
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from efface.models import eg3d, stylegan2
from efface.models.rendering import Rendering

REPEATS = 4
SIZES = ((512, 512, 4), (512, 512, 32), (64, 64, 64), (128, 128, 256))
"""(channels in, channels out, side) that are timed at each of these batches."""
BATCHES = (1, 4, 8)


def grouped(x: Tensor, weight: Tensor, style: Tensor, filter: Tensor | None) -> Tensor:
    n, outputs, inputs = len(x), *weight.shape[:2]
    weights = weight * style[:, None, :, None, None]
    weights = weights * (weights.square().sum((2, 3, 4), keepdim=True) + 1e-8).rsqrt()
    x = x.reshape(1, n * inputs, *x.shape[2:])
    if filter is None:
        x = F.conv2d(x, weights.flatten(0, 1), padding=1, groups=n)
    else:
        x = F.conv_transpose2d(x, weights.transpose(1, 2).flatten(0, 1), stride=2, groups=n)
        x = F.conv2d(x, (filter * 4).expand(n * outputs, 1, 4, 4), padding=1, groups=n * outputs)
    return x.view(n, outputs, *x.shape[2:])


def maps(x: Tensor, weight: Tensor, style: Tensor, filter: Tensor | None) -> Tensor:
    factors = (style.square() @ weight.square().sum((2, 3)).T + 1e-8).rsqrt()
    return stylegan2._convolved(x * style[:, :, None, None], weight, filter) * factors[:, :, None, None]


def ours(x: Tensor, weight: Tensor, style: Tensor, filter: Tensor | None) -> Tensor:
    return stylegan2.modulated(x, weight, style, 1.0, filter)


def least(calls: list[Callable[[], object]]) -> list[float]:
    """Processor seconds of each call, the calls taking turns."""
    seconds = [math.inf] * len(calls)
    for _ in range(REPEATS):
        for i, call in enumerate(calls):
            start = time.process_time()
            call()
            seconds[i] = min(seconds[i], time.process_time() - start)
    return seconds


def convolutions() -> None:
    print("\nmodulated convolution, forward and backward, milliseconds\n")
    print("batch, channels, side        doubles   grouped      maps      ours   largest difference")
    for inputs, outputs, side in SIZES:
        for n in BATCHES:
            if n * inputs * side * side > 2**24:  # more than 64 MB a map
                continue
            for filter in (None, stylegan2.low_pass()):
                half = side // 2 if filter is not None else side
                given = torch.randn(n, inputs, half, half), torch.randn(outputs, inputs, 3, 3), torch.randn(n, inputs)
                given = tuple(t.requires_grad_() for t in given)

                def step(way: Callable[..., Tensor], given=given, filter=filter) -> None:
                    y = way(*given, filter)
                    torch.autograd.grad(y, given, torch.ones_like(y))

                ways = (grouped, maps, ours)
                with torch.no_grad():
                    drawn = [way(*given, filter) for way in ways]
                apart = max(float((d - drawn[0]).abs().max() / drawn[0].abs().max()) for d in drawn)
                figures = "".join(f"{s * 1e3:10.1f}" for s in least([lambda way=way: step(way) for way in ways]))
                name = f"{n}, {inputs} → {outputs}, {side}"
                print(f"{name:<28} {'no' if filter is None else 'yes':>7}{figures}   {apart:.0e}", flush=True)


def small() -> eg3d.Generator:
    """A tri-plane generator of 128 pixels that trains on a CPU."""
    rendering = Rendering(neural_resolution=32, samples=12, importance_samples=12)
    return eg3d.Generator(
        128,
        z_dim=64,
        w_dim=128,
        channel_base=2048,
        channel_max=96,
        plane_resolution=64,
        plane_channels=16,
        start=64,
        super_channels=(32, 16),
        super_clamp=None,
        rendering=rendering,
    )


def views(title: str, generator: eg3d.Generator, count: int, gradient: bool) -> None:
    camera = generator.camera(torch.linspace(-0.3, 0.3, count))
    w = generator.mapping(torch.randn(count, generator.backbone.mapping.z_dim), camera).detach()
    started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with torch.set_grad_enabled(gradient):
        planes = generator.planes(w)
        features, _, _ = generator.features(planes, camera)
        parts = [
            lambda: generator.planes(w),
            lambda: generator.features(planes, camera),
            lambda: generator.superresolution(features, w[:, -1]),
        ]
        if gradient:
            parts.append(lambda: generator.synthesis(w, camera).picture.square().mean().backward())
        seconds = least(parts)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    planes_, rays, enlarged, *step = (f"{s:.3f}" for s in seconds)
    line = f"{title}, {count} at a time: planes {planes_} s, rays {rays} s, super-resolution {enlarged} s"
    line += f", forward and backward {step[0]} s" if step else ""
    print(f"{line}; peak {peak / 1024:.0f} MB, of which {started / 1024:.0f} before", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--views", choices=("small", "full", "full-step"), help="only these, in this process")
    wanted = parser.parse_args().views
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if wanted == "small":
        views("small, 128 px", small(), 4, True)
    elif wanted:
        views("EG3D, 512 px", eg3d.Generator(), 1, wanted == "full-step")
    else:
        for name in ("small", "full", "full-step"):
            subprocess.run([sys.executable, "-m", "benchmarks.generators", "--views", name], check=True)
        convolutions()


if __name__ == "__main__":
    main()
