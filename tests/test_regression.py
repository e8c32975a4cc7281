"""Seeded runs against stored numbers: what changes here changed a method, a metric, the drawing or the tiny model.

`python tests/test_regression.py` prints the numbers as they are now, to be looked at before they are stored.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

import pytest

from efface import config, run
from efface.progress import Quiet

STORED = Path(__file__).with_name("regression.json")
METRICS = {
    "forget": ("rank1", "tar@far=1e-2", "tar@far=1e-3", "compactness", "genuine_auc"),
    "retain": ("rank1", "tar@far=1e-3", "template_drift"),
    "holdout": ("rank1", "tar@far=1e-3", "eer", "template_drift"),
    "impostors": ("far_at_frozen_threshold",),
}
TINY = {"dispersion": {}, "esc": {}, "random_label": {}, "noise": {}}
TOLERANCE = {"rank1": 0.08, "tar@far=1e-2": 0.08, "tar@far=1e-3": 0.08, "far_at_frozen_threshold": 5e-4}
"""Another processor rounds otherwise, and a hundred steps enlarge it: rates of the forgotten move by 1 / 40 a photo."""
FINE = 0.02
"""Tolerance of all other numbers, which are means of cosines or areas."""


def assert_stored(found: dict[str, float], name: str) -> None:
    """Every number is within its tolerance of the stored one."""
    stored = json.loads(STORED.read_text())[name]
    assert found.keys() == stored.keys()
    moved = {
        key: (stored[key], value)
        for key, value in found.items()
        if abs(value - stored[key]) > TOLERANCE.get(key.split(".", 2)[2], FINE)
    }
    assert not moved


def measured(given: dict, out: Path) -> dict[str, float]:
    """Number by model, group and metric."""
    audit = run.run(config.parse(given | {"out": str(out)}, "test"), Quiet())
    return {
        f"{model}.{group}.{metric}": round(audit["models"][model][group][metric]["value"], 4)
        for model in ("original", "unlearned")
        for group, metrics in METRICS.items()
        for metric in metrics
    }


def tiny(method: str, out: Path) -> dict[str, float]:
    """Two of forty drawn people, the tiny model, the method's defaults."""
    faces = {"name": "drawn", "people": 40}
    forget = ["person-004", "person-011"]
    given = {"model": "tiny", "faces": faces, "forget": forget, "method": {"name": method} | TINY[method]}
    return measured(given, out)


def orl(method: str, out: Path) -> dict[str, float]:
    """configs/recognition/orl.yaml with another method."""
    path = Path(__file__).parents[1] / "configs" / "recognition" / "orl.yaml"
    return measured(config.load(path, [f"method={method}", "judge=null"]).plain(), out)


@pytest.mark.parametrize("method", TINY)
def test_tiny_numbers_are_those_stored(method, tmp_path):
    assert_stored(tiny(method, tmp_path / "out"), method)


@pytest.mark.real
def test_real_numbers_are_those_stored(data, tmp_path, monkeypatch):
    monkeypatch.setenv("EFFACE_DATA", str(data))
    assert_stored(orl("esc", tmp_path / "out"), "orl esc")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        found = {name: tiny(name, Path(folder) / name) for name in TINY}
        if os.environ.get("EFFACE_DATA"):
            found["orl esc"] = orl("esc", Path(folder) / "orl")
    json.dump(found, sys.stdout, indent=1)
