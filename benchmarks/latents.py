"""How far a person's other photos invert from the latent that a method is given.

    python -m benchmarks.latents      a minute on one core

The first five people of the benchmark of face generators, by photos (`eg3d`) and by random latents (`random`). Prints
the distance in multiples of the generator's mean ‖w − w_avg‖, and the cosine about w_avg; means over photos, then over
people.
"""

from pathlib import Path

import torch

from efface.benchmark import configuration
from efface.benchmark.gan.configuration import GanBenchmark
from efface.benchmark.gan.measuring import Bench
from efface.methods.replacements import length_unit

CONFIG, PEOPLE = Path(__file__).parents[1] / "configs" / "benchmark" / "gan.yaml", 5


def main() -> None:
    """Measure and print."""
    config = configuration.load(CONFIG)
    assert isinstance(config, GanBenchmark)
    for name in ("eg3d", "random"):
        bench, found = Bench(config.data[name]), []
        average, unit = bench.target.w_average.cpu(), length_unit(bench.target, "mean")
        for person in config.data[name].report[:PEOPLE]:
            sources = bench.scene((person,), 0).sources
            others = [photo for photo, (whose, _) in sources.subjects.by_photo.items() if whose == person]
            given, rest = ((sources.of(who) - average).flatten(1) for who in ([person], others))
            far = (rest - given).norm(dim=1).mean() / unit
            found.append(torch.stack([far, torch.cosine_similarity(rest, given).mean()]))
        far, alike = torch.stack(found).mean(0).tolist()
        print(f"{name}: {far:.2f} mean lengths away, cosine {alike:.2f}")


if __name__ == "__main__":
    main()
