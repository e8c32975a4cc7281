"""What a benchmark is told: its YAML file, by what it measures."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from efface import config
from efface.benchmark.diffusion.configuration import DiffusionBenchmark
from efface.benchmark.gan.configuration import GanBenchmark
from efface.benchmark.recognition.configuration import RecognitionBenchmark
from efface.errors import EffaceError

BenchmarkConfig = RecognitionBenchmark | DiffusionBenchmark | GanBenchmark
CONFIGS: dict[str, type[RecognitionBenchmark] | type[DiffusionBenchmark] | type[GanBenchmark]] = {
    "recognition": RecognitionBenchmark,
    "diffusion": DiffusionBenchmark,
    "gan": GanBenchmark,
}
"""What `kind` says -> what such a benchmark is told."""


def load(path: Path, settings: Sequence[str] = (), only: Sequence[str] = (), tiny: bool = False) -> BenchmarkConfig:
    """Read the YAML file with `--set a.b=c` over it. only: data sets to keep; empty keeps all. tiny: a dry run on drawn
    people with the tiny model. Raises EffaceError for whatever is wrong with it."""
    given = config.read_yaml(path, settings)
    kind = given.get("kind", "recognition")
    if kind not in CONFIGS:
        raise EffaceError(f"{path}: kind: found {kind!r}, expected one of: {', '.join(CONFIGS)}")
    cls = CONFIGS[kind]
    if tiny:
        given = cls.tiny(given)
    found: BenchmarkConfig = config.parse_as(cls, given, str(path))
    found.check(str(path))
    for name in only:
        if name not in found.data:
            raise EffaceError(f"--data: found {name!r}, expected one of: {', '.join(found.data)}")
    kept = {name: data for name, data in found.data.items() if name in (only or found.data)}
    return dataclasses.replace(found, data=kept, **found.without(kept))
